//! Beats over HTTP and UDP: what counts, what does not, and what the sender is told.

use serde_json::json;
use watchdog::{ServiceConfig, canonical_datagram, sign_beat};

use crate::stage::{BEAT_KEY, Stage, body, config, datagram, wiring};

const ACCEPTED_HTTP: &str = r#"holdpoint_watchdog_beats_total{transport="http"}"#;
const ACCEPTED_UDP: &str = r#"holdpoint_watchdog_beats_total{transport="udp"}"#;

async fn stage() -> Stage {
    Stage::start(config(), Vec::new(), wiring()).await
}

fn refused(transport: &str, reason: &str) -> String {
    format!(
        r#"holdpoint_watchdog_beats_refused_total{{transport="{transport}",reason="{reason}"}}"#
    )
}

#[tokio::test]
async fn a_beat_is_accepted_and_its_replay_is_409() {
    let stage = stage().await;
    assert_eq!(stage.beat("checkout", &body(1)).await, (202, json!({ "seq": 1 })));
    let (status, answer) = stage.beat("checkout", &body(1)).await;
    assert_eq!((status, &answer["error"]["code"]), (409, &json!("replayed")));
    assert_eq!(stage.beat("checkout", &body(2)).await.0, 202);
    assert_eq!(stage.beat("checkout", &body(1)).await.0, 409);
    assert_eq!(stage.sample(ACCEPTED_HTTP).await, Some(2.0));
    assert_eq!(stage.sample(&refused("http", "replayed")).await, Some(2.0));
}

#[tokio::test]
async fn a_namespace_is_part_of_the_name_encoded_or_not() {
    let stage = stage().await;
    assert_eq!(stage.beat("shop%2Fcheckout", &body(1)).await.0, 202);
    assert_eq!(stage.beat("shop/checkout", &body(1)).await.0, 409);
    stage.until("the verdict", async |s| s.verdict("shop%2Fcheckout").await.is_some()).await;
}

#[tokio::test]
async fn an_empty_body_and_a_ping_are_beats_without_witness() {
    let stage = stage().await;
    assert_eq!(stage.beat_signed("cron", String::new(), None).await.0, 202);
    assert_eq!(stage.beat_signed("cron", String::new(), None).await.0, 202);
    for path in ["/ping/cron", "/ping/cron/start", "/ping/cron/0", "/ping/cron/nightly"] {
        assert_eq!(stage.text(path).await, "OK", "{path}");
    }
    stage.until("the verdict", async |s| s.verdict("cron").await.is_some()).await;
    stage.until("the slug", async |s| s.verdict("cron/nightly").await.is_some()).await;
}

#[tokio::test]
async fn what_is_no_beat_is_refused_with_its_own_status() {
    let stage = stage().await;
    let long = json!({ "instance": "x".repeat(5_000) });
    let mut unknown = body(1);
    unknown["mood"] = json!("fine");
    let mut token = body(1);
    token["token"] = json!("x".repeat(65));
    let mut boot = body(1);
    boot["boot"] = json!("abc");
    for (wrong, status, code) in [
        (json!("no object"), 400, "malformed"),
        (unknown, 400, "malformed"),
        (token, 400, "malformed"),
        (boot, 400, "boot_without_start"),
        (long, 413, "too_large"),
    ] {
        let answer = stage.beat("checkout", &wrong).await;
        assert_eq!((answer.0, &answer.1["error"]["code"]), (status, &json!(code)), "{answer:?}");
        assert!(answer.1["error"]["hint"].is_string());
    }
    assert_eq!(stage.beat("a%0Ab", &body(1)).await.0, 400);
    assert_eq!(stage.status("/v1/nothing").await, 404);
    assert_eq!(stage.status("/v1/beats/checkout").await, 405);
    let from_a_page = stage.client.post(stage.url("/v1/beats/checkout"));
    let answer = from_a_page.header("Origin", "http://evil.example").send().await;
    assert_eq!(answer.expect("an answer").status().as_u16(), 403);
    assert_eq!(stage.sample(ACCEPTED_HTTP).await, None);
}

