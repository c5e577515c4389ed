//! The bounds on detection time, at their edges.

use super::*;

fn bounds(interval_ms: u64) -> BeatBounds {
    BeatBounds::new(interval_ms, &WatchConfig::default())
}

fn steady(interval_ms: u64, beats: u64) -> Detector {
    let mut detector = Detector::new(Tick(0));
    for beat in 1..=beats {
        detector.beat(Tick(beat * interval_ms), 1, &bounds(interval_ms));
    }
    detector
}

#[test]
fn ten_beats_a_second_are_suspected_within_550_ms() {
    let after = steady(100, 200).suspect_after_ms(&bounds(100));
    assert!((500..=550).contains(&after), "{after}");
}

#[test]
fn one_beat_a_second_is_suspected_within_two_periods_and_100_ms() {
    let after = steady(1_000, 200).suspect_after_ms(&bounds(1_000));
    assert!((2_050..=2_100).contains(&after), "{after}");
}

#[test]
fn conviction_comes_after_suspicion_and_within_2200_ms_at_ten_a_second() {
    for interval in [10, 100, 1_000, 10_000] {
        let bounds = bounds(interval);
        assert!(bounds.convict_ms > bounds.suspect_max_ms);
    }
    assert!(bounds(100).convict_ms <= 2_200);
}

#[test]
fn a_beat_that_came_early_puts_suspicion_off_but_not_past_the_bound() {
    let interval = bounds(100);
    let mut detector = steady(100, 200);
    detector.beat(Tick(20_070), 1, &interval);
    let after = detector.suspect_after_ms(&interval);
    assert!((525..=550).contains(&after), "{after}");
    detector.beat(Tick(20_071), 1, &interval);
    assert_eq!(detector.suspect_after_ms(&interval), 550);
}

#[test]
fn a_lost_beat_is_no_lateness() {
    let interval = bounds(100);
    let mut detector = steady(100, 200);
    detector.beat(Tick(20_300), 3, &interval);
    assert_eq!(detector.suspect_after_ms(&interval), 500);
    assert_eq!(detector.interval_ms(), Some(100));
}

#[test]
fn the_outage_is_not_learnt() {
    let interval = bounds(100);
    let mut detector = steady(100, 200);
    detector.beat(Tick(80_000), 1, &interval);
    assert_eq!(detector.interval_ms(), Some(100));
    assert_eq!(detector.suspect_after_ms(&interval), 500);
}

#[test]
fn an_interval_is_unknown_until_two_beats_were_heard() {
    assert_eq!(Detector::new(Tick(7)).interval_ms(), None);
}
