//! Liveness contracts: how soon a loss is found and how rarely that is wrong, and the beats that
//! keep such a promise.
//!
//! An owner says three things: find a crash within `detect_ms`; be wrong at most once in
//! `mistakes_apart_ms`; do not stay wrong for longer than `mistake_ms_max`. [`plan`] turns them
//! into the slowest beats that keep them on a path with some loss and jitter, by the
//! distribution-free form of Chen's configurator ([`crate::detector::chen`]), or says which of the
//! three cannot be kept and what could. The clocks of sender and watchdog are not compared: time
//! counts from the arrival of the last beat, as in Chen's NFD-E.
//!
//! ```text
//! detect_ms ├──────────── margin + interval ────────────┤─ play ─┤─ turn ─┤
//!           last beat                          earliest suspicion  latest   said
//! ```
//!
//! Invariant: a plan that is given keeps its contract by the formulas, on the path it was made for.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::detector::chen::{self, Delay, Link};
use crate::watch::WatchConfig;

/// No service is asked to beat faster than this.
pub const INTERVAL_MS_MIN: u64 = 10;
/// The longest detection time that is looked at for a contract that can be kept.
const DETECT_MS_MAX: u64 = 3_600_000;
/// Beats in one silence that the accrual level looks at; beyond them it is as high as it gets.
const BEATS_SEEN_MAX: u64 = 64;

/// What the owner of a service asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LivenessContract {
    /// A crash is suspected within this time after the last beat arrived.
    pub detect_ms: u64,
    /// At least this long from one mistaken suspicion to the next, on average.
    pub mistakes_apart_ms: u64,
    /// A mistaken suspicion lasts at most this long, on average.
    pub mistake_ms_max: u64,
}

/// What is known of the way that beats take.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Way {
    /// Part of the beats that is lost; 0 to 1.
    pub loss: f64,
    /// Standard deviation of their delay.
    pub jitter_ms: f64,
}

/// How to beat so that a contract is kept, and when silence is suspected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// η: from one beat to the next.
    pub interval_ms: u64,
    /// δ: how long a beat is waited for after it was due.
    pub margin_ms: u64,
}

/// Why a contract cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unkept {
    /// The watchdog's own turn and the fastest beats take longer than the detection time.
    TooSoon { least_ms: u64 },
    /// Even the fastest beats are mistaken too often or for too long.
    TooSure { apart_s: f64, least_ms: Option<u64> },
    /// The given interval is too slow; this one would do.
    TooSlow { interval_ms: u64, wanted_ms: u64 },
}

impl fmt::Display for Unkept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooSoon { least_ms } => write!(
                f,
                "detect_ms is shorter than two of the fastest beats and the watchdog's own turn; \
                 it must be at least {least_ms}"
            ),
            Self::TooSure { apart_s, least_ms } => {
                write!(
                    f,
                    "no beat interval keeps it: beating every {INTERVAL_MS_MIN} ms, mistakes \
                     would be {apart_s:.0} s apart at the least; "
                )?;
                match least_ms {
                    Some(ms) => write!(f, "detect_ms = {ms} can be kept"),
                    None => f.write_str("no detect_ms up to an hour can be kept either"),
                }
            }
            Self::TooSlow { interval_ms, wanted_ms } => write!(
                f,
                "beats every {interval_ms} ms are too slow for it; set beat_interval_ms to \
                 {wanted_ms} or less, and beat as often"
            ),
        }
    }
}

impl WatchConfig {
    /// The way that is presumed until beats have shown what it is.
    #[must_use]
    pub const fn presumed_way(&self) -> Way {
        Way { loss: self.path_loss, jitter_ms: self.path_jitter_ms }
    }
}

/// The slowest beats that keep `contract` on `way`, or whether `interval_ms` does if it is given.
///
/// # Errors
/// [`Unkept`]: why not, and what could be kept instead.
pub fn plan(
    contract: &LivenessContract,
    interval_ms: Option<u64>,
    way: Way,
    config: &WatchConfig,
) -> Result<Plan, Unkept> {
    let least_ms = config.slack_ms + 2 * INTERVAL_MS_MIN;
    if contract.detect_ms < least_ms {
        return Err(Unkept::TooSoon { least_ms });
    }
    let slowest_ms = slowest(contract, way, config);
    if let Some(interval_ms) = interval_ms
        && keeps(contract, interval_ms, way, config)
    {
        return Ok(Plan::of(contract, interval_ms, config));
    }
    match (slowest_ms, interval_ms) {
        (Some(wanted_ms), None) => Ok(Plan::of(contract, wanted_ms, config)),
        (Some(wanted_ms), Some(interval_ms)) => Err(Unkept::TooSlow { interval_ms, wanted_ms }),
        (None, _) => {
            let fastest_s = seconds(INTERVAL_MS_MIN);
            let apart_s = chen::recurrence(detection_s(contract, config), fastest_s, &way.link());
            Err(Unkept::TooSure { apart_s, least_ms: least_detection(contract, way, config) })
        }
    }
}

