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

/// How it ended with a request for one exporter, or for all together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The backend took it, but for so many of its records.
    Taken { rejected: u64 },
    /// The backend has none of it.
    Dropped(DropReason),
}

impl Ending {
    /// The worse of two, as the client should hear of it: what may be sent again comes last,
    /// because a client that is told of a refusal for good never does.
    pub(super) fn worse(self, other: Self) -> Self {
        let rank = |ending: &Self| match ending {
            Self::Taken { rejected } => (0, *rejected),
            Self::Dropped(DropReason::Rejected) => (1, 0),
            Self::Dropped(DropReason::Expired | DropReason::Stopped | DropReason::Damaged) => {
                (2, 0)
            }
        };
        if rank(&other) > rank(&self) { other } else { self }
    }

    /// Why records of it were dropped, and how many of `records`.
    pub(super) fn dropped(self, records: u64) -> Option<(DropReason, u64)> {
        match self {
            Self::Taken { rejected: 0 } => None,
            Self::Taken { rejected } => Some((DropReason::Rejected, rejected.min(records))),
            Self::Dropped(reason) => Some((reason, records)),
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
    pub(super) const fn new(
        line: Arc<Line>,
        who: usize,
        metrics: Arc<ExporterMetrics>,
        owed: Owed,
    ) -> Self {
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
        self.end(Ending::Taken { rejected });
    }

    /// The backend will never have it.
    pub(crate) fn dropped(mut self, reason: DropReason) {
        self.end(Ending::Dropped(reason));
    }

    fn end(&mut self, ending: Ending) {
        self.is_said = true;
        if let Some((reason, dropped)) = ending.dropped(self.owed.records) {
            self.metrics.dropped(self.owed.kind, reason, dropped);
        }
        self.line.settle(self.who, &self.owed, ending);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if !self.is_said && self.line.spool.is_none() {
            self.end(Ending::Dropped(DropReason::Stopped));
        }
    }
}
