//! The period of one stream of telemetry: how long a healthy exporter may take.
//!
//! Until it is learnt, the default of OpenTelemetry's batch exporters holds: 5 s for traces, 1 s
//! for logs, 60 s for metrics. It is learnt while the service is live and then held: an exporter
//! that slows down step by step must be caught, not followed. A stream that has become clearly
//! faster is followed at once. One that has become slower than silence allows is told as lost at
//! each gap, and followed once so many gaps in a row were alike: nobody was left unaware, and an
//! exporter that was slowed down on purpose is no fault for ever.
//!
//! Invariant: a held period grows only by gaps that were each told as silence, and stays between
//! [`PERIOD_MS_MIN`] and [`PERIOD_MS_MAX`].

use crate::tally::Signal;

pub(super) const PERIOD_MS_MIN: u64 = 50;
pub(super) const PERIOD_MS_MAX: u64 = 65_000;
/// Fewer periods than this are no habit.
pub(super) const SAMPLES_MIN: u32 = 3;
/// So many periods in a row, all below half of what is held, are a new habit.
const FASTER_SAMPLES: u32 = 16;

/// So many gaps in a row, each past the limit of silence and all alike, are a new habit.
const SLOWER_GAPS: u32 = 8;

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
    Held { period_ms: u64, recent: u32, longest_ms: u64, slower: Slower },
}

/// Gaps in a row that were silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Slower {
    gaps: u32,
    shortest_ms: u64,
    longest_ms: u64,
}

impl Slower {
    const NONE: Self = Self { gaps: 0, shortest_ms: 0, longest_ms: 0 };

    /// One more gap; one that is not like those before begins anew.
    fn note(&mut self, gap_ms: u64) {
        let shortest_ms = if self.gaps == 0 { gap_ms } else { self.shortest_ms.min(gap_ms) };
        let longest_ms = self.longest_ms.max(gap_ms);
        *self = if longest_ms <= shortest_ms * 5 / 4 {
            Self { gaps: self.gaps + 1, shortest_ms, longest_ms }
        } else {
            Self { gaps: 1, shortest_ms: gap_ms, longest_ms: gap_ms }
        };
    }
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
            (Self::Held { period_ms, recent, longest_ms, slower }, Sample::Period(ms)) => {
                *slower = Slower::NONE;
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

    /// A gap that was told as silence has ended, while who sends was proven to run all the way.
    pub fn note_silence(&mut self, gap_ms: u64) {
        let Self::Held { period_ms, recent, longest_ms, slower } = self else { return };
        slower.note(gap_ms);
        if slower.gaps >= SLOWER_GAPS {
            *period_ms = slower.longest_ms.min(PERIOD_MS_MAX);
            (*recent, *longest_ms) = (0, 0);
            *slower = Slower::NONE;
        }
    }

    /// What was silent is not known to have been sent by who is watched: no habit.
    pub const fn forget_silence(&mut self) {
        if let Self::Held { slower, .. } = self {
            *slower = Slower::NONE;
        }
    }

    /// Holds what was learnt, if there was enough of it. Says whether the pace is held.
    pub fn hold(&mut self) -> bool {
        if let Self::Settling { periods, longest_ms: Some(longest_ms) } = *self
            && periods >= SAMPLES_MIN
        {
            let period_ms = longest_ms.clamp(PERIOD_MS_MIN, PERIOD_MS_MAX);
            *self = Self::Held { period_ms, recent: 0, longest_ms: 0, slower: Slower::NONE };
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
    fn an_exporter_that_is_slower_for_good_is_followed_after_so_many_gaps_that_are_alike() {
        let mut pace = held(1_000);
        (1..SLOWER_GAPS).for_each(|_| pace.note_silence(5_000));
        assert_eq!(pace.learnt_ms(), Some(1_000));
        pace.note_silence(5_200);
        assert_eq!(pace.learnt_ms(), Some(5_200));
    }

    #[test]
    fn gaps_that_grow_or_that_work_interrupts_are_never_followed() {
        let mut pace = held(200);
        let mut gap_ms = 500;
        while gap_ms < PERIOD_MS_MAX {
            pace.note_silence(gap_ms);
            gap_ms += gap_ms / 10;
        }
        assert_eq!(pace.learnt_ms(), Some(200), "it slows down step by step");
        for _ in 0..20 {
            (1..SLOWER_GAPS).for_each(|_| pace.note_silence(5_000));
            pace.note(Sample::Period(200));
        }
        assert_eq!(pace.learnt_ms(), Some(200), "it goes on in between");
        for _ in 0..20 {
            (1..SLOWER_GAPS).for_each(|_| pace.note_silence(5_000));
            pace.forget_silence();
        }
        assert_eq!(pace.learnt_ms(), Some(200), "its sender was suspected in between");
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
