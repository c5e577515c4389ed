//! Tunes a detector to a mean detection time, and counts how often it is wrong.
//!
//! Invariant: all are compared at the same mean detection time, or the comparison says nothing.

use crate::entrants::Entrant;
use crate::ways::Arrivals;

/// Beats at the start that teach the detector and are not counted.
const WARM: usize = 2_000;
/// Halvings while tuning.
const HALVINGS: u32 = 18;

#[derive(Debug, Default)]
pub struct Score {
    pub mistakes: u32,
    pub mistaken_ms: f64,
    pub hours: f64,
    /// From the last beat to the suspicion, had the sender died after it: mean over all beats.
    pub detection_ms: f64,
}

impl Score {
    pub fn mean_ms(&self) -> f64 {
        self.mistaken_ms / f64::from(self.mistakes)
    }
}

/// The score of `entrant` at a mean detection time of `detection_ms`.
pub fn contest(entrant: Entrant, arrivals: &Arrivals, detection_ms: f64) -> Score {
    let (mut low, mut high) = (-4.0 * detection_ms, 4.0 * detection_ms);
    // The arrivals of a fifth are enough to tune by.
    let sample = arrivals.heard.len() / 5;
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if score(entrant, middle, &arrivals.heard[..sample]).detection_ms < detection_ms {
            low = middle;
        } else {
            high = middle;
        }
    }
    let mut score = score(entrant, f64::midpoint(low, high), &arrivals.heard);
    score.hours = arrivals.hours;
    score
}

fn score(entrant: Entrant, knob: f64, heard: &[(u32, f64)]) -> Score {
    let mut detector = entrant.tuned(knob);
    let mut score = Score::default();
    let mut trusted = None;
    let mut counted = 0_u32;
    for (place, (seq, at_ms)) in heard.iter().enumerate() {
        if let Some((since, trusted_ms)) = trusted
            && place > WARM
        {
            let silent_ms: f64 = at_ms - since;
            if silent_ms > trusted_ms {
                score.mistakes += 1;
                score.mistaken_ms += silent_ms - trusted_ms;
            }
        }
        let trusted_ms = detector.beat(*seq, *at_ms);
        trusted = Some((*at_ms, trusted_ms));
        if place >= WARM {
            score.detection_ms += trusted_ms;
            counted += 1;
        }
    }
    score.detection_ms /= f64::from(counted.max(1));
    score
}
