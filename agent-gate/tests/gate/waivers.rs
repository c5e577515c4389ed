//! Planned silence over the API: who may plan it, what it does, and that a restart keeps it.

use agent_gate::Role;
use serde_json::{Value, json};
use watchdog_core::verdict::VerdictKind;

use crate::stand::{SERVICE, Stand, code, eventually};
use crate::watchdog::Watchdog;

fn body() -> Value {
    json!({"scope": format!("service={SERVICE}"), "reason": "moving house", "span_ms": 600_000})
}

#[tokio::test]
async fn a_person_plans_silence_that_holds_rollouts_and_outlives_a_restart_until_it_is_ended() {
    let mut stand = Stand::start().await;
    let watchdog = Watchdog::start(&stand);
    let (status, waiver) = stand.post(Role::Operator, "/v1/waivers", body()).await;
    assert_eq!((status, waiver["by"].as_str()), (201, Some("operator")), "{waiver}");
    watchdog.sees(VerdictKind::TelemetryLost);
    let (_, answer) = stand.request("c-1").await;
    let codes = answer["reasons"].as_array().expect("reasons").clone();
    assert!(codes.iter().any(|reason| reason["code"] == "waived"), "{answer}");
    eventually("the word is taken back to unknown", || async {
        let (_, list) = stand.get(Some(Role::Viewer), "/v1/services").await;
        (list["items"][0]["waived_by"] == waiver["id"]).then_some(())
    })
    .await;
    assert!(stand.freezes().await.is_empty());

    stand.restart().await;
    let (_, list) = stand.get(Some(Role::Viewer), "/v1/waivers").await;
    assert_eq!(list["items"], json!([waiver]));
    let path = format!("/v1/waivers/{}/end", waiver["id"].as_str().expect("an id"));
    let (status, ended) = stand.post(Role::Operator, &path, json!({"reason": "moved"})).await;
    assert_eq!((status, ended["ended"]["by"].as_str()), (200, Some("operator")), "{ended}");
    let (_, list) = stand.get(Some(Role::Viewer), "/v1/waivers").await;
    assert_eq!(list["items"], json!([]));
    let (_, audit) = stand.get(Some(Role::Viewer), "/v1/audit?limit=1000").await;
    let whats: Vec<&str> = audit["items"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|e| e["what"].as_str())
        .collect();
    assert!(whats.contains(&"waive") && whats.contains(&"end_waiver"), "{whats:?}");
}

#[tokio::test]
async fn no_agent_waives_and_nobody_waives_what_is_forged_or_without_an_end() {
    let stand = Stand::start().await;
    for role in [Role::Agent, Role::Watchdog, Role::Viewer] {
        assert_eq!(stand.post(role, "/v1/waivers", body()).await.0, 403, "{role}");
    }
    for (key, value) in [
        ("verdicts", json!(["forged"])),
        ("verdicts", json!([])),
        ("span_ms", json!(0)),
        ("span_ms", json!(u64::MAX)),
        ("scope", json!("agent=improver")),
    ] {
        let mut asked = body();
        asked[key] = value;
        let (status, refused) = stand.post(Role::Operator, "/v1/waivers", asked).await;
        assert_eq!((status, refused["error"]["code"].as_str()), (409, Some("not_waivable")));
    }
    let path = "/v1/waivers/w-000009/end";
    let (status, refused) = stand.post(Role::Operator, path, json!({"reason": "x"})).await;
    assert_eq!((status, refused["error"]["code"].as_str()), (404, Some("no_such_waiver")));
    let (_, answer) = stand.request("c-1").await;
    assert_ne!(code(&answer), "waived");
}
