//! The breaker: who does not answer is left in peace, and asked again by one request at a time.
//!
//! ```text
//!             n failures in a row                 the rest is over
//!  passing ─────────────────────────► resting ─────────────────────► probing
//!     ▲                                  ▲  a failure                   │
//!     └──────────────────────────────────┴──────────────────────────────┘ an answer
//! ```
//!
//! While it rests nothing is sent and nothing is computed: what is queued waits. Then one request
//! goes out as a probe, and the others follow when it is answered. Rests grow to `rest_ms`, which
//! also bounds how long a backend that is back stays unnoticed; a backend that asks for a longer
//! one gets it.
//!
//! Invariant: unless the breaker is passing, at most one attempt is let through at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use watchdog_core::tick::Tick;

use super::pause::ASKED_MS_MAX;
use crate::driver;

/// The first rest; they double from here.
const FIRST_MS: u64 = 250;
/// A probe is given this many times as long as the last answer took, but never less than a second:
/// in a black hole each probe is lost time in which the backend may be back.
const PATIENCE_FACTOR: u64 = 4;
const PATIENCE_MS_MIN: u64 = 1_000;

/// What the breaker does; the value of the label `state` in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    Passing,
    Resting,
    Probing,
}

impl Doing {
    pub(crate) const ALL: [Self; 3] = [Self::Passing, Self::Resting, Self::Probing];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Passing => "passing",
            Self::Resting => "resting",
            Self::Probing => "probing",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Passing { failures: u32 },
    Resting { until: Tick, rest_ms: u64 },
    Probing { rest_ms: u64 },
}

/// Whether an attempt may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Go,
    /// As the probe, with so much time for an answer if it is known how long they take.
    Probe {
        patience_ms: Option<u64>,
    },
    Wait {
        until: Option<Tick>,
    },
}

/// The breaker of one exporter, without the waiting.
#[derive(Debug)]
struct Core {
    state: State,
    /// Failures in a row that trip it; 0 never does.
    failures_max: u32,
    rest_ms_max: u64,
    last_answer_ms: Option<u64>,
}

impl Core {
    const fn turn(&mut self, now: Tick) -> Turn {
        match self.state {
            State::Passing { .. } => Turn::Go,
            State::Probing { .. } => Turn::Wait { until: None },
            State::Resting { until, .. } if now.0 < until.0 => Turn::Wait { until: Some(until) },
            State::Resting { rest_ms, .. } => {
                self.state = State::Probing { rest_ms };
                Turn::Probe { patience_ms: self.patience_ms() }
            }
        }
    }

    const fn patience_ms(&self) -> Option<u64> {
        match self.last_answer_ms {
            None => None,
            Some(ms) => {
                let patience = ms.saturating_mul(PATIENCE_FACTOR);
                Some(if patience < PATIENCE_MS_MIN { PATIENCE_MS_MIN } else { patience })
            }
        }
    }

    const fn answered(&mut self, took_ms: u64) {
        self.state = State::Passing { failures: 0 };
        self.last_answer_ms = Some(took_ms);
    }

    /// An attempt failed, the probe or another; whether this tripped the breaker.
    fn failed(
        &mut self,
        now: Tick,
        was_probe: bool,
        asked_ms: Option<u64>,
        jitter: impl FnOnce(u64) -> u64,
    ) -> bool {
        let rest_ms = match self.state {
            State::Passing { failures } => {
                let failures = failures.saturating_add(1);
                if self.failures_max == 0 || failures < self.failures_max {
                    self.state = State::Passing { failures };
                    return false;
                }
                FIRST_MS
            }
            State::Probing { rest_ms } if was_probe => rest_ms.saturating_mul(2),
            // Attempts from before; they say nothing that is not known.
            State::Probing { .. } | State::Resting { .. } => return false,
        };
        let rest_ms = rest_ms.min(self.rest_ms_max);
        let spread_ms = rest_ms / 2 + jitter(rest_ms - rest_ms / 2);
        let asked_ms = asked_ms.map_or(spread_ms, |asked| asked.min(ASKED_MS_MAX).max(spread_ms));
        self.state = State::Resting { until: now.plus_ms(asked_ms), rest_ms };
        !was_probe
    }
}

/// The breaker of one exporter.
#[derive(Debug)]
pub(super) struct Breaker {
    core: Mutex<Core>,
    changed: Notify,
}

