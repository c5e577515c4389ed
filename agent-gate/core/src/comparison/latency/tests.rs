//! What durations show, and that they show it as rarely as promised where there is nothing.

use super::*;

const THRESHOLD: f64 = 4.605_170_185_988_092;
const TOLERANCE: f64 = 1.5;

/// A few random numbers that are the same everywhere (Steele et al., "SplitMix").
struct Random(u64);

impl Random {
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A duration in milliseconds whose logarithm is bell-shaped around that of `median_ms`.
    fn duration_ms(&mut self, median_ms: f64) -> f64 {
        let bell: f64 = (0..12).map(|_| self.share()).sum::<f64>() - 6.0;
        median_ms * (0.6 * bell).exp()
    }
}

fn add(to: &mut Durations, ms: f64) {
    to[DURATION_BOUNDS_MS.partition_point(|bound| (*bound as f64) < ms)] += 1;
}

/// Runs both arms side by side until the candidate is called slower; `None`: never in `looks`.
fn looks_until_slower(random: &mut Random, slower: f64, part: f64, looks: u32) -> Option<u32> {
    let (mut new, mut old) = (Durations::default(), Durations::default());
    (1..=looks).find(|_| {
        for _ in 0..20 {
            let hit = random.share() < part;
            add(&mut new, random.duration_ms(if hit { 40.0 * slower } else { 40.0 }));
            add(&mut old, random.duration_ms(40.0));
        }
        compare(&new, &old, TOLERANCE, THRESHOLD).is_some_and(|told| told.evidence >= THRESHOLD)
    })
}

#[test]
fn the_same_durations_are_called_slower_less_often_than_promised_over_all_looks() {
    let mut random = Random(1);
    let wrong = (0..1_000).filter(|_| looks_until_slower(&mut random, 1.0, 1.0, 200).is_some());
    let wrong = wrong.count();
    assert!(wrong <= 10, "{wrong} of 1 000 at a level of 1 %");
}

#[test]
fn twice_as_slow_is_found_in_a_few_hundred_requests_and_a_slow_tail_in_more() {
    let mut random = Random(2);
    let mut median = |slower, part, looks| {
        let runs = (0..101).map(|_| {
            looks_until_slower(&mut random, slower, part, looks).expect("it is found") * 20
        });
        let mut runs: Vec<_> = runs.collect();
        runs.sort_unstable();
        (runs[50], runs[96])
    };
    let (all, most) = median(2.0, 1.0, 500);
    println!("all twice as slow: {all} requests, 95 % within {most}");
    assert!(all <= 200 && most <= 500, "all requests twice as slow: {all}, {most}");
    let (tail, most) = median(10.0, 0.02, 2_000);
    println!("a fiftieth ten times as slow: {tail} requests, 95 % within {most}");
    assert!(tail <= 3_000 && most <= 8_000, "a fiftieth ten times as slow: {tail}, {most}");
}

#[test]
fn what_is_tolerated_and_what_is_faster_is_not_called_slower() {
    let mut random = Random(3);
    for _ in 0..20 {
        assert_eq!(looks_until_slower(&mut random, 1.05, 1.0, 500), None);
        assert_eq!(looks_until_slower(&mut random, 0.5, 1.0, 500), None);
    }
}

#[test]
fn the_bound_is_told_at_which_the_difference_is_clearest() {
    let (mut new, mut old) = (Durations::default(), Durations::default());
    for _ in 0..1_000 {
        add(&mut old, 3.0);
        add(&mut new, 3.0);
    }
    (0..60).for_each(|_| add(&mut new, 1_500.0));
    let told = compare(&new, &old, TOLERANCE, THRESHOLD).expect("both told");
    assert!(told.evidence >= THRESHOLD);
    assert_eq!((told.bound_ms, told.candidate, told.baseline), (5, [60, 1_060], [0, 1_000]));
    assert!(!told.no_time);
}

#[test]
fn durations_that_nobody_told_are_no_evidence() {
    let mut some = Durations::default();
    add(&mut some, 3.0);
    assert_eq!(compare(&Durations::default(), &some, TOLERANCE, THRESHOLD), None);
    assert_eq!(compare(&some, &Durations::default(), TOLERANCE, THRESHOLD), None);
}

#[test]
fn requests_that_take_no_time_all_at_once_are_better_than_possible() {
    let (mut new, mut old) = (Durations::default(), Durations::default());
    (0..500).for_each(|_| add(&mut old, 30.0));
    (0..100).for_each(|_| add(&mut new, 0.0));
    assert!(compare(&new, &old, TOLERANCE, THRESHOLD).expect("both told").no_time);
    // What was as quick before is no miracle, and neither is what a cache answers in part.
    assert!(!compare(&new, &new, TOLERANCE, THRESHOLD).expect("both told").no_time);
    (0..30).for_each(|_| add(&mut new, 30.0));
    assert!(!compare(&new, &old, TOLERANCE, THRESHOLD).expect("both told").no_time);
}
