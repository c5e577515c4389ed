//! How soon and how often the collector may be started again: backoff and intensity, pure.
//!
//! A start that succeeds proves nothing: a child that dies five seconds after every start would
//! reset a naive counter for ever. So only a dwell of verified probes resets the backoff, and the
//! intensity limit slides over a window that nothing resets.
//!
//! Invariant: after `restarts_max` restarts within `period_ms` the answer is `CallAPerson`.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use watchdog_core::tick::Tick;

/// The wait before the second restart, in milliseconds; it doubles with each one. The first
/// restart is at once: what ran well and fell over once shall not stay down for manners.
pub const BACKOFF_FIRST_MS: u64 = 200;
/// The longest wait before a restart, in milliseconds.
pub const BACKOFF_MAX_MS: u64 = 10_000;
/// How often the collector may be started again, and what counts as healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Restarts within `period_ms` after which a person is called.
    pub restarts_max: usize,
    /// The window in which they are counted, in milliseconds.
    pub period_ms: u64,
    /// For how long probes must return before the backoff begins anew, and before the
    /// configuration in force is known good, in milliseconds.
    pub dwell_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { restarts_max: 5, period_ms: 60_000, dwell_ms: 5_000 }
    }
}

/// What to do about a collector that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Start it after this many milliseconds.
    StartAfter(u64),
    /// It dies faster than restarting can cure. Restart nothing, call a person.
    CallAPerson,
}

/// The restarts that count, and the wait that is due.
#[derive(Debug, Default)]
pub struct Budget {
    limits: Limits,
    recent: VecDeque<Tick>,
    /// Restarts since probes were last proven to return.
    restarts: u32,
    proven_since: Option<Tick>,
}

impl Budget {
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Takes one restart out of the budget, if there is one left at `now`.
    pub fn take(&mut self, now: Tick) -> Next {
        self.proven_since = None;
        while self.recent.front().is_some_and(|at| now.since_ms(*at) >= self.limits.period_ms) {
            self.recent.pop_front();
        }
        if self.recent.len() >= self.limits.restarts_max {
            return Next::CallAPerson;
        }
        self.recent.push_back(now);
        let wait_ms = match self.restarts {
            0 => 0,
            n => BACKOFF_FIRST_MS.saturating_mul(1 << (n - 1).min(16)),
        };
        self.restarts = self.restarts.saturating_add(1);
        Next::StartAfter(wait_ms.min(BACKOFF_MAX_MS))
    }

    /// Takes note of whether probes return at `now`; a whole dwell of them resets the backoff.
    pub fn probes(&mut self, returning: bool, now: Tick) {
        if !returning {
            self.proven_since = None;
            return;
        }
        let since = *self.proven_since.get_or_insert(now);
        if now.since_ms(since) >= self.limits.dwell_ms {
            self.restarts = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW_MS: u64 = 60_000;
    const DWELL_MS: u64 = 5_000;

    #[test]
    fn the_first_restart_is_at_once_and_waits_double_up_to_the_cap() {
        let mut budget = Budget::default();
        let mut waits = Vec::new();
        for turn in 0..9 {
            waits.push(budget.take(Tick(turn * WINDOW_MS)));
        }
        let expected = [0, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000];
        assert_eq!(waits, expected.map(Next::StartAfter));
    }

    #[test]
    fn the_sixth_restart_in_a_window_calls_a_person_and_one_millisecond_later_does_not() {
        let mut budget = Budget::default();
        for turn in 0..5 {
            assert!(matches!(budget.take(Tick(turn)), Next::StartAfter(_)));
        }
        assert_eq!(budget.take(Tick(WINDOW_MS - 1)), Next::CallAPerson);
        assert!(matches!(budget.take(Tick(WINDOW_MS)), Next::StartAfter(_)));
    }

    #[test]
    fn only_a_whole_dwell_of_probes_resets_the_backoff() {
        let mut budget = Budget::default();
        assert_eq!(budget.take(Tick(0)), Next::StartAfter(0));
        budget.probes(true, Tick(1_000));
        budget.probes(true, Tick(1_000 + DWELL_MS - 1));
        assert_eq!(budget.take(Tick(7_000)), Next::StartAfter(200));
        budget.probes(true, Tick(8_000));
        budget.probes(false, Tick(9_000));
        budget.probes(true, Tick(8_000 + DWELL_MS));
        assert_eq!(budget.take(Tick(20_000)), Next::StartAfter(400));
        budget.probes(true, Tick(21_000));
        budget.probes(true, Tick(21_000 + DWELL_MS));
        assert_eq!(budget.take(Tick(40_000)), Next::StartAfter(0));
    }
}
