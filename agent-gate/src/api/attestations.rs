//! Attestations come in.
//!
//! The body is read as bytes, because the signature is over bytes, and its signature is checked
//! here, off the driver. Whether it is new is the driver's question.
//!
//! Invariant: an attestation that was not verified never becomes an event.

use std::sync::Arc;

use agent_gate_core::gate::event::Event;
use axum::Json;
use axum::extract::{Request, State};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use watchdog_core::attestation::SIGNATURE_HEADER;

use super::refusal::Refusal;
use super::{Api, body, refused};
use crate::attest::{AttestError, BODY_BYTES_MAX};
use crate::driver::command::Reply;
use crate::metrics::ReasonLabels;

/// Body of `POST /v1/attestations`, as it stands in the description of the API. The header
/// `X-Holdpoint-Signature: ed25519=HEX` signs its exact bytes.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the form of the body for readers; it is read as an Attestation")]
pub struct Statement {
    watchdog: String,
    boot: String,
    seq: u64,
    ttl_ms: u64,
    mass_silence: bool,
    /// The attestation that this one goes on from, by its `seq`; without it the items are all.
    base: Option<u64>,
    /// Verdicts as the watchdog's `GET /v1/verdicts` shows them.
    #[schema(value_type = Vec<Object>)]
    items: Vec<serde_json::Value>,
}

/// The answer to an attestation.
#[derive(Debug, Serialize, ToSchema)]
pub struct Taken {
    seq: u64,
}

pub async fn attest(
    State(api): State<Api>,
    request: Request,
) -> Result<(StatusCode, Json<Taken>), Refusal> {
    let header = request.headers().get(SIGNATURE_HEADER);
    let header = header.and_then(|value| value.to_str().ok()).map(str::to_owned);
    let bytes = body::read(request, BODY_BYTES_MAX).await?;
    // A hundred services take a millisecond to verify and to read; on another thread, no decision
    // waits for it.
    let keys = Arc::clone(&api.keys);
    let verified = tokio::task::spawn_blocking(move || keys.verify(header.as_deref(), &bytes));
    let verified = verified.await.map_err(|_| super::stopped())?;
    let attestation = verified.map_err(|error| refuse(&api, &error))?;
    let seq = attestation.seq;
    match api.step(Event::Attested(attestation)).await? {
        Reply::Attested => Ok((StatusCode::ACCEPTED, Json(Taken { seq }))),
        Reply::NotNew(error) => Err(refuse(&api, &error)),
        Reply::Refused(refusal) => Err(refused(&refusal)),
        other @ (Reply::Rollout(_) | Reply::Freeze { .. } | Reply::Waiver { .. }) => {
            Err(super::unexpected(&other))
        }
    }
}

fn refuse(api: &Api, error: &AttestError) -> Refusal {
    let (status, code, hint) = match error {
        AttestError::Form(_) => {
            (StatusCode::BAD_REQUEST, "bad_request", "see /openapi.json for the fields")
        }
        AttestError::UnknownWatchdog(_) => (
            StatusCode::UNAUTHORIZED,
            "unknown_watchdog",
            "give the gate the public key of this watchdog and start it again",
        ),
        AttestError::NoSignature => (
            StatusCode::UNAUTHORIZED,
            "no_signature",
            "sign the exact bytes of the body with the watchdog's Ed25519 key",
        ),
        AttestError::WrongSignature => (
            StatusCode::UNAUTHORIZED,
            "wrong_signature",
            "sign the exact bytes of the body with the watchdog's Ed25519 key",
        ),
        AttestError::Replayed { .. } => {
            (StatusCode::CONFLICT, "replayed", "send a sequence number that was not used")
        }
        AttestError::OldBoot { .. } => {
            (StatusCode::CONFLICT, "old_boot", "a newer start of this watchdog is known; end this")
        }
    };
    api.shared.metrics.attestations_refused.get_or_create(&ReasonLabels { reason: code }).inc();
    tracing::warn!(reason = code, %error, "an attestation was refused");
    Refusal::new(status, code, error.to_string(), hint)
}
