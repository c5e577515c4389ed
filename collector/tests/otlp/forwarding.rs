//! Forwarding: byte for byte, retries, full queues, drains, and the far tap.

use std::time::{Duration, Instant};

use collector::{Compression, Config, ExporterConfig, FileSource, HeaderSource, Protocol};
use prost::Message;

use crate::rig::{Got, JSON, PROTOBUF, Script, backend, forwarding_to, gzip, on_free_ports, start};
use crate::samples;

const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

fn http(endpoint: String) -> ExporterConfig {
    ExporterConfig::new(endpoint, Protocol::Http)
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_reach_an_http_backend_as_they_came() {
    let backend = backend(Vec::new()).await;
    let mut exporter = http(format!("{}/otlp/", backend.endpoint()));
    exporter.headers.insert("x-key".to_owned(), "secret".into());
    let rig = forwarding_to(&exporter).await;
    // A field that no version of OTLP has must come through as well.
    let body =
        [samples::full(watchdog_core::tally::Signal::Traces), vec![0xf8, 0x07, 0x01]].concat();
    assert_eq!(rig.traces(body.clone()).await.status, 200);
    let got = &backend.got_when(1).await[0];
    assert_eq!(got.path, "/otlp/v1/traces");
    assert_eq!(got.body, body);
    assert_eq!(got.headers["content-type"], PROTOBUF);
    assert_eq!(got.headers["x-key"], "secret");
    assert!(got.headers.get("content-encoding").is_none());
    let page = rig.page_when(|page| page.flow.forwarded == 1).await;
    assert_eq!((page.flow.queued, page.flow.dropped), (0, 0));
    assert!(page.flow.backend && page.flow.last_forward_age_ms.is_some());
    let forwarded = "holdpoint_collector_forwarded_records_total";
    let line =
        format!("{forwarded}{{exporter=\"{}/otlp/\",signal=\"traces\"}}", backend.endpoint());
    assert_eq!(rig.metric(&line).await, Some(1.0));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_reach_a_grpc_backend_as_they_came() {
    let backend = backend(Vec::new()).await;
    let rig = forwarding_to(&ExporterConfig::new(backend.endpoint(), Protocol::Grpc)).await;
    let body = samples::spans("shop", 1_000, 0).encode_to_vec();
    assert_eq!(rig.traces(body.clone()).await.status, 200);
    let got = &backend.got_when(1).await[0];
    assert_eq!(got.path, TRACES);
    assert_eq!(got.body[..5], [&[0], &(body.len() as u32).to_be_bytes()[..]].concat());
    assert_eq!(got.body[5..], body);
    rig.page_when(|page| page.flow.forwarded == 1_000).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_bytes_are_forwarded_compressed_only_if_any_decoder_reads_them() {
    let backend = backend(Vec::new()).await;
    let exporter = ExporterConfig { compression: Compression::Gzip, ..http(backend.endpoint()) };
    let rig = forwarding_to(&exporter).await;
    let plain = samples::spans("shop", 50, 0).encode_to_vec();
    let headers = [("content-type", PROTOBUF), ("content-encoding", "gzip")];
    let one = gzip(&plain);
    let two = [gzip(&plain[..9]), gzip(&plain[9..])].concat();
    for body in [one.clone(), two.clone()] {
        assert_eq!(rig.post("/v1/traces", &headers, body).await.status, 200);
    }
    assert_eq!(rig.traces(plain.clone()).await.status, 200);
    let got = backend.got_when(3).await;
    assert!(got.iter().all(|got| got.headers["content-encoding"] == "gzip"));
    assert!(got.iter().any(|got| got.body == one), "one member passes as it came");
    assert!(got.iter().all(|got| got.body != two), "two members are closed anew");
    for got in got {
        let mut content = Vec::new();
        let mut decoder = flate2::read::GzDecoder::new(&got.body[..]);
        std::io::Read::read_to_end(&mut decoder, &mut content).expect("gzip");
        assert_eq!(content, plain, "a decoder of one member reads all of it");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_forwarded_as_protobuf() {
    let backend = backend(Vec::new()).await;
    let rig = forwarding_to(&http(backend.endpoint())).await;
    let request = samples::full_logs();
    let json = serde_json::to_vec(&request).expect("serializes");
    assert_eq!(rig.post("/v1/logs", &[("content-type", JSON)], json).await.status, 200);
    let got = &backend.got_when(1).await[0];
    assert_eq!(got.headers["content-type"], PROTOBUF);
    assert_eq!(Message::decode(got.body.clone()), Ok(request));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_for_now_is_tried_again_and_the_wait_that_is_asked_for_is_kept() {
    let wait = vec![("retry-after", "1".to_owned())];
    let backend = backend(vec![
        Script::Status(502, Vec::new(), Vec::new()),
        Script::Status(503, wait, Vec::new()),
    ])
    .await;
    let rig = forwarding_to(&http(backend.endpoint())).await;
    let start = Instant::now();
    rig.traces(samples::spans("shop", 2, 0).encode_to_vec()).await;
    backend.got_when(2).await;
    let asked = Instant::now();
    let got = backend.got_when(3).await;
    assert!(asked.elapsed() >= Duration::from_millis(900), "Retry-After is kept");
    assert!(start.elapsed() >= Duration::from_millis(250));
    assert!(got.iter().all(|other| other.body == got[0].body));
    rig.page_when(|page| page.flow.forwarded == 2).await;
    assert_eq!(rig.page(0, 0).await.flow.dropped, 0);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_backend_is_waited_for_and_its_return_is_noticed() {
    let address = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("bound")
    };
    let rig = forwarding_to(&http(format!("http://{address}"))).await;
    rig.traces(samples::spans("shop", 1, 0).encode_to_vec()).await;
    let failed =
        format!("holdpoint_collector_failed_attempts_total{{exporter=\"http://{address}\"}}");
    while rig.metric(&failed).await != Some(1.0) {
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.page(0, 0).await.flow.queued, 1);
    let listener = front_door::bind(address).await.expect("the port is still free");
    let taking = tower::service_fn(|_: http::Request<hyper::body::Incoming>| async {
        Ok::<_, std::convert::Infallible>(http::Response::new(String::new()))
    });
    let stop = tokio_util::sync::CancellationToken::new();
    tokio::spawn(front_door::serve(listener, taking, front_door::Limits::default(), stop.clone()));
    rig.page_when(|page| page.flow.forwarded == 1).await;
    rig.stop().await;
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_for_good_or_for_too_long_is_dropped_and_counted() {
    let backend = backend(vec![
        Script::Status(400, Vec::new(), b"\x12\x03bad".to_vec()),
        // partial_success { rejected = 2 }
        Script::Status(200, Vec::new(), b"\x0a\x02\x08\x02".to_vec()),
        Script::Status(503, Vec::new(), Vec::new()),
    ])
    .await;
    let exporter = ExporterConfig { retry_for_ms: 1, ..http(backend.endpoint()) };
    let rig = forwarding_to(&exporter).await;
    for _ in 0..3 {
        rig.traces(samples::spans("shop", 5, 0).encode_to_vec()).await;
        let page = rig.page_when(|page| page.flow.queued == 0).await;
        assert_eq!(page.flow.received, page.flow.forwarded + page.flow.dropped);
    }
    let page = rig.page(0, 0).await;
    assert_eq!((page.flow.forwarded, page.flow.dropped), (3, 12));
    for (reason, records) in [("rejected", 7.0), ("expired", 5.0), ("stopped", 0.0)] {
        let name = format!(
            "holdpoint_collector_dropped_records_total{{exporter=\"{}\",signal=\"traces\",\
             reason=\"{reason}\"}}",
            backend.endpoint()
        );
        assert_eq!(rig.metric(&name).await, Some(records), "{reason}");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_with_the_time_to_come_back_and_counts_nothing_twice() {
    let backend = backend(vec![Script::Hang; 1_000]).await;
    let exporter = ExporterConfig { queue_bytes: 1 << 20, ..http(backend.endpoint()) };
    let config = Config {
        exporters: vec![exporter],
        max_request_bytes: 1 << 20,
        drain_timeout_ms: 50,
        ..on_free_ports()
    };
    let rig = start(config).await;
    let mut taken = 0;
    let refused = loop {
        // Each is of another service: one alone is not let in beyond its share.
        let service = format!("shop-{taken}");
        let answer = rig.traces(samples::spans(&service, 5_000, 0).encode_to_vec()).await;
        if answer.status != 200 {
            break answer;
        }
        taken += 1;
        assert!(taken < 100, "the queue never fills");
    };
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, "1"));
    let page = rig.page(0, 0).await;
    assert_eq!(page.rows.len() as u64, taken, "the refused one has no row");
    assert_eq!((page.flow.received, page.flow.refused), (taken * 5_000, 5_000));
    assert_eq!(rig.admin("/readyz").await.status, 200, "small ones still fit");
    let reason =
        "holdpoint_collector_refused_requests_total{signal=\"traces\",reason=\"queue_full\"}";
    assert_eq!(rig.metric(reason).await, Some(1.0));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_delivers_what_is_queued() {
    let backend = backend(vec![Script::Status(503, Vec::new(), Vec::new())]).await;
    let rig = forwarding_to(&http(backend.endpoint())).await;
    for _ in 0..5 {
        assert_eq!(rig.traces(samples::spans("shop", 1, 0).encode_to_vec()).await.status, 200);
    }
    rig.stop().await;
    assert_eq!(backend.got().len(), 6, "five, and one of them twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_is_echoed_after_the_backend_took_it_and_not_before() {
    let wait = vec![("retry-after", "1".to_owned())];
    let backend = backend(vec![Script::Status(503, wait, Vec::new())]).await;
    let rig = forwarding_to(&http(backend.endpoint())).await;
    assert_eq!(rig.traces(samples::probe("run", 1).encode_to_vec()).await.status, 200);
    backend.got_when(1).await;
    assert!(rig.page(0, 0).await.echoes.is_empty(), "the backend has refused it so far");
    let page = rig.page_when(|page| !page.echoes.is_empty()).await;
    assert_eq!(backend.got().len(), 2);
    assert_eq!((page.echoes[0].run.as_str(), page.echoes[0].value.as_str()), ("run", "42"));
    rig.stop().await;

    let refusing = crate::rig::backend(vec![Script::Status(400, Vec::new(), Vec::new())]).await;
    let rig = forwarding_to(&http(refusing.endpoint())).await;
    rig.traces(samples::probe("run", 2).encode_to_vec()).await;
    let page = rig.page_when(|page| page.flow.dropped == 1).await;
    assert!(page.echoes.is_empty(), "a probe that is dropped is not echoed");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_two_backends_a_record_is_forwarded_when_both_have_it() {
    let (good, bad) = (backend(Vec::new()).await, backend(vec![Script::Hang]).await);
    let config = Config {
        exporters: vec![http(good.endpoint()), http(bad.endpoint())],
        drain_timeout_ms: 50,
        ..on_free_ports()
    };
    let rig = start(config).await;
    rig.traces(samples::spans("shop", 1, 0).encode_to_vec()).await;
    let (one, two) = (good.got_when(1).await, bad.got_when(1).await);
    assert_eq!(one[0].body, two[0].body);
    let flow = rig.page(0, 0).await.flow;
    assert_eq!((flow.queued, flow.forwarded, flow.dropped), (1, 0, 0));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_a_file_is_sent_and_read_again_when_it_changes() {
    let backend = backend(Vec::new()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, "Bearer one\n").expect("written");
    let mut exporter = http(backend.endpoint());
    let source = HeaderSource::File(FileSource { file: file.clone() });
    exporter.headers.insert("authorization".to_owned(), source);
    let rig = forwarding_to(&exporter).await;
    let send = || rig.traces(samples::spans("shop", 1, 0).encode_to_vec());
    send().await;
    assert_eq!(backend.got_when(1).await[0].headers["authorization"], "Bearer one");
    std::fs::write(&file, "Bearer second\n").expect("written");
    let is_new = |got: &Got| got.headers["authorization"] == "Bearer second";
    while !backend.got().last().is_some_and(is_new) {
        let sent = backend.got().len();
        send().await;
        backend.got_when(sent + 1).await;
    }
    std::fs::remove_file(&file).expect("removed");
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(1_200) {
        let sent = backend.got().len();
        send().await;
        assert!(is_new(&backend.got_when(sent + 1).await[sent]), "the last value stays");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let endless = Script::Status(200, Vec::new(), vec![0; 4 * 1_024 * 1_024 + 1]);
    let backend = backend(vec![endless]).await;
    let rig = forwarding_to(&http(backend.endpoint())).await;
    rig.traces(samples::spans("shop", 1, 0).encode_to_vec()).await;
    rig.page_when(|page| page.flow.forwarded == 1).await;
    assert_eq!(rig.metric("holdpoint_collector_failed_attempts_total").await, Some(1.0));
    rig.stop().await;
}

#[tokio::test]
async fn boards_of_other_collectors_find_their_names() {
    let backend = backend(Vec::new()).await;
    let rig = forwarding_to(&ExporterConfig::new(backend.endpoint(), Protocol::Http)).await;
    assert_eq!(rig.traces(crate::rules::spans_of("shop")).await.status, 200);
    rig.page_when(|page| page.flow.forwarded == 1).await;
    let exporter = format!("{{exporter=\"{}\"}}", backend.endpoint());
    for (name, value) in [
        (r#"otelcol_receiver_accepted_spans{receiver="otlp",transport="http"}"#.to_owned(), 1.0),
        (r#"otelcol_receiver_accepted_spans{receiver="otlp",transport="grpc"}"#.to_owned(), 0.0),
        (r#"otelcol_receiver_refused_log_records{receiver="otlp",transport="http"}"#.into(), 0.0),
        (format!("otelcol_exporter_sent_spans{exporter}"), 1.0),
        (format!("otelcol_exporter_send_failed_metric_points{exporter}"), 0.0),
        (format!("otelcol_exporter_queue_size{exporter}"), 0.0),
    ] {
        assert_eq!(rig.metric(&name).await, Some(value), "{name}");
    }
    assert!(rig.metric("otelcol_process_memory_rss").await > Some(1e6));
    assert!(rig.metric("otelcol_process_cpu_seconds").await.is_some());
    let page = rig.admin("/metrics").await;
    let text = std::str::from_utf8(&page.body).expect("text");
    assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1);
    rig.stop().await;
}
