//! When silence of a beating process becomes suspicion, and when conviction.
//!
//! Freezing is cheap and can be taken back, so it comes early; restarting is not, so it comes late
//! and asks for a second witness. Both are bounds on the time since the last beat:
//!
//! ```text
//! last beat ── expected next ──── suspect ───────────────────────── convict ──►
//!     0        1 period      2 periods + 50..100 ms          4 periods, at least 2 s
//! ```
//!
//! The base is the two-window detector (2W-FD, Tomsic et al., IPDPS 2015): the next beat is
//! expected one period after the last one, or where the long-run schedule has it, whichever is
//! later. The long-run schedule is kept in recursive form (an exponential mean of the lateness,
//! as in Bertier's estimator), so that a beat costs O(1) time and memory. On a local path the
//! estimator hardly matters; what does is the guard against the observer's own stalls, a second
//! witness, and not learning from the first beat after a suspicion, which would teach the
//! detector the outage.
//!
//! Invariant: suspicion never comes later than `2 periods + slack` (550 ms for fast beats), and
//! never sooner than the floor; both are stretched while the watchdog itself is late.

use crate::liveness::LivenessContract;
use crate::tick::Tick;
use crate::watch::{Strain, WatchConfig};

pub mod accrual;
pub mod chen;

/// The long schedule forgets with this weight: 1/64 per beat, so about a minute at one a second.
const LONG_WINDOW: i64 = 64;
/// Millisecond fractions of the schedule's lateness.
const SCALE: i64 = 1_024;
/// Its square root.
const ROOT: i64 = 32;
/// How far suspicion of fast beats may be put off by the schedule, past the floor.
const FLOOR_PLAY_MS: u64 = 50;

/// The bounds for one beat interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BeatBounds {
    pub interval_ms: u64,
    suspect_min_ms: u64,
    suspect_max_ms: u64,
    pub convict_ms: u64,
}

impl BeatBounds {
    #[must_use]
    pub fn new(interval_ms: u64, config: &WatchConfig) -> Self {
        let interval_ms = interval_ms.max(1);
        let floor = config.suspect_floor_ms;
        Self {
            interval_ms,
            suspect_min_ms: (2 * interval_ms + config.slack_ms / 2).max(floor),
            suspect_max_ms: (2 * interval_ms + config.slack_ms).max(floor + FLOOR_PLAY_MS),
            convict_ms: (4 * interval_ms).max(config.convict_floor_ms),
        }
    }

    /// The bounds that keep a contract which [`crate::liveness::plan`] made `interval_ms` for.
    #[must_use]
    pub fn for_contract(
        contract: &LivenessContract,
        interval_ms: u64,
        config: &WatchConfig,
    ) -> Self {
        let interval_ms = interval_ms.max(1);
        // Half of the slack is play for an early beat, half is the watchdog's own turn.
        let suspect_min_ms = contract.detect_ms.saturating_sub(config.slack_ms);
        let suspect_max_ms = contract.detect_ms.saturating_sub(config.slack_ms / 2);
        let convict_ms = (4 * interval_ms).max(config.convict_floor_ms);
        Self {
            interval_ms,
            suspect_min_ms,
            suspect_max_ms,
            convict_ms: convict_ms.max(suspect_max_ms + config.slack_ms),
        }
    }

    /// The same for a watchdog under strain.
    #[must_use]
    pub fn stretched(self, strain: Strain) -> Self {
        Self {
            interval_ms: self.interval_ms,
            suspect_min_ms: strain.stretch(self.suspect_min_ms),
            suspect_max_ms: strain.stretch(self.suspect_max_ms),
            convict_ms: strain.stretch(self.convict_ms),
        }
    }

    /// The longest that suspicion may take.
    #[must_use]
    pub const fn suspect_max_ms(&self) -> u64 {
        self.suspect_max_ms
    }
}

/// What the detector knows of one process that beats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Detector {
    last: Tick,
    /// Mean lateness of beats against their schedule, in 1/[`SCALE`] ms; negative is early.
    lateness: i64,
    /// How late the last beat was against the schedule, same unit.
    last_lateness: i64,
    /// Mean interval as it is seen, in 1/[`SCALE`] ms; `None` until two beats were heard.
    mean_interval: Option<i64>,
    /// Variance of intervals, in 1/[`SCALE`] ms²; `None` until three beats were heard.
    variance: Option<i64>,
}

impl Detector {
    /// A process whose first beat came at `at`.
    #[must_use]
    pub const fn new(at: Tick) -> Self {
        Self { last: at, lateness: 0, last_lateness: 0, mean_interval: None, variance: None }
    }

    /// A beat came at `at`, `steps` beats after the one before (1 if none was lost on the way).
    pub fn beat(&mut self, at: Tick, steps: u64, bounds: &BeatBounds) {
        let gap = at.since_ms(self.last);
        let suspected = gap > self.suspect_after_ms(bounds);
        self.last = self.last.max(at);
        if suspected {
            // The schedule starts anew here: the outage is no sample of it.
            self.lateness = 0;
            self.last_lateness = 0;
            return;
        }
        let gap = i64::try_from(gap).unwrap_or(i64::MAX / SCALE) * SCALE;
        let steps = i64::try_from(steps.clamp(1, 1_000)).expect("at most 1000");
        let mean = self.mean_interval.unwrap_or(gap / steps);
        let off = gap - mean * steps;
        if self.mean_interval.is_some() {
            let square = (off / ROOT).saturating_mul(off / ROOT);
            let variance = self.variance.unwrap_or(square);
            self.variance = Some(variance + (square - variance) / LONG_WINDOW);
        }
        self.last_lateness += off;
        self.lateness += (self.last_lateness - self.lateness) / LONG_WINDOW;
        self.mean_interval = Some(mean + (gap / steps - mean) / LONG_WINDOW);
    }

    /// Milliseconds after the last beat at which silence becomes suspicion.
    #[must_use]
    pub fn suspect_after_ms(&self, bounds: &BeatBounds) -> u64 {
        // The last beat was early against the long schedule: the next is due so much later.
        let early = ((self.lateness - self.last_lateness) / SCALE).max(0).unsigned_abs();
        (bounds.suspect_min_ms.saturating_add(early)).min(bounds.suspect_max_ms)
    }

    /// When the last beat came.
    #[must_use]
    pub const fn last(&self) -> Tick {
        self.last
    }

    /// The interval as it is seen, in milliseconds; `None` until two beats were heard.
    #[must_use]
    pub fn interval_ms(&self) -> Option<u64> {
        self.mean_interval.map(|mean| (mean.max(0) / SCALE).unsigned_abs())
    }

    /// Standard deviation of the delay of beats, in milliseconds; `None` until three were heard.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a spread needs no more than 52 bits")]
    pub fn jitter_ms(&self) -> Option<f64> {
        // Between two beats two delays differ: their variance is twice that of one.
        self.variance.map(|variance| (variance as f64 / SCALE as f64 / 2.0).sqrt())
    }
}

#[cfg(test)]
mod tests;
