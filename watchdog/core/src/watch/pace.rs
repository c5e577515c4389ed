//! The period of one stream of telemetry: how long a healthy exporter may take.
//!
//! Until it is learnt, the default of OpenTelemetry's batch exporters holds: 5 s for traces, 1 s
//! for logs, 60 s for metrics. It is learnt while the service is live and then held: an exporter
//! that slows down step by step must be caught, not followed. A stream that has become clearly
//! faster is followed at once.
//!
//! Invariant: a held period never grows, and stays between [`PERIOD_MS_MIN`] and
//! [`PERIOD_MS_MAX`].

use crate::tally::Signal;

pub(super) const PERIOD_MS_MIN: u64 = 50;
pub(super) const PERIOD_MS_MAX: u64 = 65_000;
/// Fewer periods than this are no habit.
pub(super) const SAMPLES_MIN: u32 = 3;
/// So many periods in a row, all below half of what is held, are a new habit.
const FASTER_SAMPLES: u32 = 16;

/// How long an exporter took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sample {
    /// From one arrival to the next, with work all the way: the exporter's own period.
    Period(u64),
    /// From work to its arrival. Where there is little work this may be any part of the period,
    /// so it can show that the period is longer but not what it is.
    Wait(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// Learning; `longest_ms` is `None` before the first sample.
    Settling { periods: u32, longest_ms: Option<u64> },
    /// Learnt. `recent` counts the periods since the last look, `longest_ms` is their longest.
    Held { period_ms: u64, recent: u32, longest_ms: u64 },
}

impl Pace {
    pub const fn new() -> Self {
        Self::Settling { periods: 0, longest_ms: None }
    }

    /// One sample, seen while the service was live.
    pub fn note(&mut self, sample: Sample) {
        match (self, sample) {
            (Self::Settling { periods, longest_ms }, sample) => {
                let (is_period, ms) = match sample {
                    Sample::Period(ms) => (true, ms),
                    Sample::Wait(ms) => (false, ms),
                };
                *periods = periods.saturating_add(u32::from(is_period));
                *longest_ms = Some(longest_ms.map_or(ms, |longest| longest.max(ms)));
            }
            (Self::Held { .. }, Sample::Wait(_)) => {}
            (Self::Held { period_ms, recent, longest_ms }, Sample::Period(ms)) => {
                *recent += 1;
                *longest_ms = (*longest_ms).max(ms);
                if *recent >= FASTER_SAMPLES {
                    if *longest_ms < *period_ms / 2 {
                        // A quarter more than seen: sixteen periods need not hold the longest.
                        *period_ms = (*longest_ms * 5 / 4).max(PERIOD_MS_MIN);
                    }
                    (*recent, *longest_ms) = (0, 0);
                }
            }
        }
    }

    /// Holds what was learnt, if there was enough of it. Says whether the pace is held.
    pub fn hold(&mut self) -> bool {
        if let Self::Settling { periods, longest_ms: Some(longest_ms) } = *self
            && periods >= SAMPLES_MIN
        {
            let period_ms = longest_ms.clamp(PERIOD_MS_MIN, PERIOD_MS_MAX);
            *self = Self::Held { period_ms, recent: 0, longest_ms: 0 };
        }
        matches!(self, Self::Held { .. })
    }

    /// The learnt period in milliseconds; `None` while it is not held.
    pub const fn learnt_ms(&self) -> Option<u64> {
        match self {
            Self::Settling { .. } => None,
            Self::Held { period_ms, .. } => Some(*period_ms),
        }
    }

    /// The period that silence is measured by: the larger of contract and cadence.
    pub fn period_ms(&self, signal: Signal, contract_ms: u64) -> u64 {
        let pace_ms = match *self {
            Self::Settling { periods, longest_ms } => {
                let usual_ms = usual_ms(signal);
                match longest_ms {
                    None => usual_ms,
                    // A few periods are no habit yet, but twice as long would be odd.
                    Some(longest) if periods >= SAMPLES_MIN && 2 * longest < usual_ms => {
                        (2 * longest).max(PERIOD_MS_MIN)
                    }
                    Some(longest) => longest.clamp(usual_ms, PERIOD_MS_MAX),
                }
            }
            Self::Held { period_ms, .. } => period_ms,
        };
        pace_ms.max(contract_ms)
    }
}

/// What OpenTelemetry's SDKs do unless they are told otherwise.
const fn usual_ms(signal: Signal) -> u64 {
    match signal {
        Signal::Traces => 5_000,
        Signal::Metrics => 60_000,
        Signal::Logs => 1_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(gap_ms: u64) -> Pace {
        let mut pace = Pace::new();
        (0..SAMPLES_MIN).for_each(|_| pace.note(Sample::Period(gap_ms)));
        assert!(pace.hold());
        pace
    }

    #[test]
    fn the_usual_period_holds_until_one_is_learnt() {
        let mut pace = Pace::new();
        assert_eq!(pace.period_ms(Signal::Traces, 1_000), 5_000);
        pace.note(Sample::Period(200));
        pace.note(Sample::Period(200));
        assert!(!pace.hold(), "two gaps are no habit");
        assert_eq!(pace.period_ms(Signal::Traces, 1_000), 5_000);
        pace.note(Sample::Period(200));
        assert_eq!(pace.period_ms(Signal::Traces, 100), 400, "three periods give a first idea");
        assert!(pace.hold());
        assert_eq!(pace.period_ms(Signal::Traces, 100), 200);
        assert_eq!(pace.period_ms(Signal::Traces, 1_000), 1_000, "the contract is the floor");
    }

    #[test]
    fn an_exporter_that_slows_down_step_by_step_is_not_followed() {
        let mut pace = held(200);
        for gap in (200..2_000).step_by(10) {
            pace.note(Sample::Period(gap));
        }
        assert_eq!(pace.learnt_ms(), Some(200));
    }

    #[test]
    fn an_exporter_that_has_become_faster_is_followed() {
        let mut pace = held(5_000);
        (0..FASTER_SAMPLES).for_each(|_| pace.note(Sample::Period(200)));
        assert_eq!(pace.learnt_ms(), Some(250));
    }

    #[test]
    fn a_period_stays_within_its_bounds() {
        assert_eq!(held(1).learnt_ms(), Some(PERIOD_MS_MIN));
        assert_eq!(held(100_000).learnt_ms(), Some(PERIOD_MS_MAX));
    }

    #[test]
    fn waits_alone_can_only_make_the_period_longer() {
        let mut pace = Pace::new();
        (0..100).for_each(|_| pace.note(Sample::Wait(200)));
        assert!(!pace.hold());
        assert_eq!(pace.period_ms(Signal::Traces, 1_000), 5_000);
        pace.note(Sample::Wait(9_000));
        assert_eq!(pace.period_ms(Signal::Traces, 1_000), 9_000);
    }
}
