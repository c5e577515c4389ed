//! Who may call what: the whole OpenAPI document, walked with each role.
//!
//! The table below is written by hand and from the design, not from the code. A new call that is
//! missing here, or a role that got more than it should have, fails the test.

use agent_gate::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::stand::Stand;

const A: &[Role] = &[Role::Agent];
const O: &[Role] = &[Role::Operator];
const AO: &[Role] = &[Role::Agent, Role::Operator];
const W: &[Role] = &[Role::Watchdog];
const ANY: &[Role] = &[Role::Agent, Role::Operator, Role::Watchdog, Role::Viewer];
/// No token is needed.
const PUBLIC: &[Role] = &[];

#[rustfmt::skip]
const TABLE: &[(&str, &str, &[Role])] = &[
    ("get",    "/healthz",                  PUBLIC),
    ("get",    "/metrics",                  PUBLIC),
    ("get",    "/openapi.json",             PUBLIC),
    ("get",    "/readyz",                   PUBLIC),
    ("post",   "/v1/attestations",          W),
    ("get",    "/v1/audit",                 ANY),
    ("get",    "/v1/decisions",             ANY),
    ("get",    "/v1/decisions/{id}",        ANY),
    ("get",    "/v1/fences",                ANY),
    ("post",   "/v1/fences/{name}",         AO),
    ("get",    "/v1/freezes",               ANY),
    ("post",   "/v1/freezes",               AO),
    ("post",   "/v1/freezes/{id}/thaw",     O),
    ("get",    "/v1/rollouts",              ANY),
    ("post",   "/v1/rollouts",              A),
    ("get",    "/v1/rollouts/{id}",         ANY),
    ("post",   "/v1/rollouts/{id}/abort",   AO),
    ("post",   "/v1/rollouts/{id}/applied", A),
    ("post",   "/v1/rollouts/{id}/approve", O),
    ("post",   "/v1/rollouts/{id}/conclude", A),
    ("post",   "/v1/rollouts/{id}/reject",  O),
    ("post",   "/v1/rollouts/{id}/renew",   A),
    ("post",   "/v1/rollouts/{id}/report",  A),
    ("post",   "/v1/rollouts/{id}/settle",  O),
    ("get",    "/v1/services",              ANY),
    ("get",    "/v1/tokens",                O),
    ("post",   "/v1/tokens",                O),
    ("delete", "/v1/tokens/{name}",         O),
    ("get",    "/v1/waivers",               ANY),
    ("post",   "/v1/waivers",               O),
    ("post",   "/v1/waivers/{id}/end",      O),
];

/// Method, path and listed roles of every operation of the document.
async fn operations(stand: &Stand) -> Vec<(String, String, Value)> {
    let (status, document) = stand.get(None, "/openapi.json").await;
    assert_eq!((status, document["openapi"].as_str()), (200, Some("3.1.0")));
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let is_public = operation["x-roles"] == json!([]);
            assert_eq!(operation["security"] == json!([]), is_public, "{method} {path}");
            operations.push((method.clone(), path.clone(), operation["x-roles"].clone()));
        }
    }
    operations
}

#[tokio::test]
async fn the_document_lists_exactly_the_calls_and_roles_of_the_table() {
    let stand = Stand::start().await;
    let mut listed = operations(&stand).await;
    listed.sort_by_key(|(method, path, _)| (path.clone(), method.clone()));
    let mut expected: Vec<(String, String, Value)> = TABLE
        .iter()
        .map(|(method, path, roles)| {
            let roles: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
            ((*method).to_owned(), (*path).to_owned(), json!(roles))
        })
        .collect();
    expected.sort_by_key(|(method, path, _)| (path.clone(), method.clone()));
    assert_eq!(listed, expected);
}

