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
//!    Records with an id of a wrong length are cut out; the client hears of them.
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
use watchdog_core::tally::Signal;

use crate::arrival::{Arrival, Content};
use crate::driver;
use crate::export::Exporters;
use crate::kind::Kind;
use crate::memory::{Budget, Buffer};
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

/// A request that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a client must hear what was rejected"]
pub(crate) struct Taken {
    /// Records that were left behind, because they hold an id of a wrong length.
    pub(crate) rejected: u64,
}

impl Pipeline {
    /// Carries a request that has been read. Success means: counted, and in every exporter's
    /// queue.
    pub(crate) async fn carry(self: &Arc<Self>, arrival: Arrival) -> Result<Taken, Refusal> {
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

    fn pass(&self, arrival: Arrival) -> Result<Taken, Refusal> {
        let kind = arrival.kind;
        let body_bytes = arrival.body.len();
        let mut content = arrival.open(&self.budget, self.max_request_bytes)?;
        let mut rejected = 0;
        let whole = content.plain.clone();
        let mut came = None;
        let (records, probes, places) = match kind {
            Kind::Tallied(signal) => {
                let scanned = Scanned::of(signal, &whole)?;
                rejected = scanned.rejected;
                if rejected > 0 {
                    let rest = self.rest(signal, &whole)?;
                    came = Some(std::mem::replace(&mut content, rest));
                }
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
        // What came is paid for until nothing reads it any more.
        drop((whole, came));
        Ok(Taken { rejected })
    }

    /// The request without the records that the scan rejected. What came compressed is not it.
    fn rest(&self, signal: Signal, whole: &[u8]) -> Result<Content, Refusal> {
        let mut buffer = Buffer::new(&self.budget, self.max_request_bytes)?;
        scan::without_rejected(signal, whole, &mut buffer)?;
        let (plain, held) = buffer.freeze();
        Ok(Content { plain, gzip: None, held })
    }
}
