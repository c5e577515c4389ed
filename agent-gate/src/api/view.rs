//! What answers look like: rollouts, freezes and decisions as callers read them.
//!
//! The core's own types stand in the store and in records; these are the public forms of them,
//! so that the core can change inside without breaking a caller.
//!
//! Invariant: every time is there twice, as RFC 3339 for people and in `…_ms` for programs.

use agent_gate_core::gate::decision::{Code, Reason};
use agent_gate_core::gate::freeze::{Freeze, FreezeCause, FrozenBy, Stage};
use agent_gate_core::gate::rollout::{Approval, Moment, Rollout};
use agent_gate_core::policy::PolicySet;
use agent_gate_core::scope::Scope;
use serde::Serialize;
use utoipa::ToSchema;
use watchdog_core::names::{Environment, Service};
use watchdog_core::tick::Tick;

use crate::when::rfc3339;

/// One list answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct List<T> {
    pub items: Vec<T>,
    /// Give it as `before` (audit: `after`) to read on; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A rollout as it stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct RolloutView {
    pub id: String,
    pub state: &'static str,
    pub change_id: String,
    pub service: String,
    pub environment: String,
    /// The revision to go back to; `null` while nobody knows it.
    pub from: Option<String>,
    pub to: String,
    pub digest: String,
    pub agent: String,
    pub summary: String,
    pub expected_effect: Option<String>,
    pub touches_telemetry: bool,
    pub based_on: Option<String>,
    pub plan: Option<String>,
    /// Name of the token that asked.
    pub requested_by: String,
    pub requested_at: String,
    pub requested_at_ms: u64,
    pub applied_at: Option<String>,
    pub applied_at_ms: Option<u64>,
    /// When the state was entered.
    pub since: String,
    pub since_at_ms: u64,
    /// The epoch of the last permit.
    pub epoch: Option<u64>,
    /// The newest approval.
    pub approval: Option<ApprovalView>,
    /// The newest approval of each person.
    pub approvals: Vec<ApprovalView>,
    /// Why it is being or was taken back.
    pub taken_back: Option<ReasonView>,
    /// The newest generation of its reverts.
    pub generation: Option<u32>,
    /// What the agent claimed last.
    pub claim: Option<String>,
    /// Claims of the agent that the evidence contradicted.
    pub contradictions: u32,
    /// The newest recorded decision.
    pub last_decision: Option<String>,
    pub timeline: Vec<MomentView>,
    /// The state with all that belongs to it, as the machine keeps it.
    #[schema(value_type = Object)]
    pub detail: serde_json::Value,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ApprovalView {
    pub by: String,
    pub at: String,
    pub at_ms: u64,
    pub until: String,
    pub until_ms: u64,
    pub reason: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct MomentView {
    pub at: String,
    pub at_ms: u64,
    pub state: &'static str,
    pub why: String,
}

/// One reason of a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ReasonView {
    pub code: &'static str,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The rule it comes from, if a decision was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleView>,
}

/// The rule behind a reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RuleView {
    /// `[policy]`, `[[environment]] NAME`, `[[service]] NAME`, or `built in`.
    pub table: String,
    /// The key of the policy; of a built-in rule, the code.
    pub key: String,
}

