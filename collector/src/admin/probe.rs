//! Probes at the admin port, for a watchdog that has no key to the OTLP ports.
//!
//! Where TLS or tokens guard the OTLP ports, the watchdog of the same machine sends its probes
//! here. They pass the same pipeline; only the guarded door itself is not proven by them.
//!
//! Invariant: nothing but probes comes in here.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use watchdog_core::tally::Signal;

use super::{Admin, error};
use crate::arrival::{Arrival, Encoding, Format, Transport};
use crate::kind::Kind;
use crate::pipeline::Pipeline;
use crate::refusal::Refusal;
use crate::scan::Scanned;

pub(super) async fn traces(State(admin): State<Arc<Admin>>, body: Bytes) -> Response {
    take(&admin, Signal::Traces, body).await
}

pub(super) async fn metrics(State(admin): State<Arc<Admin>>, body: Bytes) -> Response {
    take(&admin, Signal::Metrics, body).await
}

pub(super) async fn logs(State(admin): State<Arc<Admin>>, body: Bytes) -> Response {
    take(&admin, Signal::Logs, body).await
}

async fn take(admin: &Admin, signal: Signal, body: Bytes) -> Response {
    match carry(&admin.pipeline(), signal, body).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(refusal) => {
            let hint = "this port takes the watchdog's probes alone, in protobuf";
            error(refusal.http_status(), refusal.reason(), &refusal.to_string(), hint)
        }
    }
}

async fn carry(pipeline: &Arc<Pipeline>, signal: Signal, body: Bytes) -> Result<(), Refusal> {
    let holds_probes_alone = {
        let scanned = Scanned::of(signal, &body)?;
        scanned.records == scanned.probes.len() as u64
    };
    if !holds_probes_alone {
        return Err(Refusal::NotFound);
    }
    let held = pipeline.budget.take(body.len())?;
    let (kind, format) = (Kind::Tallied(signal), Format::Protobuf);
    let encoding = Encoding::Identity;
    pipeline
        .carry(Arrival { kind, transport: Transport::Http, format, encoding, body, held })
        .await
        .map(drop)
}
