//! Alerts can be trusted: their rules fire and do not fire as told, and read only what exists.
//!
//! An alert on a metric that nobody exports never fires, and its silence looks like calm.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::http;
use crate::stack::{Stack, wait};

/// A backend, so that the counters of an exporter exist; nothing is ever sent to it in time.
const POLICY: &str = "dwell_ms = 500\n\
    [[collector.exporter]]\nendpoint = \"http://127.0.0.1:9\"\n";

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(file(name)).expect("the rules are text")
}

/// What stands behind `key` in the lines of `text`.
fn values<'t>(text: &'t str, key: &str) -> BTreeSet<&'t str> {
    let after = text.lines().filter_map(|line| line.split_once(key));
    let word = |rest: &'t str| rest.split(|c: char| !c.is_ascii_alphanumeric()).next();
    after.filter_map(|(_, rest)| word(rest)).collect()
}

/// The metrics of Holdpoint that `text` names.
fn metrics(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("holdpoint_")).collect()
}

#[test]
fn promtool_finds_that_the_rules_fire_and_do_not() {
    for (verb, name) in [("check", "alerts.yml"), ("test", "alerts_test.yml")] {
        let Ok(ended) = Command::new("promtool").args([verb, "rules"]).arg(file(name)).output()
        else {
            return crate::skip("promtool", "check the alerts and run their tests");
        };
        assert!(
            ended.status.success(),
            "{verb} {name}: {}{}",
            String::from_utf8_lossy(&ended.stdout),
            String::from_utf8_lossy(&ended.stderr)
        );
    }
}

#[test]
fn every_alert_is_shown_to_fire_and_not_to_fire() {
    let (rules, tests) = (text("alerts.yml"), text("alerts_test.yml"));
    let alerts = values(&rules, "- alert: ");
    assert!(alerts.len() >= 12, "the rules are found: {alerts:?}");
    assert_eq!(values(&tests, "ALERTS{alertname=\""), alerts, "each fires in a test");
    let mut quiet = values(&tests, ", alertname: ");
    assert!(quiet.insert("Watchdog"), "what always fires is never quiet");
    assert_eq!(quiet, alerts, "each is quiet in a test");
}

#[test]
fn every_metric_of_an_alert_is_exported() {
    let stack = Stack::start(POLICY);
    let frozen = stack.cli(&["freeze", "--scope", "service=d", "--reason", "to be counted"]);
    assert_eq!(frozen.code, Some(0), "{frozen:?}");
    let rules = text("alerts.yml");
    let mut missing = metrics(&rules);
    assert!(missing.len() >= 10, "the metrics are found: {missing:?}");
    wait(&format!("all are exported: {missing:?}"), Duration::from_secs(15), || {
        for (role, key) in [("collector", "admin"), ("watchdog", "listen"), ("gate", "listen")] {
            let page = http::get(stack.address(role, key)?, "/metrics")?.body;
            let exported = metrics(&page);
            missing.retain(|name| !exported.contains(name));
        }
        missing.is_empty().then_some(())
    });
}
