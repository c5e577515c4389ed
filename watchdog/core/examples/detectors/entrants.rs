//! The detectors that are compared, each with one number to tune.
//!
//! Invariant: each says after every beat for how long silence is trusted, and knows nothing else.

use std::collections::VecDeque;

use watchdog_core::detector::accrual::Normal;
use watchdog_core::detector::{BeatBounds, Detector};
use watchdog_core::liveness::LivenessContract;
use watchdog_core::tick::Tick;
use watchdog_core::watch::WatchConfig;

use crate::ways::INTERVAL_MS;

/// Arrivals that estimates look back on.
const WINDOW: usize = 1_000;
/// No spread is smaller, in milliseconds: after calm a normal fit would be infinitely sure.
const DEVIATION_MS_MIN: f64 = 1.0;

/// The threshold of akka; the knob is its acceptable pause.
const PHI_THRESHOLD: f64 = 8.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entrant {
    Fixed,
    TwoWindow,
    ExpectedArrival,
    PhiNormal,
    PhiExponential,
}

impl Entrant {
    pub const ALL: [Self; 5] = [
        Self::Fixed,
        Self::TwoWindow,
        Self::ExpectedArrival,
        Self::PhiNormal,
        Self::PhiExponential,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::TwoWindow => "two windows (ours)",
            Self::ExpectedArrival => "expected arrival",
            Self::PhiNormal => "φ normal",
            Self::PhiExponential => "φ exponential",
        }
    }

    /// A fresh one, tuned to `knob`: milliseconds of margin or pause, or a threshold of φ.
    pub fn tuned(self, knob: f64) -> Tuned {
        Tuned {
            entrant: self,
            knob,
            ours: None,
            bounds: bounds(knob),
            schedule: VecDeque::new(),
            schedule_sum: 0.0,
            moments: Moments::default(),
            last: None,
        }
    }
}

/// One detector at work.
pub struct Tuned {
    entrant: Entrant,
    knob: f64,
    ours: Option<Detector>,
    bounds: BeatBounds,
    /// Arrivals less the sender's schedule, and their sum.
    schedule: VecDeque<f64>,
    schedule_sum: f64,
    moments: Moments,
    last: Option<(u32, f64)>,
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small, positive")]
fn bounds(knob: f64) -> BeatBounds {
    let config = WatchConfig { slack_ms: 0, ..WatchConfig::default() };
    let contract = LivenessContract {
        detect_ms: knob.max(1.0) as u64,
        mistakes_apart_ms: 1,
        mistake_ms_max: 1,
    };
    BeatBounds::for_contract(&contract, INTERVAL_MS as u64, &config)
}

impl Tuned {
    /// A beat came; says for how many milliseconds of silence the sender is trusted now.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive times")]
    pub fn beat(&mut self, seq: u32, at_ms: f64) -> f64 {
        let steps = self.last.map_or(1, |(last, _)| seq.saturating_sub(last).max(1));
        let gap_ms = self.last.map(|(_, at)| at_ms - at);
        self.last = Some((seq, at_ms));
        match self.entrant {
            Entrant::Fixed => self.knob,
            Entrant::TwoWindow => {
                let tick = Tick(at_ms as u64);
                let ours = self.ours.get_or_insert_with(|| Detector::new(tick));
                ours.beat(tick, u64::from(steps), &self.bounds);
                // In whole milliseconds, as the watch counts.
                ours.suspect_after_ms(&self.bounds) as f64
            }
            Entrant::ExpectedArrival => self.expect_next(seq, at_ms),
            Entrant::PhiNormal => {
                gap_ms.into_iter().for_each(|gap| self.moments.push(gap));
                let silence = self.moments.fit().map_or(INTERVAL_MS, silence_at_threshold);
                (silence + self.knob).max(0.0)
            }
            Entrant::PhiExponential => {
                gap_ms.into_iter().for_each(|gap| self.moments.push(gap));
                let mean_ms = self.moments.fit().map_or(INTERVAL_MS, |fit| fit.mean);
                self.knob * mean_ms / std::f64::consts::LOG10_E
            }
        }
    }

    /// NFD-E: the mean schedule of the window says when the next beat is due, plus a margin.
    fn expect_next(&mut self, seq: u32, at_ms: f64) -> f64 {
        let early = at_ms - f64::from(seq) * INTERVAL_MS;
        self.schedule.push_back(early);
        self.schedule_sum += early;
        if self.schedule.len() > WINDOW {
            self.schedule_sum -= self.schedule.pop_front().expect("it is full");
        }
        let kept = u32::try_from(self.schedule.len()).expect("at most the window");
        let due = self.schedule_sum / f64::from(kept) + f64::from(seq + 1) * INTERVAL_MS;
        (due + self.knob - at_ms).max(0.0)
    }
}

/// Mean and spread of a window, kept as sums.
#[derive(Default)]
struct Moments {
    kept: VecDeque<f64>,
    sum: f64,
    squares: f64,
}

impl Moments {
    fn push(&mut self, gap: f64) {
        self.kept.push_back(gap);
        self.sum += gap;
        self.squares += gap * gap;
        if self.kept.len() > WINDOW {
            let old = self.kept.pop_front().expect("it is full");
            self.sum -= old;
            self.squares -= old * old;
        }
    }

    fn fit(&self) -> Option<Normal> {
        let count = f64::from(u32::try_from(self.kept.len()).ok()?);
        if count < 2.0 {
            return None;
        }
        let mean = self.sum / count;
        let variance = (self.squares / count - mean * mean).max(0.0);
        Some(Normal { mean, deviation: variance.sqrt().max(DEVIATION_MS_MIN) })
    }
}

/// The silence at which φ of a normal fit reaches the threshold: φ grows with silence, so halving
/// finds it.
fn silence_at_threshold(fit: Normal) -> f64 {
    let (mut low, mut high) = (0.0, fit.mean + 60.0 * fit.deviation);
    for _ in 0..30 {
        let middle = f64::midpoint(low, high);
        if fit.phi(middle) < PHI_THRESHOLD {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}
