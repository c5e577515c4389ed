//! Are requests slower on the candidate, and may one say so?
//!
//! The arms are compared at each bound of the duration buckets: of the requests that took longer,
//! more than its part may be the candidate's only if it is slower there. That is the two-arm count
//! test of [`count`] with the requests as exposure. A candidate may be slower by `tolerance` before
//! it counts: the null hypothesis is that it makes at most `tolerance` times as many slow requests.
//! Of `k` tests the largest Bayes factor divided by `k` is at most their mean, and the mean of
//! Bayes factors is one again, so that it may be looked at after every arrival.
//!
//! The test is conditional on the slow requests, so it is never too sharp where most are slow: the
//! counts then vary less than it allows.
//!
//! Invariant: the same on every machine; durations that nobody told are no evidence.

use serde::{Deserialize, Serialize};
use watchdog_core::tally::{DURATION_BOUNDS_MS, Durations};

use crate::comparison::count;
use crate::comparison::ln::ln;

/// Most of the candidate's requests are in the shortest bucket, and hardly any were before: from
/// this share on and below its complement, requests take no time that can be believed.
const NO_TIME_SHARE: f64 = 0.95;

/// What the durations of both arms say.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// The natural logarithm of the evidence against "at most `tolerance` times as many slow
    /// requests"; to be compared with the threshold of the comparison.
    pub evidence: f64,
    /// The bound at which it is largest, in milliseconds; slow means longer than this.
    pub bound_ms: u64,
    /// Slow and all requests of the candidate.
    pub candidate: [u64; 2],
    /// Slow and all requests of the baseline.
    pub baseline: [u64; 2],
    /// Requests that took time take none now: better than possible.
    pub no_time: bool,
}

/// Compares the candidate's durations with the baseline's; `None` if one of them told none.
#[must_use]
pub fn compare(
    candidate: &Durations,
    baseline: &Durations,
    tolerance: f64,
    threshold: f64,
) -> Option<Latency> {
    let (all, base_all): (u64, u64) = (candidate.iter().sum(), baseline.iter().sum());
    if all == 0 || base_all == 0 {
        return None;
    }
    let exposure = tolerance * all as f64;
    let share = exposure / (exposure + base_all as f64);
    let correction = ln(DURATION_BOUNDS_MS.len() as f64);
    let no_time = takes_no_time(candidate, baseline, threshold);
    let (mut slow, mut base_slow) = (all, base_all);
    let at_bounds = DURATION_BOUNDS_MS.iter().enumerate().map(|(index, bound_ms)| {
        slow -= candidate[index];
        base_slow -= baseline[index];
        let slower = slow as f64 * base_all as f64 > base_slow as f64 * exposure;
        let found = if slower { count::evidence(slow, base_slow, share) } else { 0.0 };
        Latency {
            evidence: found - correction,
            bound_ms: *bound_ms,
            candidate: [slow, all],
            baseline: [base_slow, base_all],
            no_time,
        }
    });
    // The first of equals: the order of bounds decides, and not the machine.
    at_bounds.reduce(|best, next| if next.evidence > best.evidence { next } else { best })
}

/// Whether the requests fell into the shortest bucket all at once.
fn takes_no_time(candidate: &Durations, baseline: &Durations, threshold: f64) -> bool {
    let (all, base_all): (u64, u64) = (candidate.iter().sum(), baseline.iter().sum());
    let part = |counts: &Durations, all: u64| counts[0] as f64 / all as f64;
    let share = all as f64 / (all as f64 + base_all as f64);
    part(candidate, all) >= NO_TIME_SHARE
        && part(baseline, base_all) <= 1.0 - NO_TIME_SHARE
        && count::evidence(all - candidate[0], base_all - baseline[0], share) >= threshold
}

#[cfg(test)]
mod tests;
