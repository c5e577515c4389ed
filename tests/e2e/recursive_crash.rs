//! The story the product is about: a change blinds its service while the service goes on working.
//!
//! The line stops within two periods and 250 ms of the last good arrival, the change goes back, the
//! return of the signal proves it, and the agent is told no until a person thaws.

use std::time::Duration;

use serde_json::json;

use super::lateness::Lateness;
use super::stack::{Stack, wait};

/// The period of the services' beats, as the configuration of the stack has it.
const PERIOD: Duration = Duration::from_millis(500);

const POLICY: &str = "dwell_ms = 1000\nbake_ms = 60000\npermit_ttl_ms = 3000\nevidence_min = 20\n\
                      gap_max_ms = 20000\nrevert_deadline_ms = 30000";

#[test]
fn a_change_that_blinds_its_service_is_frozen_reverted_and_not_repeated() {
    let stack = Stack::start(POLICY);
    let a = stack.service("a", "v1");
    let b = stack.service("b", "v1");
    stack.wait_verdict("a", "live", Duration::from_secs(15));
    stack.wait_verdict("b", "live", Duration::from_secs(15));

    let rollout = stack.bake(&a, "a", "v2");
    assert_eq!(stack.freezes(), Vec::<serde_json::Value>::new());

    let lateness = Lateness::watch();
    a.let_telemetry(false);
    wait("the line is frozen", Duration::from_secs(10), || {
        (!stack.freezes().is_empty()).then_some(())
    });
    let freeze = stack.freezes().remove(0);
    // In force is in memory: no permit leaves from here on. The list shows it once it is on disk.
    let frozen_ms = freeze["at_ms"].as_u64().expect("a time");
    let last_ms = a.last_post_ms().expect("telemetry arrived before");
    let took = Duration::from_millis(frozen_ms.saturating_sub(last_ms));
    let bound = 2 * PERIOD + Duration::from_millis(250);
    let allowance = lateness.allowance();
    println!("frozen {took:?} after the last good arrival; the machine was late by {allowance:?}");
    assert!(took <= bound + allowance, "frozen only {took:?} after\n{}", stack.log());
    assert_eq!((&freeze["scope"], &freeze["cause"]), (&json!("fleet"), &json!("telemetry_lost")));
    assert_eq!(stack.verdict("a").unwrap()["verdict"], "telemetry_lost");

    let same = stack.request("a", "v2", "a-v2", &[]);
    assert_eq!(same.code, Some(1), "{same:?}");
    let codes = same.json()["reasons"].to_string();
    assert!(codes.contains("reverting") && codes.contains("telemetry_lost"), "{codes}");
    let repeated = stack.request("b", "v2", "b-v2", &[]);
    assert_eq!(repeated.code, Some(1), "the same change elsewhere is denied: {repeated:?}");
    assert!(repeated.json()["reasons"].to_string().contains("frozen"), "{repeated:?}");

    wait("the revert ran", Duration::from_secs(10), || stack.reverted("a"));
    assert_eq!(stack.reverted("a").as_deref(), Some("v1"));
    assert_eq!(stack.state(&rollout).as_deref(), Some("reverting"), "not proven yet");
    a.run_revision("v1");
    a.let_telemetry(true);
    stack.wait_state(&rollout, "reverted", Duration::from_secs(20));

    let id = freeze["id"].as_str().unwrap();
    assert_eq!(stack.freezes().len(), 1, "the signal's return does not thaw");
    let path = format!("/v1/freezes/{id}/thaw");
    let by_agent = stack.gate("agent", "POST", &path, &json!({"reason": "it is fine"})).unwrap();
    assert_eq!(by_agent.status, 403, "{by_agent:?}");
    stack.wait_verdict("a", "live", Duration::from_secs(15));
    let thawed = stack.cli(&["thaw", id, "--reason", "reverted, and seen again"]);
    assert_eq!(thawed.code, Some(0), "{thawed:?}");
    let again = stack.request("b", "v3", "b-v3", &["--wait", "20s"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    drop(b);
}

#[test]
fn an_honest_change_is_confirmed_and_its_decisions_replay() {
    let policy = POLICY.replace("bake_ms = 60000", "bake_ms = 3000");
    let stack = Stack::start(&policy);
    let a = stack.service("a", "v1");
    stack.wait_verdict("a", "live", Duration::from_secs(15));
    let rollout = stack.bake(&a, "a", "v2");
    stack.wait_state(&rollout, "confirmed", Duration::from_secs(30));

    let list = stack.gate("viewer", "GET", "/v1/decisions", &serde_json::Value::Null).unwrap();
    let ids: Vec<String> = list.json()["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|item| item["id"].as_str().expect("an id").to_owned())
        .collect();
    assert!(ids.len() >= 2, "{list:?}");
    for id in ids {
        let replayed = stack.cli(&["replay", &id]);
        assert_eq!(replayed.code, Some(0), "{replayed:?}");
    }
    let explained = stack.cli(&["explain", &rollout]);
    assert_eq!(explained.json()["state"], "confirmed", "{explained:?}");
}
