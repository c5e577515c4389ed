//! Sight lost after applying: freeze, revert, and verified or stuck.

use agent_gate::Role;
use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use watchdog_core::verdict::VerdictKind;

use crate::stand::{PATIENCE, SERVICE, Stand, eventually, id, policy, service};
use crate::watchdog::Watchdog;

#[tokio::test]
async fn telemetry_lost_while_baking_freezes_reverts_and_is_verified_by_the_signal() {
    let stand = Stand::start().await;
    let watchdog = Watchdog::start(&stand);
    let applied = stand.applied("c-1").await;
    let rollout = id(&applied);
    watchdog.switches("r2");
    watchdog.sees(VerdictKind::TelemetryLost);

    stand.reaches(&rollout, "reverting").await;
    let freezes = stand.freezes().await;
    assert_eq!(freezes[0]["rollout"].as_str(), Some(rollout.as_str()));
    eventually("the freeze is durable", || async {
        (stand.freezes().await[0]["stage"] == "durable").then_some(())
    })
    .await;
    let reverts = eventually("the revert ran", || async {
        Some(stand.reverts()).filter(|lines| !lines.is_empty())
    })
    .await;
    let expected = format!("{rollout} {SERVICE} r2 r1 1 e-");
    assert!(reverts[0].starts_with(&expected) && reverts[0].ends_with(" real"), "{reverts:?}");

    // The action alone proves nothing: only the signal on the old revision does.
    watchdog.switches("r1");
    watchdog.sees(VerdictKind::Live);
    let reverted = stand.reaches(&rollout, "reverted").await;
    assert_eq!(reverted["taken_back"]["code"], "telemetry_lost", "{reverted}");
    assert_eq!(stand.freezes().await.len(), 1, "only a person thaws");
    let (_, next) = stand.request("c-2").await;
    assert_eq!(next["decision"], "deny", "{next}");
}

#[tokio::test]
async fn a_revert_that_the_signal_does_not_verify_is_stuck_and_a_person_settles_it() {
    let short = agent_gate::Policy { revert_deadline_ms: 500, ..policy() };
    let stand = Stand::with(short, |directory| vec![service(directory, SERVICE)]).await;
    let watchdog = Watchdog::start(&stand);
    let applied = stand.applied("c-1").await;
    let rollout = id(&applied);
    watchdog.switches("r2");
    watchdog.sees(VerdictKind::TelemetryLost);
    stand.reaches(&rollout, "stuck").await;

    let path = format!("/v1/rollouts/{rollout}/settle");
    let body = json!({"to": "reverting", "reason": "try again, the registry was down"});
    let (status, settled) = stand.post(Role::Operator, &path, body).await;
    assert_eq!((status, settled["rollout"]["state"].as_str()), (200, Some("reverting")));
    assert_eq!(settled["rollout"]["generation"], 2, "{settled}");
    let reverts = eventually("the second generation ran", || async {
        Some(stand.reverts()).filter(|lines| lines.len() == 2)
    })
    .await;
    let effect = |line: &str| line.split(' ').nth(5).map(str::to_owned);
    assert_ne!(effect(&reverts[0]), effect(&reverts[1]), "another order has another id");
}

#[tokio::test]
async fn a_revert_that_fails_is_tried_again_with_the_same_effect_id() {
    let stand = Stand::with(policy(), |directory| {
        let mut table = service(directory, SERVICE);
        let fails_once = format!(
            "[ -n \"$HOLDPOINT_DRY_RUN\" ] && exit 0; \
             echo \"$HOLDPOINT_EFFECT_ID real\" >> {0}/reverts; \
             [ -e {0}/second ] || {{ touch {0}/second; exit 1; }}",
            directory.display()
        );
        table.revert = serde_json::from_value(json!({"exec": ["/bin/sh", "-c", fails_once]})).ok();
        vec![table]
    })
    .await;
    let watchdog = Watchdog::start(&stand);
    let applied = stand.applied("c-1").await;
    watchdog.sees(VerdictKind::Down);
    let reverts = eventually("the revert was tried twice", || async {
        Some(stand.reverts()).filter(|lines| lines.len() == 2)
    })
    .await;
    assert_eq!(reverts[0], reverts[1]);
    watchdog.sees(VerdictKind::Live);
    stand.reaches(&id(&applied), "reverted").await;
}

/// A receiver of webhooks: what it got, newest last.
async fn receiver() -> (String, mpsc::UnboundedReceiver<(String, Vec<u8>)>, CancellationToken) {
    let (got, orders) = mpsc::unbounded_channel();
    let take = move |headers: HeaderMap, body: Bytes| {
        let signature = headers.get("x-holdpoint-signature").and_then(|text| text.to_str().ok());
        let order = (signature.unwrap_or_default().to_owned(), body.to_vec());
        got.send(order).expect("the test listens");
        async { "taken" }
    };
    let router = Router::new().route("/revert", post(take));
    let listener = front_door::bind(([127, 0, 0, 1], 0).into()).await.expect("a free port");
    let url = format!("http://{}/revert", listener.local_addr().expect("an address"));
    let stop = CancellationToken::new();
    let limits = front_door::Limits::default();
    tokio::spawn(front_door::serve(listener, router.into_service(), limits, stop.clone()));
    (url, orders, stop)
}

#[tokio::test]
async fn a_webhook_gets_the_order_signed_first_dry_and_then_for_real() {
    let (url, mut orders, stop) = receiver().await;
    let stand = Stand::with(policy(), |_| {
        let table = json!({"name": SERVICE, "revert": {"webhook": url, "secret": "between us"}});
        vec![serde_json::from_value(table).expect("a service table")]
    })
    .await;
    let watchdog = Watchdog::start(&stand);
    let applied = stand.applied("c-1").await;
    watchdog.sees(VerdictKind::Forged);
    for is_dry in [true, false] {
        let order = tokio::time::timeout(PATIENCE, orders.recv()).await.expect("an order");
        let (signature, body) = order.expect("the receiver runs");
        let mut mac = Hmac::<Sha256>::new_from_slice(b"between us").expect("any key");
        mac.update(&body);
        assert_eq!(signature, format!("v1={}", hex::encode(mac.finalize().into_bytes())));
        let order: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(
            (&order["rollout"], &order["service"], &order["from"], &order["to"]),
            (&json!(id(&applied)), &json!(SERVICE), &json!("r2"), &json!("r1"))
        );
        assert_eq!(
            (&order["dry_run"], &order["generation"]),
            (&json!(is_dry), &json!(u8::from(!is_dry)))
        );
        assert!(order["effect_id"].as_str().is_some_and(|id| id.starts_with("e-")), "{order}");
    }
    watchdog.sees(VerdictKind::Live);
    stand.reaches(&id(&applied), "reverted").await;
    stop.cancel();
}

#[tokio::test]
async fn a_dry_run_that_fails_holds_and_says_why() {
    let stand = Stand::with(policy(), |_| {
        let argv = json!(["/bin/sh", "-c", "echo no credentials >&2; exit 1"]);
        let table = json!({"name": SERVICE, "revert": {"exec": argv}});
        vec![serde_json::from_value(table).expect("a service table")]
    })
    .await;
    let _watchdog = Watchdog::start(&stand);
    let answer = eventually("the dry run failed", || async {
        let (_, answer) = stand.request("c-1").await;
        let failed = answer["reasons"]
            .as_array()?
            .iter()
            .find(|reason| reason["code"] == "revert_dry_run_failed")?;
        Some(failed.clone())
    })
    .await;
    let message = answer["message"].as_str().expect("a message");
    assert!(message.contains("no credentials"), "{message}");
}
