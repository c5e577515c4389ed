//! Health that never lies: each way in which nothing gets through is told, and so is its end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use collector::{Acknowledge, Config, DropRule, ExporterConfig, Protocol};
use serde_json::Value;

use crate::rig::{PATIENCE, Rig, Script, backend, on_free_ports, start};
use crate::rules::{probe, spans_of};

/// As configured here; the answer may take this much longer.
const STALL_MS: u64 = 300;

async fn healthz(rig: &Rig) -> (u16, Value) {
    let answer = rig.admin("/healthz").await;
    (answer.status.as_u16(), serde_json::from_slice(&answer.body).expect("JSON"))
}

/// Waits until `condition` is among the reasons, or until there are none.
async fn healthz_when(rig: &Rig, condition: Option<&str>) -> Value {
    let start = Instant::now();
    loop {
        let (status, body) = healthz(rig).await;
        match condition {
            None if status == 200 => return body,
            Some(wanted) if status == 503 => {
                let reasons = body["reasons"].as_array().expect("reasons");
                let is_wanted = |reason: &&Value| reason["condition"] == wanted;
                if let Some(reason) = reasons.iter().find(is_wanted) {
                    return reason.clone();
                }
            }
            None | Some(_) => {}
        }
        assert!(start.elapsed() < PATIENCE, "{condition:?}: {body}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn to(endpoint: String) -> Config {
    let exporter =
        ExporterConfig { timeout_ms: 500, ..ExporterConfig::new(endpoint, Protocol::Http) };
    Config {
        stall_ms: STALL_MS,
        acknowledge: Acknowledge::Queued,
        exporters: vec![exporter],
        ..on_free_ports()
    }
}

#[tokio::test]
async fn a_backend_that_answers_nothing_makes_it_ill_within_the_bound_until_it_answers() {
    let backend = backend(vec![Script::Hang]).await;
    let rig = start(to(backend.endpoint())).await;
    assert_eq!(healthz(&rig).await.0, 200, "never asked is not ill");
    let start = Instant::now();
    assert_eq!(rig.traces(spans_of("shop")).await.status, 200);
    let reason = healthz_when(&rig, Some("exporter")).await;
    assert!(start.elapsed() >= Duration::from_millis(STALL_MS), "{reason}");
    assert!(reason["for_ms"].as_u64().expect("a number") > STALL_MS, "{reason}");
    assert!(reason["what"].as_str().expect("a text").contains(&backend.endpoint()), "{reason}");
    healthz_when(&rig, None).await;
    rig.page_when(|page| page.flow.forwarded == 1).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_backend_that_refuses_everything_makes_it_ill_although_nothing_waits() {
    let refusing = vec![Script::Status(400, Vec::new(), Vec::new())];
    let backend = backend(refusing).await;
    let rig = start(to(backend.endpoint())).await;
    assert_eq!(rig.traces(spans_of("shop")).await.status, 200);
    healthz_when(&rig, Some("exporter")).await;
    assert_eq!(rig.traces(spans_of("shop")).await.status, 200);
    healthz_when(&rig, None).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_full_queue_makes_it_ill_at_once() {
    let backend = backend(vec![Script::Hang; 200]).await;
    let mut config = to(backend.endpoint());
    config.stall_ms = 600_000;
    config.max_request_bytes = 1_024;
    config.exporters[0].queue_bytes = 1_024;
    config.exporters[0].timeout_ms = 600_000;
    config.drain_timeout_ms = 10;
    let rig = start(config).await;
    let mut taken = 0;
    while rig.traces(spans_of("shop")).await.status == 200 {
        taken += 1;
        assert!(taken < 100, "the queue holds 1 KiB");
    }
    let reason = healthz_when(&rig, Some("line")).await;
    assert!(reason["what"].as_str().expect("a text").contains("full"), "{reason}");
    rig.stop().await;
}

#[tokio::test]
async fn probes_that_come_in_and_do_not_get_through_make_it_ill() {
    let resource = BTreeMap::from([("service.name".to_owned(), "*".to_owned())]);
    let hiding = DropRule { resource, ..DropRule::default() };
    let config = Config { stall_ms: STALL_MS, ..on_free_ports() };
    let rig = start(config.clone()).await;
    assert_eq!(rig.traces(probe("1")).await.status, 200);
    let hidden = Config { drop: vec![hiding], ..config.clone() };
    rig.propose(Ok(hidden)).await.expect("it comes up");
    assert_eq!(healthz(&rig).await.0, 200);
    assert_eq!(rig.traces(probe("2")).await.status, 200);
    healthz_when(&rig, Some("probe")).await;
    rig.propose(Ok(config)).await.expect("it comes up");
    assert_eq!(rig.traces(probe("3")).await.status, 200);
    healthz_when(&rig, None).await;
    rig.stop().await;
}