/// A freeze, in force or thawed.
#[derive(Debug, Serialize, ToSchema)]
pub struct FreezeView {
    pub id: String,
    /// `fleet`, `environment=E`, `service=S` or `agent=A`.
    pub scope: String,
    pub cause: &'static str,
    /// The rollout and service it was made for.
    pub rollout: Option<String>,
    pub service: Option<String>,
    pub reason: String,
    /// `gate`, or `role:name` of the token.
    pub by: String,
    pub at: String,
    pub at_ms: u64,
    /// The epoch it raised the gate to.
    pub epoch: u64,
    /// `requested`, `durable` or `fenced`.
    pub stage: &'static str,
    pub fenced: FencedView,
    pub thawed: Option<ThawedView>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct FencedView {
    /// Targets that refuse older epochs. `null` while no target is known.
    pub done: Option<u32>,
    pub total: Option<u32>,
    /// Targets at which nothing checks a permit.
    pub unfenceable: Option<u32>,
    /// Whether an old permit can still be used: `impossible`, `until_permits_end` or `unbounded`.
    pub stale_apply: &'static str,
    /// When the last permit ends that was out in the scope; `null` if none was.
    pub permits_end_at: Option<String>,
    pub permits_end_at_ms: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ThawedView {
    pub by: String,
    pub at: String,
    pub at_ms: u64,
    pub reason: String,
    /// Whether the cause still held.
    pub overridden: bool,
}

impl RolloutView {
    #[must_use]
    pub fn of(rollout: &Rollout, policy: &PolicySet) -> Self {
        let request = &rollout.request;
        Self {
            id: rollout.id.to_string(),
            state: rollout.state.name().as_str(),
            change_id: request.change_id.to_string(),
            service: request.service.to_string(),
            environment: policy.environment(&request.service).to_string(),
            from: rollout.from.as_ref().map(ToString::to_string),
            to: request.to.to_string(),
            digest: request.digest.to_string(),
            agent: request.agent.to_string(),
            summary: request.summary.clone(),
            expected_effect: request.expected_effect.clone(),
            touches_telemetry: request.touches_telemetry,
            based_on: request.based_on.clone(),
            plan: request.plan.clone(),
            requested_by: rollout.requested_by.clone(),
            requested_at: at(rollout.requested_at),
            requested_at_ms: rollout.requested_at.0,
            applied_at: rollout.applied_at.map(at),
            applied_at_ms: rollout.applied_at.map(|tick| tick.0),
            since: at(rollout.since),
            since_at_ms: rollout.since.0,
            epoch: rollout.last_epoch.map(|epoch| epoch.0),
            approval: rollout.approvals.last().map(ApprovalView::of),
            approvals: rollout.approvals.iter().map(ApprovalView::of).collect(),
            taken_back: rollout
                .taken_back
                .as_ref()
                .map(|taken| ReasonView::new(taken.code, taken.why.clone())),
            generation: rollout.generation.map(|generation| generation.0),
            claim: rollout.claim.as_ref().map(|claim| claim.text.clone()),
            contradictions: rollout.contradictions,
            last_decision: rollout.last_decision.map(|id| id.to_string()),
            timeline: rollout.timeline.iter().map(MomentView::of).collect(),
            detail: serde_json::to_value(&rollout.state).expect("a state is JSON"),
        }
    }
}

impl ApprovalView {
    fn of(approval: &Approval) -> Self {
        Self {
            by: approval.by.clone(),
            at: at(approval.at),
            at_ms: approval.at.0,
            until: at(approval.until),
            until_ms: approval.until.0,
            reason: approval.reason.clone(),
        }
    }
}

impl MomentView {
    fn of(moment: &Moment) -> Self {
        Self {
            at: at(moment.at),
            at_ms: moment.at.0,
            state: moment.state.as_str(),
            why: moment.why.clone(),
        }
    }
}

impl ReasonView {
    #[must_use]
    pub fn of(reason: &Reason) -> Self {
        Self {
            code: reason.code.as_str(),
            message: reason.message.clone(),
            service: reason.service.as_ref().map(ToString::to_string),
            rule: reason
                .rule
                .as_ref()
                .map(|rule| RuleView { table: rule.table.to_string(), key: rule.key.clone() }),
        }
    }

    /// A reason that is not about one service.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code: code.as_str(), message: message.into(), service: None, rule: None }
    }
}

impl FreezeView {
    #[must_use]
    pub fn of(freeze: &Freeze) -> Self {
        let (rollout, service) = subject(&freeze.cause);
        let fenced = freeze.fenced;
        Self {
            id: freeze.id.to_string(),
            scope: freeze.scope.to_string(),
            cause: cause_word(&freeze.cause),
            rollout,
            service,
            reason: freeze.reason.clone(),
            by: match &freeze.by {
                FrozenBy::Gate => "gate".to_owned(),
                FrozenBy::Caller { name, role } => format!("{}:{name}", role_word(*role)),
            },
            at: at(freeze.at),
            at_ms: freeze.at.0,
            epoch: freeze.epoch.0,
            stage: stage_word(freeze.stage),
            fenced: FencedView {
                done: fenced.map(|fenced| fenced.done),
                total: fenced.map(|fenced| fenced.total),
                unfenceable: fenced.map(|fenced| fenced.unfenceable),
                stale_apply: stale_apply(freeze),
                permits_end_at: freeze.permits_end.map(at),
                permits_end_at_ms: freeze.permits_end.map(|tick| tick.0),
            },
            thawed: freeze.thawed.as_ref().map(|thawed| ThawedView {
                by: thawed.by.clone(),
                at: at(thawed.at),
                at_ms: thawed.at.0,
                reason: thawed.reason.clone(),
                overridden: thawed.overridden,
            }),
        }
    }
}

/// Whether an order under an old permit can still be carried out somewhere.
fn stale_apply(freeze: &Freeze) -> &'static str {
    match (freeze.stage, freeze.fenced) {
        (Stage::Fenced, _) => "impossible",
        // Only a target that is known to check permits stops at their end.
        (Stage::Requested | Stage::Durable, Some(fenced)) if fenced.unfenceable == 0 => {
            "until_permits_end"
        }
        (Stage::Requested | Stage::Durable, _) => "unbounded",
    }
}

