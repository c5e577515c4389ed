//! What an exporter is given, and what it owes for it.
//!
//! Invariant: a [`Share`] says exactly once how it ended. If it is dropped unsaid, because its
//! exporter was stopped, it stays owed if there is a spool, and is dropped by the stop if not.

use std::sync::Arc;

use super::Line;
use crate::arrival::Payload;
use crate::kind::Kind;
use crate::metrics::ExporterMetrics;

/// A request that one exporter is to send.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) payload: Arc<Payload>,
    pub(crate) share: Share,
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
    /// Its bytes in the spool are damaged.
    Damaged,
}

impl DropReason {
    pub(crate) const ALL: [Self; 4] = [Self::Rejected, Self::Expired, Self::Stopped, Self::Damaged];

    /// The value of the label `reason` in metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Stopped => "stopped",
            Self::Damaged => "damaged",
        }
    }
}

/// An entry as it is owed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owed {
    pub(super) seq: u64,
    pub(super) kind: Kind,
    pub(super) records: u64,
    /// Bytes for which it counted while it waited.
    pub(super) weight: usize,
}

/// One exporter's share of an entry.
#[derive(Debug)]
pub(crate) struct Share {
    line: Arc<Line>,
    who: usize,
    metrics: Arc<ExporterMetrics>,
    owed: Owed,
    is_said: bool,
}

impl Share {
    pub(super) fn new(line: Arc<Line>, who: usize, owed: Owed) -> Self {
        let metrics = Arc::clone(&line.state().seats[who].metrics);
        Self { line, who, metrics, owed, is_said: false }
    }

    pub(crate) const fn kind(&self) -> Kind {
        self.owed.kind
    }

    pub(crate) const fn records(&self) -> u64 {
        self.owed.records
    }

    /// The backend took it, but rejected so many of its records.
    pub(crate) fn delivered(mut self, rejected: u64) {
        let rejected = rejected.min(self.owed.records);
        self.metrics.forwarded(self.owed.kind, self.owed.records - rejected);
        self.end(rejected, (rejected > 0).then_some(DropReason::Rejected));
    }

    /// The backend will never have it.
    pub(crate) fn dropped(mut self, reason: DropReason) {
        self.end(self.owed.records, Some(reason));
    }

    fn end(&mut self, dropped: u64, reason: Option<DropReason>) {
        self.is_said = true;
        if let Some(reason) = reason {
            self.metrics.dropped(self.owed.kind, reason, dropped);
        }
        self.line.settle(self.who, &self.owed, dropped, reason);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if !self.is_said && self.line.spool.is_none() {
            self.end(self.owed.records, Some(DropReason::Stopped));
        }
    }
}