impl Breaker {
    pub(super) fn new(failures_max: u32, rest_ms_max: u64) -> Self {
        let state = State::Passing { failures: 0 };
        let core = Core { state, failures_max, rest_ms_max, last_answer_ms: None };
        Self { core: Mutex::new(core), changed: Notify::new() }
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn doing(&self) -> Doing {
        match self.core().state {
            State::Passing { .. } => Doing::Passing,
            State::Resting { .. } => Doing::Resting,
            State::Probing { .. } => Doing::Probing,
        }
    }

    /// Waits for a turn: [`Turn::Go`] or [`Turn::Probe`].
    pub(super) async fn turn(&self) -> Turn {
        loop {
            // Asked for before the state is read, so that no change falls in between.
            let changed = self.changed.notified();
            let now = driver::now();
            let turn = self.core().turn(now);
            match turn {
                Turn::Go | Turn::Probe { .. } => return turn,
                Turn::Wait { until: None } => changed.await,
                Turn::Wait { until: Some(until) } => {
                    let rest = Duration::from_millis(until.since_ms(now).max(1));
                    // Whichever comes first, the state is read again.
                    let _ = tokio::time::timeout(rest, changed).await;
                }
            }
        }
    }

    /// The backend answered, be it with a refusal.
    pub(super) fn answered(&self, took_ms: u64) {
        self.core().answered(took_ms);
        self.changed.notify_waiters();
    }

    /// The backend did not answer, or not now; whether this tripped the breaker.
    pub(super) fn failed(&self, was_probe: bool, asked_ms: Option<u64>) -> bool {
        let tripped = self.core().failed(driver::now(), was_probe, asked_ms, driver::jitter);
        self.changed.notify_waiters();
        tripped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn core() -> Core {
        let state = State::Passing { failures: 0 };
        Core { state, failures_max: 3, rest_ms_max: 1_000, last_answer_ms: None }
    }

    fn tripped() -> Core {
        let mut core = core();
        for _ in 0..3 {
            core.failed(Tick(0), false, None, |below| below);
        }
        core
    }

    #[test]
    fn so_many_failures_in_a_row_trip_it_and_an_answer_starts_the_count_anew() {
        let mut core = core();
        let fail = |core: &mut Core| core.failed(Tick(0), false, None, |below| below);
        assert!(!fail(&mut core) && !fail(&mut core));
        core.answered(5);
        assert!(!fail(&mut core) && !fail(&mut core));
        assert_eq!(core.turn(Tick(0)), Turn::Go);
        assert!(fail(&mut core));
        assert_eq!(core.turn(Tick(0)), Turn::Wait { until: Some(Tick(FIRST_MS)) });
        assert!(!fail(&mut core), "it is tripped once");
    }

    #[test]
    fn after_the_rest_exactly_one_attempt_probes_and_its_answer_lets_all_pass() {
        let mut core = tripped();
        assert_eq!(core.turn(Tick(FIRST_MS)), Turn::Probe { patience_ms: None });
        assert_eq!(core.turn(Tick(FIRST_MS)), Turn::Wait { until: None });
        core.failed(Tick(FIRST_MS), false, None, |below| below);
        assert_eq!(core.turn(Tick(FIRST_MS)), Turn::Wait { until: None }, "the probe is out");
        core.answered(700);
        assert_eq!(core.turn(Tick(FIRST_MS)), Turn::Go);
        assert_eq!(core.patience_ms(), Some(2_800));
    }

    #[test]
    fn rests_double_to_their_limit_and_are_as_long_as_is_asked_for() {
        let mut core = tripped();
        let mut now = Tick(0);
        let mut rests = Vec::new();
        while rests.len() < 4 {
            let Turn::Wait { until: Some(until) } = core.turn(now) else { panic!("it rests") };
            rests.push(until.since_ms(now));
            now = until;
            assert_ne!(core.turn(now), Turn::Go);
            core.failed(now, true, None, |below| below);
        }
        assert_eq!(rests, [250, 500, 1_000, 1_000]);
        let Turn::Wait { until: Some(until) } = core.turn(now) else { panic!("it rests") };
        core.turn(until);
        core.failed(until, true, Some(7_000), |_| 0);
        assert_eq!(core.turn(until), Turn::Wait { until: Some(until.plus_ms(7_000)) });
    }

    #[test]
    fn without_a_limit_it_never_trips() {
        let mut core = Core { failures_max: 0, ..core() };
        for _ in 0..1_000 {
            assert!(!core.failed(Tick(0), false, None, |below| below));
        }
        assert_eq!(core.turn(Tick(0)), Turn::Go);
    }
}
