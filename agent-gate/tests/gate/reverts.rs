//! Sight lost after applying: freeze, revert, and verified or stuck.

use agent_gate::Role;
use serde_json::json;
use watchdog_core::verdict::VerdictKind;

use crate::stand::{SERVICE, Stand, eventually, id, policy, service};
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
    stand.reaches(&rollout, "reverted").await;
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
