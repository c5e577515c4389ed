//! The life of one export request: the collector's main path. Read this file first.
//!
//! ```text
//!  receive ─► admit ─► open ─► scan ─► place ─► tally ─► forward ─► answer
//!  (receive)  (memory) (gunzip,(scan)  (export)  (tally)   │
//!                       json)                              └─ later: exporter ─► far tap
//! ```
//!
//! 1. **Receive and admit**: the body is read while the memory budget admits it.
//! 2. **Open**: gzip is inflated and JSON transcoded, both bounded; protobuf stays as it is.
//! 3. **Scan**: one pass says whether it is well formed, who sent it and how much it holds.
//! 4. **Place**: room in the queue of every exporter, before anything is counted, so that a
//!    refused request that the client sends again is not counted twice.
//! 5. **Tally**: what arrived is counted for the watchdog, but for profiles.
//! 6. **Forward**: the bytes go to the exporters; when all have delivered them, or at once if
//!    there are none, the far tap reports the probes among them.
//!
//! Invariant: a request either passes all six steps and is answered with success, or leaves no
//! trace but a counted refusal.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::arrival::Arrival;
use crate::driver;
use crate::export::Exporters;
use crate::kind::Kind;
use crate::memory::Budget;
use crate::metrics::Metrics;
use crate::parcel::Parcel;
use crate::receive::cors::Cors;
use crate::refusal::Refusal;
use crate::scan::{self, Scanned};
use crate::tally::Tally;

/// What a request passes through.
#[derive(Debug)]
pub(crate) struct Pipeline {
    pub(crate) budget: Budget,
    pub(crate) max_request_bytes: usize,
    pub(crate) exporters: Exporters,
    pub(crate) tally: Arc<Tally>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) cors: Cors,
    /// Big requests that are worked on at a time: as many as there are processors.
    pub(crate) big: Semaphore,
}

impl Pipeline {
    /// Carries a request that has been read. Success means: counted, and in every exporter's
    /// queue.
    pub(crate) async fn carry(self: &Arc<Self>, arrival: Arrival) -> Result<(), Refusal> {
        if arrival.is_small() {
            return self.pass(arrival);
        }
        let _turn = self.big.acquire().await.map_err(|_| Refusal::Stopping)?;
        let pipeline = Arc::clone(self);
        match tokio::task::spawn_blocking(move || pipeline.pass(arrival)).await {
            Ok(passed) => passed,
            Err(_) => Err(Refusal::Stopping),
        }
    }

    fn pass(&self, arrival: Arrival) -> Result<(), Refusal> {
        let kind = arrival.kind;
        let body_bytes = arrival.body.len();
        let content = arrival.open(&self.budget, self.max_request_bytes)?;
        let (records, probes, places) = match kind {
            Kind::Tallied(signal) => {
                let scanned = Scanned::of(signal, &content.plain)?;
                let places = self.exporters.reserve(&content).inspect_err(|_| {
                    self.tally.refused(scanned.records);
                })?;
                self.tally.add(&scanned, driver::now());
                (scanned.records, scanned.probes, places)
            }
            Kind::Profiles => {
                let records = scan::profiles(&content.plain)?;
                (records, Vec::new(), self.exporters.reserve(&content)?)
            }
        };
        self.metrics.received(kind, records, body_bytes);
        let parcel = Parcel::new(kind, records, probes, Arc::clone(&self.tally));
        places.fill(content, parcel);
        Ok(())
    }
}
