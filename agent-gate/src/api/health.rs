//! Whether the gate turns, whether it can decide, and its numbers.
//!
//! Invariant: none of these touches the store, so a hanging disk shows here and does not hide.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Json, http};
use http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;

use super::refusal::Refusal;
use super::{Api, forward};
use crate::lead::Lead;
use crate::metrics::CONTENT_TYPE;

/// The answer of `/healthz` and `/readyz`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    status: &'static str,
}

/// The process turns.
pub async fn healthz() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// The driver takes commands and commits; or another gate's does, and this one passes on to it.
pub async fn readyz(State(api): State<Api>, headers: HeaderMap) -> Result<Json<Health>, Refusal> {
    if let Lead::Others { url } = api.desk.lead() {
        forward::is_ready(&api, &url, &headers).await?;
        return Ok(Json(Health { status: "standby" }));
    }
    api.look(|_, _, _| ()).await?;
    Ok(Json(Health { status: "ready" }))
}

pub async fn metrics(State(api): State<Api>) -> Response {
    let page = api.shared.metrics.page((api.tick)());
    ([(http::header::CONTENT_TYPE, CONTENT_TYPE)], page).into_response()
}
