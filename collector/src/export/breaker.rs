//! The breaker: who does not answer is left in peace, and asked again by one request at a time.
//!
//! ```text
//!        n failures in a row,                the rest is over
//!        or a suspicious silence             (and again each second without an answer)
//!  passing ─────────────────────► resting ─────────────────────► probing
//!     ▲                              ▲  a failure                   │
//!     └──────────────────────────────┴──────────────────────────────┘ an answer
//! ```
//!
//! While it rests nothing is sent and nothing is computed: what is queued waits. Then one request
//! goes out as a probe, and the others follow when it is answered. Rests grow to `rest_ms`, which
//! also bounds how long a backend that is back stays unnoticed; a backend that asks for a longer
//! one gets it.
//!
//! A black hole answers nothing, not even with a failure, and what was sent into it is lost. So a
//! silence that is much longer than answers took before is suspicious, and a probe that is not
//! answered within a second is followed by another: whichever is answered first, by a backend that
//! is back or one that is merely slow, lets all pass.
//!
//! Invariant: unless the breaker is passing, at most one attempt begins in a rest or a second.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use watchdog_core::tick::Tick;

use super::pause::ASKED_MS_MAX;
use crate::driver;

/// The first rest; they double from here.
const FIRST_MS: u64 = 250;
/// A silence is suspicious that lasts this many times as long as the last answer took, and a second
/// at least.
const SUSPICION_FACTOR: u64 = 4;
const SUSPICION_MS_MIN: u64 = 1_000;
/// A probe that has no answer after this long is followed by another.
const PROBE_MS: u64 = 1_000;

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
    Probing { until: Tick, rest_ms: u64 },
}

/// Whether an attempt may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Go,
    /// As the probe.
    Probe,
    Wait {
        until: Tick,
    },
}

/// The breaker of one exporter, without the waiting.
#[derive(Debug)]
struct Core {
    state: State,
    /// Failures in a row that trip it; 0 never does.
    failures_max: u32,
    rest_ms_max: u64,
    last: Option<Answered>,
    /// Times that it began to pass again.
    healed: u64,
}

/// The last attempt that was answered.
#[derive(Debug, Clone, Copy)]
struct Answered {
    began: Tick,
    at: Tick,
}

impl Core {
    const fn turn(&mut self, now: Tick) -> Turn {
        match self.state {
            State::Passing { .. } => Turn::Go,
            State::Resting { until, .. } | State::Probing { until, .. } if now.0 < until.0 => {
                Turn::Wait { until }
            }
            State::Resting { rest_ms, .. } | State::Probing { rest_ms, .. } => {
                self.state = State::Probing { until: now.plus_ms(PROBE_MS), rest_ms };
                Turn::Probe
            }
        }
    }

    /// How long an attempt may be without an answer before that is suspicious.
    fn suspicion_ms(&self) -> u64 {
        let took_ms = self.last.map_or(0, |last| last.at.since_ms(last.began));
        took_ms.saturating_mul(SUSPICION_FACTOR).max(SUSPICION_MS_MIN)
    }

    /// An attempt that began at `began` has no answer for too long; whether this trips it: not if
    /// others have been answered in the meantime.
    fn suspect(&mut self, began: Tick, now: Tick) -> bool {
        let is_silent = self.last.is_none_or(|last| last.at < began);
        let trips = is_silent
            && self.failures_max > 0
            && now.since_ms(began) >= self.suspicion_ms()
            && matches!(self.state, State::Passing { .. });
        if trips {
            self.state = State::Resting { until: now, rest_ms: FIRST_MS };
        }
        trips
    }

    /// Whether an attempt was answered that began well after `began`.
    fn is_ahead_of(&self, began: Tick) -> bool {
        self.last.is_some_and(|last| last.began.since_ms(began) >= SUSPICION_MS_MIN)
    }