impl Plan {
    const fn of(contract: &LivenessContract, interval_ms: u64, config: &WatchConfig) -> Self {
        let span_ms = contract.detect_ms.saturating_sub(config.slack_ms);
        Self { interval_ms, margin_ms: span_ms.saturating_sub(interval_ms) }
    }
}

/// How surely a sender that has been silent for `silent_ms` is lost: φ, minus the decimal logarithm
/// of the chance that a live one is that silent. 1 is one in ten, 3 one in a thousand.
///
/// A live sender is silent when every beat that was due is lost or still on its way. Chances are
/// those of [`chen`], with Cantelli's bound for the delay, so the level is never too high.
#[must_use]
pub fn suspicion(silent_ms: u64, interval_ms: u64, way: Way) -> f64 {
    let interval_ms = interval_ms.max(1);
    let variance = way.jitter_ms * way.jitter_ms;
    let due = (silent_ms / interval_ms).min(BEATS_SEEN_MAX);
    let chance = |beat: u64| {
        let waited = float(silent_ms - beat * interval_ms);
        let late = if variance > 0.0 { variance / (variance + waited * waited) } else { 0.0 };
        way.loss + (1.0 - way.loss) * late
    };
    // Less than one in 10^16 for one beat is not known of any way.
    (1..=due).map(|beat| -chance(beat).clamp(1e-16, 1.0).log10()).sum()
}

fn keeps(contract: &LivenessContract, interval_ms: u64, way: Way, config: &WatchConfig) -> bool {
    let detection_s = detection_s(contract, config);
    let interval_s = seconds(interval_ms);
    let link = way.link();
    let longest_s = chen::longest_interval(detection_s, seconds(contract.mistake_ms_max), &link);
    interval_s <= longest_s
        && chen::recurrence(detection_s, interval_s, &link) >= seconds(contract.mistakes_apart_ms)
}

/// The slowest interval in whole milliseconds that keeps the contract.
fn slowest(contract: &LivenessContract, way: Way, config: &WatchConfig) -> Option<u64> {
    let asked = chen::Contract {
        detection_s: detection_s(contract, config),
        recurrence_s: seconds(contract.mistakes_apart_ms),
        duration_s: seconds(contract.mistake_ms_max),
    };
    let setting = chen::configure(&asked, &way.link())?;
    let milliseconds = whole(setting.interval_s * 1_000.0);
    // Rounding down may cross into one beat more, which only helps, or by a hair into a worse one.
    (INTERVAL_MS_MIN..=milliseconds).rev().take(3).find(|ms| keeps(contract, *ms, way, config))
}

/// The least detection time with which the rest of the contract can be kept.
fn least_detection(contract: &LivenessContract, way: Way, config: &WatchConfig) -> Option<u64> {
    let can = |detect_ms| slowest(&LivenessContract { detect_ms, ..*contract }, way, config);
    let (mut low, mut high) = (contract.detect_ms, contract.detect_ms.saturating_mul(2));
    while can(high).is_none() {
        (low, high) = (high, high.saturating_mul(2));
        if high > DETECT_MS_MAX {
            return None;
        }
    }
    while high - low > 10 {
        let middle = u64::midpoint(low, high);
        if can(middle).is_some() {
            high = middle;
        } else {
            low = middle;
        }
    }
    Some(high)
}

/// What is left of the detection time when the turn of the watchdog and its play are taken off.
fn detection_s(contract: &LivenessContract, config: &WatchConfig) -> f64 {
    seconds(contract.detect_ms.saturating_sub(config.slack_ms))
}

impl Way {
    /// The delay counts against the mean one, which the arrival of the last beat had too.
    fn link(self) -> Link {
        let jitter_s = self.jitter_ms / 1_000.0;
        Link {
            loss: self.loss,
            delay: Delay::Moments { mean_s: 0.0, variance_s2: jitter_s * jitter_s },
        }
    }
}

fn seconds(ms: u64) -> f64 {
    float(ms) / 1_000.0
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 ms, which is 285 000 years")]
const fn float(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within an hour")]
const fn whole(positive: f64) -> u64 {
    positive as u64
}

#[cfg(test)]
mod tests;
