//! The pages that show what was published.
//!
//! Invariant: they read snapshots only. A page of a large fleet waits for the next one that is
//! whole, and no page makes the verdict loop turn sooner.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Serialize, Serializer};
use serde_json::json;
use watchdog_core::names::Boot;
use watchdog_core::probe::Way;
use watchdog_core::tally::Signal;
use watchdog_core::verdict::{ProbeEvidence, Verdict};
use watchdog_core::watch::{Liveness, Shown};

use super::pour::pour;
use super::{Shared, refuse, stream};
use crate::metrics;
use crate::publish::Snapshot;
use crate::supervise::Custody;

#[derive(Serialize)]
struct Page<'s> {
    watchdog: &'s str,
    boot: &'s Boot,
    seq: u64,
    mass_silence: bool,
    collector: &'s Custody,
    probes: BTreeMap<Signal, &'s ProbeEvidence>,
    readback: BTreeMap<Way, &'s ProbeEvidence>,
    items: Items<'s>,
}

/// A verdict and, beside it, what the detector promises and achieves.
#[derive(Serialize)]
struct Item<'s> {
    #[serde(flatten)]
    verdict: Verdict,
    /// `null` until it was looked at for the first time.
    liveness: Option<&'s Liveness>,
}

/// All of them, made one by one as they are written.
struct Items<'s>(&'s Snapshot);

impl Serialize for Items<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.items.iter().map(|shown| Item::of(shown, self.0)))
    }
}

impl<'s> Item<'s> {
    fn of(shown: &Shown, snapshot: &'s Snapshot) -> Self {
        let liveness = snapshot.liveness(shown.service());
        Self { verdict: snapshot.verdict(shown), liveness }
    }
}

/// All verdicts; as a stream of changes if the client accepts only that.
pub async fn verdicts(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let accepts = headers.get(header::ACCEPT).and_then(|a| a.to_str().ok());
    if accepts.is_some_and(|a| a.contains("text/event-stream")) {
        return stream::events(State(shared)).await.into_response();
    }
    let snapshot = shared.reader.fresh().await;
    let custody = shared.custody.borrow().clone();
    pour("application/json", move |out| {
        let page = Page {
            watchdog: &snapshot.watchdog,
            boot: &snapshot.boot,
            seq: snapshot.seq,
            mass_silence: snapshot.mass_silence,
            collector: &custody,
            readback: snapshot.readback.iter().map(|(way, told)| (*way, told)).collect(),
            probes: snapshot.probes.iter().map(|(signal, told)| (*signal, told)).collect(),
            items: Items(&snapshot),
        };
        serde_json::to_writer(out, &page).map_err(|e| e.to_string())
    })
    .await
}

/// The verdict about one service.
pub async fn verdict(State(shared): State<Shared>, Path(service): Path<String>) -> Response {
    let snapshot = shared.reader.fresh().await;
    let Some(shown) = snapshot.find(&service) else {
        let message = format!("nothing is known of service {service}");
        let hint = "it must beat, or stand in the configuration as [[service]]";
        return refuse(StatusCode::NOT_FOUND, "unknown_service", &message, hint);
    };
    Json(Item::of(shown, &snapshot)).into_response()
}

/// 503 while the verdict loop is late: this thread is alive then, and the watchdog is blind.
pub async fn healthz(State(shared): State<Shared>) -> Response {
    let snapshot = shared.reader.latest();
    let age_ms = shared.reception.now().since_ms(snapshot.at);
    // Before the first turn there is no age, and nobody can say that the loop turns.
    let turned = snapshot.seq > 0;
    let healthy = turned && age_ms <= shared.late_ms;
    let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let age_ms = turned.then_some(age_ms);
    (status, Json(json!({ "healthy": healthy, "verdict_age_ms": age_ms }))).into_response()
}

/// 200 once the verdict loop has turned.
pub async fn readyz(State(shared): State<Shared>) -> Response {
    let ready = shared.reader.latest().seq > 0;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": ready }))).into_response()
}

/// Metrics in OpenMetrics text.
pub async fn metrics(State(shared): State<Shared>) -> Response {
    let metrics = shared.reception.metrics().clone();
    // What is written reads the snapshot for itself, and finds one that is whole.
    let _whole = shared.reader.fresh().await;
    pour(metrics::CONTENT_TYPE, move |out| metrics.write(out).map_err(|e| e.to_string())).await
}
