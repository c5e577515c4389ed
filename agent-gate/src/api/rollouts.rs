//! The life of a rollout, as calls.
//!
//! Each call is one event of the machine. The answer is the same for all of them: where the
//! rollout stands, what was decided and why, and a permit if there is one.
//!
//! Invariant: a permit is signed only while the latch admits it. One that was decided before a
//! freeze and would leave after it becomes a hold.

use std::time::Duration;

use agent_gate_core::gate::decision::{Code, Decision, DecisionKind, PermitTerms};
use agent_gate_core::gate::event::{Claim, Event, Outcome, RolloutRequest, Settlement};
use agent_gate_core::gate::rollout::Rollout;
use agent_gate_core::ids::{AgentName, ChangeId, Digest, Epoch, RolloutId};
use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use watchdog_core::names::{Revision, Service};
use watchdog_core::tick::Tick;

use super::body::{Body, Params};
use super::refusal::Refusal;
use super::view::{List, ReasonView, RolloutView};
use super::{Api, refused};
use crate::driver::command::{Reply, RolloutReply};
use crate::permit::Payload;
use crate::store::Page;
use crate::tokens::Principal;

/// How soon a caller may ask again whose permit met a freeze on its way.
const FENCED_RETRY: Duration = Duration::from_secs(5);
/// The longest free text that is kept, in bytes.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// Body of `POST /v1/rollouts`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestBody {
    /// The agent's own name for the change: the idempotency key.
    #[schema(value_type = String, min_length = 1)]
    change_id: ChangeId,
    #[schema(value_type = String, min_length = 1)]
    service: Service,
    /// The revision to go back to; without it, the one that is seen running.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    from: Option<Revision>,
    #[schema(value_type = String, min_length = 1)]
    to: Revision,
    /// The content address of what is rolled out.
    #[schema(value_type = String, min_length = 1)]
    digest: Digest,
    #[schema(value_type = String, min_length = 1)]
    agent: AgentName,
    summary: String,
    #[serde(default)]
    expected_effect: Option<String>,
    #[serde(default)]
    touches_telemetry: bool,
    /// The change id or rollout id of the rollout that this one repeats.
    #[serde(default)]
    based_on: Option<String>,
    /// Any JSON, for persons to read.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    plan: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenewBody {
    /// The epoch of the permit that is renewed.
    epoch: u64,
    /// What the agent does next, for persons to read.
    #[serde(default)]
    step: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AppliedBody {
    epoch: u64,
    /// The revision that is in place, if it is not the one that was asked for.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    revision: Option<Revision>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportBody {
    #[serde(default)]
    epoch: Option<u64>,
    /// The agent's reading. `healthy`, `requests` and `errors` are compared with the evidence;
    /// all other fields are kept for persons to read.
    #[schema(value_type = Object)]
    claim: serde_json::Map<String, serde_json::Value>,
}

