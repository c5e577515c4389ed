//! From request to `confirmed`, and the answers on the way.

use agent_gate::{Policy, Role, ServiceConfig, permit};
use serde_json::{Value, json};

use crate::stand::{PERMIT_SEED, SERVICE, Stand, code, eventually, id, policy, request_body};
use crate::watchdog::Watchdog;

#[tokio::test]
async fn a_rollout_in_live_sight_goes_from_request_to_confirmed() {
    let stand = Stand::start().await;
    let watchdog = Watchdog::start(&stand);
    let allowed = stand.allowed("c-1").await;
    let token = allowed["permit"]["token"].as_str().expect("a token");
    let public = permit::Issuer::new(&PERMIT_SEED).public_key();
    let payload = permit::verify(token, &public).expect("signed by the gate");
    assert_eq!(
        (payload.service.as_str(), payload.to.as_str(), payload.digest.as_str()),
        (SERVICE, "r2", "sha256:c-1")
    );
    assert_eq!(json!(payload.epoch), allowed["permit"]["epoch"]);
    let expires_in_ms = allowed["permit"]["expires_in_ms"].as_u64().expect("a number");
    assert!((1..=5_000).contains(&expires_in_ms), "{allowed}");

    let applied = stand.applied("c-1").await;
    assert_eq!((applied["decision"].as_str(), &applied["permit"]), (Some("hold"), &Value::Null));
    watchdog.switches("r2");
    let confirmed = stand.reaches(&id(&applied), "confirmed").await;
    let states: Vec<&str> = confirmed["timeline"]
        .as_array()
        .expect("a timeline")
        .iter()
        .filter_map(|moment| moment["state"].as_str())
        .collect();
    let last = &states[states.len() - 4..];
    assert_eq!(last, ["allowed", "applying", "baking", "confirmed"]);
}

#[tokio::test]
async fn a_service_that_nobody_watches_is_held_and_says_why() {
    let stand = Stand::start().await;
    let (status, answer) = stand.request("c-1").await;
    assert_eq!((status, answer["decision"].as_str()), (200, Some("hold")), "{answer}");
    assert_eq!(answer["permit"], Value::Null);
    let codes: Vec<&str> = answer["reasons"]
        .as_array()
        .expect("reasons")
        .iter()
        .filter_map(|reason| reason["code"].as_str())
        .collect();
    assert!(codes.contains(&"unknown"), "{answer}");
    assert!(answer["retry_after_s"].as_u64().is_some_and(|seconds| seconds >= 1), "{answer}");
    assert!(answer["evidence_id"].is_string(), "{answer}");
}

