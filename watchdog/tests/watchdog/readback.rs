//! Probes read back from a backend: a stalled exporter, a dead backend and a lying one are told
//! apart, and a backend that cannot be asked is unknown.

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message as _;
use serde_json::{Value, json};
use tokio_util::sync::DropGuard;
use watchdog::{CollectorPlace, Config, ReadbackConfig, Wiring};

use crate::echo::metric_values;
use crate::fakes::{Carried, FakeCollector, serve};
use crate::stage::{Stage, body, config, wiring};

/// A backend that takes OTLP and answers PromQL.
struct Backend {
    collector: Arc<Mutex<Carried>>,
    /// The newest value that went through the collector, and straight.
    path: Option<(String, i64)>,
    direct: Option<(String, i64)>,
    /// What came through the collector stands still.
    stalled: bool,
    /// Nothing is taken.
    dead: bool,
    /// Queries fail.
    mute: bool,
    zeroes: bool,
}

type Shared = Arc<Mutex<Backend>>;

async fn query(State(backend): State<Shared>) -> Result<Json<Value>, StatusCode> {
    let mut backend = backend.lock().expect("no test panicked");
    if backend.mute {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    if !backend.stalled && !backend.dead {
        let newest = backend.collector.lock().expect("no test panicked").metric.clone();
        backend.path = newest.or(backend.path.take());
    }
    let series = [("path", &backend.path), ("direct", &backend.direct)];
    let result: Vec<_> = series
        .iter()
        .filter_map(|(way, newest)| {
            let (run, value) = newest.as_ref()?;
            let value = if backend.zeroes { 0 } else { *value };
            let metric = json!({ "holdpoint_run": run, "holdpoint_way": way });
            Some(json!({ "metric": metric, "value": [0.0, value.to_string()] }))
        })
        .collect();
    Ok(Json(json!({ "status": "success", "data": { "resultType": "vector", "result": result } })))
}

async fn take(State(backend): State<Shared>, body: Bytes) -> StatusCode {
    let request = ExportMetricsServiceRequest::decode(body).expect("probes are OTLP");
    let mut backend = backend.lock().expect("no test panicked");
    if backend.dead {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    backend.direct = metric_values(&request).pop();
    StatusCode::OK
}

struct Scene {
    stage: Stage,
    backend: Shared,
    collector: FakeCollector,
    _stop: DropGuard,
}

impl Scene {
    async fn set() -> Self {
        let collector = FakeCollector::start("1700000000000-c").await;
        let backend = Arc::new(Mutex::new(Backend {
            collector: Arc::clone(&collector.state),
            path: None,
            direct: None,
            stalled: false,
            dead: false,
            mute: false,
            zeroes: false,
        }));
        let routes = Router::new()
            .route("/api/v1/query", get(query))
            .route("/otlp/v1/metrics", post(take))
            .with_state(Arc::clone(&backend));
        let (at, stop) = serve(routes).await;
        let readback = ReadbackConfig {
            promql: Some(format!("http://{at}")),
            otlp: Some(format!("http://{at}/otlp")),
            interval_ms: 100,
            late_ms: 1_500,
        };
        let http = collector.address;
        let boot = "1700000000000-c".parse().expect("a valid boot");
        let place = CollectorPlace { pid: 1, start_ticks: 1, boot, http, admin: http };
        let wiring = Wiring { collector: Arc::new(move || Some(place.clone())), ..wiring() };
        let stage = Stage::start(Config { readback, ..config() }, Vec::new(), wiring).await;
        Self { stage, backend, collector, _stop: stop }
    }

    fn set_backend(&self, change: impl FnOnce(&mut Backend)) {
        change(&mut self.backend.lock().expect("no test panicked"));
    }

    /// Keeps a service at work that sends metrics, until `holds` of its verdict.
    async fn until(&self, what: &str, seq: &mut u64, holds: impl Fn(&Value) -> bool) {
        let began = std::time::Instant::now();
        loop {
            *seq += 1;
            let mut beat = body(*seq);
            beat["requests"] = json!(*seq);
            self.stage.beat("checkout", &beat).await;
            self.collector.arrive_metrics("checkout", "i", "v1");
            let verdict = self.stage.verdict("checkout").await.unwrap_or(Value::Null);
            if holds(&verdict) {
                return;
            }
            assert!(began.elapsed() < crate::stage::PATIENCE, "{what}: {verdict:#}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

fn is(kind: &'static str, stage: Option<&'static str>) -> impl Fn(&Value) -> bool {
    move |verdict| verdict["verdict"] == kind && verdict["stage"].as_str() == stage
}

#[tokio::test]
async fn stalled_dead_lying_and_mute_are_told_apart_behind_the_far_tap() {
    let scene = Scene::set().await;
    let mut seq = 0;
    scene.until("all is well", &mut seq, is("live", None)).await;
    assert!(
        scene.stage.sample("holdpoint_watchdog_readback_age_seconds{way=\"path\"}").await.is_some()
    );

    scene.set_backend(|backend| backend.stalled = true);
    scene.until("the exporter is stalled", &mut seq, is("unknown", Some("exporter"))).await;
    scene.set_backend(|backend| backend.stalled = false);
    scene.until("it goes on", &mut seq, is("live", None)).await;

    scene.set_backend(|backend| backend.dead = true);
    scene.until("the backend is dead", &mut seq, is("unknown", Some("backend"))).await;
    scene.set_backend(|backend| backend.dead = false);
    scene.until("it lives", &mut seq, is("live", None)).await;

    scene.set_backend(|backend| backend.zeroes = true);
    scene.until("the backend lies", &mut seq, is("forged", Some("backend"))).await;
    scene.set_backend(|backend| backend.zeroes = false);
    scene.until("it tells the truth", &mut seq, is("live", None)).await;

    scene.set_backend(|backend| backend.mute = true);
    scene.until("nobody can say", &mut seq, |verdict| verdict["verdict"] == "unknown").await;
    let page = scene.stage.json("/v1/verdicts").await;
    assert_eq!(page["readback"]["path"]["state"], "unknown", "{page:#}");
}

#[tokio::test]
async fn a_collector_that_loses_one_signal_is_seen_by_who_sends_it() {
    let scene = Scene::set().await;
    let mut seq = 0;
    scene.until("all is well", &mut seq, is("live", None)).await;
    let lose = |signal| scene.collector.state.lock().expect("no test panicked").drops = signal;
    lose(Some(watchdog_core::tally::Signal::Logs));
    let page = async || scene.stage.json("/v1/verdicts").await["probes"].clone();
    scene.stage.until("logs are lost", async |_| page().await["logs"]["state"] == "lost").await;
    scene.until("it sends no logs", &mut seq, is("live", None)).await;
    lose(Some(watchdog_core::tally::Signal::Metrics));
    scene.until("it sends metrics", &mut seq, is("unknown", Some("collector"))).await;
}
