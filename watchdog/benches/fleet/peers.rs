//! What stands for collector and gate: it tells one export a second of each service, carries the
//! probes and takes the attestations.
//!
//! Invariant: a page holds what was exported since the one before, and nothing else.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use tokio_util::sync::CancellationToken;
use watchdog_core::probe::ProbeEcho;
use watchdog_core::tally::{Flow, Red, Signal, SignalTally, TallyPage, TallyRow};

use super::WORK;
use super::echo::echoes;

/// Exports are told in steps of this length, as the real collector tells them.
const STEP: Duration = Duration::from_millis(50);
const STEPS: usize = 20;

struct Peers {
    services: usize,
    began: Instant,
    /// The step that was told last.
    told: Mutex<usize>,
    echoes: Mutex<Vec<ProbeEcho>>,
}

/// Serves until it is killed.
pub async fn run(services: u32) {
    let services = usize::try_from(services).expect("it fits");
    let (told, echoes) = (Mutex::new(0), Mutex::default());
    let peers = Arc::new(Peers { services, began: Instant::now(), told, echoes });
    let routes = Router::new()
        .route("/v1/tally", get(tally))
        .route("/v1/traces", post(|s, b| carry(Signal::Traces, s, b)))
        .route("/v1/metrics", post(|s, b| carry(Signal::Metrics, s, b)))
        .route("/v1/logs", post(|s, b| carry(Signal::Logs, s, b)))
        .route("/v1/attestations", post(|_: Bytes| async { StatusCode::ACCEPTED }))
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(peers);
    let listener = front_door::bind("127.0.0.1:0".parse().expect("an address")).await;
    let listener = listener.expect("a free port");
    println!("{}", listener.local_addr().expect("it is bound"));
    let limits = front_door::Limits::default();
    let stop = CancellationToken::new();
    front_door::serve(listener, routes.into_service(), limits, stop).await;
}

async fn carry(signal: Signal, State(peers): State<Arc<Peers>>, body: Bytes) -> StatusCode {
    peers.echoes.lock().expect("nobody panicked").extend(echoes(signal, &body));
    StatusCode::OK
}

async fn tally(State(peers): State<Arc<Peers>>) -> Json<TallyPage> {
    tokio::time::sleep(STEP).await;
    let step = usize::try_from(peers.began.elapsed().as_millis() / STEP.as_millis());
    let step = step.expect("a short time");
    let from = std::mem::replace(&mut *peers.told.lock().expect("nobody panicked"), step);
    let steps = (from.max(step.saturating_sub(STEPS - 1)) + usize::from(from > 0))..=step;
    let rows = steps.flat_map(|step| {
        let of = move |n: &usize| n % STEPS == step % STEPS;
        (0..peers.services).filter(of).map(move |n| row(n, step / STEPS + 1))
    });
    Json(TallyPage {
        boot: "1700000000000-c".parse().expect("a valid boot"),
        cursor: u64::try_from(step).expect("it fits") + 1,
        rows: rows.collect(),
        echoes: std::mem::take(&mut *peers.echoes.lock().expect("nobody panicked")),
        flow: Flow {
            received: 0,
            forwarded: 0,
            refused: 0,
            dropped: 0,
            dropped_by_rule: 0,
            queued: 0,
            backend: false,
            last_forward_age_ms: None,
        },
    })
}

fn row(service: usize, second: usize) -> TallyRow {
    let second = u64::try_from(second).expect("it fits");
    let traces = SignalTally {
        arrivals: second,
        records: second * WORK,
        changes: second,
        last_age_ms: 0,
        late_ms: Some(5),
    };
    TallyRow {
        service: format!("service-{service:05}").parse().expect("a valid name"),
        instance: Some("i".parse().expect("a valid name")),
        revision: Some("r1".parse().expect("a valid name")),
        traces: Some(traces),
        metrics: None,
        logs: None,
        red: Some(Red { requests: second * WORK, errors: 0, durations: [0; 16] }),
        particulars: None,
    }
}
