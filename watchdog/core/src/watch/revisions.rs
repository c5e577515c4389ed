//! What each revision of a service has shown: records, requests, errors, witnessed work.
//!
//! Invariant: a count that no source ever told is `None`, so that the gate cannot take silence
//! for zero errors.

use crate::names::Revision;
use crate::roster::Roster;
use crate::tally::Durations;
use crate::tick::Tick;

/// Most revisions that are kept; the one that was silent longest makes room.
const REVISIONS_MAX: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RevisionCounts {
    pub records: Option<u64>,
    pub requests: Option<u64>,
    pub errors: Option<u64>,
    pub witnessed: Option<u64>,
    pub durations: Option<Durations>,
    touched: Tick,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Revisions {
    counts: Roster<Revision, RevisionCounts>,
}

impl Revisions {
    /// The counts of `revision`, made if it is new.
    pub fn touch(&mut self, revision: &Revision, now: Tick) -> &mut RevisionCounts {
        if !self.counts.contains_key(revision) {
            self.make_room();
            let counts = RevisionCounts {
                records: None,
                requests: None,
                errors: None,
                witnessed: None,
                durations: None,
                touched: now,
            };
            self.counts.insert(revision.clone(), counts);
        }
        let counts = self.counts.get_mut(revision).expect("inserted above if it was missing");
        counts.touched = now;
        counts
    }

    fn make_room(&mut self) {
        if self.counts.len() < REVISIONS_MAX {
            return;
        }
        let oldest = self.counts.iter().min_by_key(|(_, counts)| counts.touched);
        if let Some(revision) = oldest.map(|(revision, _)| revision.clone()) {
            self.counts.remove(&revision);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Revision, &RevisionCounts)> {
        self.counts.iter()
    }
}

/// Adds to a count that may not have been told yet.
pub(super) fn grow(count: &mut Option<u64>, by: u64) {
    *count = Some(count.map_or(by, |before| before.saturating_add(by)));
}

/// Adds what is new to durations that may not have been told yet.
pub(super) fn lengthen(counts: &mut Option<Durations>, by: &Durations) {
    let sums = counts.get_or_insert_default();
    sums.iter_mut().zip(by).for_each(|(sum, by)| *sum = sum.saturating_add(*by));
}
