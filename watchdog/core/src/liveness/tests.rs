//! Contracts that can be kept, those that cannot, and what is said of them.

use super::*;

const MONTH_MS: u64 = 30 * 86_400_000;
const LOCAL: Way = Way { loss: 0.001, jitter_ms: 1.0 };

fn contract(detect_ms: u64) -> LivenessContract {
    LivenessContract { detect_ms, mistakes_apart_ms: MONTH_MS, mistake_ms_max: 2_000 }
}

fn planned(detect_ms: u64, interval_ms: Option<u64>, way: Way) -> Result<Plan, Unkept> {
    plan(&contract(detect_ms), interval_ms, way, &WatchConfig::default())
}

#[test]
fn a_contract_becomes_an_interval_and_a_margin_that_fill_the_detection_time() {
    let plan = planned(1_000, None, LOCAL).expect("it can be kept");
    assert!((100..450).contains(&plan.interval_ms), "{plan:?}");
    let slack_ms = WatchConfig::default().slack_ms;
    assert_eq!(plan.interval_ms + plan.margin_ms + slack_ms, 1_000);
}

#[test]
fn a_worse_way_asks_for_faster_beats() {
    let intervals = [0.001, 0.01, 0.05, 0.1, 0.2].map(|loss| {
        planned(5_000, None, Way { loss, ..LOCAL }).expect("it can be kept").interval_ms
    });
    assert!(intervals.is_sorted_by(|a, b| a > b), "{intervals:?}");
    let rough = Way { jitter_ms: 100.0, ..LOCAL };
    let calm = planned(5_000, None, LOCAL).expect("it can be kept");
    assert!(planned(5_000, None, rough).expect("it can be kept").interval_ms < calm.interval_ms);
}

#[test]
fn an_interval_that_is_too_slow_is_refused_with_one_that_would_do() {
    let refused = planned(1_000, Some(800), LOCAL).expect_err("one beat within a second");
    let Unkept::TooSlow { interval_ms: 800, wanted_ms } = refused else {
        panic!("{refused:?}");
    };
    assert!(planned(1_000, Some(wanted_ms), LOCAL).is_ok());
    assert!(planned(1_000, Some(wanted_ms / 2), LOCAL).is_ok());
    assert!(refused.to_string().contains("set beat_interval_ms to"), "{refused}");
}

#[test]
fn a_detection_time_below_the_watchdogs_own_turn_is_refused() {
    let refused = planned(100, None, LOCAL);
    assert_eq!(refused, Err(Unkept::TooSoon { least_ms: 120 }));
}

#[test]
fn a_contract_that_no_interval_keeps_names_the_detection_time_that_can_be_kept() {
    let rough = Way { loss: 0.3, jitter_ms: 200.0 };
    let refused = planned(500, None, rough).expect_err("jitter is half of it");
    let Unkept::TooSure { least_ms: Some(least_ms), .. } = refused else {
        panic!("{refused:?}");
    };
    assert!(planned(least_ms, None, rough).is_ok(), "{refused}");
    assert!(planned(least_ms - 20, None, rough).is_err(), "{refused}");
}

#[test]
fn a_mistake_may_not_last_longer_than_the_contract_says() {
    let short = LivenessContract { mistake_ms_max: 100, ..contract(5_000) };
    let plan = plan(&short, None, LOCAL, &WatchConfig::default()).expect("faster beats do");
    assert!(plan.interval_ms <= 100, "{plan:?}");
}

#[test]
fn suspicion_grows_with_every_beat_that_is_missed_and_with_nothing_else() {
    let way = Way { loss: 0.01, jitter_ms: 0.0 };
    assert!(suspicion(0, 100, way).abs() < 1e-9);
    assert!(suspicion(99, 100, way).abs() < 1e-9);
    for missed in 1..=5_u32 {
        let level = suspicion(u64::from(missed) * 100 + 50, 100, way);
        assert!((level - 2.0 * f64::from(missed)).abs() < 1e-9, "{level}");
    }
    let rough = suspicion(150, 100, Way { jitter_ms: 100.0, ..way });
    assert!(rough > 0.0 && rough < suspicion(150, 100, way), "a rough way excuses more: {rough}");
    assert!(suspicion(u64::MAX, 1, way).is_finite());
}
