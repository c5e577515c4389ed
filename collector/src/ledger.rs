//! The conservation of records: nothing appears, nothing disappears.
//!
//! ```text
//!  per signal      received + recovered = refused + ruled_out + pending + accepted
//!  per exporter    owed                 = forwarded + dropped + waiting
//! ```
//!
//! Received is what was scanned and found well formed; pending is what is being written to the
//! spool. What an exporter is owed is what was accepted and it takes. The sides of an equation are
//! counted at different places of the path, so that a place that forgets, or counts twice, shows.
//!
//! Invariant: all counts change under one lock, so that a snapshot is of one moment.

use serde::Serialize;

use crate::kind::Kind;

/// What came in of one signal, in records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Intake {
    pub(crate) received: u64,
    /// Taken over from the spool of an earlier run.
    pub(crate) recovered: u64,
    pub(crate) refused: u64,
    /// Dropped by a rule of the configuration.
    pub(crate) ruled_out: u64,
    pub(crate) pending: u64,
    pub(crate) accepted: u64,
}

/// What became of it at one exporter, in records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Outgo {
    pub(crate) owed: u64,
    pub(crate) forwarded: u64,
    pub(crate) dropped: u64,
    pub(crate) waiting: u64,
}

impl Intake {
    /// How far the two sides are apart.
    pub(crate) const fn imbalance(&self) -> u64 {
        let came = self.received + self.recovered;
        came.abs_diff(self.refused + self.ruled_out + self.pending + self.accepted)
    }
}

impl Outgo {
    /// How far the two sides are apart.
    pub(crate) const fn imbalance(&self) -> u64 {
        self.owed.abs_diff(self.forwarded + self.dropped + self.waiting)
    }
}

/// One value for each kind of request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PerKind<T>([T; Kind::ALL.len()]);

impl<T> PerKind<T> {
    pub(crate) fn of(&mut self, kind: Kind) -> &mut T {
        &mut self.0[kind.place()]
    }

    pub(crate) fn get(&self, kind: Kind) -> &T {
        &self.0[kind.place()]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Kind, &T)> {
        Kind::ALL.into_iter().zip(&self.0)
    }
}

/// All counts.
#[derive(Debug, Default, Clone)]
pub(crate) struct Ledger {
    pub(crate) intake: PerKind<Intake>,
    /// In the order of the configuration.
    pub(crate) outgo: Vec<PerKind<Outgo>>,
}

impl Ledger {
    /// Records by which any equation fails, over all.
    pub(crate) fn imbalance(&self) -> u64 {
        let intake = self.intake.iter().map(|(_, intake)| intake.imbalance());
        let outgo = self.outgo.iter().flat_map(PerKind::iter).map(|(_, outgo)| outgo.imbalance());
        intake.chain(outgo).sum()
    }

    /// Records that were pending are accepted.
    pub(crate) fn accept(&mut self, kind: Kind, records: u64) {
        let intake = self.intake.of(kind);
        intake.pending = intake.pending.saturating_sub(records);
        intake.accepted += records;
    }

    /// Takes over what an earlier run left: `found` are its records by kind.
    pub(crate) fn recover(&mut self, found: &PerKind<u64>) {
        for (kind, records) in found.iter() {
            let intake = self.intake.of(kind);
            intake.recovered += records;
            intake.accepted += records;
        }
    }
}

#[cfg(test)]
mod tests {
    use watchdog_core::tally::Signal;

    use super::*;

    #[test]
    fn each_forgotten_or_doubled_count_is_an_imbalance() {
        let traces = Kind::Tallied(Signal::Traces);
        let mut ledger = Ledger { outgo: vec![PerKind::default()], ..Ledger::default() };
        *ledger.intake.of(traces) = Intake {
            received: 11,
            recovered: 2,
            refused: 3,
            ruled_out: 1,
            pending: 4,
            accepted: 5,
        };
        *ledger.outgo[0].of(traces) = Outgo { owed: 5, forwarded: 2, dropped: 1, waiting: 2 };
        assert_eq!(ledger.imbalance(), 0);
        let changes: [fn(&mut Ledger, Kind); 10] = [
            |ledger, kind| ledger.intake.of(kind).received += 1,
            |ledger, kind| ledger.intake.of(kind).recovered += 1,
            |ledger, kind| ledger.intake.of(kind).refused += 1,
            |ledger, kind| ledger.intake.of(kind).ruled_out += 1,
            |ledger, kind| ledger.intake.of(kind).pending -= 1,
            |ledger, kind| ledger.intake.of(kind).accepted += 1,
            |ledger, kind| ledger.outgo[0].of(kind).owed += 1,
            |ledger, kind| ledger.outgo[0].of(kind).forwarded += 1,
            |ledger, kind| ledger.outgo[0].of(kind).dropped -= 1,
            |ledger, kind| ledger.outgo[0].of(kind).waiting += 1,
        ];
        for change in changes {
            let mut changed = ledger.clone();
            change(&mut changed, traces);
            assert_eq!(changed.imbalance(), 1);
        }
    }
}