#[tokio::test]
async fn a_service_without_a_way_back_is_held() {
    let stand = Stand::with(policy(), |_| Vec::new()).await;
    let _watchdog = Watchdog::start(&stand);
    eventually("only the way back is missing", || async {
        let (_, answer) = stand.request("c-1").await;
        assert_eq!(answer["decision"], "hold", "{answer}");
        (code(&answer) == "no_revert").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_change_id_is_one_rollout_and_another_body_for_it_is_a_conflict() {
    let stand = Stand::start().await;
    let (_, first) = stand.request("c-1").await;
    let (_, second) = stand.request("c-1").await;
    assert_eq!(id(&first), id(&second));
    let mut other = request_body("c-1");
    other["to"] = json!("r3");
    let (status, refused) = stand.post(Role::Agent, "/v1/rollouts", other).await;
    assert_eq!((status, refused["error"]["code"].as_str()), (409, Some("different_body")));
    let (_, list) = stand.get(Some(Role::Viewer), "/v1/rollouts").await;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn an_old_epoch_is_a_conflict() {
    let stand = Stand::start().await;
    let _watchdog = Watchdog::start(&stand);
    let allowed = stand.allowed("c-1").await;
    let epoch = allowed["permit"]["epoch"].as_u64().expect("an epoch");
    // Somebody freezes the service and lifts it again: the epoch has moved on.
    let freeze = json!({"scope": format!("service={SERVICE}"), "reason": "look"});
    let (status, freeze) = stand.post(Role::Operator, "/v1/freezes", freeze).await;
    assert_eq!(status, 201, "{freeze}");
    let path = format!("/v1/freezes/{}/thaw", freeze["id"].as_str().expect("an id"));
    stand.post(Role::Operator, &path, json!({"reason": "nothing"})).await;
    let path = format!("/v1/rollouts/{}/renew", id(&allowed));
    let (status, refused) = stand.post(Role::Agent, &path, json!({"epoch": epoch})).await;
    assert_eq!((status, refused["error"]["code"].as_str()), (409, Some("old_epoch")), "{refused}");
}

#[tokio::test]
async fn production_waits_for_a_person_who_approves_exactly_this_digest() {
    let production = |directory: &std::path::Path| {
        let table = crate::stand::service(directory, SERVICE);
        let environment = "production".parse().expect("a name");
        vec![ServiceConfig { environment, ..table }]
    };
    let stand = Stand::with(policy(), production).await;
    let _watchdog = Watchdog::start(&stand);
    let held = eventually("only the approval is missing", || async {
        let (_, answer) = stand.request("c-1").await;
        (code(&answer) == "approval_needed").then_some(answer)
    })
    .await;
    let url = held["approval_url"].as_str().expect("where to approve");
    let path = format!("/v1/rollouts/{}/approve", id(&held));
    assert_eq!(url, format!("{}{path}", stand.url));

    let wrong = json!({"digest": "sha256:other", "reason": "fine"});
    let (status, refused) = stand.post(Role::Operator, &path, wrong).await;
    assert_eq!((status, refused["error"]["code"].as_str()), (409, Some("different_digest")));
    let empty = json!({"digest": "sha256:c-1", "reason": " "});
    assert_eq!(stand.post(Role::Operator, &path, empty).await.0, 400);
    let right = json!({"digest": "sha256:c-1", "reason": "fine"});
    let (status, approved) = stand.post(Role::Operator, &path, right).await;
    assert_eq!(status, 200, "{approved}");
    let allowed = stand.allowed("c-1").await;
    assert_eq!(allowed["rollout"]["approval"]["by"], "operator");
}

#[tokio::test]
async fn a_rejected_rollout_is_denied_for_good() {
    let always =
        Policy { approval: serde_json::from_value(json!("always")).expect("a rule"), ..policy() };
    let stand =
        Stand::with(always, |directory| vec![crate::stand::service(directory, SERVICE)]).await;
    let (_, held) = stand.request("c-1").await;
    let path = format!("/v1/rollouts/{}/reject", id(&held));
    let body = json!({"digest": "sha256:c-1", "reason": "not today"});
    let (status, rejected) = stand.post(Role::Operator, &path, body).await;
    assert_eq!((status, rejected["rollout"]["state"].as_str()), (200, Some("denied")));
    let (_, again) = stand.request("c-1").await;
    assert_eq!((again["decision"].as_str(), code(&again)), (Some("deny"), "rejected"));
}

#[tokio::test]
async fn the_agents_claim_stands_beside_the_evidence_and_a_contradiction_is_counted() {
    let stand = Stand::start().await;
    let watchdog = Watchdog::start(&stand);
    let applied = stand.applied("c-1").await;
    watchdog.sees(watchdog_core::verdict::VerdictKind::TelemetryLost);
    stand.reaches(&id(&applied), "reverting").await;
    let path = format!("/v1/rollouts/{}/report", id(&applied));
    let claim = json!({"claim": {"healthy": true, "latency_ms": 0}});
    let (status, said) = stand.post(Role::Agent, &path, claim).await;
    assert_eq!(status, 200, "{said}");
    assert_eq!(said["rollout"]["contradictions"], 1, "{said}");
    let kept = said["rollout"]["claim"].as_str().expect("the claim");
    assert!(kept.contains("latency_ms"), "{kept}");
}

#[tokio::test]
async fn an_abort_before_applying_ends_the_rollout() {
    let stand = Stand::start().await;
    let (_, held) = stand.request("c-1").await;
    let path = format!("/v1/rollouts/{}/abort", id(&held));
    let (status, aborted) =
        stand.post(Role::Agent, &path, json!({"reason": "changed my mind"})).await;
    assert_eq!((status, aborted["rollout"]["state"].as_str()), (200, Some("aborted")));
}
