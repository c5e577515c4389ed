//! Who may decide about what an agent asks for: every principal against every action, and the
//! second person.

use agent_gate::{Policy, Role};
use agent_gate_core::policy::{ApprovalRule, Owners};
use reqwest::Method;
use serde_json::{Value, json};

use crate::stand::{SERVICE, Stand, code, id, policy, service};
use crate::watchdog::Watchdog;

/// A gate where `dana` owns the agent, and a person must approve.
async fn stand() -> Stand {
    let owners = Owners::of("agent", &["dana"]);
    let policy = Policy { approval: ApprovalRule::Always, owners, ..policy() };
    Stand::with(policy, |directory| vec![service(directory, SERVICE)]).await
}

/// The secret of a new token.
async fn token(stand: &Stand, name: &str, role: &str) -> String {
    let body = json!({"name": name, "role": role});
    let (status, created) = stand.post(Role::Operator, "/v1/tokens", body).await;
    assert_eq!(status, 201, "{created}");
    created["token"].as_str().expect("a token").to_owned()
}

async fn post(stand: &Stand, secret: Option<&str>, path: &str, body: &Value) -> (u16, Value) {
    let mut call = reqwest::Client::new().post(format!("{}{path}", stand.url));
    if let Some(secret) = secret {
        call = call.bearer_auth(secret);
    }
    let answer = call.body(body.to_string()).send().await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

#[tokio::test]
async fn of_forty_cells_of_principal_and_action_only_the_persons_pass() {
    let stand = stand().await;
    let gone = token(&stand, "gone", "operator").await;
    stand.call(Some(Role::Operator), Method::DELETE, "/v1/tokens/gone", None).await;
    let secret = |role: Role| Some(format!("secret of the {role}"));
    let principals = [
        ("the agent that asked", secret(Role::Agent), 403),
        ("another agent", Some(token(&stand, "agent-2", "agent").await), 403),
        ("a watchdog", secret(Role::Watchdog), 403),
        ("a viewer", secret(Role::Viewer), 403),
        ("nobody", None, 401),
        ("a person who is gone", Some(gone), 401),
        ("the agent's owner", Some(token(&stand, "dana", "operator").await), 200),
        ("another person", secret(Role::Operator), 200),
    ];
    let mut cells = 0;
    for (who, secret, admitted) in &principals {
        for action in ["approve", "reject", "settle", "thaw", "waive"] {
            cells += 1;
            let change = format!("c-{cells}");
            let (_, held) = stand.request(&change).await;
            let rollout = format!("/v1/rollouts/{}", id(&held));
            let body = json!({"scope": "service=elsewhere", "reason": "stop"});
            let (_, freeze) = stand.post(Role::Agent, "/v1/freezes", body).await;
            let freeze = freeze["id"].as_str().expect("an id").to_owned();
            let digest = format!("sha256:{change}");
            let (path, body, passes) = match action {
                "settle" => {
                    let body = json!({"to": "confirmed", "reason": "x"});
                    (format!("{rollout}/settle"), body, 409)
                }
                "thaw" => (format!("/v1/freezes/{freeze}/thaw"), json!({"reason": "x"}), 200),
                "waive" => {
                    let body =
                        json!({"scope": "service=elsewhere", "reason": "x", "span_ms": 1000});
                    ("/v1/waivers".to_owned(), body, 201)
                }
                action => {
                    (format!("{rollout}/{action}"), json!({"digest": digest, "reason": "x"}), 200)
                }
            };
            let (status, answer) = post(&stand, secret.as_deref(), &path, &body).await;
            let expected = if *admitted == 200 { passes } else { *admitted };
            assert_eq!(status, expected, "{who} may not {action}: {answer}");
            if *admitted != 200 {
                let (_, kept) = stand.get(Some(Role::Viewer), &rollout).await;
                assert_eq!((&kept["state"], &kept["approvals"]), (&json!("held"), &json!([])));
                let still = stand.freezes().await.iter().any(|each| each["id"] == freeze.as_str());
                assert!(still, "{who} thawed");
            }
            stand.post(Role::Agent, &format!("{rollout}/abort"), json!({"reason": "done"})).await;
        }
    }
    assert_eq!(cells, 40);
    let (_, waivers) = stand.get(Some(Role::Viewer), "/v1/waivers?all=true").await;
    assert_eq!(waivers["items"].as_array().map(Vec::len), Some(2), "of the persons alone");
}

#[tokio::test]
async fn the_owner_of_an_agent_needs_a_second_person() {
    let stand = stand().await;
    let _watchdog = Watchdog::start(&stand);
    let dana = token(&stand, "dana", "operator").await;
    let (_, held) = stand.request("c-1").await;
    let path = format!("/v1/rollouts/{}/approve", id(&held));
    let body = json!({"digest": "sha256:c-1", "reason": "mine"});
    let (status, answer) = post(&stand, Some(&dana), &path, &body).await;
    assert_eq!(status, 200, "{answer}");
    let reached = crate::stand::eventually("all but the second person is there", || async {
        let (_, answer) = stand.request("c-1").await;
        (code(&answer) == "second_person").then_some(answer)
    });
    let answer = reached.await;
    let rule = json!({"table": "[policy]", "key": "approvals"});
    assert_eq!(answer["reasons"][0]["rule"], rule, "{answer}");
    assert!(answer["approval_url"].is_string() && answer["permit"].is_null(), "{answer}");
    let (status, answer) = stand.post(Role::Operator, &path, body).await;
    assert_eq!(status, 200, "{answer}");
    let allowed = stand.allowed("c-1").await;
    let record = format!("/v1/decisions/{}", allowed["evidence_id"].as_str().expect("an id"));
    let (_, decision) = stand.get(Some(Role::Viewer), &record).await;
    assert_eq!(decision["policy_hash"], decision["record"]["inputs"]["policy_hash"]);
    assert_eq!(decision["reasons"][0]["rule"]["table"], "built in", "{decision}");
}
