//! What is kept can be explained, made again and checked.

use agent_gate::Role;
use agent_gate::store::AuditRow;
use agent_gate::store::chain::{Head, broken_at};
use agent_gate_core::gate::decision::DecisionRecord;
use serde_json::json;

use crate::stand::{Stand, eventually, id};
use crate::watchdog::Watchdog;

#[tokio::test]
async fn every_decision_is_made_again_from_its_record_byte_for_byte() {
    let stand = Stand::start().await;
    let watchdog = Watchdog::start(&stand);
    stand.request("c-0").await;
    let path = "/v1/rollouts/r-000001/abort";
    stand.post(Role::Agent, path, json!({"reason": "only to see it held"})).await;
    let applied = stand.applied("c-1").await;
    watchdog.switches("r2");
    stand.reaches(&id(&applied), "confirmed").await;

    let (_, list) = stand.get(Some(Role::Viewer), "/v1/decisions").await;
    let ids: Vec<&str> = list["items"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|item| item["id"].as_str())
        .collect();
    assert!(ids.len() >= 4, "{list}");
    let mut kinds = std::collections::BTreeSet::new();
    for id in ids {
        let (_, decision) = stand.get(Some(Role::Viewer), &format!("/v1/decisions/{id}")).await;
        let record = decision["record"].to_string();
        let record: DecisionRecord = serde_json::from_str(&record).expect("a record");
        let (kept, again) = (json!(record.decision), json!(record.replay()));
        assert_eq!(kept.to_string(), again.to_string(), "{id}");
        kinds.insert(decision["decision"].to_string());
    }
    assert!(kinds.len() >= 2, "the test saw only {kinds:?}");
}

#[tokio::test]
async fn lists_go_on_where_the_page_before_ended() {
    let stand = Stand::start().await;
    for change in ["c-1", "c-2", "c-3"] {
        stand.request(change).await;
    }
    let mut seen = Vec::new();
    let mut path = "/v1/rollouts?limit=2".to_owned();
    loop {
        let (status, page) = stand.get(Some(Role::Viewer), &path).await;
        assert_eq!(status, 200, "{page}");
        let items = page["items"].as_array().expect("a list");
        seen.extend(items.iter().filter_map(|item| item["change_id"].as_str().map(str::to_owned)));
        match page["next"].as_str() {
            Some(next) => path = format!("/v1/rollouts?limit=2&before={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["c-3", "c-2", "c-1"]);
    let (_, held) = stand.get(Some(Role::Viewer), "/v1/rollouts?state=held").await;
    assert_eq!(held["items"].as_array().map(Vec::len), Some(3));
    let (_, none) = stand.get(Some(Role::Viewer), "/v1/rollouts?service=other").await;
    assert_eq!(none["items"].as_array().map(Vec::len), Some(0));
}

#[tokio::test]
async fn the_audit_log_says_who_did_what_and_its_chain_holds() {
    let stand = Stand::start().await;
    stand.request("c-1").await;
    stand.post(Role::Agent, "/v1/freezes", json!({"scope": "fleet", "reason": "stop"})).await;
    let thaw = json!({"reason": "fine"});
    stand.post(Role::Operator, "/v1/freezes/f-000001/thaw", thaw).await;
    let (_, log) = stand.get(Some(Role::Viewer), "/v1/audit").await;
    let items = log["items"].as_array().expect("a list");
    let acts: Vec<(&str, &str, &str)> = items
        .iter()
        .map(|item| {
            let text = |key: &str| item[key].as_str().expect("a text");
            (text("who"), text("what"), text("subject"))
        })
        .collect();
    for act in [
        ("agent:agent", "request", "r-000001"),
        ("agent:agent", "freeze", "f-000001"),
        ("operator:operator", "thaw", "f-000001"),
    ] {
        assert!(acts.contains(&act), "{act:?} is not in {acts:?}");
    }
    let rows: Vec<AuditRow> = items
        .iter()
        .map(|item| AuditRow {
            seq: item["seq"].as_u64().expect("a number"),
            record: item["record"].as_str().expect("a text").to_owned(),
            prev: hex::decode(item["prev"].as_str().expect("hex")).expect("hex"),
            hash: hex::decode(item["hash"].as_str().expect("hex")).expect("hex"),
        })
        .collect();
    assert_eq!(broken_at(Head::START, &rows), None);
    let path = "/v1/audit?subject=f-000001";
    let (_, about) = stand.get(Some(Role::Viewer), path).await;
    assert!(about["items"].as_array().is_some_and(|items| items.len() >= 2), "{about}");
}

#[tokio::test]
async fn the_metrics_page_shows_decisions_freezes_and_the_latch() {
    let stand = Stand::start().await;
    stand.request("c-1").await;
    stand.post(Role::Agent, "/v1/freezes", json!({"scope": "fleet", "reason": "stop"})).await;
    let client = reqwest::Client::new();
    eventually("the page shows it", || async {
        let response = client.get(format!("{}/metrics", stand.url)).send().await.ok()?;
        let kind = response.headers()["content-type"].to_str().ok()?.to_owned();
        assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
        let page = response.text().await.ok()?;
        let shown = [
            "holdpoint_gate_decisions_total{decision=\"hold\",reason=",
            "holdpoint_gate_freezes_in_force{scope=\"fleet\",cause=\"asked\"} 1",
            "holdpoint_gate_rollouts{state=\"held\"} 0",
            "holdpoint_gate_latch_shut 1",
            "holdpoint_gate_decision_duration_seconds_count 1",
            "holdpoint_gate_commit_duration_seconds_count",
        ];
        shown.iter().all(|line| page.contains(line)).then_some(())
    })
    .await;
}