/// How the agent ends its part.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConcludeOutcome {
    Succeeded,
    Abandoned,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConcludeBody {
    outcome: ConcludeOutcome,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AbortBody {
    #[schema(min_length = 1)]
    reason: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApproveBody {
    /// The digest as it was shown; another one is refused.
    #[schema(value_type = String, min_length = 1)]
    digest: Digest,
    #[schema(min_length = 1)]
    reason: String,
    /// For how long the approval stands; by policy if absent.
    #[serde(default)]
    expires_in_s: Option<u64>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RejectBody {
    #[schema(value_type = String, min_length = 1)]
    digest: Digest,
    #[schema(min_length = 1)]
    reason: String,
    /// Taken for symmetry with an approval; a rejection does not expire.
    #[serde(default)]
    #[expect(dead_code, reason = "a field of the protocol that a rejection does not use")]
    expires_in_s: Option<u64>,
}

/// How a person settles what the gate could not.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SettleTo {
    Confirmed,
    Reverting,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettleBody {
    to: SettleTo,
    #[schema(min_length = 1)]
    reason: String,
}

/// The answer of every call about a rollout.
#[derive(Debug, Serialize, ToSchema)]
pub struct RolloutAnswer {
    rollout: RolloutView,
    /// `allow`, `hold` or `deny`.
    decision: &'static str,
    reasons: Vec<ReasonView>,
    permit: Option<PermitView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_s: Option<u64>,
    /// Where a person approves, if that is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    approval_url: Option<String>,
    /// The decision record: `GET /v1/decisions/{id}`.
    evidence_id: Option<String>,
}

/// A lease to go on.
#[derive(Debug, Serialize, ToSchema)]
pub struct PermitView {
    id: String,
    /// `hp1.…`: signed, to be checked at the target.
    token: String,
    epoch: u64,
    expires_in_ms: u64,
    scope: String,
    digest: String,
}

/// What to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Only rollouts in this state.
    state: Option<String>,
    service: Option<String>,
    /// Only rollouts older than this id.
    before: Option<String>,
    /// 1 to 1000; 100 if absent.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

type Answer = Result<Json<RolloutAnswer>, Refusal>;
type Caller = Extension<Principal>;

pub async fn request(
    State(api): State<Api>,
    Extension(by): Caller,
    Body(body): Body<RequestBody>,
) -> Answer {
    text("summary", &body.summary)?;
    for (field, value) in [("expected_effect", &body.expected_effect), ("based_on", &body.based_on)]
    {
        value.as_deref().map_or(Ok(()), |value| text(field, value))?;
    }
    let plan = body.plan.map(|plan| plan.as_str().map_or_else(|| plan.to_string(), str::to_owned));
    plan.as_deref().map_or(Ok(()), |plan| text("plan", plan))?;
    let request = RolloutRequest {
        change_id: body.change_id,
        service: body.service,
        from: body.from,
        to: body.to,
        digest: body.digest,
        agent: body.agent,
        summary: body.summary,
        expected_effect: body.expected_effect,
        touches_telemetry: body.touches_telemetry,
        based_on: body.based_on,
        plan,
    };
    step(&api, Event::Request { request, by: by.caller() }).await
}

pub async fn renew(
    State(api): State<Api>,
    Extension(by): Caller,
    Path(id): Path<String>,
    Body(body): Body<RenewBody>,
) -> Answer {
    body.step.as_deref().map_or(Ok(()), |step| text("step", step))?;
    let (rollout, epoch) = (rollout_id(&id)?, Epoch(body.epoch));
    step(&api, Event::Renew { rollout, epoch, step: body.step, by: by.caller() }).await
}

pub async fn applied(
    State(api): State<Api>,
    Extension(by): Caller,
    Path(id): Path<String>,
    Body(body): Body<AppliedBody>,
) -> Answer {
    let (rollout, epoch) = (rollout_id(&id)?, Epoch(body.epoch));
    let revision = body.revision;
    step(&api, Event::Applied { rollout, epoch, revision, by: by.caller() }).await
}

pub async fn report(
    State(api): State<Api>,
    Extension(by): Caller,
    Path(id): Path<String>,
    Body(body): Body<ReportBody>,
) -> Answer {
    let claim = Claim {
        healthy: body.claim.get("healthy").and_then(serde_json::Value::as_bool),
        requests: body.claim.get("requests").and_then(serde_json::Value::as_u64),
        errors: body.claim.get("errors").and_then(serde_json::Value::as_u64),
        text: serde_json::Value::Object(body.claim).to_string(),
    };
    text("claim", &claim.text)?;
    let (rollout, epoch) = (rollout_id(&id)?, body.epoch.map(Epoch));
    step(&api, Event::Report { rollout, epoch, claim, by: by.caller() }).await
}

pub async fn conclude(
    State(api): State<Api>,
    Extension(by): Caller,
    Path(id): Path<String>,
    Body(body): Body<ConcludeBody>,
) -> Answer {
    let outcome = match body.outcome {
        ConcludeOutcome::Succeeded => Outcome::Succeeded,
        ConcludeOutcome::Abandoned => Outcome::Abandoned,
    };
    step(&api, Event::Conclude { rollout: rollout_id(&id)?, outcome, by: by.caller() }).await
}

pub async fn abort(
    State(api): State<Api>,
    Extension(by): Caller,
    Path(id): Path<String>,
    Body(body): Body<AbortBody>,
) -> Answer {
    let reason = reason(body.reason)?;
    step(&api, Event::Abort { rollout: rollout_id(&id)?, reason, by: by.caller() }).await
}

pub async fn approve(
    State(api): State<Api>,
    Extension(by): Caller,
    Path(id): Path<String>,
    Body(body): Body<ApproveBody>,
) -> Answer {
    let event = Event::Approve {
        rollout: rollout_id(&id)?,
        digest: body.digest,
        reason: reason(body.reason)?,
        expires_in_ms: body.expires_in_s.map(|seconds| seconds.saturating_mul(1000)),
        by: by.caller(),
    };
    step(&api, event).await
}

pub async fn reject(
    State(api): State<Api>,
    Extension(by): Caller,
    Path(id): Path<String>,
    Body(body): Body<RejectBody>,
) -> Answer {
    let (rollout, reason) = (rollout_id(&id)?, reason(body.reason)?);
    step(&api, Event::Reject { rollout, digest: body.digest, reason, by: by.caller() }).await
}

pub async fn settle(
    State(api): State<Api>,
    Extension(by): Caller,
    Path(id): Path<String>,
    Body(body): Body<SettleBody>,
) -> Answer {
    let to = match body.to {
        SettleTo::Confirmed => Settlement::Confirmed,
        SettleTo::Reverting => Settlement::Reverting,
    };
    let (rollout, reason) = (rollout_id(&id)?, reason(body.reason)?);
    step(&api, Event::Settle { rollout, to, reason, by: by.caller() }).await
}

pub async fn list(
    State(api): State<Api>,
    Params(query): Params<ListQuery>,
) -> Result<Json<List<RolloutView>>, Refusal> {
    let limit = super::limit(query.limit)?;
    let page = Page { before: query.before, only: query.state, service: query.service, limit };
    let mut items = Vec::new();
    for body in api.reader.rollouts(&page).await? {
        items.push(RolloutView::of(&parse(&body)?, &api.shared.policy));
    }
    let next = super::next(&items, limit, |item| item.id.clone());
    Ok(Json(List { items, next }))
}

pub async fn read(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<RolloutView>, Refusal> {
    let body = api.reader.rollout(&rollout_id(&id)?.to_string()).await?;
    let body = body.ok_or_else(|| Refusal::not_found("rollout", &id))?;
    Ok(Json(RolloutView::of(&parse(&body)?, &api.shared.policy)))
}

async fn step(api: &Api, event: Event) -> Answer {
    match api.step(event).await? {
        Reply::Rollout(reply) => Ok(Json(answer(api, &reply))),
        Reply::Refused(refusal) => Err(refused(&refusal)),
        other @ (Reply::Freeze { .. }
        | Reply::Waiver { .. }
        | Reply::Attested
        | Reply::NotNew(_)) => Err(super::unexpected(&other)),
    }
}

/// The answer, with the permit signed if the latch still admits it.
fn answer(api: &Api, reply: &RolloutReply) -> RolloutAnswer {
    let RolloutReply { rollout, answer, decided_at } = reply;
    let decision = &answer.decision;
    let mut said = RolloutAnswer {
        rollout: RolloutView::of(rollout, &api.shared.policy),
        decision: decision.kind.as_str(),
        reasons: decision.reasons.iter().map(ReasonView::of).collect(),
        permit: None,
        retry_after_s: retry_after_s(decision),
        approval_url: approval_url(api, rollout, decision),
        evidence_id: answer.evidence.map(|id| id.to_string()),
    };
    let Some(terms) = &decision.permit else { return said };
    // Held until the token is made: `shut` then knows that a permit is on its way.
    let admitted = api.shared.latch.admit(terms.decided);
    let (code, message) = match admitted {
        // A lease that ran out since the commit may be another gate's by now, with its freezes.
        Ok(_) if !api.shared.hold.stands((api.tick)()) => {
            (Code::Unknown, "this gate's turn may be over; the permit was not issued")
        }
        Ok(_admission) => {
            said.permit = Some(permit(api, rollout, terms, *decided_at));
            return said;
        }
        Err(_) => (Code::Frozen, "a freeze overtook this permit; it was not issued"),
    };
    said.decision = DecisionKind::Hold.as_str();
    said.reasons = vec![ReasonView::new(code, message)];
    said.retry_after_s = Some(FENCED_RETRY.as_secs());
    said
}

fn permit(api: &Api, rollout: &Rollout, terms: &PermitTerms, decided_at: Tick) -> PermitView {
    // What the commit took is off the lease: the holder must not outlive the gate's own view.
    let took_ms = (api.tick)().since_ms(decided_at);
    let expires_in_ms = terms.expires_in_ms.saturating_sub(took_ms);
    let now_ms = (api.wall_ms)();
    let payload = Payload {
        permit: terms.id.to_string(),
        rollout: terms.rollout.to_string(),
        service: terms.service.to_string(),
        environment: api.shared.policy.environment(&terms.service).to_string(),
        agent: rollout.request.agent.to_string(),
        to: terms.to.to_string(),
        digest: terms.digest.to_string(),
        scope: terms.scope.to_string(),
        epoch: terms.epoch.0,
        issued_at_ms: now_ms,
        expires_at_ms: now_ms.saturating_add(expires_in_ms),
        on_freeze: api.shared.policy.of(&terms.service).on_freeze,
    };
    PermitView {
        id: terms.id.to_string(),
        token: api.issuer.issue(&payload),
        epoch: payload.epoch,
        expires_in_ms,
        scope: payload.scope,
        digest: payload.digest,
    }
}

fn retry_after_s(decision: &Decision) -> Option<u64> {
    // Rounded up, and never 0: that would be an invitation to ask in a loop.
    decision.retry_after_ms.map(|ms| ms.div_ceil(1000).max(1))
}

fn approval_url(api: &Api, rollout: &Rollout, decision: &Decision) -> Option<String> {
    let url = || format!("{}/v1/rollouts/{}/approve", api.base_url, rollout.id);
    decision.needs_approval.then(url)
}

fn rollout_id(text: &str) -> Result<RolloutId, Refusal> {
    text.parse().map_err(|_| Refusal::not_found("rollout", text))
}

fn parse(body: &str) -> Result<Rollout, Refusal> {
    super::parse("rollouts", body)
}

pub fn reason(reason: String) -> Result<String, Refusal> {
    if reason.trim().is_empty() {
        return Err(Refusal::bad_request("reason is empty; say why, it stands in the audit log"));
    }
    text("reason", &reason)?;
    Ok(reason)
}

/// Free text is kept and shown to persons, so it is bounded and cannot hide anything.
pub fn text(field: &str, text: &str) -> Result<(), Refusal> {
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("{field} is longer than {TEXT_BYTES_MAX} bytes");
        return Err(Refusal::bad_request(message));
    }
    let hides = |c: char| c != '\n' && c != '\t' && watchdog_core::names::is_unprintable(c);
    if text.chars().any(hides) {
        let message = format!("{field} has a control or invisible character");
        return Err(Refusal::bad_request(message));
    }
    Ok(())
}
