//! A new configuration in a running collector: in force as a whole, or rejected as a whole.

use std::net::TcpListener;

use bytes::Bytes;
use collector::{Config, ExporterConfig, HeaderSource, Protocol};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use tokio::net::TcpStream;

use crate::rig::{PROTOBUF, Rig, Script, backend, on_free_ports, start};

fn spans() -> Vec<u8> {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/trace.json"));
    let request: ExportTraceServiceRequest =
        serde_json::from_str(&text.expect("a file")).expect("OTLP in JSON");
    request.encode_to_vec()
}

/// A connection to the HTTP port that stays open.
async fn connect(rig: &Rig) -> http1::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(rig.addresses.http).await.expect("it listens");
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1");
    tokio::spawn(connection);
    sender
}

async fn send(connection: &mut http1::SendRequest<Full<Bytes>>, body: Vec<u8>) -> u16 {
    connection.ready().await.expect("the connection is open");
    let request = Request::post("/v1/traces")
        .header("host", "collector")
        .header("content-type", PROTOBUF)
        .body(Full::from(body))
        .expect("valid");
    let answer = connection.send_request(request).await.expect("an answer");
    let status = answer.status().as_u16();
    answer.into_body().collect().await.expect("a whole answer");
    status
}

async fn in_force(rig: &Rig) -> serde_json::Value {
    serde_json::from_slice(&rig.admin("/v1/config").await.body).expect("JSON")
}

#[tokio::test]
async fn a_new_limit_holds_on_a_connection_that_was_open_before() {
    let config = on_free_ports();
    let rig = start(config.clone()).await;
    let mut connection = connect(&rig).await;
    assert_eq!(send(&mut connection, spans()).await, 200);
    assert_eq!(in_force(&rig).await["sha256"], "first");

    let small = Config { max_request_bytes: 1_024, ..config };
    let applied = rig.propose(Ok(small)).await.expect("it comes up");
    assert_eq!(applied.addresses, rig.addresses, "port 0 stays where it is");
    let big = spans().repeat(16);
    assert!(big.len() > 1_024);
    assert_eq!(send(&mut connection, big).await, 413);
    let page = in_force(&rig).await;
    assert_eq!((&page["sha256"], &page["rejected"]), (&"next".into(), &serde_json::Value::Null));
    let applied = r#"holdpoint_collector_config_reloads_total{outcome="applied"}"#;
    assert_eq!(rig.metric(applied).await, Some(1.0));
    rig.stop().await;
}

#[tokio::test]
async fn what_does_not_come_up_changes_nothing_and_is_told() {
    let config = on_free_ports();
    let rig = start(config.clone()).await;
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let bad = Config {
        max_request_bytes: 1_024,
        grpc_listen: "127.0.0.1:0".parse().expect("an address"),
        http_listen: taken.local_addr().expect("bound"),
        ..config.clone()
    };
    let why = rig.propose(Ok(bad)).await.expect_err("the port is in use");
    assert!(why.contains("another process listens there"), "{why}");
    let mistaken = Config { memory_bytes: 1, ..config.clone() };
    let why = rig.propose(Ok(mistaken)).await.expect_err("too little");
    assert!(why.contains("memory_bytes"), "{why}");
    let unread = rig.propose(Err("holdpoint.toml:3:1: unknown key")).await;
    assert!(unread.is_err());

    let big = spans().repeat(16);
    assert_eq!(rig.traces(big).await.status, 200, "the old limit holds");
    let page = in_force(&rig).await;
    assert_eq!(page["sha256"], "first");
    assert_eq!(page["rejected"]["why"], "holdpoint.toml:3:1: unknown key");
    let ready = rig.admin("/readyz").await;
    assert_eq!(ready.status, 200, "it takes requests as before");
    let ready: serde_json::Value = serde_json::from_slice(&ready.body).expect("JSON");
    assert_eq!(ready["config"]["rejected"]["why"], "holdpoint.toml:3:1: unknown key");
    let rejected = r#"holdpoint_collector_config_reloads_total{outcome="rejected"}"#;
    assert_eq!(rig.metric(rejected).await, Some(3.0));
    assert!(rig.propose(Ok(config)).await.is_ok());
    assert_eq!(in_force(&rig).await["rejected"], serde_json::Value::Null);
    rig.stop().await;
}

#[tokio::test]
async fn a_port_moves_and_the_others_stay() {
    let config = on_free_ports();
    let mut rig = start(config.clone()).await;
    let old = rig.addresses;
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
    let moved = Config { http_listen: free, ..config };
    let applied = rig.propose(Ok(moved)).await.expect("it comes up").addresses;
    assert_eq!((applied.http, applied.grpc, applied.admin), (free, old.grpc, old.admin));
    rig.addresses = applied;
    assert_eq!(rig.traces(spans()).await.status, 200);
    while TcpStream::connect(old.http).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.page(0, 0).await.rows.len(), 1, "the counts go on");
    rig.stop().await;
}

#[tokio::test]
async fn what_waits_for_a_backend_goes_out_as_the_new_settings_say() {
    let refusing = vec![Script::Status(503, vec![("retry-after", "600".to_owned())], Vec::new())];
    let backend = backend(refusing).await;
    let mut exporter = ExporterConfig::new(backend.endpoint(), Protocol::Http);
    exporter.headers.insert("x-key".to_owned(), HeaderSource::Text("old".to_owned()));
    exporter.retry_for_ms = 3_600_000;
    let config = Config { exporters: vec![exporter.clone()], ..on_free_ports() };
    let rig = start(config.clone()).await;
    assert_eq!(rig.traces(spans()).await.status, 200);
    assert_eq!(backend.got_when(1).await[0].headers["x-key"], "old");

    exporter.headers.insert("x-key".to_owned(), HeaderSource::Text("new".to_owned()));
    let next = Config { exporters: vec![exporter], ..config };
    rig.propose(Ok(next)).await.expect("it comes up");
    let got = backend.got_when(2).await;
    assert_eq!(got[1].headers["x-key"], "new", "without waiting for the old pause to end");
    assert_eq!(got[0].body, got[1].body);
    rig.page_when(|page| page.flow.forwarded == 1 && page.flow.queued == 0).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_backend_that_is_taken_out_still_gets_what_waits_for_it() {
    let (one, other) = (
        backend(vec![Script::Status(503, Vec::new(), Vec::new())]).await,
        backend(Vec::new()).await,
    );
    let forwarding = |endpoint| Config {
        exporters: vec![ExporterConfig::new(endpoint, Protocol::Http)],
        ..on_free_ports()
    };
    let rig = start(forwarding(one.endpoint())).await;
    assert_eq!(rig.traces(spans()).await.status, 200);
    rig.propose(Ok(forwarding(other.endpoint()))).await.expect("it comes up");
    assert_eq!(rig.traces(spans()).await.status, 200);
    assert_eq!((one.got_when(2).await.len(), other.got_when(1).await.len()), (2, 1));
    rig.page_when(|page| page.flow.forwarded == 2 && page.flow.queued == 0).await;
    rig.stop().await;
}
