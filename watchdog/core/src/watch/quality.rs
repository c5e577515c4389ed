//! What the detector of one service achieves: detection time, mistakes, loss and jitter, as seen.
//!
//! Chen's figures, measured: T_D (here from the last beat to the suspicion, so never too short),
//! T_MR, T_M, λ_M and P_A. A suspicion ends in one of three ways, and the sender's own sequence
//! says which: it beat on meanwhile, then the suspicion was a *mistake*, and the beats were lost or
//! late; it did not, then it *stood still* and the suspicion was right; or another boot takes its
//! place, then it was right too.
//!
//! Invariant: a time in which the watch could not see counts for nothing, neither as watched nor as
//! mistaken.

use serde::{Deserialize, Serialize};

use crate::liveness::Way;
use crate::tick::Tick;
use crate::watch::WatchConfig;

/// Beats after which the loss counts half: a way that has changed is followed within a few times
/// as many.
const BEATS_HALVED: u64 = 20_000;
/// The presumed loss weighs as much as so many beats that were seen.
const PRIOR_BEATS: f64 = 100.0;

/// From one beat of an instance to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Passage {
    pub at: Tick,
    /// Silence before it, as far as the watch could see.
    pub gap_ms: u64,
    /// Beats that the sender sent in that time, this one included, by its sequence.
    pub steps: u64,
    /// Beats that were heard and told together with this one.
    pub told: u64,
    /// The watch could see all of it.
    pub seen: bool,
    /// When it was suspected, if it was.
    pub suspected: Option<Tick>,
}

/// What a service's detector has achieved since the watch began.
#[derive(Debug, Clone, Default)]
pub(super) struct Quality {
    watched_ms: u64,
    sent: u64,
    lost: u64,
    mistakes: u32,
    mistaken_ms: u64,
    stalls: u32,
    losses: u32,
    suspicions: u32,
    silence_ms_sum: u64,
    silence_ms_max: u64,
}

/// The same as figures; what was not observed is `None`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Achieved {
    /// Time over which the figures were taken, all instances together.
    pub watched_ms: u64,
    /// All suspicions, also those that have not ended yet.
    pub suspicions: u32,
    /// Suspicions of senders that beat on meanwhile.
    pub mistakes: u32,
    /// Suspicions of senders that stood still and went on.
    pub stalls: u32,
    /// Suspicions of senders that never went on: another boot took their place.
    pub losses: u32,
    /// T_D: from the last beat to the suspicion, on average and at the most.
    pub detect_ms_mean: Option<u64>,
    pub detect_ms_max: Option<u64>,
    /// T_MR; `None` without a mistake: then it is longer than `watched_ms`.
    pub mistakes_apart_ms: Option<u64>,
    /// T_M.
    pub mistake_ms_mean: Option<u64>,
    /// λ_M, in mistakes an hour.
    pub mistakes_per_hour: Option<f64>,
    /// P_A: the part of the time in which the opinion about a live sender was right.
    pub accuracy: Option<f64>,
    /// Part of the beats that were lost of late.
    pub loss: Option<f64>,
}

impl Quality {
    /// An instance was silent for `silence_ms` when it was first suspected.
    pub fn suspect(&mut self, silence_ms: u64) {
        self.suspicions = self.suspicions.saturating_add(1);
        self.silence_ms_sum = self.silence_ms_sum.saturating_add(silence_ms);
        self.silence_ms_max = self.silence_ms_max.max(silence_ms);
    }

    /// A beat of the same boot followed.
    pub fn pass(&mut self, passage: Passage, interval_ms: u64) {
        if !passage.seen {
            return;
        }
        let steps = passage.steps.max(1);
        let Some(suspected) = passage.suspected else {
            self.watched_ms = self.watched_ms.saturating_add(passage.gap_ms);
            self.count(steps, passage.told);
            return;
        };
        let beat_on = steps.saturating_mul(interval_ms).saturating_mul(2) >= passage.gap_ms;
        if beat_on {
            self.watched_ms = self.watched_ms.saturating_add(passage.gap_ms);
            self.mistakes = self.mistakes.saturating_add(1);
            let mistaken_ms = passage.at.since_ms(suspected);
            self.mistaken_ms = self.mistaken_ms.saturating_add(mistaken_ms);
            self.count(steps, passage.told);
        } else {
            self.stalls = self.stalls.saturating_add(1);
        }
    }

