//! Whether metrics move with the work: for the service as a whole, and for each instance by itself.
//!
//! One instance whose values stand still hides behind another whose values change, so each is held
//! to the habit of its service.
//!
//! Invariant: values stand still only if work was done in a whole interval after their last change
//! and arrivals came after that. Work spread over an interval by a guess is not enough: traffic
//! that ends in the middle of it leaves the values rightly as they are.

use crate::tick::Tick;
use crate::watch::debt::Debt;
use crate::watch::instance::Work;

/// Metrics that stood still in so many arrivals after work are frozen.
const ARRIVALS: u32 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    pub changes: u32,
    last_change: Option<Tick>,
    /// Work since the values last changed.
    debt: Debt,
    /// Arrivals after that work in which no value changed.
    arrivals: u32,
}

impl Standing {
    pub const NEW: Self = Self { changes: 0, last_change: None, debt: Debt::NONE, arrivals: 0 };

    /// An arrival at `at`, with other values than the one before or not.
    pub fn arrive(&mut self, at: Tick, changed: bool, slack_ms: u64) {
        if changed {
            self.changes = self.changes.saturating_add(1);
            self.last_change = self.last_change.max(Some(at));
            self.debt.answer(at);
            self.arrivals = 0;
        } else if self.debt.since().is_some_and(|since| at > since.plus_ms(slack_ms)) {
            self.arrivals = self.arrivals.saturating_add(1);
        }
    }

    /// A beat witnessed work.
    pub fn work(&mut self, work: Work, blind_until: Tick) {
        self.debt.add(Work { steady: false, ..work }, self.last_change, blind_until);
    }

    /// What came before proves nothing: the watch was blind, or the process is gone.
    pub fn forgive(&mut self) {
        self.debt = Debt::NONE;
        self.arrivals = 0;
    }

    pub const fn is_found(&self) -> bool {
        self.arrivals >= ARRIVALS
    }
}
