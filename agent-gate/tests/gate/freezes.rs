//! Freezes: in force before the answer, lifted by persons only.

use agent_gate::Role;
use serde_json::json;
use watchdog_core::verdict::VerdictKind;

use crate::stand::{Stand, code, id};
use crate::watchdog::Watchdog;

#[tokio::test]
async fn a_freeze_is_durable_when_it_is_answered_and_the_same_one_is_not_made_twice() {
    let stand = Stand::start().await;
    let body = json!({"scope": "fleet", "reason": "something smells"});
    let (status, freeze) = stand.post(Role::Agent, "/v1/freezes", body.clone()).await;
    assert_eq!((status, freeze["stage"].as_str()), (201, Some("durable")), "{freeze}");
    assert_eq!(
        (freeze["by"].as_str(), freeze["cause"].as_str()),
        (Some("agent:agent"), Some("asked"))
    );
    let (status, again) = stand.post(Role::Operator, "/v1/freezes", body).await;
    assert_eq!((status, &again["id"]), (200, &freeze["id"]), "{again}");
    assert_eq!(stand.freezes().await.len(), 1);
}

#[tokio::test]
async fn under_a_freeze_requests_are_denied_and_permits_are_dead_until_a_person_thaws() {
    let stand = Stand::start().await;
    let _watchdog = Watchdog::start(&stand);
    let allowed = stand.allowed("c-1").await;
    let body = json!({"scope": "fleet", "reason": "stop"});
    let (_, freeze) = stand.post(Role::Agent, "/v1/freezes", body).await;

    let (_, denied) = stand.request("c-2").await;
    assert_eq!((denied["decision"].as_str(), code(&denied)), (Some("deny"), "frozen"));
    let path = format!("/v1/rollouts/{}/renew", id(&allowed));
    let epoch = &allowed["permit"]["epoch"];
    let (_, renewed) = stand.post(Role::Agent, &path, json!({"epoch": epoch})).await;
    assert!(renewed["permit"].is_null() && renewed["decision"] != "allow", "{renewed}");

    let path = format!("/v1/freezes/{}/thaw", freeze["id"].as_str().expect("an id"));
    let (status, thawed) = stand.post(Role::Operator, &path, json!({"reason": "fine"})).await;
    assert_eq!((status, thawed["thawed"]["by"].as_str()), (200, Some("operator")), "{thawed}");
    assert!(stand.freezes().await.is_empty());
    let (_, all) = stand.get(Some(Role::Viewer), "/v1/freezes?all=true").await;
    assert_eq!(all["items"].as_array().map(Vec::len), Some(1));
    stand.allowed("c-3").await;
}

#[tokio::test]
async fn a_freeze_whose_cause_holds_is_thawed_only_over_that() {
    let stand = Stand::start().await;
    let watchdog = Watchdog::start(&stand);
    let applied = stand.applied("c-1").await;
    watchdog.switches("r2");
    watchdog.sees(VerdictKind::TelemetryLost);
    stand.reaches(&id(&applied), "reverting").await;
    let freezes = stand.freezes().await;
    assert_eq!(freezes.len(), 1, "{freezes:?}");
    let freeze = &freezes[0];
    assert_eq!(
        (freeze["cause"].as_str(), freeze["by"].as_str(), freeze["scope"].as_str()),
        (Some("telemetry_lost"), Some("gate"), Some("fleet"))
    );
    let path = format!("/v1/freezes/{}/thaw", freeze["id"].as_str().expect("an id"));
    let (status, refused) = stand.post(Role::Operator, &path, json!({"reason": "hope"})).await;
    assert_eq!((status, refused["error"]["code"].as_str()), (409, Some("cause_holds")));
    let body = json!({"reason": "known, the exporter is being replaced", "override": true});
    let (status, thawed) = stand.post(Role::Operator, &path, body).await;
    assert_eq!((status, thawed["thawed"]["overridden"].as_bool()), (200, Some(true)), "{thawed}");
}

#[tokio::test]
async fn a_scope_or_id_that_is_none_is_said_so() {
    let stand = Stand::start().await;
    let body = json!({"scope": "team=x", "reason": "stop"});
    let (status, refused) = stand.post(Role::Agent, "/v1/freezes", body).await;
    assert_eq!(status, 400);
    let message = refused["error"]["message"].as_str().expect("a message");
    assert!(message.contains("not a scope"), "{message}");
    for path in ["/v1/freezes/f-000009/thaw", "/v1/freezes/nonsense/thaw"] {
        let (status, refused) = stand.post(Role::Operator, path, json!({"reason": "x"})).await;
        assert_eq!(status, 404, "{refused}");
    }
}
