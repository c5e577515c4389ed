//! What is owed for a request after it was acknowledged.
//!
//! Every exporter that took the request holds a share of its [`Parcel`] and must say how it ended;
//! dropping a share unsaid counts as dropped. When the last has said so, the far tap of the path
//! is reached: the records are forwarded or dropped, and if all delivered, probes are echoed.
//!
//! Invariant: each record of an acknowledged request is counted exactly once as forwarded or as
//! dropped, and a probe is echoed only after every exporter delivered it.

use std::sync::{Arc, Mutex, PoisonError};

use crate::driver;
use crate::kind::Kind;
use crate::scan::Probe;
use crate::tally::Tally;

/// A request on its way to the far tap.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) kind: Kind,
    pub(crate) records: u64,
    probes: Vec<Probe>,
    /// Records that were dropped, by the exporter that dropped most.
    dropped: Mutex<u64>,
    tally: Arc<Tally>,
}

impl Parcel {
    pub(crate) fn new(
        kind: Kind,
        records: u64,
        probes: Vec<Probe>,
        tally: Arc<Tally>,
    ) -> Arc<Self> {
        if matches!(kind, Kind::Tallied(_)) {
            tally.queued(records);
        }
        Arc::new(Self { kind, records, probes, dropped: Mutex::new(0), tally })
    }

    /// One exporter could not deliver `records` of it.
    pub(crate) fn dropped(&self, records: u64) {
        let mut dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        *dropped = records.min(self.records).max(*dropped);
    }
}

impl Drop for Parcel {
    /// The last share is gone: this is the far tap.
    fn drop(&mut self) {
        if self.kind == Kind::Profiles {
            return;
        }
        let dropped = *self.dropped.get_mut().unwrap_or_else(PoisonError::into_inner);
        let probes = if dropped == 0 { std::mem::take(&mut self.probes) } else { Vec::new() };
        self.tally.settled(self.records, dropped, probes, driver::now());
    }
}
