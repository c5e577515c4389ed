//! Fences at targets ask what is frozen, and say what they hold.
//!
//! One long poll does both: it answers at once when the caller's version is not the newest, else
//! as soon as something changed. What it answers is signed, because the fence acts on it long after
//! the connection is gone.
//!
//! Invariant: nothing is told that is not committed, and `held` counts only with the signature of
//! the target's own secret.

use std::time::Duration;

use agent_gate_core::ids::{Epoch, TargetName};
use axum::Json;
use axum::extract::{Path, Request, State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use watchdog_core::attestation::SIGNATURE_HEADER;
use watchdog_core::names::Service;
use watchdog_core::tick::Tick;

use super::Api;
use super::body;
use super::refusal::Refusal;
use super::view::List;
use crate::config::Fence;
use crate::driver::command::Command;
use crate::fences::{HoldError, Known};
use crate::permit::Statement;

/// The longest a poll waits: below what a gate that stands by waits for the deciding one.
const WAIT_MAX_MS: u64 = 5_000;

/// Body of `POST /v1/fences/{name}`. With `held` the header `X-Holdpoint-Signature: v1=HEX`
/// (HMAC-SHA-256 over the body with the target's secret) makes it count.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FenceBody {
    #[schema(value_type = String)]
    service: Service,
    /// The epoch up to which the fence holds all freezes durably.
    #[serde(default)]
    held: Option<u64>,
    /// The version it was told last; another one is answered at once.
    #[serde(default)]
    version: Option<String>,
    /// How long to wait for news, at most 5000.
    #[serde(default)]
    wait_ms: Option<u64>,
}

/// What a fence is told.
#[derive(Debug, Serialize, ToSchema)]
pub struct FenceAnswer {
    /// `hf1.…`: all freezes, signed with the key that signs permits.
    statement: String,
    version: String,
    epoch: u64,
    /// Whether `held` counts: a confirmation of a target that is configured.
    counted: bool,
}

/// A target and its fence.
#[derive(Debug, Serialize, ToSchema)]
pub struct TargetView {
    target: Option<String>,
    service: String,
    /// `apply`, `webhook` or `none`: nothing checks a permit there.
    fence: &'static str,
    /// The epoch it last confirmed.
    held: Option<u64>,
    /// How long ago it confirmed.
    held_age_ms: Option<u64>,
    /// Whether it holds all that was told.
    current: bool,
}

pub async fn poll(
    State(api): State<Api>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Json<FenceAnswer>, Refusal> {
    let name = TargetName::new(name).map_err(|error| Refusal::bad_request(error.to_string()))?;
    let header = request.headers().get(SIGNATURE_HEADER);
    let header = header.and_then(|value| value.to_str().ok()).map(str::to_owned);
    let bytes = body::read(request, body::BODY_BYTES_MAX).await?;
    let asked: FenceBody = body::parse(&bytes)?;
    let wait_ms = asked.wait_ms.unwrap_or(0);
    if wait_ms > WAIT_MAX_MS {
        return Err(Refusal::bad_request(format!("wait_ms is at most {WAIT_MAX_MS}")));
    }
    let counted = match asked.held {
        None => false,
        Some(held) => {
            let checked = api.shared.fences.check(&name, &asked.service, &bytes, header.as_deref());
            match checked {
                Ok(()) => {
                    if api.shared.fences.hold(&name, Epoch(held), (api.tick)()) {
                        api.send(Command::Held).await?;
                    }
                    true
                }
                Err(HoldError::NoSecret) => false,
                Err(error @ (HoldError::Signature | HoldError::OtherService)) => {
                    return Err(refuse(&name, error));
                }
            }
        }
    };
    let mut hears = api.shared.fences.hear();
    let news = hears.wait_for(|told| {
        told.as_ref().is_some_and(|told| asked.version.as_deref() != Some(told.version.as_str()))
    });
    // Time over is an answer too: nothing changed.
    let _news = tokio::time::timeout(Duration::from_millis(wait_ms), news).await.is_ok();
    let told = hears.borrow().clone();
    let told = told.ok_or_else(|| Refusal::no_decision("the gate has not started yet"))?;
    let statement = Statement::of(&told, &api.issuer, (api.wall_ms)());
    Ok(Json(FenceAnswer {
        statement: api.issuer.state(&statement),
        version: told.version.clone(),
        epoch: told.epoch.0,
        counted,
    }))
}

fn refuse(name: &TargetName, error: HoldError) -> Refusal {
    tracing::warn!(target = %name, %error, "a confirmation was not believed");
    Refusal::new(
        StatusCode::UNAUTHORIZED,
        "wrong_signature",
        format!("target {name}: {error}"),
        "give the fence the service and the secret that [[service]] target names",
    )
}

pub async fn list(State(api): State<Api>) -> Result<Json<List<TargetView>>, Refusal> {
    let newest = api.shared.fences.hear().borrow().as_ref().map(|told| told.epoch);
    let now = (api.tick)();
    let targets = api.shared.fences.targets();
    let mut items: Vec<TargetView> = targets.iter().map(|known| view(known, newest, now)).collect();
    items.extend(api.shared.fences.bare().iter().map(|service| TargetView {
        target: None,
        service: service.to_string(),
        fence: "none",
        held: None,
        held_age_ms: None,
        current: false,
    }));
    Ok(Json(List { items, next: None }))
}

fn view(known: &Known, newest: Option<Epoch>, now: Tick) -> TargetView {
    let held = known.held;
    TargetView {
        target: Some(known.target.name.to_string()),
        service: known.service.to_string(),
        fence: match known.target.fence {
            Fence::Apply { .. } => "apply",
            Fence::Webhook { .. } => "webhook",
            Fence::Missing => "none",
        },
        held: held.map(|(epoch, _)| epoch.0),
        held_age_ms: held.map(|(_, at)| now.since_ms(at)),
        current: held.is_some_and(|(epoch, _)| newest.is_some_and(|newest| epoch >= newest)),
    }
}
