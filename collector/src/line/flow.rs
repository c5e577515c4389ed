//! How far the exporters are, as one number for all of them.
//!
//! The watchdog asks whether what comes in goes out. Per kind of request: what waits is what waits
//! for the exporter that has the most of it, and for those that are retired; what is dropped is
//! what the exporter dropped that dropped most; what was accepted and is neither was forwarded.
//! With one exporter this is exact.
//!
//! Invariant: forwarded and dropped records never become fewer, whoever joins or leaves.

use super::Cursor;
use crate::kind::Kind;
use crate::ledger::{Ledger, Outgo, PerKind};

#[derive(Debug, Default)]
pub(super) struct Flow {
    told: PerKind<Outgo>,
    /// What was dropped when each exporter joined.
    bases: Vec<PerKind<Outgo>>,
}

impl Flow {
    /// One exporter more.
    pub(super) fn join(&mut self) {
        self.bases.push(self.told);
    }

    /// The sums over the kinds that are tallied.
    pub(super) fn follow(&mut self, cursors: &[Cursor], ledger: &Ledger) -> Outgo {
        let mut sum = Outgo::default();
        for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Profiles) {
            let (mut most, mut retired, mut dropped) = (0, 0, 0);
            for ((cursor, outgo), base) in cursors.iter().zip(&ledger.outgo).zip(&self.bases) {
                let outgo = outgo.get(kind);
                dropped = dropped.max(base.get(kind).dropped + outgo.dropped);
                match cursor.end {
                    None => most = outgo.waiting.max(most),
                    Some(_) => retired += outgo.waiting,
                }
            }
            let told = self.told.of(kind);
            told.waiting = most + retired;
            told.dropped = told.dropped.max(dropped);
            let accepted = ledger.intake.get(kind).accepted;
            let forwarded = accepted.saturating_sub(told.waiting + told.dropped);
            told.forwarded = told.forwarded.max(forwarded);
            sum.forwarded += told.forwarded;
            sum.dropped += told.dropped;
            sum.waiting += told.waiting;
        }
        sum
    }
}
