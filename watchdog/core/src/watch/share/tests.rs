//! The bound on the share: halved counts are caught, chance and lag are not.

use super::*;

const BOUNDS: ShareBounds = ShareBounds {
    work_min: 50,
    tolerance: 0.15,
    window_ms: 20_000,
    learn_ms: 3_000,
    interval_ms: 1_000,
    due_ms: 2_000,
};

/// Twenty requests a second; `share` of them become spans, one second late.
fn run(share: &mut Share, from_s: u64, to_s: u64, totals: &mut Totals, tenths: u64) {
    for second in from_s..to_s {
        totals.work += 20;
        totals.requests += 2 * tenths;
        totals.adjusted_milli += 2_000 * tenths;
        share.note(Tick(second * 1_000), *totals, true, &BOUNDS);
    }
}

fn learnt() -> (Share, Totals) {
    let mut share = Share::default();
    let mut totals = Totals { work: 0, requests: 0, spans: 0, adjusted_milli: 0 };
    run(&mut share, 0, 40, &mut totals, 10);
    (share, totals)
}

fn state(share: &Share, totals: Totals) -> Option<Counts> {
    share.compare(totals, &BOUNDS).map(|compared| compared.counts)
}

#[test]
fn a_share_that_is_held_agrees() {
    let (share, totals) = learnt();
    assert_eq!(state(&share, totals), Some(Counts::Agree));
}

#[test]
fn halved_counts_are_short() {
    let (mut share, mut totals) = learnt();
    run(&mut share, 40, 60, &mut totals, 5);
    assert_eq!(state(&share, totals), Some(Counts::Short));
}

#[test]
fn a_tenth_less_is_within_the_bound() {
    let (mut share, mut totals) = learnt();
    run(&mut share, 40, 80, &mut totals, 9);
    assert_eq!(state(&share, totals), Some(Counts::Agree));
}

#[test]
fn a_loss_that_grows_slowly_is_not_followed_down() {
    let (mut share, mut totals) = learnt();
    for (step, tenths) in (5..=10).rev().enumerate() {
        let from = 40 + 30 * u64::try_from(step).expect("six steps");
        run(&mut share, from, from + 30, &mut totals, tenths);
    }
    assert_eq!(state(&share, totals), Some(Counts::Short));
}

#[test]
fn nothing_is_compared_before_a_share_is_learnt() {
    let mut share = Share::default();
    let mut totals = Totals { work: 0, requests: 0, spans: 0, adjusted_milli: 0 };
    run(&mut share, 0, 3, &mut totals, 10);
    assert_eq!(state(&share, totals), None);
}

#[test]
fn little_work_proves_nothing() {
    let (mut share, totals) = learnt();
    share.reopen();
    share.note(Tick(41_000), totals, true, &BOUNDS);
    let little = Totals { work: totals.work + 49, ..totals };
    for second in 42..46 {
        share.note(Tick(second * 1_000), little, true, &BOUNDS);
    }
    assert_eq!(state(&share, little), Some(Counts::Unproven));
}

#[test]
fn a_sampled_share_has_room_for_chance() {
    let learnt = Learnt { ratio: 0.1, weight: 1.0, source: Source::Requests };
    let counts = |requests| weigh(&learnt, 1_000, &said(requests, 1), &BOUNDS).counts;
    assert_eq!(counts(60), Counts::Agree);
    assert_eq!(counts(40), Counts::Short);
}

/// Server spans that stand for `weight` requests each.
const fn said(requests: u64, weight: u64) -> Totals {
    Totals { work: 0, requests, spans: requests, adjusted_milli: requests * weight * 1_000 }
}

#[test]
fn a_sampler_that_is_turned_down_and_says_so_is_no_loss() {
    let (mut share, mut totals) = learnt();
    // One request in ten is kept from here on, and stands for ten.
    for second in 40..80 {
        totals.work += 20;
        totals.requests += 2;
        totals.adjusted_milli += 20_000;
        share.note(Tick(second * 1_000), totals, true, &BOUNDS);
    }
    assert_eq!(state(&share, totals), Some(Counts::Agree));
}

#[test]
fn a_loss_behind_a_sampler_that_says_its_share_is_found() {
    let learnt = Learnt { ratio: 1.0, weight: 10.0, source: Source::Requests };
    assert_eq!(weigh(&learnt, 2_000, &said(200, 10), &BOUNDS).counts, Counts::Agree);
    assert_eq!(weigh(&learnt, 2_000, &said(60, 10), &BOUNDS).counts, Counts::Short);
}

#[test]
fn spans_that_stand_for_more_requests_than_were_done_prove_nothing() {
    let learnt = Learnt { ratio: 1.0, weight: 1_000.0, source: Source::Requests };
    assert_eq!(weigh(&learnt, 500, &said(0, 1), &BOUNDS).counts, Counts::Unproven);
}

proptest::proptest! {
    #[test]
    fn more_records_never_make_counts_short(
        requests in 50_u64..100_000,
        kept in 0_u64..100_000,
        more in 0_u64..1_000,
        ratio in 0.01_f64..3.0,
    ) {
        let learnt = Learnt { ratio, weight: 1.0, source: Source::Requests };
        let counts = |kept| weigh(&learnt, requests, &said(kept, 1), &BOUNDS).counts;
        if counts(kept) != Counts::Short {
            proptest::prop_assert_ne!(counts(kept + more), Counts::Short);
        }
    }
}
