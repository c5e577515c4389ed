//! A clock that stands still while there is no sight.
//!
//! Invariant: it changes only when it starts or stops, so an event that changes nothing leaves
//! the ledger as it was, and time that was not watched is never counted as watched.

use serde::{Deserialize, Serialize};
use watchdog_core::tick::Tick;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Milliseconds that ran before `since`.
    ran_ms: u64,
    /// Milliseconds that stood still before `since`.
    stood_ms: u64,
    since: Tick,
    hand: Hand,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Hand {
    Running,
    Standing,
}

impl Clock {
    /// A clock that begins to run at `now`.
    #[must_use]
    pub const fn started(now: Tick) -> Self {
        Self { ran_ms: 0, stood_ms: 0, since: now, hand: Hand::Running }
    }

    /// Lets the clock run from `now` on; nothing if it runs.
    pub fn run(&mut self, now: Tick) {
        if self.hand == Hand::Standing {
            self.stood_ms += now.since_ms(self.since);
            self.since = now;
            self.hand = Hand::Running;
        }
    }

    /// Lets the clock stand from `now` on; nothing if it stands.
    pub fn stand(&mut self, now: Tick) {
        if self.hand == Hand::Running {
            self.ran_ms += now.since_ms(self.since);
            self.since = self.since.max(now);
            self.hand = Hand::Standing;
        }
    }

    #[must_use]
    pub fn is_running(&self) -> bool {
        self.hand == Hand::Running
    }

    /// Milliseconds it ran until `now`.
    #[must_use]
    pub fn ran_ms(&self, now: Tick) -> u64 {
        match self.hand {
            Hand::Running => self.ran_ms.saturating_add(now.since_ms(self.since)),
            Hand::Standing => self.ran_ms,
        }
    }

    /// Milliseconds it stood still in all, until `now`.
    #[must_use]
    pub fn stood_ms(&self, now: Tick) -> u64 {
        match self.hand {
            Hand::Running => self.stood_ms,
            Hand::Standing => self.stood_ms.saturating_add(now.since_ms(self.since)),
        }
    }

    /// Milliseconds it has stood still at a stretch; `None` while it runs.
    #[must_use]
    pub fn gap_ms(&self, now: Tick) -> Option<u64> {
        match self.hand {
            Hand::Running => None,
            Hand::Standing => Some(now.since_ms(self.since)),
        }
    }

    /// When it will have run for `ms`, if it goes on running; `None` while it stands.
    #[must_use]
    pub fn due(&self, ms: u64) -> Option<Tick> {
        match self.hand {
            Hand::Running => Some(self.since.plus_ms(ms.saturating_sub(self.ran_ms))),
            Hand::Standing => None,
        }
    }

    /// When the gap is longer than `gap_max_ms` or all gaps together longer than `patience_ms`;
    /// `None` while it runs.
    #[must_use]
    pub fn overdue(&self, gap_max_ms: u64, patience_ms: u64) -> Option<Tick> {
        match self.hand {
            Hand::Running => None,
            Hand::Standing => {
                let left = gap_max_ms.min(patience_ms.saturating_sub(self.stood_ms));
                // One more: a gap of exactly the limit is survived.
                Some(self.since.plus_ms(left.saturating_add(1)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_stood_still_is_never_counted_as_run() {
        let mut clock = Clock::started(Tick(100));
        clock.stand(Tick(150));
        clock.stand(Tick(170));
        assert_eq!((clock.ran_ms(Tick(400)), clock.gap_ms(Tick(400))), (50, Some(250)));
        clock.run(Tick(400));
        assert_eq!((clock.ran_ms(Tick(430)), clock.stood_ms(Tick(430))), (80, 250));
        assert_eq!(clock.due(100), Some(Tick(450)));
    }

    #[test]
    fn a_gap_of_the_limit_is_survived_and_one_more_millisecond_is_not() {
        let mut clock = Clock::started(Tick(0));
        clock.stand(Tick(10));
        assert_eq!(clock.overdue(5, 100), Some(Tick(16)));
        assert_eq!(clock.overdue(500, 100), Some(Tick(111)));
    }
}
