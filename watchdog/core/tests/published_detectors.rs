//! Our detectors' formulas give the numbers that were published; sources in `data/README.md`.

use serde_json::Value;
use watchdog_core::detector::accrual::{Intervals, Normal};
use watchdog_core::detector::chen::{Contract, Delay, Link, Setting, configure, quality};

fn published() -> Value {
    serde_json::from_str(include_str!("data/detectors.json")).expect("the file is JSON")
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key} is a number in {value}"))
}

fn rows(key: &str) -> Vec<Value> {
    let rows = published()[key].as_array().cloned().expect("a list");
    assert!(!rows.is_empty(), "{key}");
    rows
}

/// Agrees to so many of the digits that were printed.
fn assert_close(ours: f64, theirs: f64, relative: f64) {
    let off = (ours - theirs).abs();
    assert!(off <= relative * theirs.abs().max(1e-9), "{ours} is not {theirs}");
}

#[test]
fn the_logistic_phi_is_akkas() {
    for row in rows("akka_phi_logistic") {
        let normal = Normal { mean: number(&row, "mean"), deviation: number(&row, "sd") };
        let phi = normal.phi(number(&row, "timeDiff"));
        assert!((phi - number(&row, "phi")).abs() < 1e-5, "{row}: {phi}");
    }
}

#[test]
fn the_logistic_distribution_is_akkas() {
    let normal = Normal { mean: 0.0, deviation: 10.0 };
    for row in rows("akka_phi_cdf_mean0_sd10") {
        let cdf = normal.cdf(number(&row, "t"));
        assert!((cdf - number(&row, "cdf")).abs() < 1e-6, "{row}: {cdf}");
    }
}

#[test]
fn the_window_of_intervals_is_akkas() {
    let published = published();
    let history = &published["akka_history"];
    let mut intervals = Intervals::new(20);
    for sample in history["samples"].as_array().expect("a list") {
        intervals.push(sample.as_f64().expect("a number"));
    }
    assert_eq!(intervals.mean(), history["mean"].as_f64());
    assert_eq!(intervals.variance(), history["variance"].as_f64());
    let mut capped = Intervals::new(3);
    [100.0, 110.0, 90.0, 140.0].into_iter().for_each(|interval| capped.push(interval));
    assert_close(capped.mean().expect("three"), 113.333_333, 1e-6);
    assert_close(capped.variance().expect("three"), 422.222_222, 1e-6);
}

#[test]
fn the_exponential_phi_is_cassandras() {
    let published = published();
    let cassandra = &published["cassandra_old_base10"];
    let arrivals: Vec<f64> = cassandra["arrivals_ms"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_f64)
        .collect();
    let mut intervals = Intervals::new(4);
    arrivals.windows(2).for_each(|pair| intervals.push(pair[1] - pair[0]));
    let last = arrivals.last().expect("five arrivals");
    for (at, phi) in cassandra["phi_at"].as_object().expect("a table") {
        let silence = at.parse::<f64>().expect("milliseconds") - last;
        let ours = intervals.phi_exponential(silence).expect("intervals were seen");
        assert_close(ours, phi.as_f64().expect("a number"), 1e-9);
    }
}

#[test]
fn the_smoothed_mean_is_chitchats() {
    let published = published();
    let chitchat = &published["chitchat_additive_smoothing"];
    let mut intervals = Intervals::new(1_000);
    intervals.push(3.0);
    let mean =
        intervals.smoothed_mean(number(chitchat, "prior_mean"), number(chitchat, "prior_weight"));
    assert_close(mean, number(chitchat, "mean"), 1e-12);
    assert_close(1.0 / mean, number(chitchat, "phi_after_1s"), 1e-12);
    assert_close(Intervals::new(4).smoothed_mean(2.0, 5.0), 2.0, 1e-12);
}

fn chen_contract() -> (Contract, f64, f64) {
    let published = published();
    let asked = &published["chen_config"]["req"];
    assert_eq!(asked["TMRL"], "30d");
    let contract = Contract {
        detection_s: number(asked, "TDU"),
        recurrence_s: 30.0 * 86_400.0,
        duration_s: number(asked, "TMU"),
    };
    (contract, number(asked, "pL"), number(asked, "ED"))
}

#[test]
fn the_configurator_gives_chens_interval_and_margin() {
    let (contract, loss, mean_s) = chen_contract();
    let exact = Link { loss, delay: Delay::Exponential { mean_s } };
    let free = Link { loss, delay: Delay::Moments { mean_s, variance_s2: 0.02 } };
    for (link, key) in [(exact, "exact_exponential"), (free, "distribution_free_VD_0_02")] {
        let published = &published()["chen_config"][key];
        let ours = configure(&contract, &link).expect("the contract can be kept");
        assert!((ours.interval_s - number(published, "eta")).abs() < 5e-4, "{key} {ours:?}");
        assert!((ours.margin_s - number(published, "delta")).abs() < 5e-4, "{key} {ours:?}");
    }
}

#[test]
fn a_configured_setting_keeps_the_contract_it_was_made_for() {
    for (detection_s, loss) in [(0.55, 0.001), (0.9, 0.1), (2.1, 0.01), (5.0, 0.2)] {
        let contract =
            Contract { detection_s, recurrence_s: 30.0 * 86_400.0, duration_s: detection_s };
        let link = Link { loss, delay: Delay::Exponential { mean_s: 0.001 } };
        let setting = configure(&contract, &link).expect("the contract can be kept");
        let achieved = quality(&setting, loss, 0.001);
        assert!(achieved.recurrence_s >= contract.recurrence_s * 0.999, "{achieved:?}");
        assert!(achieved.duration_s <= contract.duration_s, "{achieved:?}");
        assert!(setting.interval_s + setting.margin_s <= detection_s + 1e-9);
    }
}

#[test]
fn a_contract_that_no_interval_keeps_is_refused() {
    let contract = Contract { detection_s: 1.0, recurrence_s: 1e9, duration_s: 1.0 };
    let link = Link { loss: 0.5, delay: Delay::Moments { mean_s: 2.0, variance_s2: 1.0 } };
    assert_eq!(configure(&contract, &link), None);
}

#[test]
fn the_quality_of_service_is_chens() {
    for row in rows("nfds_qos") {
        let interval_s = number(&row, "eta");
        let setting = Setting { interval_s, margin_s: number(&row, "TDU") - interval_s };
        let ours = quality(&setting, number(&row, "pL"), number(&row, "ED"));
        assert_close(ours.mistake, number(&row, "pS"), 2e-5);
        assert_close(ours.recurrence_s, number(&row, "ETMR"), 2e-5);
        assert_close(ours.duration_s, number(&row, "ETM"), 2e-4);
        assert!((ours.accuracy - number(&row, "PA")).abs() < 2e-6, "{row}");
    }
}
