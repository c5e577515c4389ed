//! Planned silence: declared by a person, for a scope and a time, and ended before it.
//!
//! Invariant: only a person waives, and an answered waiver is durable.

use std::collections::BTreeSet;

use agent_gate_core::gate::event::Event;
use agent_gate_core::gate::waiver::{WAIVABLE, Waiver, WaiverRequest};
use agent_gate_core::ids::WaiverId;
use agent_gate_core::scope::Scope;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use watchdog_core::tick::Tick;
use watchdog_core::verdict::VerdictKind;

use super::body::{Body, Params};
use super::refusal::Refusal;
use super::rollouts::reason;
use super::view::List;
use super::{Api, refused};
use crate::driver::command::Reply;
use crate::tokens::Principal;
use crate::when::rfc3339;

/// Body of `POST /v1/waivers`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WaiverBody {
    /// `fleet`, `environment=E` or `service=S`.
    #[schema(value_type = String)]
    scope: Scope,
    #[schema(min_length = 1)]
    reason: String,
    /// For how long, in milliseconds.
    #[schema(minimum = 1)]
    span_ms: u64,
    /// When it begins, in milliseconds since 1970; at once if it is not given.
    #[serde(default)]
    from_ms: Option<u64>,
    /// Which verdicts are expected, of `lossy`, `frozen`, `telemetry_lost` and `down`; all of them
    /// if it is not given.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    verdicts: Option<BTreeSet<VerdictKind>>,
}

/// Body of `POST /v1/waivers/{id}/end`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndBody {
    #[schema(min_length = 1)]
    reason: String,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Also those that are over.
    all: bool,
}

/// One waiver.
#[derive(Debug, Serialize, ToSchema)]
pub struct WaiverView {
    id: String,
    scope: String,
    verdicts: Vec<&'static str>,
    reason: String,
    by: String,
    at: String,
    at_ms: u64,
    from: String,
    from_ms: u64,
    until: String,
    until_ms: u64,
    /// A person ended it before its time.
    ended: Option<EndedView>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct EndedView {
    by: String,
    at: String,
    at_ms: u64,
    reason: String,
}

impl WaiverView {
    fn of(waiver: &Waiver) -> Self {
        Self {
            id: waiver.id.to_string(),
            scope: waiver.scope.to_string(),
            verdicts: waiver.verdicts.iter().map(|verdict| verdict.as_str()).collect(),
            reason: waiver.reason.clone(),
            by: waiver.by.clone(),
            at: rfc3339(waiver.at.0),
            at_ms: waiver.at.0,
            from: rfc3339(waiver.from.0),
            from_ms: waiver.from.0,
            until: rfc3339(waiver.until.0),
            until_ms: waiver.until.0,
            ended: waiver.ended.as_ref().map(|ended| EndedView {
                by: ended.by.clone(),
                at: rfc3339(ended.at.0),
                at_ms: ended.at.0,
                reason: ended.reason.clone(),
            }),
        }
    }
}

pub async fn list(
    State(api): State<Api>,
    Params(query): Params<ListQuery>,
) -> Result<Json<List<WaiverView>>, Refusal> {
    let items = api.look(move |gate, _, now| {
        let is_open = |waiver: &&Waiver| waiver.ended.is_none() && now < waiver.until;
        let shown = gate.ledger.waivers().filter(|waiver| query.all || is_open(waiver));
        shown.map(WaiverView::of).collect()
    });
    Ok(Json(List { items: items.await?, next: None }))
}

pub async fn waive(
    State(api): State<Api>,
    Extension(by): Extension<Principal>,
    Body(body): Body<WaiverBody>,
) -> Result<(StatusCode, Json<WaiverView>), Refusal> {
    let waiver = WaiverRequest {
        scope: body.scope,
        verdicts: body.verdicts.unwrap_or_else(|| BTreeSet::from(WAIVABLE)),
        reason: reason(body.reason)?,
        from: body.from_ms.map(Tick),
        span_ms: body.span_ms,
    };
    answer(api.step(Event::Waive { waiver, by: by.caller() }).await?)
}

pub async fn end(
    State(api): State<Api>,
    Extension(by): Extension<Principal>,
    Path(id): Path<String>,
    Body(body): Body<EndBody>,
) -> Result<(StatusCode, Json<WaiverView>), Refusal> {
    let waiver: WaiverId = id.parse().map_err(|_| Refusal::not_found("waiver", &id))?;
    let reason = reason(body.reason)?;
    answer(api.step(Event::EndWaiver { waiver, reason, by: by.caller() }).await?)
}

fn answer(reply: Reply) -> Result<(StatusCode, Json<WaiverView>), Refusal> {
    match reply {
        Reply::Waiver { waiver, created } => {
            let status = if created { StatusCode::CREATED } else { StatusCode::OK };
            Ok((status, Json(WaiverView::of(&waiver))))
        }
        Reply::Refused(refusal) => Err(refused(&refusal)),
        other @ (Reply::Rollout(_) | Reply::Freeze { .. } | Reply::Attested | Reply::NotNew(_)) => {
            Err(super::unexpected(&other))
        }
    }
}
