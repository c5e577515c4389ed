//! What was decided and done, to be read and checked.
//!
//! Decisions carry the record they rest on as exact bytes, enough to make them again with
//! `agent_gate_core::gate::decision::decide`. Audit rows carry the exact text their hash is over.
//!
//! Invariant: nothing here is re-encoded on its way from the store to the caller.

use agent_gate_core::gate::decision::DecisionRecord;
use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::body::Params;
use super::refusal::Refusal;
use super::view::{List, ReasonView};
use crate::store::{AuditPage, AuditRow, Page, StoreError};
use crate::when::rfc3339;

/// One decision.
#[derive(Debug, Serialize, ToSchema)]
pub struct DecisionView {
    id: String,
    at: String,
    at_ms: u64,
    rollout: String,
    service: String,
    /// `allow`, `hold` or `deny`.
    decision: &'static str,
    reasons: Vec<ReasonView>,
    /// SHA-256 of the policy that was used.
    policy_hash: String,
    /// Inputs and decision as the machine recorded them; only in `GET /v1/decisions/{id}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    record: Option<Box<RawValue>>,
}

/// One row of the audit log.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditView {
    seq: u64,
    at: String,
    at_ms: u64,
    /// `role:name` of the caller, or `gate`.
    who: String,
    what: String,
    /// The id it is about.
    subject: String,
    #[schema(value_type = Object)]
    detail: serde_json::Value,
    /// The exact text the hash is over; all fields above are read from it.
    record: String,
    /// Hash of the row before, in hex; zeros for the first.
    prev: String,
    /// SHA-256 over the bytes of `prev` and then `record`, in hex.
    hash: String,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DecisionsQuery {
    rollout: Option<String>,
    service: Option<String>,
    before: Option<String>,
    /// 1 to 1000; 100 if absent.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    subject: Option<String>,
    /// Only entries after this one.
    #[param(minimum = 0, maximum = 9_223_372_036_854_775_807_i64)]
    after: Option<u64>,
    /// 1 to 1000; 100 if absent.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

pub async fn decisions(
    State(api): State<Api>,
    Params(query): Params<DecisionsQuery>,
) -> Result<Json<List<DecisionView>>, Refusal> {
    let limit = super::limit(query.limit)?;
    let page = Page { before: query.before, only: query.rollout, service: query.service, limit };
    let mut items = Vec::new();
    for body in api.reader.decisions(&page).await? {
        items.push(view(&body, None)?);
    }
    let next = super::next(&items, limit, |item| item.id.clone());
    Ok(Json(List { items, next }))
}

pub async fn decision(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<DecisionView>, Refusal> {
    let body = api.reader.decision(&id).await?;
    let body = body.ok_or_else(|| Refusal::not_found("decision", &id))?;
    let record = RawValue::from_string(body.clone())
        .map_err(|error| Refusal::from(unreadable("decisions", &id, &error)))?;
    Ok(Json(view(&body, Some(record))?))
}

pub async fn audit(
    State(api): State<Api>,
    Params(query): Params<AuditQuery>,
) -> Result<Json<List<AuditView>>, Refusal> {
    let limit = super::limit(query.limit)?;
    let after = query.after.unwrap_or(0);
    if i64::try_from(after).is_err() {
        return Err(Refusal::bad_request(format!("after {after} is more than an entry can have")));
    }
    let page = AuditPage { after, subject: query.subject, limit };
    let mut items = Vec::new();
    for row in api.reader.audit(&page).await? {
        items.push(audit_view(row)?);
    }
    let next = super::next(&items, limit, |item| item.seq.to_string());
    Ok(Json(List { items, next }))
}

fn view(body: &str, record: Option<Box<RawValue>>) -> Result<DecisionView, Refusal> {
    let known: DecisionRecord = super::parse("decisions", body)?;
    Ok(DecisionView {
        id: known.id.to_string(),
        at: rfc3339(known.inputs.now.0),
        at_ms: known.inputs.now.0,
        rollout: known.inputs.rollout.to_string(),
        service: known.inputs.request.service.to_string(),
        decision: known.decision.kind.as_str(),
        reasons: known.decision.reasons.iter().map(ReasonView::of).collect(),
        policy_hash: known.inputs.policy_hash,
        record,
    })
}

/// The fields of an audit record.
#[derive(Deserialize)]
struct Record {
    at_ms: u64,
    who: String,
    what: String,
    subject: String,
    detail: serde_json::Value,
}

fn audit_view(row: AuditRow) -> Result<AuditView, Refusal> {
    let read: Record = serde_json::from_str(&row.record)
        .map_err(|error| Refusal::from(unreadable("audit", &row.seq.to_string(), &error)))?;
    Ok(AuditView {
        seq: row.seq,
        at: rfc3339(read.at_ms),
        at_ms: read.at_ms,
        who: read.who,
        what: read.what,
        subject: read.subject,
        detail: read.detail,
        record: row.record,
        prev: hex::encode(row.prev),
        hash: hex::encode(row.hash),
    })
}

fn unreadable(table: &'static str, id: &str, error: &serde_json::Error) -> StoreError {
    StoreError::Row { table, id: id.to_owned(), reason: error.to_string() }
}
