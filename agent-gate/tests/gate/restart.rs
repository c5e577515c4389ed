//! What was answered survives the end of the process; what was a lease does not.

use agent_gate::Role;
use serde_json::json;
use watchdog_core::verdict::VerdictKind;

use crate::stand::{SERVICE, Stand, code, eventually, id, policy, service};
use crate::watchdog::Watchdog;

#[tokio::test]
async fn freezes_and_rollouts_are_there_after_a_restart() {
    let mut stand = Stand::start().await;
    let (_, held) = stand.request("c-1").await;
    let body = json!({"scope": "fleet", "reason": "stop"});
    let (_, freeze) = stand.post(Role::Agent, "/v1/freezes", body).await;
    for clean in [true, false] {
        if clean {
            stand.restart().await
        } else {
            stand.crash().await
        }
        let freezes = stand.freezes().await;
        assert_eq!(freezes.len(), 1, "clean: {clean}");
        assert_eq!(
            (&freezes[0]["id"], freezes[0]["stage"].as_str()),
            (&freeze["id"], Some("durable"))
        );
        let path = format!("/v1/rollouts/{}", id(&held));
        let (status, rollout) = stand.get(Some(Role::Viewer), &path).await;
        assert_eq!((status, rollout["change_id"].as_str()), (200, Some("c-1")), "clean: {clean}");
        let (_, denied) = stand.request("c-2").await;
        assert_eq!((denied["decision"].as_str(), code(&denied)), (Some("deny"), "frozen"));
    }
}

#[tokio::test]
async fn a_permit_of_before_the_restart_stays_dead() {
    let mut stand = Stand::start().await;
    let _watchdog = Watchdog::start(&stand);
    let allowed = stand.allowed("c-1").await;
    let epoch = allowed["permit"]["epoch"].as_u64().expect("an epoch");
    stand.crash().await;
    let path = format!("/v1/rollouts/{}/renew", id(&allowed));
    let (status, refused) = stand.post(Role::Agent, &path, json!({"epoch": epoch})).await;
    assert_eq!((status, refused["error"]["code"].as_str()), (409, Some("old_epoch")), "{refused}");

    // A gate that starts knows nothing: it allows again only after a dwell of its own.
    let (_, held) = stand.request("c-1").await;
    assert_eq!(held["decision"], "hold", "{held}");
    let _watchdog = Watchdog::start_as(&stand, "1700000000001-b", VerdictKind::Live, "r1");
    let again = stand.allowed("c-1").await;
    assert!(again["permit"]["epoch"].as_u64() > Some(epoch), "{again}");
}

#[tokio::test]
async fn a_revert_that_was_cut_off_is_given_again_with_the_same_effect_id() {
    // The first attempt hangs until the gate is gone; the second one finds the file.
    let mut stand = Stand::with(policy(), |directory| {
        let mut table = service(directory, SERVICE);
        let script = format!(
            "[ -n \"$HOLDPOINT_DRY_RUN\" ] && exit 0; \
             echo \"$HOLDPOINT_EFFECT_ID $HOLDPOINT_GENERATION real\" >> {0}/reverts; \
             [ -e {0}/restarted ] || exec sleep 600",
            directory.display()
        );
        table.revert = serde_json::from_value(json!({"exec": ["/bin/sh", "-c", script]})).ok();
        vec![table]
    })
    .await;
    let watchdog = Watchdog::start(&stand);
    let applied = stand.applied("c-1").await;
    watchdog.sees(VerdictKind::TelemetryLost);
    eventually("the first attempt began", || async { (stand.reverts().len() == 1).then_some(()) })
        .await;
    std::fs::write(stand.directory.path().join("restarted"), "").expect("a file");
    stand.crash().await;
    let reverts = eventually("the order was given again", || async {
        Some(stand.reverts()).filter(|lines| lines.len() == 2)
    })
    .await;
    assert_eq!(reverts[0], reverts[1]);
    drop(watchdog);
    let _watchdog = Watchdog::start_as(&stand, "1700000000001-b", VerdictKind::Live, "r1");
    stand.reaches(&id(&applied), "reverted").await;
}

#[tokio::test]
async fn a_store_that_fails_ends_the_gate_and_what_was_answered_is_kept() {
    let mut stand = Stand::start().await;
    let body = json!({"scope": "fleet", "reason": "stop"});
    let (status, _) = stand.post(Role::Agent, "/v1/freezes", body).await;
    assert_eq!(status, 201);
    // Another writer that breaks the schema: the next commit fails as on a broken disk.
    stand.break_store().await;
    let (status, refused) = stand.request("c-1").await;
    assert_eq!(
        (status, refused["error"]["code"].as_str()),
        (503, Some("no_decision")),
        "{refused}"
    );
    let error = stand.ended().await.expect_err("the gate ends").to_string();
    let says_why = error.contains("no such table") || error.contains("does not exist");
    assert!(error.contains("no permit is given") && says_why, "{error}");
}
