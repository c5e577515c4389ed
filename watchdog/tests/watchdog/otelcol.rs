//! The OpenTelemetry Collector itself as the collector that is watched.
//!
//! `HOLDPOINT_OTELCOL` names its executable, with an OTLP receiver, the batch processor and the
//! OTLP/HTTP exporter; `tests/otelcol/builder.yaml` makes one.

use std::net::{SocketAddr, TcpListener};
use std::time::Instant;

use rustix::process::Signal;
use watchdog::{Config, Foreign, Restart};

use crate::foreign::{boot, probes_return, send};
use crate::stage::{Stage, config, wiring};

/// Its executable; `None` if there is none here and none is required.
fn executable() -> Option<String> {
    let found = std::env::var("HOLDPOINT_OTELCOL").ok();
    if found.is_none() {
        let required = std::env::var("HOLDPOINT_REQUIRE").is_ok_and(|what| what == "all");
        assert!(!required, "HOLDPOINT_OTELCOL is required and not set");
        eprintln!(
            "skipped: HOLDPOINT_OTELCOL is not set, so no OpenTelemetry Collector is watched"
        );
    }
    found
}

fn free_port() -> SocketAddr {
    let port = TcpListener::bind("127.0.0.1:0").expect("a free port");
    port.local_addr().expect("bound")
}

/// One pipeline for each signal, as its documentation has it, with the far tap as exporter.
fn pipelines(front_door: SocketAddr, far_tap: SocketAddr) -> String {
    let pipeline = "{receivers: [otlp], processors: [batch], exporters: [otlphttp/far_tap]}";
    format!(
        "receivers:\n  otlp:\n    protocols:\n      http: {{endpoint: {front_door}}}\n\
         processors:\n  batch: {{timeout: 50ms}}\n\
         exporters:\n  otlphttp/far_tap: {{endpoint: \"http://{far_tap}\"}}\n\
         service:\n  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}\n  \
         pipelines:\n    traces: {pipeline}\n    metrics: {pipeline}\n    logs: {pipeline}\n"
    )
}

#[tokio::test]
async fn the_opentelemetry_collector_is_probed_and_replaced_when_it_hangs() {
    let Some(executable) = executable() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (front_door, far_tap) = (free_port(), free_port());
    let file = folder.path().join("otelcol.yaml");
    std::fs::write(&file, pipelines(front_door, far_tap)).expect("a file");
    let argv = vec![executable, "--config".into(), file.display().to_string()];
    let foreign = Foreign {
        front_door: front_door.to_string(),
        far_tap: Some(far_tap),
        restart: Some(Restart::Child(argv)),
    };
    let config = Config { foreign: Some(foreign), ..config() };
    let stage = Stage::start(config, Vec::new(), wiring()).await;
    probes_return(&stage).await;
    let old = boot(&stage).await.expect("it runs");
    let pid = old.split_once('-').expect("two numbers").0.parse().expect("a pid");
    send(pid, Signal::STOP);
    let hit = Instant::now();
    let another = async |stage: &Stage| boot(stage).await.is_some_and(|boot| boot != old);
    stage.until("another collector runs", another).await;
    probes_return(&stage).await;
    println!("five probes of another one returned after {:?}", hit.elapsed());
    stage.stop().await.expect("a clean stop");
}
