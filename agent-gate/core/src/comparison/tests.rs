//! Edges of the comparison: what is thin, what is worse, what is too good.

use super::*;

const TERMS: Terms =
    Terms { alpha: 0.01, error_share_max: 0.1, slow_tolerance: 1.5, records_min: 50 };

fn arm(records: u64, requests: u64, errors: u64) -> Counts {
    Counts {
        records: Some(records),
        requests: Some(requests),
        errors: Some(errors),
        witnessed: Some(requests),
        durations: None,
    }
}

fn finding(candidate: Counts, baseline: Option<Counts>) -> Finding {
    compare(candidate, baseline, Arms::Concurrent, TERMS).finding
}

#[test]
fn no_errors_needs_a_denominator() {
    assert_eq!(requests_needed(0.01, 0.1), 47);
    assert_eq!(requests_needed(0.05, 0.05), 60, "about three divided by the share");
    let baseline = Some(arm(1_000, 1_000, 3));
    assert_eq!(finding(arm(90, 46, 0), baseline), Finding::Thin);
    assert_eq!(finding(arm(90, 47, 0), baseline), Finding::NoDifference);
    assert_eq!(finding(arm(49, 47, 0), baseline), Finding::Thin);
}

#[test]
fn what_was_never_seen_is_thin_and_not_clean() {
    let silent = Counts::default();
    assert_eq!(finding(silent, Some(arm(1_000, 1_000, 3))), Finding::Thin);
    assert_eq!(finding(silent, None), Finding::Thin);
    let without_requests = Counts { records: Some(500), ..Counts::default() };
    assert_eq!(finding(without_requests, Some(arm(1_000, 1_000, 3))), Finding::Thin);
    assert_eq!(finding(without_requests, Some(without_requests)), Finding::Uncounted);
}

#[test]
fn more_errors_than_the_baseline_are_a_regression_before_the_evidence_is_full() {
    assert_eq!(finding(arm(20, 20, 15), Some(arm(2_000, 1_000, 10))), Finding::Regressed);
    assert_eq!(finding(arm(200, 100, 2), Some(arm(2_000, 1_000, 10))), Finding::NoDifference);
}

#[test]
fn without_a_baseline_the_bound_on_the_error_share_counts() {
    assert_eq!(finding(arm(200, 100, 40), None), Finding::Regressed);
    assert_eq!(finding(arm(200, 100, 9), None), Finding::NoDifference);
    assert_eq!(finding(arm(200, 100, 0), None), Finding::NoDifference);
}

#[test]
fn fewer_errors_with_fewer_records_are_better_than_possible() {
    let baseline = Some(arm(4_000, 2_000, 400));
    assert_eq!(finding(arm(2_000, 1_000, 60), baseline), Finding::Improved);
    assert_eq!(finding(arm(1_000, 1_000, 60), baseline), Finding::BetterThanPossible);
    let unwitnessed = Counts { witnessed: Some(1_500), ..arm(2_000, 1_000, 60) };
    assert_eq!(finding(unwitnessed, baseline), Finding::BetterThanPossible);
}

#[test]
fn fewer_records_of_the_same_work_are_found_whatever_the_errors_say() {
    let seen = |requests, witnessed| Counts {
        witnessed: Some(witnessed),
        ..arm(2 * requests, requests, 0)
    };
    let baseline = Some(seen(1_000, 1_000));
    assert_eq!(finding(seen(400, 400), baseline), Finding::NoDifference);
    assert_eq!(finding(seen(375, 400), baseline), Finding::NoDifference, "a late export");
    assert_eq!(finding(seen(200, 400), baseline), Finding::RecordsLost);
    assert_eq!(finding(seen(450, 600), baseline), Finding::RecordsLost);
    assert_eq!(finding(seen(200, 400), Some(seen(500, 1_000))), Finding::NoDifference, "as ever");
    let unwitnessed = Counts { witnessed: None, ..seen(200, 400) };
    assert_eq!(finding(unwitnessed, baseline), Finding::NoDifference);
}

#[test]
fn slow_requests_are_a_finding_of_their_own_and_errors_come_first() {
    let took = |ms: usize, counts: Counts| {
        let mut durations = Durations::default();
        durations[ms] = counts.requests.expect("it has requests");
        Counts { durations: Some(durations), ..counts }
    };
    let baseline = Some(took(3, arm(1_000, 1_000, 3)));
    assert_eq!(finding(took(6, arm(100, 100, 0)), baseline), Finding::Slower);
    assert_eq!(finding(took(6, arm(100, 100, 60)), baseline), Finding::Regressed);
    assert_eq!(finding(took(0, arm(100, 100, 0)), baseline), Finding::BetterThanPossible);
    assert_eq!(finding(took(2, arm(100, 100, 0)), baseline), Finding::NoDifference);
    assert_eq!(finding(arm(100, 100, 0), baseline), Finding::NoDifference, "nobody told them");
}
