//! Places to forward to that are no backends: files and the log; and limits on what is forwarded.

use collector::{Config, Exported, ExporterConfig, ExporterKind, FileFormat, Protocol, StartError};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use watchdog_core::names::Boot;

use crate::rig::{PROTOBUF, backend, on_free_ports, start};
use crate::samples;

#[tokio::test(flavor = "multi_thread")]
async fn files_hold_what_came_in_both_formats_and_the_log_takes_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, format| ExporterConfig {
        kind: ExporterKind::File,
        path: Some(folder.path().join(name)),
        format,
        ..ExporterConfig::default()
    };
    let exporters = vec![
        file("json", FileFormat::Json),
        file("proto", FileFormat::Proto),
        ExporterConfig { kind: ExporterKind::Debug, ..ExporterConfig::default() },
    ];
    let rig = start(Config { exporters, ..on_free_ports() }).await;
    let sent = samples::full_traces();
    for _ in 0..3 {
        assert_eq!(rig.traces(sent.encode_to_vec()).await.status, 200);
    }
    let profiles = samples::field(1, &[]);
    let headers = [("content-type", PROTOBUF)];
    assert_eq!(rig.post("/v1development/profiles", &headers, profiles).await.status, 200);
    let records = rig.page(0, 0).await.flow.received;
    rig.page_when(|page| page.flow.forwarded == records && page.flow.dropped == 0).await;
    rig.stop().await;
    let lines = std::fs::read_to_string(folder.path().join("json")).expect("text");
    assert_eq!(lines.lines().count(), 3, "and no profiles");
    for line in lines.lines() {
        let read: ExportTraceServiceRequest = serde_json::from_str(line).expect("OTLP/JSON");
        assert_eq!(read, sent);
    }
    let bytes = std::fs::read(folder.path().join("proto")).expect("bytes");
    let (length, rest) = bytes.split_first_chunk::<4>().expect("a length");
    let length = u32::from_be_bytes(*length) as usize;
    assert_eq!(ExportTraceServiceRequest::decode(&rest[..length]), Ok(sent));
    assert_eq!(bytes.len(), 3 * (4 + length) + 4 + 2, "three, and the profiles");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exporter_gets_the_signals_it_is_there_for() {
    let (logs, all) = (backend(Vec::new()).await, backend(Vec::new()).await);
    let to = |endpoint| ExporterConfig::new(endpoint, Protocol::Http);
    let only = ExporterConfig {
        signals: vec![Exported::Logs],
        endpoint_is_whole: true,
        ..to(format!("{}/only/logs", logs.endpoint()))
    };
    let exporters = vec![only, to(all.endpoint())];
    let rig = start(Config { exporters, ..on_free_ports() }).await;
    rig.traces(samples::spans("shop", 2, 0).encode_to_vec()).await;
    let body = samples::log_lines("shop", 5).encode_to_vec();
    rig.post("/v1/logs", &[("content-type", PROTOBUF)], body.clone()).await;
    rig.page_when(|page| page.flow.forwarded == 7 && page.flow.dropped == 0).await;
    let got = logs.got_when(1).await;
    assert_eq!((got.len(), got[0].path.as_str(), &got[0].body[..]), (1, "/only/logs", &body[..]));
    assert_eq!(all.got().len(), 2);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_type_is_a_mistake_that_says_so() {
    let exporter = ExporterConfig {
        kind: ExporterKind::Debug,
        ..ExporterConfig::new("http://127.0.0.1:1", Protocol::Http)
    };
    let config = Config { exporters: vec![exporter], ..on_free_ports() };
    let boot = Boot::new("1700000000000-test").expect("a name");
    let Err(StartError::Config { key, text }) = collector::bind(config, boot).await else {
        panic!("it is a mistake")
    };
    assert_eq!(
        (key, text.as_str()),
        ("exporter.endpoint", "belongs to an exporter of type \"otlp\"")
    );
}
