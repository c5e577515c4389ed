//! The admin port: health, metrics, and the tally for the watchdog.
//!
//! Invariant: health is derived from progress ([`crate::health`]), never from the process being
//! there; `/readyz` is good only while a request would be taken.

mod probe;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::driver;
use crate::health::Monitor;
use crate::page;
use crate::pipeline::Pipeline;
use crate::red;
use crate::reload::Standing;
use crate::rounds::Rounds;
use crate::tap::Wanted;

/// The longest wait of a poll.
const WAIT_MS_MAX: u64 = 30_000;
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the admin port shows.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) pipeline: watch::Receiver<Arc<Pipeline>>,
    pub(crate) standing: Arc<Standing>,
    pub(crate) rounds: Arc<Rounds>,
    pub(crate) health: Arc<Monitor>,
    /// The OTLP ports stop taking requests.
    pub(crate) stopping: CancellationToken,
    /// The admin port itself stops.
    pub(crate) closing: CancellationToken,
}

impl Admin {
    fn pipeline(&self) -> Arc<Pipeline> {
        Arc::clone(&self.pipeline.borrow())
    }
}

pub(crate) fn router(admin: Admin) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/metrics/services", get(services))
        .route("/v1/tally", get(tally))
        .route("/v1/ledger", get(ledger))
        .route("/v1/traces", post(probe::traces))
        .route("/v1/metrics", post(probe::metrics))
        .route("/v1/logs", post(probe::logs))
        .route("/v1/config", get(config))
        .route("/v1/tap", get(tap))
        .fallback(not_found)
        .with_state(Arc::new(admin))
}

async fn healthz(State(admin): State<Arc<Admin>>) -> Response {
    let troubles = admin.health.troubles(&admin.pipeline(), &admin.rounds, driver::now());
    if troubles.is_empty() {
        return Json(json!({ "status": "ok" })).into_response();
    }
    let body = json!({ "status": "failing", "reasons": troubles });
    (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
}

/// What the services send, for a Prometheus that scrapes it.
async fn services(State(admin): State<Arc<Admin>>) -> Response {
    let page = admin.pipeline().tally.page(0, driver::now());
    ([(CONTENT_TYPE, red::TEXT_FORMAT)], red::page(&page.rows)).into_response()
}

async fn readyz(State(admin): State<Arc<Admin>>) -> Response {
    let mut troubles = Vec::new();
    if admin.stopping.is_cancelled() {
        troubles.push("the collector is stopping".to_owned());
    }
    let line = &admin.pipeline().line;
    if line.is_full() {
        let what = match line.spool() {
            Some(spool) if spool.is_failing() => "the spool cannot be written",
            Some(_) => "the spool is full",
            None => "the queue to a backend is full",
        };
        troubles.push(what.to_owned());
    }
    let config = admin.standing.show();
    if troubles.is_empty() {
        return Json(json!({ "status": "ok", "config": config })).into_response();
    }
    let body = json!({ "status": "failing", "reasons": troubles, "config": config });
    (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    match page::text(&admin.pipeline()) {
        Ok(page) => ([(CONTENT_TYPE, OPEN_METRICS)], page).into_response(),
        Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "metrics", "cannot write the page", ""),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Poll {
    /// The cursor of the page before; 0 asks for everything.
    #[serde(default)]
    after: u64,
    /// How long to wait for a change.
    #[serde(default)]
    wait_ms: u64,
}

async fn tally(
    State(admin): State<Arc<Admin>>,
    poll: Result<Query<Poll>, QueryRejection>,
) -> Response {
    let Poll { after, wait_ms } = match poll {
        Ok(Query(poll)) => poll,
        Err(rejection) => {
            let hint = "GET /v1/tally?after=CURSOR&wait_ms=N";
            return error(StatusCode::BAD_REQUEST, "bad_query", &rejection.body_text(), hint);
        }
    };
    let tally = Arc::clone(&admin.pipeline().tally);
    let wait = Duration::from_millis(wait_ms.min(WAIT_MS_MAX));
    tokio::select! {
        () = tally.changed_after(after, wait) => {}
        () = admin.closing.cancelled() => {}
    }
    Json(tally.page(after, driver::now())).into_response()
}

async fn config(State(admin): State<Arc<Admin>>) -> Response {
    Json(admin.standing.show()).into_response()
}

/// What passes, a JSON object a line, until the reader leaves.
async fn tap(
    State(admin): State<Arc<Admin>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Response {
    let Query(wanted) = match wanted {
        Ok(wanted) => wanted,
        Err(rejection) => {
            let hint = "GET /v1/tap?service=NAME&signal=traces|metrics|logs&n=RECORDS";
            return error(StatusCode::BAD_REQUEST, "bad_query", &rejection.body_text(), hint);
        }
    };
    let Some(tap) = admin.pipeline().taps.tap(wanted) else {
        let text = "too many look already";
        return error(StatusCode::SERVICE_UNAVAILABLE, "too_many_taps", text, "close another tap");
    };
    let closing = admin.closing.clone();
    let lines = stream::unfold((tap, closing), |(mut tap, closing)| async {
        let lines = tokio::select! {
            lines = tap.lines() => lines?,
            () = closing.cancelled() => return None,
        };
        Some((Ok::<_, Infallible>(lines), (tap, closing)))
    });
    ([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

/// Where all records are, by signal and by exporter.
async fn ledger(State(admin): State<Arc<Admin>>) -> Response {
    let (seats, ledger) = admin.pipeline().line.books();
    let imbalance = ledger.imbalance();
    let intake: serde_json::Map<_, _> =
        ledger.intake.iter().map(|(kind, one)| (kind.as_str().to_owned(), json!(one))).collect();
    let exporters: Vec<_> = seats
        .iter()
        .zip(&ledger.outgo)
        .map(|((endpoint, is_retired), outgo)| {
            let signals: serde_json::Map<_, _> =
                outgo.iter().map(|(kind, one)| (kind.as_str().to_owned(), json!(one))).collect();
            json!({ "exporter": endpoint, "retired": is_retired, "signals": signals })
        })
        .collect();
    Json(json!({ "imbalance": imbalance, "signals": intake, "exporters": exporters }))
        .into_response()
}

async fn not_found(uri: Uri) -> Response {
    let text = format!("no such path: {}", uri.path());
    let hint = "this is the admin port: /healthz, /readyz, /metrics, /v1/tally, \
                /v1/ledger, /v1/tap and /v1/config";
    error(StatusCode::NOT_FOUND, "not_found", &text, hint)
}

fn error(status: StatusCode, code: &str, message: &str, hint: &str) -> Response {
    let error = json!({ "error": { "code": code, "message": message, "hint": hint } });
    (status, Json(error)).into_response()
}
