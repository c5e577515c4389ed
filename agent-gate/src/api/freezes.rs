//! Stop the line, and lift it.
//!
//! A freeze is in force before its answer returns: the latch is shut in the step, and the answer
//! waits for the commit. Only a person thaws.
//!
//! Invariant: an answered freeze is durable.

use agent_gate_core::gate::event::Event;
use agent_gate_core::gate::freeze::Freeze;
use agent_gate_core::ids::FreezeId;
use agent_gate_core::scope::Scope;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use http::StatusCode;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::body::{Body, Params};
use super::refusal::Refusal;
use super::rollouts::reason;
use super::view::{FreezeView, List};
use super::{Api, refused};
use crate::driver::command::Reply;
use crate::tokens::Principal;

/// Body of `POST /v1/freezes`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FreezeBody {
    /// `fleet`, `environment=E`, `service=S` or `agent=A`.
    #[schema(value_type = String)]
    scope: Scope,
    #[schema(min_length = 1)]
    reason: String,
}

/// Body of `POST /v1/freezes/{id}/thaw`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ThawBody {
    #[schema(min_length = 1)]
    reason: String,
    /// Thaw although the cause still holds.
    #[serde(default, rename = "override")]
    is_override: bool,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Also those that were thawed.
    all: bool,
}

pub async fn list(
    State(api): State<Api>,
    Params(query): Params<ListQuery>,
) -> Result<Json<List<FreezeView>>, Refusal> {
    let mut items = Vec::new();
    for body in api.reader.freezes(query.all).await? {
        items.push(FreezeView::of(&super::parse::<Freeze>("freezes", &body)?));
    }
    Ok(Json(List { items, next: None }))
}

pub async fn freeze(
    State(api): State<Api>,
    Extension(by): Extension<Principal>,
    Body(body): Body<FreezeBody>,
) -> Result<(StatusCode, Json<FreezeView>), Refusal> {
    let (scope, reason) = (body.scope, reason(body.reason)?);
    answer(api.step(Event::Freeze { scope, reason, by: by.caller() }).await?)
}

pub async fn thaw(
    State(api): State<Api>,
    Extension(by): Extension<Principal>,
    Path(id): Path<String>,
    Body(body): Body<ThawBody>,
) -> Result<(StatusCode, Json<FreezeView>), Refusal> {
    let freeze: FreezeId = id.parse().map_err(|_| Refusal::not_found("freeze", &id))?;
    let (reason, override_cause) = (reason(body.reason)?, body.is_override);
    answer(api.step(Event::Thaw { freeze, reason, override_cause, by: by.caller() }).await?)
}

fn answer(reply: Reply) -> Result<(StatusCode, Json<FreezeView>), Refusal> {
    match reply {
        Reply::Freeze { freeze, created } => {
            let status = if created { StatusCode::CREATED } else { StatusCode::OK };
            Ok((status, Json(FreezeView::of(&freeze))))
        }
        Reply::Refused(refusal) => Err(refused(&refusal)),
        other @ (Reply::Rollout(_) | Reply::Waiver { .. } | Reply::Attested | Reply::NotNew(_)) => {
            Err(super::unexpected(&other))
        }
    }
}