    fn answered(&mut self, began: Tick, now: Tick) {
        if !matches!(self.state, State::Passing { .. }) {
            self.healed += 1;
        }
        self.state = State::Passing { failures: 0 };
        self.last = Some(Answered { began, at: now });
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
            State::Probing { rest_ms, .. } if was_probe => rest_ms.saturating_mul(2),
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
        let core = Core { state, failures_max, rest_ms_max, last: None, healed: 0 };
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
                Turn::Go | Turn::Probe => return turn,
                Turn::Wait { until } => {
                    let rest = Duration::from_millis(until.since_ms(now).max(1));
                    // Whichever comes first, the state is read again.
                    let _ = tokio::time::timeout(rest, changed).await;
                }
            }
        }
    }

    /// Waits until the breaker passes again after it did not.
    pub(super) async fn heals(&self) {
        let before = self.core().healed;
        loop {
            let changed = self.changed.notified();
            if self.core().healed != before {
                return;
            }
            changed.await;
        }
    }

    /// How long an attempt may be without an answer before it is told to [`Self::suspect`].
    pub(super) fn suspicion_ms(&self) -> u64 {
        self.core().suspicion_ms()
    }

    /// An attempt that began at `began` has no answer; whether this trips the breaker.
    pub(super) fn suspect(&self, began: Tick) -> bool {
        let trips = self.core().suspect(began, driver::now());
        if trips {
            self.changed.notify_waiters();
        }
        trips
    }

    /// Whether an attempt was answered that began well after `began`: what began then is lost.
    pub(super) fn is_ahead_of(&self, began: Tick) -> bool {
        self.core().is_ahead_of(began)
    }

    /// The backend answered an attempt that began at `began`, be it with a refusal.
    pub(super) fn answered(&self, began: Tick) {
        self.core().answered(began, driver::now());
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
        Core { state, failures_max: 3, rest_ms_max: 1_000, last: None, healed: 0 }
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
        core.answered(Tick(0), Tick(5));
        assert!(!fail(&mut core) && !fail(&mut core));
        assert_eq!(core.turn(Tick(0)), Turn::Go);
        assert!(fail(&mut core));
        assert_eq!(core.turn(Tick(0)), Turn::Wait { until: Tick(FIRST_MS) });
        assert!(!fail(&mut core), "it is tripped once");
    }

    #[test]
    fn after_the_rest_exactly_one_attempt_probes_and_its_answer_lets_all_pass() {
        let mut core = tripped();
        let (now, next) = (Tick(FIRST_MS), Tick(FIRST_MS + PROBE_MS));
        assert_eq!(core.turn(now), Turn::Probe);
        assert_eq!(core.turn(now), Turn::Wait { until: next });
        core.failed(now, false, None, |below| below);
        assert_eq!(core.turn(now), Turn::Wait { until: next }, "the probe is out");
        assert_eq!(core.turn(next), Turn::Probe, "it is lost, as in a black hole");
        core.answered(next, next.plus_ms(700));
        assert_eq!((core.turn(next), core.healed), (Turn::Go, 1));
        assert_eq!(core.suspicion_ms(), 2_800);
        assert!(core.is_ahead_of(now) && !core.is_ahead_of(next));
    }

    #[test]
    fn a_silence_is_suspicious_that_is_long_for_this_backend_and_complete() {
        let mut core = core();
        core.answered(Tick(0), Tick(500));
        assert!(!core.suspect(Tick(1_000), Tick(2_999)), "answers take half a second");
        core.answered(Tick(1_500), Tick(2_000));
        assert!(!core.suspect(Tick(1_000), Tick(3_000)), "another was answered since");
        assert!(core.suspect(Tick(2_500), Tick(4_500)));
        assert_eq!(core.turn(Tick(4_500)), Turn::Probe, "at once");
        assert!(!core.suspect(Tick(2_500), Tick(4_500)), "it is tripped once");
    }

    #[test]
    fn rests_double_to_their_limit_and_are_as_long_as_is_asked_for() {
        let mut core = tripped();
        let mut now = Tick(0);
        let mut rests = Vec::new();
        while rests.len() < 4 {
            let Turn::Wait { until } = core.turn(now) else { panic!("it rests") };
            rests.push(until.since_ms(now));
            now = until;
            assert_ne!(core.turn(now), Turn::Go);
            core.failed(now, true, None, |below| below);
        }
        assert_eq!(rests, [250, 500, 1_000, 1_000]);
        let Turn::Wait { until } = core.turn(now) else { panic!("it rests") };
        core.turn(until);
        core.failed(until, true, Some(7_000), |_| 0);
        assert_eq!(core.turn(until), Turn::Wait { until: until.plus_ms(7_000) });
    }

    #[test]
    fn without_a_limit_it_never_trips() {
        let mut core = Core { failures_max: 0, ..core() };
        assert!(!core.suspect(Tick(0), Tick(60_000)));
        for _ in 0..1_000 {
            assert!(!core.failed(Tick(0), false, None, |below| below));
        }
        assert_eq!(core.turn(Tick(0)), Turn::Go);
    }
}
