//! What waits in an exporter's queue.
//!
//! Invariant: a [`Share`] says exactly once how it ended; if it is dropped unsaid, because its
//! exporter was stopped, that is how it ended.

use std::sync::Arc;

use crate::arrival::Payload;
use crate::memory::Held;
use crate::metrics::ExporterMetrics;
use crate::parcel::Parcel;

/// What an item costs beside its bytes, so that a flood of tiny requests is bounded too.
pub(super) const ITEM_BYTES: usize = 512;

/// A request that waits for one backend.
#[derive(Debug)]
pub(crate) struct Item {
    pub(super) payload: Arc<Payload>,
    pub(super) share: Share,
    /// Its place in the queue.
    pub(super) held: Held,
}

/// Why a request that was acknowledged did not reach a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DropReason {
    /// The backend refused it for good, all or a part of it.
    Rejected,
    /// The backend did not take it in `retry_for_ms`.
    Expired,
    /// The collector stopped before the backend took it.
    Stopped,
}

impl DropReason {
    pub(crate) const ALL: [Self; 3] = [Self::Rejected, Self::Expired, Self::Stopped];

    /// The value of the label `reason` in metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Stopped => "stopped",
        }
    }
}

/// One exporter's share of a parcel.
#[derive(Debug)]
pub(crate) struct Share {
    parcel: Arc<Parcel>,
    metrics: Arc<ExporterMetrics>,
    said: bool,
}

impl Share {
    pub(super) const fn new(parcel: Arc<Parcel>, metrics: Arc<ExporterMetrics>) -> Self {
        Self { parcel, metrics, said: false }
    }

    pub(super) fn parcel(&self) -> &Parcel {
        &self.parcel
    }

    /// The backend took it, but rejected so many of its records.
    pub(super) fn delivered(mut self, rejected: u64) {
        self.said = true;
        let (kind, records) = (self.parcel.kind, self.parcel.records);
        let rejected = rejected.min(records);
        self.metrics.forwarded(kind, records - rejected);
        if rejected > 0 {
            self.metrics.dropped(kind, DropReason::Rejected, rejected);
            self.parcel.dropped(rejected);
        }
    }

    /// The exporter is not there for its kind.
    pub(super) fn passed_over(mut self) {
        self.said = true;
    }

    /// The backend will never have it.
    pub(super) fn dropped(mut self, reason: DropReason) {
        self.end(reason);
    }

    fn end(&mut self, reason: DropReason) {
        self.said = true;
        self.metrics.dropped(self.parcel.kind, reason, self.parcel.records);
        self.parcel.dropped(self.parcel.records);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if !self.said {
            self.end(DropReason::Stopped);
        }
    }
}
