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
        share.note(Tick(second * 1_000), *totals, true, &BOUNDS);
    }
}

fn learnt() -> (Share, Totals) {
    let mut share = Share::default();
    let mut totals = Totals { work: 0, requests: 0, spans: 0 };
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
    let mut totals = Totals { work: 0, requests: 0, spans: 0 };
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
    let learnt = Learnt { ratio: 0.1, source: Source::Requests };
    assert_eq!(weigh(&learnt, 1_000, 60, &BOUNDS).counts, Counts::Agree);
    assert_eq!(weigh(&learnt, 1_000, 40, &BOUNDS).counts, Counts::Short);
}
