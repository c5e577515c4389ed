//! A collector and a gate for the watchdog to talk to: real HTTP, no opinion of their own.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message as _;
use tokio_util::sync::{CancellationToken, DropGuard};
use watchdog_core::names::Boot;
use watchdog_core::probe::ProbeEcho;
use watchdog_core::tally::{Flow, Signal, SignalTally, TallyPage, TallyRow};

use crate::echo::{echoes, metric_values};

/// A collector's front door and admin port in one.
pub struct FakeCollector {
    pub address: SocketAddr,
    pub state: Arc<Mutex<Carried>>,
    _stop: DropGuard,
}

/// What the fake collector has seen, and how it behaves.
pub struct Carried {
    pub boot: Boot,
    cursor: u64,
    rows: Vec<TallyRow>,
    echoes: Vec<ProbeEcho>,
    /// Whether it answers at all.
    pub deaf: bool,
    /// What it does to the value of a probe.
    pub forge: bool,
    /// The one signal that it takes and loses.
    pub drops: Option<Signal>,
    /// The newest metric probe: its run and value.
    pub metric: Option<(String, i64)>,
}

impl FakeCollector {
    pub async fn start(boot: &str) -> Self {
        let state = Arc::new(Mutex::new(Carried {
            boot: Boot::new(boot).expect("a valid boot"),
            cursor: 1,
            rows: Vec::new(),
            echoes: Vec::new(),
            deaf: false,
            forge: false,
            drops: None,
            metric: None,
        }));
        let routes = Router::new()
            .route("/v1/tally", get(tally))
            .route("/v1/traces", post(traces))
            .route("/v1/metrics", post(metrics))
            .route("/v1/logs", post(logs))
            .with_state(Arc::clone(&state));
        let (address, stop) = serve(routes).await;
        Self { address, state, _stop: stop }
    }

    /// Metrics of `service` arrive, with other values than before.
    pub fn arrive_metrics(&self, service: &str, instance: &str, revision: &str) {
        let mut carried = self.state.lock().expect("no test panicked");
        let counts = carried.row(service, instance, revision).metrics.get_or_insert_with(nothing);
        counts.arrivals += 1;
        counts.records += 1;
        counts.changes += 1;
    }

    /// `records` more spans of `service` arrive.
    pub fn arrive(&self, service: &str, instance: &str, revision: &str, records: u64) {
        let mut carried = self.state.lock().expect("no test panicked");
        let traces = carried.row(service, instance, revision).traces.get_or_insert_with(nothing);
        traces.arrivals += 1;
        traces.records += records;
        traces.changes += 1;
    }
}

impl Carried {
    /// The row of a service, which changes.
    fn row(&mut self, service: &str, instance: &str, revision: &str) -> &mut TallyRow {
        self.cursor += 1;
        let known = self.rows.iter().position(|r| r.service.as_str() == service);
        let place = known.unwrap_or_else(|| {
            self.rows.push(TallyRow {
                service: service.parse().expect("a valid name"),
                instance: Some(instance.parse().expect("a valid name")),
                revision: Some(revision.parse().expect("a valid name")),
                traces: None,
                metrics: None,
                logs: None,
                red: None,
                particulars: None,
            });
            self.rows.len() - 1
        });
        &mut self.rows[place]
    }
}

const fn nothing() -> SignalTally {
    SignalTally { arrivals: 0, records: 0, changes: 0, last_age_ms: 0, late_ms: None }
}

async fn tally(State(state): State<Arc<Mutex<Carried>>>) -> Result<Json<TallyPage>, StatusCode> {
    // Long polls of the real one end when something changed; this one is simply quick.
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    if state.lock().expect("no test panicked").deaf {
        std::future::pending::<()>().await;
    }
    let mut carried = state.lock().expect("no test panicked");
    let echoes = std::mem::take(&mut carried.echoes);
    let flow = Flow {
        received: 0,
        forwarded: 0,
        refused: 0,
        dropped: 0,
        dropped_by_rule: 0,
        queued: 0,
        backend: false,
        last_forward_age_ms: None,
    };
    let (boot, cursor) = (carried.boot.clone(), carried.cursor);
    Ok(Json(TallyPage { boot, cursor, rows: carried.rows.clone(), echoes, flow }))
}

async fn traces(State(state): State<Arc<Mutex<Carried>>>, body: Bytes) -> StatusCode {
    if state.lock().expect("no test panicked").deaf {
        std::future::pending::<()>().await;
    }
    carry(&state, echoes(Signal::Traces, &body))
}

async fn logs(State(state): State<Arc<Mutex<Carried>>>, body: Bytes) -> StatusCode {
    carry(&state, echoes(Signal::Logs, &body))
}

async fn metrics(State(state): State<Arc<Mutex<Carried>>>, body: Bytes) -> StatusCode {
    let request = ExportMetricsServiceRequest::decode(body.clone()).expect("probes are OTLP");
    state.lock().expect("no test panicked").metric = metric_values(&request).last().cloned();
    carry(&state, echoes(Signal::Metrics, &body))
}

fn carry(state: &Mutex<Carried>, echoes: Vec<ProbeEcho>) -> StatusCode {
    let mut carried = state.lock().expect("no test panicked");
    if carried.deaf {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let (forge, drops) = (carried.forge, carried.drops);
    for mut echo in echoes.into_iter().filter(|echo| Some(echo.signal) != drops) {
        if forge {
            echo.value = "0".into();
        }
        carried.echoes.push(echo);
    }
    carried.cursor += 1;
    StatusCode::OK
}

/// A gate that takes every attestation and remembers it.
pub struct FakeGate {
    pub address: SocketAddr,
    pub taken: Arc<Mutex<Vec<Taken>>>,
    _stop: DropGuard,
}

/// One attestation as it came over the wire.
#[derive(Clone)]
pub struct Taken {
    pub bearer: String,
    pub signature: String,
    pub body: Vec<u8>,
}

impl FakeGate {
    pub async fn start() -> Self {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let routes = Router::new()
            .route("/v1/attestations", post(attestations))
            .with_state(Arc::clone(&taken));
        let (address, stop) = serve(routes).await;
        Self { address, taken, _stop: stop }
    }

    pub fn taken(&self) -> Vec<Taken> {
        self.taken.lock().expect("no test panicked").clone()
    }
}

async fn attestations(
    State(taken): State<Arc<Mutex<Vec<Taken>>>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let header = |name: &str| {
        let value = headers.get(name).and_then(|v| v.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    taken.lock().expect("no test panicked").push(Taken {
        bearer: header("authorization"),
        signature: header("x-holdpoint-signature"),
        body: body.to_vec(),
    });
    StatusCode::OK
}

pub async fn serve(routes: Router) -> (SocketAddr, DropGuard) {
    let listener = front_door::bind("127.0.0.1:0".parse().expect("an address")).await;
    let listener = listener.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let stop = CancellationToken::new();
    let limits = front_door::Limits::default();
    tokio::spawn(front_door::serve(listener, routes.into_service(), limits, stop.clone()));
    (address, stop.drop_guard())
}
