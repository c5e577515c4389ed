//! OTLP/gRPC by hand: frames, compression, statuses.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use prost::Message;

use crate::rig::{Answer, Rig, ask, gzip, on_free_ports, start, zstd};
use crate::samples;

pub const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

pub fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    [&[flag], &length[..], message].concat()
}

pub async fn call(rig: &Rig, path: &str, encoding: &str, body: Vec<u8>) -> Answer {
    let request = Request::post(format!("http://{}{path}", rig.addresses.grpc))
        .header("content-type", "application/grpc+proto")
        .header("te", "trailers")
        .header("grpc-encoding", encoding)
        .body(Full::<Bytes>::from(body))
        .expect("valid");
    let answer = ask(request, true).await;
    assert_eq!(answer.status, 200, "gRPC errors are no HTTP errors");
    assert_eq!(answer.header("content-type"), "application/grpc");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn all_signals_are_taken_in_every_encoding() {
    let rig = start(on_free_ports()).await;
    let requests = [
        (TRACES, samples::spans("shop", 3, 1).encode_to_vec()),
        (METRICS, samples::gauge(1.0, 1).encode_to_vec()),
        (LOGS, samples::log_lines("shop", 2).encode_to_vec()),
    ];
    for (path, message) in &requests {
        let bodies = [
            ("identity", frame(0, message)),
            ("gzip", frame(0, message)),
            ("gzip", frame(1, &gzip(message))),
            ("zstd", frame(1, &zstd(message))),
        ];
        for (encoding, body) in bodies {
            let answer = call(&rig, path, encoding, body).await;
            assert_eq!(answer.grpc_status(), "0");
            assert!(answer.trailers.is_some(), "the status of a success is in the trailers");
            assert_eq!(answer.body, b"\0\0\0\0\0".as_slice(), "one empty message");
        }
    }
    let row = rig.page(0, 0).await.rows.remove(0);
    let records = [row.traces, row.metrics, row.logs].map(|signal| signal.expect("came").records);
    assert_eq!(records, [12, 4, 8]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_grpc_statuses() {
    let rig = start(on_free_ports()).await;
    let good = samples::spans("shop", 1, 0).encode_to_vec();
    for (path, encoding, body, code) in [
        (
            "/opentelemetry.proto.collector.trace.v1.TraceService/Exp",
            "identity",
            frame(0, &good),
            "12",
        ),
        (TRACES, "br", frame(1, &good), "12"),
        (TRACES, "identity", frame(1, &gzip(&good)), "13"),
        (TRACES, "identity", frame(0, b"\x0a\xff"), "3"),
        (TRACES, "gzip", frame(1, &good), "3"),
        (TRACES, "identity", Vec::new(), "3"),
        (TRACES, "identity", frame(0, &good)[..8].to_vec(), "3"),
        (TRACES, "identity", [frame(0, &good), frame(0, &good)].concat(), "3"),
    ] {
        let answer = call(&rig, path, encoding, body).await;
        assert_eq!(answer.grpc_status(), code, "{path} {encoding}");
        let known = if encoding == "br" { "identity,gzip,deflate,zstd" } else { "" };
        assert_eq!(answer.header("grpc-accept-encoding"), known, "{path} {encoding}");
        assert!(!answer.header("grpc-message").is_empty());
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_at_the_limit_is_taken_and_one_beyond_is_exhausted() {
    let whole = samples::spans("shop", 20, 0).encode_to_vec();
    let config = collector::Config { max_request_bytes: whole.len().max(1_024), ..on_free_ports() };
    assert_eq!(config.max_request_bytes, whole.len(), "the sample is long enough");
    let rig = start(config).await;
    assert_eq!(call(&rig, TRACES, "identity", frame(0, &whole)).await.grpc_status(), "0");
    let more = [whole, vec![0x0a, 0x00]].concat();
    let refused = call(&rig, TRACES, "identity", frame(0, &more)).await;
    assert_eq!(refused.grpc_status(), "8");
    let refused = call(&rig, TRACES, "gzip", frame(1, &gzip(&more))).await;
    assert_eq!(refused.grpc_status(), "8", "after decompression too");
    assert_eq!(rig.page(0, 0).await.flow.received, 20);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_is_taken_at_the_http_port_and_http_at_the_grpc_port() {
    let rig = start(on_free_ports()).await;
    let message = samples::spans("shop", 1, 0).encode_to_vec();
    let request = Request::post(format!("http://{}{TRACES}", rig.addresses.http))
        .header("content-type", "application/grpc")
        .body(Full::from(frame(0, &message)))
        .expect("valid");
    assert_eq!(ask(request, true).await.grpc_status(), "0");
    let request = Request::post(format!("http://{}/v1/traces", rig.addresses.grpc))
        .header("content-type", "application/x-protobuf")
        .body(Full::from(message))
        .expect("valid");
    assert_eq!(ask(request, false).await.status, 200);
    rig.stop().await;
}
