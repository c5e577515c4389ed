//! Where one exporter is in the line.
//!
//! Invariant: entries before [`Cursor::low`] are settled.

use std::collections::BTreeSet;

use super::ENTRY_BYTES;
use crate::spool::{Place, Resume};

#[derive(Debug, Default)]
pub(super) struct Cursor {
    /// The first entry that was not given out yet.
    pub(super) next: u64,
    /// Where the spool has it, or something before it.
    pub(super) place: Option<Place>,
    /// Entries that were given out and are not settled.
    pub(super) sending: BTreeSet<u64>,
    /// Entries from `next` on that were settled in an earlier run.
    pub(super) settled: BTreeSet<u64>,
    /// Bytes of requests of this run that are not settled.
    pub(super) waiting_bytes: usize,
    /// The first entry that is not for it any more, if it is retired.
    pub(super) end: Option<u64>,
}

impl Cursor {
    pub(super) fn resumed(resume: Resume) -> Self {
        let Resume { seq, place, settled, owed } = resume;
        let weight = |(_, _, bytes): &(_, _, u64)| {
            usize::try_from(*bytes).unwrap_or(usize::MAX).saturating_add(ENTRY_BYTES)
        };
        let waiting_bytes = owed.iter().map(weight).sum();
        Self { next: seq, place, settled, waiting_bytes, ..Self::default() }
    }

    /// The first entry that is not settled.
    pub(super) fn low(&self) -> u64 {
        self.sending.first().copied().unwrap_or_else(|| self.wanted())
    }

    /// The first entry that is still to be given out.
    pub(super) fn wanted(&self) -> u64 {
        if self.is_through() { u64::MAX } else { self.next }
    }

    /// Whether it is retired and was given everything.
    pub(super) fn is_through(&self) -> bool {
        self.end.is_some_and(|end| self.next >= end)
    }

    /// Passes over `seq`; whether it is to be sent.
    pub(super) fn pass(&mut self, seq: u64) -> bool {
        self.next = seq + 1;
        !self.settled.remove(&seq)
    }
}
