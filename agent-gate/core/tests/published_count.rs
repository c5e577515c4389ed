//! The count test against its published power table (`data/sequential.json`, with its source).
//!
//! Each row is simulated with a fixed seed: events fall on two arms of equal exposure, and the
//! test looks after every one. The table was made with other seeds, so medians agree within the
//! error of 400 runs, and the rows without chance agree exactly.

use agent_gate_core::comparison::count::evidence;
use serde_json::Value;

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): seeds give the same runs on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// True with this probability.
    fn chance(&mut self, probability: f64) -> bool {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64 <= probability
    }
}

fn table() -> Value {
    let text = include_str!("data/sequential.json");
    serde_json::from_str(text).expect("the published table is JSON")
}

/// Events until the test is sure, looking after each; `None` if it is not within `events_max`.
fn events_until_sure(random: &mut Random, ratio: f64, alpha: f64, events_max: u64) -> Option<u64> {
    let (mut candidate, mut baseline) = (0, 0);
    let threshold = (1.0 / alpha).ln();
    for events in 1..=events_max {
        if ratio > 0.0 && random.chance(ratio / (1.0 + ratio)) {
            candidate += 1;
        } else {
            baseline += 1;
        }
        if evidence(candidate, baseline, 0.5) >= threshold {
            return Some(events);
        }
    }
    None
}

#[test]
fn the_power_is_the_published_one() {
    let table = table();
    let rows = table["count_test_power_equal_traffic"]["rows"].as_array().expect("rows");
    let mut compared = 0;
    for row in rows {
        let cell = |index: usize| row[index].as_f64().expect("a number");
        let (ratio, alpha, prior, median, p95) = (cell(0), cell(1), cell(2), cell(3), cell(4));
        // The product's prior is Beta(1, 1); rows of other priors describe another test.
        if (prior - 1.0).abs() > f64::EPSILON {
            continue;
        }
        let runs = if (1.0..1.15).contains(&ratio) { 60 } else { 400 };
        let mut random = Random(7);
        let mut events: Vec<u64> = (0..runs)
            .map(|_| events_until_sure(&mut random, ratio, alpha, 60_000).expect("it gets sure"))
            .collect();
        events.sort_unstable();
        let ours = [events[events.len() / 2] as f64, events[events.len() * 95 / 100] as f64];
        if ratio == 0.0 {
            assert_eq!(ours, [median, p95], "a silent arm, alpha {alpha}");
        } else {
            assert!((ours[0] / median - 1.0).abs() < 0.25, "{row}: median {}", ours[0]);
            assert!((ours[1] / p95 - 1.0).abs() < 0.35, "{row}: p95 {}", ours[1]);
        }
        compared += 1;
    }
    assert_eq!(compared, 8, "all rows of the product's prior");
}

#[test]
fn a_healthy_pair_is_hardly_ever_called_different() {
    // At every one of 20 000 looks, with a fixed share and with a share that is only estimated
    // from the traffic so far: the published rate is 0.6 %, the guarantee 1 %.
    let mut random = Random(11);
    let runs = 200;
    let alarms =
        (0..runs).filter(|_| events_until_sure(&mut random, 1.0, 0.01, 20_000).is_some()).count();
    assert!(alarms <= 5, "{alarms} of {runs} healthy pairs were called different");
}

#[test]
fn a_healthy_change_after_its_baseline_is_hardly_ever_called_worse() {
    // Before and after: the baseline is complete, the candidate's exposure grows.
    let mut random = Random(13);
    let runs = 400;
    let threshold = 100.0_f64.ln();
    let mut alarms = 0;
    for _ in 0..runs {
        let errors_of = |random: &mut Random, requests: u64| {
            (0..requests).filter(|_| random.chance(0.02)).count() as u64
        };
        let before = errors_of(&mut random, 5_000);
        let mut after = 0;
        let alarmed = (1..=5_000_u64).any(|requests| {
            after += u64::from(random.chance(0.02));
            let share = requests as f64 / (requests + 5_000) as f64;
            let worse = after * 5_000 > before * requests;
            worse && evidence(after, before, share) >= threshold
        });
        alarms += u32::from(alarmed);
    }
    assert!(alarms <= 8, "{alarms} of {runs} healthy changes were called worse");
}

#[test]
fn the_evidence_is_that_of_the_closed_form() {
    // BF = B(1+n1, 1+n0) / (1/2)^(n1+n0): for n1 = 0, BF = 2^n / (n + 1).
    for n in 0..40_u64 {
        let closed = n as f64 * 2.0_f64.ln() - ((n + 1) as f64).ln();
        assert!((evidence(0, n, 0.5) - closed).abs() < 1e-12 * (1.0 + closed.abs()));
        assert_eq!(evidence(n, 0, 0.5), evidence(0, n, 0.5), "the arms are alike");
    }
    assert_eq!(evidence(3, 4, 0.0), 0.0, "no exposure, no evidence");
    assert_eq!(evidence(3, 4, 1.0), 0.0);
}
