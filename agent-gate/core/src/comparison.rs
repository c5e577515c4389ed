//! Comparison of the candidate revision with the baseline: is it worse, and may one say so?
//!
//! The test may be looked at after every arrival and keeps its level: a two-arm count test with a
//! Beta-binomial mixture ([`count`]), on errors, on records of witnessed work, and on slow requests
//! ([`latency`]). "No errors" is a claim too, and needs a denominator.
//!
//! Invariant: a count that was never seen is `None`, and `None` is never a denominator. Too
//! little evidence is [`Finding::Thin`], not "no difference".

pub mod count;
pub mod latency;
pub mod ln;

use serde::{Deserialize, Serialize};
use watchdog_core::tally::Durations;

use latency::Latency;

/// What one arm has shown since the bake began, or before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub records: Option<u64>,
    /// Requests by spans.
    pub requests: Option<u64>,
    pub errors: Option<u64>,
    /// Requests by the beats' own counters.
    pub witnessed: Option<u64>,
    /// Requests by how long they took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durations: Option<Durations>,
}

/// Where the baseline comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arms {
    /// Both revisions run side by side.
    Concurrent,
    /// The old revision's counts from before.
    BeforeAfter,
    /// There is no old revision to compare with.
    CandidateAlone,
}

/// What the comparison says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    Regressed,
    /// More slow requests than could be chance and are tolerated.
    Slower,
    /// Fewer errors than could be chance, and nothing else moved.
    Improved,
    /// Fewer errors than could be chance, and fewer records for the same work; or requests that
    /// take no time at all.
    BetterThanPossible,
    /// Fewer records of the same witnessed work than could be chance.
    RecordsLost,
    NoDifference,
    /// Neither arm has requests to count; errors cannot be compared.
    Uncounted,
    /// Too few records or requests to say.
    Thin,
}

/// A finding with its statistic and threshold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    pub finding: Finding,
    pub arms: Arms,
    pub candidate: Counts,
    pub baseline: Option<Counts>,
    /// The natural logarithm of the evidence (a Bayes factor) against "the error shares are
    /// equal"; `None` if they cannot be compared. `exp(-evidence)` is the anytime-valid p-value.
    pub evidence: Option<f64>,
    /// What the durations say; `None` if they cannot be compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// How much evidence says "not chance": `ln(1/alpha)`.
    pub threshold: f64,
    pub records_needed: u64,
    pub requests_needed: u64,
}

/// The levels and amounts of a comparison.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Terms {
    pub alpha: f64,
    /// The error share that "no errors" must exclude.
    pub error_share_max: f64,
    /// How many times as many slow requests as the baseline's are no regression.
    pub slow_tolerance: f64,
    pub records_min: u64,
}

/// A candidate that loses more than this share of its records against the baseline, for the same
/// work, lost them on the way.
const RECORD_SHARE_MIN: f64 = 0.9;

/// Compares the candidate with the baseline.
#[must_use]
pub fn compare(
    candidate: Counts,
    baseline: Option<Counts>,
    arms: Arms,
    terms: Terms,
) -> Comparison {
    let requests_needed = requests_needed(terms.alpha, terms.error_share_max);
    let threshold = -ln::ln(terms.alpha);
    let weighed = weigh(candidate, baseline, terms.error_share_max);
    let significant =
        weighed.filter(|(evidence, _)| *evidence >= threshold).map(|(_, direction)| direction);
    let latency = time(candidate, baseline, terms.slow_tolerance, threshold);
    let finding = find(candidate, baseline, significant, requests_needed, terms);
    let finding = match latency {
        Some(told) if finding != Finding::Regressed && told.evidence >= threshold => {
            Finding::Slower
        }
        Some(told) if finding != Finding::Regressed && told.no_time => Finding::BetterThanPossible,
        Some(_) | None => finding,
    };
    Comparison {
        finding,
        arms,
        candidate,
        baseline,
        evidence: weighed.map(|(evidence, _)| evidence),
        latency,
        threshold,
        records_needed: terms.records_min,
        requests_needed,
    }
}

/// How many requests without an error exclude an error share above `share_max` at level `alpha`:
/// `ln(1/alpha) / share_max`, rounded up.
#[must_use]
pub fn requests_needed(alpha: f64, share_max: f64) -> u64 {
    let needed = (-ln::ln(alpha) / share_max).ceil();
    // A level and a share between 0 and 1 give a positive number; what does not fit is "never".
    if needed < 9e15 { needed as u64 } else { u64::MAX }
}

