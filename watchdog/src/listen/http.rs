//! The routes: beats in, published pages out.
//!
//! Invariant: a page costs the beats nothing but its socket. It reads a published snapshot, and is
//! rendered on a thread of the blocking pool.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::reception::Reception;
use crate::publish::Reader;
use crate::supervise::Custody;

mod beats;
mod pages;
mod pour;
mod stream;

/// What the routes share.
#[derive(Clone)]
pub struct Shared {
    pub reception: Arc<Reception>,
    pub reader: Reader,
    pub custody: watch::Receiver<Custody>,
    /// How old a snapshot may be before the verdict loop counts as late, in milliseconds.
    pub late_ms: u64,
    pub shutdown: CancellationToken,
}

/// All routes of the watchdog.
pub fn router(shared: Shared) -> Router {
    Router::new()
        .route("/v1/beats/{*service}", post(beats::beat))
        .route("/ping/{key}", get(beats::ping).post(beats::ping))
        .route("/ping/{key}/{slug}", get(beats::ping_slug).post(beats::ping_slug))
        .route("/v1/verdicts", get(pages::verdicts))
        .route("/v1/verdicts/{*service}", get(pages::verdict))
        .route("/v1/events", get(stream::events))
        .route("/healthz", get(pages::healthz))
        .route("/readyz", get(pages::readyz))
        .route("/metrics", get(pages::metrics))
        .fallback(|| async {
            refuse(StatusCode::NOT_FOUND, "not_found", "there is no such page", "see the README")
        })
        .method_not_allowed_fallback(|| async {
            let status = StatusCode::METHOD_NOT_ALLOWED;
            refuse(status, "method_not_allowed", "this page has another method", "see the README")
        })
        .with_state(shared)
}

/// An error as the whole API tells it.
fn refuse(status: StatusCode, code: &str, message: &str, hint: &str) -> Response {
    let body = json!({ "error": { "code": code, "message": message, "hint": hint } });
    (status, Json(body)).into_response()
}
