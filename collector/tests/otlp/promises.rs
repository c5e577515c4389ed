//! What an answer promises when it waits for the backends, and that none promises a disk that it
//! does not have.

use std::sync::Arc;

use collector::{Acknowledge, Config, ExporterConfig, Protocol, RunError};
use prost::Message;
use tokio_util::sync::CancellationToken;
use watchdog_core::names::Boot;

use crate::rig::{JSON, PROTOBUF, Rig, Script, backend, on_free_ports, start};
use crate::samples;

/// `ExportTraceServiceResponse { partial_success { rejected_spans: N } }`.
fn partial(rejected: u8) -> Script {
    let headers = vec![("content-type", PROTOBUF.to_owned())];
    Script::Status(200, headers, vec![0x0a, 0x02, 0x08, rejected])
}

fn refusal() -> Script {
    Script::Status(400, Vec::new(), Vec::new())
}

async fn waiting_for(backends: &[String]) -> Rig {
    let exporters = backends.iter().map(|at| ExporterConfig::new(at, Protocol::Http)).collect();
    start(Config { acknowledge: Acknowledge::Delivered, exporters, ..on_free_ports() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_hears_what_the_backend_rejected_and_that_the_rest_was_taken() {
    let backend = backend(vec![partial(3), partial(3), partial(5)]).await;
    let rig = waiting_for(&[backend.endpoint()]).await;
    let spans = samples::spans("shop", 5, 0).encode_to_vec();
    let answer = rig.traces(spans.clone()).await;
    assert_eq!(answer.status, 200, "a client that is told 400 throws away the two that are in");
    assert_eq!(answer.body[2..4], [0x08, 3]);
    let json = br#"{"resourceSpans":[{"scopeSpans":[{"spans":[{},{},{},{}]}]}]}"#.to_vec();
    let answer = rig.post("/v1/traces", &[("content-type", JSON)], json).await;
    let told: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(told["partialSuccess"]["rejectedSpans"], "3");
    let answer = rig.traces(spans.clone()).await;
    assert_eq!((answer.status.as_u16(), &answer.body[2..4]), (200, &[0x08, 5][..]), "as told");
    let answer = rig.traces(spans).await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0), "nothing is told of nothing");
    let flow = rig.page(0, 0).await.flow;
    assert_eq!((flow.forwarded, flow.dropped), (2 + 1 + 5, 3 + 3 + 5));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_a_backend_rejects_is_not_at_the_far_tap() {
    let backend = backend(vec![partial(1)]).await;
    let rig = waiting_for(&[backend.endpoint()]).await;
    let answer = rig.traces(samples::probe("run", 1).encode_to_vec()).await;
    assert_eq!((answer.status.as_u16(), &answer.body[2..4]), (200, &[0x08, 1][..]));
    assert!(rig.page(0, 0).await.echoes.is_empty());
    assert_eq!(rig.traces(samples::probe("run", 2).encode_to_vec()).await.status, 200);
    assert_eq!(rig.page(0, 0).await.echoes.len(), 1);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_of_two_backends_refuses_for_good_is_refused() {
    let (takes, refuses) = (backend(Vec::new()).await, backend(vec![refusal()]).await);
    let rig = waiting_for(&[takes.endpoint(), refuses.endpoint()]).await;
    let spans = samples::spans("shop", 5, 0).encode_to_vec();
    assert_eq!(rig.traces(spans.clone()).await.status, 400);
    assert_eq!(rig.traces(spans).await.status, 200);
    rig.stop().await;
}

#[tokio::test]
async fn a_collector_that_is_to_spool_and_has_no_directory_does_not_run() {
    let config = Config { acknowledge: Acknowledge::Spooled, ..on_free_ports() };
    let boot = Boot::new("1700000000000-test").expect("a name");
    let bound = collector::bind(config, boot).await.expect("free ports");
    let run = bound.run(Arc::new(|| None), CancellationToken::new()).await;
    assert!(matches!(run, Err(RunError::NoSpool)), "{run:?}");
}
