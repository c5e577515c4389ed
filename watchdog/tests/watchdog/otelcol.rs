//! The OpenTelemetry Collector itself as the collector that is watched.
//!
//! `HOLDPOINT_OTELCOL` names its executable, with an OTLP receiver, the batch processor and the
//! OTLP/HTTP exporter; `tests/otelcol/builder.yaml` makes one.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message as _;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio_util::sync::DropGuard;
use watchdog::{Config, Foreign, ReadbackConfig, Restart};

use crate::echo::metric_values_by_way;
use crate::fakes::serve;
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

/// A backend that takes OTLP, and answers the one query that is put to it.
type Series = Arc<Mutex<BTreeMap<(String, String), i64>>>;

async fn backend() -> (SocketAddr, Series, DropGuard) {
    async fn take(State(series): State<Series>, body: Bytes) {
        // What is compressed is meant for the far tap, and dropped like everything here.
        let Ok(request) = ExportMetricsServiceRequest::decode(body) else { return };
        let mut series = series.lock().expect("no test panicked");
        for (way, run, value) in metric_values_by_way(&request) {
            series.insert((run, way), value);
        }
    }
    async fn query(State(series): State<Series>) -> Json<Value> {
        let series = series.lock().expect("no test panicked");
        let sample = |((run, way), value): (&(String, String), &i64)| {
            let metric = json!({ "holdpoint_run": run, "holdpoint_way": way });
            json!({ "metric": metric, "value": [0.0, value.to_string()] })
        };
        let result: Vec<_> = series.iter().map(sample).collect();
        Json(json!({ "status": "success", "data": { "resultType": "vector", "result": result } }))
    }
    let series = Series::default();
    let routes = Router::new()
        .route("/v1/metrics", post(take))
        .route("/v1/{signal}", post(async || ()))
        .route("/api/v1/query", get(query))
        .with_state(Arc::clone(&series));
    let (at, stop) = serve(routes).await;
    (at, series, stop)
}

fn states(page: &Value) -> [Value; 4] {
    let of = |part: &str, key: &str| page[part][key]["state"].clone();
    [of("probes", "traces"), of("probes", "logs"), of("readback", "path"), of("readback", "direct")]
}

/// A harmful configuration: the process is well, its front door answers 200 to everything, and
/// nothing of it goes anywhere that matters.
#[tokio::test]
async fn the_opentelemetry_collector_that_drops_everything_is_located_and_not_the_backend() {
    let Some(executable) = executable() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (front_door, far_tap) = (free_port(), free_port());
    let (at, _series, _stop) = backend().await;
    let (nowhere, _, _stop_nowhere) = backend().await;
    let file = folder.path().join("otelcol.yaml");
    let well = pipelines(front_door, far_tap)
        .replace("exporters: [otlphttp/far_tap]", "exporters: [otlphttp/far_tap, otlphttp/backend]")
        .replace(
            "service:\n",
            &format!(
                "  otlphttp/backend: {{endpoint: \"http://{at}\", compression: none}}\nservice:\n"
            ),
        );
    std::fs::write(&file, &well).expect("a file");
    let argv = vec![executable, "--config".into(), file.display().to_string()];
    let foreign = Foreign {
        front_door: front_door.to_string(),
        far_tap: Some(far_tap),
        restart: Some(Restart::Child(argv)),
    };
    let readback = ReadbackConfig {
        promql: Some(format!("http://{at}")),
        otlp: Some(format!("http://{at}")),
        interval_ms: 100,
        late_ms: 2_000,
    };
    let config = Config { foreign: Some(foreign), readback, ..config() };
    let stage = Stage::start(config, Vec::new(), wiring()).await;
    let page = async |stage: &Stage| states(&stage.json("/v1/verdicts").await);
    let all = |state: &str| [state; 4].map(Value::from);
    stage.until("all return", async |stage| page(stage).await == all("returning")).await;

    let old = boot(&stage).await.expect("it runs");
    let drops = well
        .replace(&format!("http://{at}"), &format!("http://{nowhere}"))
        .replace(&format!("http://{far_tap}"), &format!("http://{nowhere}"));
    std::fs::write(&file, &drops).expect("a file");
    let pid = old.split_once('-').expect("two numbers").0.parse().expect("a pid");
    send(pid, Signal::HUP);
    let hit = Instant::now();
    let [lost, returns] = ["lost", "returning"].map(Value::from);
    let dropped = [lost.clone(), lost.clone(), lost, returns];
    stage.until("it is located", async |stage| page(stage).await == dropped).await;
    println!("located after {:?}", hit.elapsed());
    assert_eq!(boot(&stage).await.as_ref(), Some(&old), "it ran well all the while");
    let another = async |stage: &Stage| boot(stage).await.is_some_and(|boot| boot != old);
    stage.until("it is convicted, and another one runs", another).await;

    std::fs::write(&file, &well).expect("a file");
    let pid = boot(&stage).await.expect("it runs");
    let pid = pid.split_once('-').expect("two numbers").0.parse().expect("a pid");
    send(pid, Signal::HUP);
    stage.until("all return again", async |stage| page(stage).await == all("returning")).await;
    stage.stop().await.expect("a clean stop");
}