fn at(tick: Tick) -> String {
    rfc3339(tick.0)
}

fn role_word(role: agent_gate_core::gate::event::Role) -> &'static str {
    crate::tokens::Role::from(role).as_str()
}

const fn stage_word(stage: Stage) -> &'static str {
    match stage {
        Stage::Requested => "requested",
        Stage::Durable => "durable",
        Stage::Fenced => "fenced",
    }
}

/// The word of a cause; for lost sight it is the verdict.
#[must_use]
pub const fn cause_word(cause: &FreezeCause) -> &'static str {
    match cause {
        FreezeCause::Asked => "asked",
        FreezeCause::Verdict { verdict, .. } => verdict.as_str(),
        FreezeCause::Regressed { .. } => "regressed",
        FreezeCause::Violation { .. } => "violation",
        FreezeCause::Abandoned { .. } => "abandoned",
        FreezeCause::Stuck { .. } => "stuck",
        FreezeCause::Suspicion { .. } => "suspicion",
        FreezeCause::MassSilence => "mass_silence",
        FreezeCause::Drift { .. } => "drift",
    }
}

/// The kind of a scope, without its name: a label value must be bounded.
#[must_use]
pub const fn scope_word(scope: &Scope) -> &'static str {
    match scope {
        Scope::Fleet => "fleet",
        Scope::Environment(_) => "environment",
        Scope::Service(_) => "service",
        Scope::Agent(_) => "agent",
    }
}

/// Whether a scope stops every rollout of a service, whoever its agent is.
#[must_use]
pub fn scope_covers_service(scope: &Scope, service: &Service, environment: &Environment) -> bool {
    match scope {
        Scope::Fleet => true,
        Scope::Environment(frozen) => frozen == environment,
        Scope::Service(frozen) => frozen == service,
        Scope::Agent(_) => false,
    }
}

fn subject(cause: &FreezeCause) -> (Option<String>, Option<String>) {
    match cause {
        FreezeCause::Verdict { rollout, service, .. }
        | FreezeCause::Regressed { rollout, service }
        | FreezeCause::Violation { rollout, service }
        | FreezeCause::Abandoned { rollout, service }
        | FreezeCause::Stuck { rollout, service }
        | FreezeCause::Suspicion { rollout, service, .. } => {
            (Some(rollout.to_string()), Some(service.to_string()))
        }
        FreezeCause::Drift { service, .. } => (None, Some(service.to_string())),
        FreezeCause::Asked | FreezeCause::MassSilence => (None, None),
    }
}
