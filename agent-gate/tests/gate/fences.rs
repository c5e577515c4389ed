//! Targets: told of freezes, believed only with their own secret, and shown when nothing fences
//! them.

use std::sync::{Arc, Mutex};

use agent_gate::{Role, ServiceConfig};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::stand::{PERMIT_SEED, SERVICE, Stand, eventually, id, policy};
use crate::watchdog::Watchdog;

fn service(targets: Value) -> ServiceConfig {
    let table = json!({"name": SERVICE, "revert": {"exec": ["/bin/true"]}, "target": targets});
    serde_json::from_value(table).expect("a service table")
}

async fn frozen(stand: &Stand) -> Value {
    let body = json!({"scope": "fleet", "reason": "stop"});
    stand.post(Role::Agent, "/v1/freezes", body).await.1
}

async fn fenced(stand: &Stand) -> Value {
    stand.freezes().await[0].clone()
}

/// A target's program: answers each POST with `epoch`, and keeps what it was sent.
async fn webhook(epoch: Arc<Mutex<u64>>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/fence", listener.local_addr().expect("bound"));
    let heard = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut text = String::new();
            let mut chunk = [0; 8192];
            // A body is whole once its braces are.
            while !text.ends_with('}') {
                match stream.read(&mut chunk).await {
                    Ok(0) | Err(_) => break,
                    Ok(read) => text.push_str(&String::from_utf8_lossy(&chunk[..read])),
                }
            }
            kept.lock().expect("no panic").push(text);
            let body = json!({"epoch": *epoch.lock().expect("no panic")}).to_string();
            let length = body.len();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n");
            let _gone =
                stream.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes()).await;
        }
    });
    (url, heard)
}

#[tokio::test]
async fn a_webhook_target_counts_once_it_says_that_it_holds_the_epoch() {
    let holds = Arc::new(Mutex::new(0));
    let (url, heard) = webhook(Arc::clone(&holds)).await;
    let target = json!([{"name": "edge", "webhook": url, "secret": "shared"}]);
    let stand = Stand::with(policy(), |_| vec![service(target)]).await;
    let freeze = frozen(&stand).await;
    let told = || heard.lock().expect("no panic").len() >= 3;
    eventually("it is told again and again", || async { told().then_some(()) }).await;
    let shown = fenced(&stand).await;
    assert_eq!((&shown["stage"], &shown["fenced"]["done"]), (&json!("durable"), &json!(0)));

    *holds.lock().expect("no panic") = freeze["epoch"].as_u64().expect("an epoch");
    eventually("the freeze is fenced", || async {
        (fenced(&stand).await["stage"] == "fenced").then_some(())
    })
    .await;
    assert_eq!(fenced(&stand).await["fenced"]["stale_apply"], "impossible");
    let sent = heard.lock().expect("no panic").last().expect("it was told").clone();
    let (head, body) = sent.split_once("\r\n\r\n").expect("a request");
    let expected = agent_gate::revert::webhook::signature("shared", body.as_bytes());
    assert!(head.to_lowercase().contains(&format!("x-holdpoint-signature: v1={expected}")));
    let body: Value = serde_json::from_str(body).expect("JSON");
    let key = agent_gate::permit::Issuer::new(&PERMIT_SEED).public_key();
    let token = body["statement"].as_str().expect("a statement");
    let statement = agent_gate::permit::verify_statement(token, &key).expect("signed");
    assert!(statement.epoch >= freeze["epoch"].as_u64().expect("an epoch"));
    assert_eq!(statement.freezes.in_force().count(), 1);
}

#[tokio::test]
async fn a_target_that_nothing_fences_keeps_a_freeze_from_being_called_fenced() {
    let targets = json!([{"name": "web-1", "secret": "s"}, {"name": "legacy"}]);
    let stand = Stand::with(policy(), |_| vec![service(targets)]).await;
    let freeze = frozen(&stand).await;
    let body = json!({"service": SERVICE, "held": freeze["epoch"]}).to_string();
    let signature = agent_gate::revert::webhook::signature("s", body.as_bytes());
    let asked = reqwest::Client::new()
        .post(format!("{}/v1/fences/web-1", stand.url))
        .bearer_auth("secret of the agent")
        .header("X-Holdpoint-Signature", format!("v1={signature}"))
        .body(body);
    let answer: Value = asked.send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(answer["counted"], true, "{answer}");
    let shown = eventually("it counts", || async {
        let shown = fenced(&stand).await;
        (shown["fenced"]["done"] == 1).then_some(shown)
    })
    .await;
    let expected = json!({
        "done": 1, "total": 2, "unfenceable": 1, "stale_apply": "unbounded",
        "permits_end_at": null, "permits_end_at_ms": null,
    });
    assert_eq!((&shown["stage"], &shown["fenced"]), (&json!("durable"), &expected), "{shown}");
    let (_, list) = stand.get(Some(Role::Viewer), "/v1/fences").await;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(2), "{list}");
}

#[tokio::test]
async fn an_epoch_that_was_never_told_is_not_believed() {
    let stand =
        Stand::with(policy(), |_| vec![service(json!([{"name": "web-1", "secret": "s"}]))]).await;
    let body = json!({"service": SERVICE, "held": u64::MAX}).to_string();
    let signature = agent_gate::revert::webhook::signature("s", body.as_bytes());
    let asked = reqwest::Client::new()
        .post(format!("{}/v1/fences/web-1", stand.url))
        .bearer_auth("secret of the agent")
        .header("X-Holdpoint-Signature", format!("v1={signature}"))
        .body(body);
    asked.send().await.expect("an answer");
    frozen(&stand).await;
    let shown = eventually("the targets are counted", || async {
        let shown = fenced(&stand).await;
        shown["fenced"]["done"].is_u64().then_some(shown)
    })
    .await;
    assert_eq!((&shown["stage"], &shown["fenced"]["done"]), (&json!("durable"), &json!(0)));
}

#[tokio::test]
async fn a_service_that_runs_what_no_permit_led_to_is_shown_counted_and_held() {
    let policy = agent_gate::Policy { drift_grace_ms: 200, ..policy() };
    let stand = Stand::with(policy, |_| vec![service(json!([]))]).await;
    let watchdog = Watchdog::start(&stand);
    let applied = stand.applied("c-1").await;
    watchdog.switches("r2");
    stand.reaches(&id(&applied), "confirmed").await;
    watchdog.switches("r9");
    eventually("the drift is shown", || async {
        let (_, list) = stand.get(Some(Role::Viewer), "/v1/services").await;
        (list["items"][0]["drift"] == "r9").then_some(())
    })
    .await;
    let mut body = crate::stand::request_body("c-2");
    body["from"] = json!("r9");
    body["to"] = json!("r10");
    let (_, held) = stand.post(Role::Agent, "/v1/rollouts", body).await;
    let codes: Vec<&str> = held["reasons"]
        .as_array()
        .expect("reasons")
        .iter()
        .filter_map(|each| each["code"].as_str())
        .collect();
    assert!(held["decision"] == "hold" && codes.contains(&"drift"), "{held}");
    assert!(held["approval_url"].is_string(), "{held}");
    let page = reqwest::get(format!("{}/metrics", stand.url)).await.expect("a page");
    let page = page.text().await.expect("text");
    assert!(page.contains("holdpoint_gate_drifted_services 1"), "{page}");
    assert!(page.contains("holdpoint_gate_person_calls_total{reason=\"drift\"} 1"), "{page}");
}