#[tokio::test]
async fn every_call_admits_the_roles_of_the_table_and_no_others() {
    let stand = Stand::start().await;
    for (method, path, _) in operations(&stand).await {
        let row = TABLE.iter().find(|row| row.0 == method && row.1 == path);
        let roles = row.expect("the test before this one found it").2;
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
        let path = path.replace("{id}", "x-000001").replace("{name}", "nobody");
        let call = |role| stand.call(role, method.clone(), &path, Some(b"{}".to_vec()));
        let (status, body) = call(None).await;
        assert_eq!(status == 401, !roles.is_empty(), "{method} {path} without a token: {body}");
        for role in Role::ALL {
            let (status, body) = call(Some(role)).await;
            let is_admitted = roles.is_empty() || roles.contains(&role);
            assert_eq!(status == 403, !is_admitted, "{method} {path} as {role}: {status} {body}");
            // Past the guard, a wrong body, id or signature is refused by the call itself.
            assert_ne!(body["error"]["code"], "unauthorized", "{method} {path} as {role}");
            assert_ne!(status, 500, "{method} {path} as {role}: {body}");
        }
    }
}

#[tokio::test]
async fn no_agent_approves_thaws_settles_or_makes_tokens() {
    for (method, path, roles) in TABLE {
        let weakens = ["approve", "reject", "thaw", "settle", "tokens"];
        let waives = *method != "get" && path.contains("waivers");
        if waives || weakens.iter().any(|word| path.contains(word)) {
            assert_eq!(*roles, O, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn an_agent_speaks_only_for_rollouts_it_asked_for() {
    let stand = Stand::start().await;
    let body = json!({"name": "other-agent", "role": "agent"});
    let (status, created) = stand.post(Role::Operator, "/v1/tokens", body).await;
    assert_eq!(status, 201, "{created}");
    let (_, held) = stand.request("c-1").await;
    let token = created["token"].as_str().expect("a token");
    let url = format!("{}/v1/rollouts/{}/abort", stand.url, crate::stand::id(&held));
    let client = reqwest::Client::new();
    let abort = client.post(url).bearer_auth(token).body(r#"{"reason": "mine now"}"#);
    let response = abort.send().await.expect("an answer");
    assert_eq!(response.status().as_u16(), 403);
    let refused: Value = response.json().await.expect("JSON");
    assert_eq!(refused["error"]["code"], "not_your_rollout");
}

#[tokio::test]
async fn a_token_lives_from_its_creation_to_its_revocation_also_over_a_restart() {
    let mut stand = Stand::start().await;
    let body = json!({"name": "ci", "role": "viewer", "expires_in_s": 3600});
    let (status, created) = stand.post(Role::Operator, "/v1/tokens", body.clone()).await;
    assert_eq!(status, 201, "{created}");
    assert_eq!(stand.post(Role::Operator, "/v1/tokens", body).await.0, 409);
    let token = created["token"].as_str().expect("a token").to_owned();
    let client = reqwest::Client::new();
    let status = |url: String| {
        let request = client.get(url).bearer_auth(&token);
        async move { request.send().await.expect("an answer").status().as_u16() }
    };
    assert_eq!(status(format!("{}/v1/services", stand.url)).await, 200);
    stand.restart().await;
    assert_eq!(status(format!("{}/v1/services", stand.url)).await, 200);

    let (_, list) = stand.get(Some(Role::Operator), "/v1/tokens").await;
    assert!(!list.to_string().contains(&token), "a list shows no secret");
    let revoke = stand.call(Some(Role::Operator), Method::DELETE, "/v1/tokens/ci", None).await;
    assert_eq!(revoke.0, 200, "{}", revoke.1);
    assert_eq!(status(format!("{}/v1/services", stand.url)).await, 401);
    stand.restart().await;
    assert_eq!(status(format!("{}/v1/services", stand.url)).await, 401);
}

#[tokio::test]
async fn a_token_of_the_data_directory_that_was_revoked_stays_revoked() {
    let mut stand = Stand::start().await;
    assert_eq!(stand.get(Some(Role::Viewer), "/v1/services").await.0, 200);
    let path = "/v1/tokens/viewer";
    let (status, revoked) = stand.call(Some(Role::Operator), Method::DELETE, path, None).await;
    assert_eq!(status, 200, "{revoked}");
    // The file with its secret is still there and is given to the gate again.
    stand.restart().await;
    assert_eq!(stand.get(Some(Role::Viewer), "/v1/services").await.0, 401);
    assert_eq!(stand.get(Some(Role::Operator), "/v1/services").await.0, 200);
}
