//! What the gate sees of each service, configured or only heard.
//!
//! A service that is heard and not configured is listed too; it is held, because there is no way
//! back for it.
//!
//! Invariant: a service that no fresh attestation names is shown as `unknown`, with its reason.

use std::collections::{BTreeMap, BTreeSet};

use agent_gate_core::gate::Gate;
use agent_gate_core::gate::decision::Readiness;
use agent_gate_core::gate::sight::{AttestedBy, Basis};
use agent_gate_core::policy::PolicySet;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use watchdog_core::names::Service;
use watchdog_core::tick::Tick;
use watchdog_core::verdict::RevisionEvidence;

use super::Api;
use super::refusal::Refusal;
use super::view::List;
use crate::config::RevertAction;

/// One service as the gate sees it now.
#[derive(Debug, Serialize, ToSchema)]
pub struct ServiceView {
    service: String,
    environment: String,
    configured: bool,
    /// `exec` or `webhook`; `null` is a service that cannot be taken back.
    revert: Option<&'static str>,
    /// What the dry run of the revert action came to: `not_tried`, `running`, `passed`, `failed`.
    dry_run: &'static str,
    /// Why the dry run failed.
    dry_run_failure: Option<String>,
    verdict: &'static str,
    /// What the verdict rests on: `fresh`, `settling`, `no_quorum`, `watchdog_silent` or
    /// `never_heard`.
    basis: &'static str,
    /// One sentence for a person.
    reason: String,
    #[schema(value_type = Option<String>)]
    stage: Option<watchdog_core::verdict::Stage>,
    /// For how long the gate itself has seen it live without a break.
    live_ms: Option<u64>,
    /// The age of the oldest attestation it rests on.
    age_ms: Option<u64>,
    #[schema(value_type = Vec<Object>)]
    revisions: Vec<RevisionEvidence>,
    #[schema(value_type = Vec<Object>)]
    attested: Vec<AttestedBy>,
    /// The watchdog whose word stands alone against at least two that agree.
    suspect: Option<String>,
    /// The waiver that takes a word about it back to `unknown`.
    waived_by: Option<String>,
    /// Its rollouts that are not over.
    rollouts: Vec<String>,
    /// Its last confirmed rollout.
    confirmed: Option<String>,
    /// The revision it runs that no permit led to.
    drift: Option<String>,
    /// Freezes in force that cover the service, whoever asks.
    frozen_by: Vec<String>,
}

pub async fn list(State(api): State<Api>) -> Result<Json<List<ServiceView>>, Refusal> {
    let reverts = api.reverts.clone();
    let items = api.look(move |gate, policy, now| views(gate, policy, now, &reverts)).await?;
    Ok(Json(List { items, next: None }))
}

fn views(
    gate: &Gate,
    policy: &PolicySet,
    now: Tick,
    reverts: &BTreeMap<Service, RevertAction>,
) -> Vec<ServiceView> {
    let mut names: BTreeSet<&Service> = policy.services.keys().collect();
    names.extend(gate.sight.known());
    names.into_iter().map(|name| view(gate, policy, now, reverts, name)).collect()
}

fn view(
    gate: &Gate,
    policy: &PolicySet,
    now: Tick,
    reverts: &BTreeMap<Service, RevertAction>,
    service: &Service,
) -> ServiceView {
    let evidence = gate.look(service, now, policy);
    let environment = policy.environment(service);
    let (dry_run, dry_run_failure) = match gate.ledger.readiness(service) {
        Readiness::NotTried => ("not_tried", None),
        Readiness::Running { .. } => ("running", None),
        Readiness::Passed { .. } => ("passed", None),
        Readiness::Failed { why, .. } => ("failed", Some(why.clone())),
    };
    let open = gate.ledger.open().filter(|rollout| &rollout.request.service == service);
    let frozen = gate
        .ledger
        .in_force()
        .filter(|freeze| super::view::scope_covers_service(&freeze.scope, service, &environment));
    ServiceView {
        service: service.to_string(),
        environment: environment.to_string(),
        configured: policy.services.contains_key(service),
        revert: reverts.get(service).map(|action| match action {
            RevertAction::Exec { .. } => "exec",
            RevertAction::Webhook { .. } => "webhook",
        }),
        dry_run,
        dry_run_failure,
        verdict: evidence.verdict.as_str(),
        basis: match evidence.basis {
            Basis::NeverHeard => "never_heard",
            Basis::WatchdogSilent => "watchdog_silent",
            Basis::Settling => "settling",
            Basis::NoQuorum => "no_quorum",
            Basis::Fresh => "fresh",
        },
        reason: evidence.reason,
        stage: evidence.stage,
        live_ms: evidence.live_ms,
        age_ms: evidence.age_ms,
        revisions: evidence.revisions,
        attested: evidence.attested,
        suspect: evidence.suspect,
        waived_by: evidence.waived.map(|waiver| waiver.id.to_string()),
        rollouts: open.map(|rollout| rollout.id.to_string()).collect(),
        confirmed: gate.ledger.confirmed_of(service).map(|rollout| rollout.id.to_string()),
        drift: gate.ledger.drifted(service).map(ToString::to_string),
        frozen_by: frozen.map(|freeze| freeze.id.to_string()).collect(),
    }
}
