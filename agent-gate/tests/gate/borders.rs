//! What comes over the border and is not right gets a clear error, and the gate lives on.

use std::path::PathBuf;

use agent_gate::{Policy, Role, RunError, bind};
use reqwest::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::stand::{Stand, config, request_body, wiring};

/// Every error has the one form, with something to do.
fn assert_error(answer: &(u16, Value), status: u16, code: &str) -> String {
    let (got, body) = answer;
    let error = &body["error"];
    assert_eq!((*got, error["code"].as_str()), (status, Some(code)), "{body}");
    assert!(error["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{body}");
    error["message"].as_str().expect("a message").to_owned()
}

#[tokio::test]
async fn an_unknown_field_is_named() {
    let stand = Stand::start().await;
    let mut body = request_body("c-1");
    body["touch_telemetry"] = json!(true);
    let answer = stand.post(Role::Agent, "/v1/rollouts", body).await;
    let message = assert_error(&answer, 400, "bad_request");
    assert!(message.contains("touch_telemetry"), "{message}");
    let answer = stand.get(Some(Role::Viewer), "/v1/rollouts?stat=held").await;
    let message = assert_error(&answer, 400, "bad_request");
    assert!(message.contains("stat"), "{message}");
}

#[tokio::test]
async fn bodies_that_are_no_json_or_miss_something_are_refused() {
    let stand = Stand::start().await;
    let post = |body: &'static str| {
        let body = Some(body.as_bytes().to_vec());
        stand.call(Some(Role::Agent), Method::POST, "/v1/rollouts", body)
    };
    for (body, says) in [
        ("", "empty"),
        ("{", "EOF"),
        ("[]", "expected struct"),
        ("{\"change_id\": \"a\", \"change_id\": \"b\"}", "duplicate field"),
        ("{\"change_id\": \"a\\u202eb\"}", "invisible"),
        ("{\"change_id\": \"\"}", "empty"),
        ("{\"change_id\": \"a\"}", "missing field"),
        ("\u{0}\u{1}", "expected value"),
    ] {
        let message = assert_error(&post(body).await, 400, "bad_request");
        assert!(message.contains(says), "{body:?}: {message}");
    }
    let deep = "[".repeat(100_000).into_bytes();
    let answer = stand.call(Some(Role::Agent), Method::POST, "/v1/rollouts", Some(deep)).await;
    assert_error(&answer, 400, "bad_request");
    assert_eq!(stand.get(None, "/readyz").await.0, 200);
}

#[tokio::test]
async fn a_body_over_the_limit_is_too_large_and_at_the_limit_is_read() {
    let stand = Stand::start().await;
    let body = |bytes: usize| Some(vec![b' '; bytes]);
    let limit = 256 * 1024;
    let post = |body| stand.call(Some(Role::Agent), Method::POST, "/v1/rollouts", body);
    let message = assert_error(&post(body(limit)).await, 400, "bad_request");
    assert!(message.contains("empty"), "{message}");
    assert_error(&post(body(limit + 1)).await, 413, "too_large");
    assert_error(&post(body(64 * 1024 * 1024)).await, 413, "too_large");
}

#[tokio::test]
async fn what_is_not_there_is_404_and_what_is_not_for_a_method_405() {
    let stand = Stand::start().await;
    let agent = Some(Role::Agent);
    assert_error(&stand.get(agent, "/v1/rollouts/r-000009").await, 404, "not_found");
    assert_error(&stand.get(agent, "/v1/rollouts/nonsense").await, 404, "not_found");
    assert_error(&stand.get(agent, "/v1/decisions/d-000009").await, 404, "not_found");
    assert_error(&stand.get(agent, "/v2").await, 404, "not_found");
    let put = stand.call(agent, Method::PUT, "/v1/rollouts", None).await;
    assert_error(&put, 405, "method_not_allowed");
    let renew = stand.post(Role::Agent, "/v1/rollouts/r-000009/renew", json!({"epoch": 1})).await;
    assert_error(&renew, 404, "no_such_rollout");
    for limit in ["0", "1001", "x"] {
        let path = format!("/v1/rollouts?limit={limit}");
        assert_error(&stand.get(agent, &path).await, 400, "bad_request");
    }
}

/// The error of a gate whose store stands at `store`.
async fn start_error(store: PathBuf) -> String {
    let bound = bind(config(), Policy::default(), Vec::new()).await.expect("a free port");
    let error = bound.run(wiring(store), CancellationToken::new()).await.expect_err("no start");
    assert!(matches!(error, RunError::Start(_)), "{error}");
    error.to_string()
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_an_error_that_says_which_file_and_why() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    std::fs::write(&file, "").expect("a file");
    let error = start_error(file.join("gate.db")).await;
    let expected = format!("start gate: open {}/gate.db: not a directory", file.display());
    assert!(error.starts_with(&expected), "{error}");
    let error = start_error(directory.path().join("missing/gate.db")).await;
    assert!(error.contains("no such file or directory"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_called_damaged() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = directory.path().join("gate.db");
    std::fs::write(&store, "this is not a database, ".repeat(1000)).expect("a file");
    let error = start_error(store).await;
    assert!(error.contains("is damaged") && error.contains("restore it from a backup"), "{error}");
}

#[tokio::test]
async fn a_second_gate_on_the_same_store_is_refused() {
    let stand = Stand::start().await;
    let error = start_error(stand.store()).await;
    assert!(error.contains("is used by another gate"), "{error}");
}