    /// Another boot took the place of a suspected one.
    pub const fn replace(&mut self) {
        self.losses = self.losses.saturating_add(1);
    }

    const fn count(&mut self, steps: u64, told: u64) {
        self.sent = self.sent.saturating_add(steps);
        self.lost = self.lost.saturating_add(steps.saturating_sub(told));
        if self.sent >= BEATS_HALVED {
            self.sent /= 2;
            self.lost /= 2;
        }
    }

    /// The way as it was seen, drawn towards the presumed one while little was.
    pub fn way(&self, jitter_ms: Option<f64>, config: &WatchConfig) -> Way {
        let presumed = config.presumed_way();
        let lost = float(self.lost) + PRIOR_BEATS * presumed.loss;
        Way {
            loss: lost / (float(self.sent) + PRIOR_BEATS),
            jitter_ms: jitter_ms.unwrap_or(presumed.jitter_ms),
        }
    }

    pub fn achieved(&self) -> Achieved {
        let mean = |sum: u64, count: u32| (count > 0).then(|| sum / u64::from(count.max(1)));
        let watched = self.watched_ms > 0;
        let hours = float(self.watched_ms) / 3_600_000.0;
        Achieved {
            watched_ms: self.watched_ms,
            suspicions: self.suspicions,
            mistakes: self.mistakes,
            stalls: self.stalls,
            losses: self.losses,
            detect_ms_mean: mean(self.silence_ms_sum, self.suspicions),
            detect_ms_max: (self.suspicions > 0).then_some(self.silence_ms_max),
            mistakes_apart_ms: mean(self.watched_ms, self.mistakes),
            mistake_ms_mean: mean(self.mistaken_ms, self.mistakes),
            mistakes_per_hour: watched.then(|| f64::from(self.mistakes) / hours),
            accuracy: watched.then(|| 1.0 - float(self.mistaken_ms) / float(self.watched_ms)),
            loss: (self.sent > 0).then(|| float(self.lost) / float(self.sent)),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 ms, which is 285 000 years")]
const fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passage(gap_ms: u64, steps: u64, suspected: bool) -> Passage {
        let suspected = suspected.then_some(Tick(gap_ms.saturating_sub(100)));
        Passage { at: Tick(gap_ms), gap_ms, steps, told: 1, seen: true, suspected }
    }

    #[test]
    fn nothing_observed_is_no_figure() {
        let achieved = Quality::default().achieved();
        assert_eq!(achieved.accuracy, None);
        assert_eq!(achieved.detect_ms_max, None);
        assert_eq!(achieved.mistakes_apart_ms, None);
        assert_eq!(achieved.loss, None);
    }

    #[test]
    fn the_senders_sequence_tells_a_mistake_from_a_stall() {
        let mut quality = Quality::default();
        quality.pass(passage(900, 9, true), 100);
        quality.pass(passage(900, 1, true), 100);
        quality.pass(passage(900, 2, true), 100);
        let achieved = quality.achieved();
        assert_eq!((achieved.mistakes, achieved.stalls), (1, 2));
        assert_eq!(achieved.watched_ms, 900, "a sender that stood still was not watched alive");
        assert_eq!(achieved.mistake_ms_mean, Some(100));
        assert!(achieved.accuracy.is_some_and(|part| (part - 8.0 / 9.0).abs() < 1e-9));
    }

    #[test]
    fn what_the_watch_could_not_see_counts_for_nothing() {
        let mut quality = Quality::default();
        quality.pass(Passage { seen: false, ..passage(900, 9, true) }, 100);
        assert_eq!(quality.achieved(), Quality::default().achieved());
    }

    #[test]
    fn beats_that_were_told_together_are_not_lost() {
        let mut quality = Quality::default();
        quality.pass(Passage { told: 3, ..passage(400, 4, false) }, 100);
        assert_eq!(quality.achieved().loss, Some(0.25));
    }

    #[test]
    fn the_presumed_way_fades_as_beats_are_seen() {
        let config = WatchConfig::default();
        let mut quality = Quality::default();
        assert!((quality.way(None, &config).loss - config.path_loss).abs() < 1e-12);
        (0..100_000).for_each(|_| quality.pass(passage(100, 1, false), 100));
        let way = quality.way(Some(0.5), &config);
        assert!(way.loss < config.path_loss / 50.0 && way.loss > 0.0, "{way:?}");
    }
}