fn time(
    candidate: Counts,
    baseline: Option<Counts>,
    tolerance: f64,
    threshold: f64,
) -> Option<Latency> {
    let told = candidate.durations.zip(baseline.and_then(|arm| arm.durations));
    told.and_then(|(new, old)| latency::compare(&new, &old, tolerance, threshold))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Worse,
    Better,
}

/// The evidence for a difference and its direction, if both arms can be compared.
fn weigh(candidate: Counts, baseline: Option<Counts>, share_max: f64) -> Option<(f64, Direction)> {
    let (requests, errors) = candidate.requests.zip(candidate.errors)?;
    let known = baseline.and_then(|arm| arm.requests.zip(arm.errors));
    match known {
        Some((base_requests, base_errors)) if base_requests > 0 => {
            let share = requests as f64 / (requests as f64 + base_requests as f64);
            let worse = u128::from(errors) * u128::from(base_requests)
                > u128::from(base_errors) * u128::from(requests);
            let direction = if worse { Direction::Worse } else { Direction::Better };
            Some((count::evidence(errors, base_errors, share), direction))
        }
        Some(_) | None => {
            let fine = requests.saturating_sub(errors);
            let worse = errors as f64 > share_max * requests as f64;
            // Below the bound there is nothing to be shown: the bound is not a baseline.
            worse.then(|| (count::evidence(errors, fine, share_max), Direction::Worse))
        }
    }
}

fn find(
    candidate: Counts,
    baseline: Option<Counts>,
    significant: Option<Direction>,
    requests_needed: u64,
    terms: Terms,
) -> Finding {
    if significant == Some(Direction::Worse) {
        return Finding::Regressed;
    }
    if significant == Some(Direction::Better) && lost_records(candidate, baseline) {
        return Finding::BetterThanPossible;
    }
    if records_lost(candidate, baseline, terms.alpha) {
        return Finding::RecordsLost;
    }
    if candidate.records.is_none_or(|records| records < terms.records_min) {
        return Finding::Thin;
    }
    match candidate.requests.zip(candidate.errors) {
        None if baseline.and_then(|arm| arm.requests).is_some() => Finding::Thin,
        None => Finding::Uncounted,
        Some((requests, _)) if requests < requests_needed => Finding::Thin,
        Some(_) if significant == Some(Direction::Better) => Finding::Improved,
        Some(_) => Finding::NoDifference,
    }
}

/// Whether fewer of the witnessed requests are recorded than of the baseline's: a two-arm count
/// test of the records, with the work as exposure.
fn records_lost(candidate: Counts, baseline: Option<Counts>, alpha: f64) -> bool {
    let counted = |arm: Counts| arm.requests.zip(arm.witnessed).filter(|(_, work)| *work > 0);
    let (Some((new, work)), Some((old, old_work))) =
        (counted(candidate), baseline.and_then(counted))
    else {
        return false;
    };
    let share = work as f64 / (work as f64 + old_work as f64);
    let part = |records: u64, work: u64| records as f64 / work as f64;
    part(new, work) < part(old, old_work) * RECORD_SHARE_MIN
        && count::evidence(new, old, share) >= -ln::ln(alpha)
}

/// Whether the candidate shows clearly fewer records for the same work than the baseline.
fn lost_records(candidate: Counts, baseline: Option<Counts>) -> bool {
    let share = |part: Option<u64>, whole: Option<u64>| {
        part.zip(whole)
            .filter(|(_, whole)| *whole > 0)
            .map(|(part, whole)| part as f64 / whole as f64)
    };
    let fell = |part: fn(&Counts) -> Option<u64>, whole: fn(&Counts) -> Option<u64>| {
        let new = share(part(&candidate), whole(&candidate));
        let old = baseline.and_then(|arm| share(part(&arm), whole(&arm)));
        new.zip(old).is_some_and(|(new, old)| new < old * RECORD_SHARE_MIN)
    };
    fell(|arm| arm.requests, |arm| arm.witnessed)
        || fell(|arm| arm.records, |arm| arm.witnessed)
        || fell(|arm| arm.records, |arm| arm.requests)
}

#[cfg(test)]
mod tests;