#[tokio::test]
async fn once_signed_a_service_must_sign() {
    let stage = stage().await;
    let service = "signed-checkout".parse().expect("a valid name");
    assert_eq!(stage.beat("signed-checkout", &body(1)).await.0, 202);
    let text = body(2).to_string();
    let signature = sign_beat(BEAT_KEY, &service, text.as_bytes());
    let sent = stage.beat_signed("signed-checkout", text.clone(), Some(signature.clone())).await;
    assert_eq!(sent.0, 202);
    let (status, answer) = stage.beat("signed-checkout", &body(3)).await;
    assert_eq!((status, &answer["error"]["code"]), (401, &json!("unsigned")));
    let text = body(4).to_string();
    let (status, answer) = stage.beat_signed("signed-checkout", text, Some(signature)).await;
    assert_eq!((status, &answer["error"]["code"]), (401, &json!("bad_mac")));
    // The MAC of nothing is the same every time, so it proves nothing.
    let empty = sign_beat(BEAT_KEY, &service, b"");
    assert_eq!(stage.beat_signed("signed-checkout", String::new(), Some(empty)).await.0, 401);
}

#[tokio::test]
async fn in_production_an_unsigned_beat_never_counts() {
    let service = ServiceConfig {
        name: "signed-pay".parse().expect("a valid name"),
        environment: "production".parse().expect("a valid name"),
        expect: None,
        beat_interval_ms: None,
        instances_min: None,
        restart_grace_ms: None,
        witness: None,
        liveness: None,
    };
    let stage = Stage::start(config(), vec![service.clone()], wiring()).await;
    assert_eq!(stage.beat("signed-pay", &body(1)).await.0, 401);
    let text = body(1).to_string();
    let signature = sign_beat(BEAT_KEY, &service.name, text.as_bytes());
    assert_eq!(stage.beat_signed("signed-pay", text, Some(signature)).await.0, 202);
}

#[tokio::test]
async fn loopback_is_no_excuse_where_the_configuration_says_so() {
    let strict = watchdog::Config { unsigned_loopback: false, ..config() };
    let stage = Stage::start(strict, Vec::new(), wiring()).await;
    assert_eq!(stage.beat("checkout", &body(1)).await.0, 401);
    assert_eq!(stage.beat_signed("checkout", String::new(), None).await.0, 401);
}

#[tokio::test]
async fn datagrams_count_and_their_mac_is_over_the_canonical_form() {
    let stage = stage().await;
    stage.datagram(&datagram("plain", 1)).await;
    let mut signed = datagram("signed", 1);
    let canonical = canonical_datagram(signed.to_string().as_bytes()).expect("an object");
    let service = "signed".parse().expect("a valid name");
    signed["mac"] = json!(sign_beat(BEAT_KEY, &service, &canonical));
    stage.datagram(&signed).await;
    stage.until("both count", async |s| s.sample(ACCEPTED_UDP).await == Some(2.0)).await;

    stage.datagram(&datagram("signed", 2)).await;
    let mut forged = datagram("signed", 3);
    forged["mac"] = signed["mac"].clone();
    stage.datagram(&forged).await;
    stage.datagram(&json!({ "service": "plain" })).await;
    for reason in ["unsigned", "bad_mac", "malformed"] {
        let line = refused("udp", reason);
        stage.until(reason, async |s| s.sample(&line).await == Some(1.0)).await;
    }
    assert_eq!(stage.sample(ACCEPTED_UDP).await, Some(2.0));
}

#[tokio::test]
async fn a_used_port_is_a_clear_error() {
    let stage = stage().await;
    let taken = watchdog::Config { listen: stage.address, ..config() };
    let error = watchdog::bind(taken, Vec::new()).await.expect_err("the port is used");
    let text = error.to_string();
    assert!(text.contains(&stage.address.to_string()), "{text}");
    assert!(text.contains("Address already in use"), "{text}");
    assert!(text.contains("watchdog.listen"), "{text}");
}
