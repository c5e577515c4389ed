//! Admission: may this agent begin, or go on? All conditions, and every one that fails is said.
//!
//! Invariant: `allow` and a permit come together. Each condition that is not known to be met
//! holds; what can never be met denies.

use watchdog_core::verdict::VerdictKind;

use crate::gate::answer::RETRY_MS;
use crate::gate::approvals::{self, Missing};
use crate::gate::bake::BakeSeen;
use crate::gate::decision::{
    BudgetSeen, Code, Decision, DecisionKind, DecisionRecord, FreezeSeen, Inputs, PermitTerms,
    PredecessorSeen, Question, Readiness, Reason, decide as judge,
};
use crate::gate::ledger::{Ledger, Step};
use crate::gate::revert::Way;
use crate::gate::rollout::{Permit, Proof, Rollout, State, StateName, reverts};
use crate::ids::{ChangeId, RolloutId};
use crate::policy::RevertAction;
use crate::scope::Scope;

/// Decides about [`Question::Admit`], [`Question::Begin`] and [`Question::Continue`].
pub(crate) fn decide(inputs: &Inputs) -> Decision {
    let mut case = Case { inputs, reasons: Vec::new(), retry_ms: 0 };
    case.freezes();
    case.fingerprint();
    case.sight();
    match inputs.question {
        Question::Admit | Question::Begin => {
            case.agent();
            case.waiver();
            case.way_back();
            case.approval();
            case.drift();
            case.predecessor();
            case.blast_radius();
        }
        // What was begun under all conditions goes on while it is seen and not frozen.
        Question::Continue | Question::Bake => {}
    }
    case.close()
}

/// One decision in the making.
struct Case<'a> {
    inputs: &'a Inputs,
    reasons: Vec<(DecisionKind, Reason)>,
    retry_ms: u64,
}

impl Case<'_> {
    fn say(&mut self, kind: DecisionKind, code: Code, message: String) {
        let service = Some(self.inputs.request.service.clone());
        self.reasons.push((kind, Reason { code, message, service, rule: None }));
    }

    fn hold(&mut self, code: Code, retry_ms: u64, message: String) {
        self.retry_ms = self.retry_ms.max(retry_ms);
        self.say(DecisionKind::Hold, code, message);
    }

    fn freezes(&mut self) {
        for freeze in &self.inputs.freezes {
            let message = format!("{} is frozen ({}): {}", freeze.scope, freeze.id, freeze.reason);
            self.say(DecisionKind::Deny, Code::Frozen, message);
        }
    }

    fn agent(&mut self) {
        let Inputs { requested_by, policy, request, .. } = self.inputs;
        if let Some(name) = requested_by.as_ref().filter(|name| !policy.agents.admit(name)) {
            let message = format!("the policy does not let {name} roll out {}", request.service);
            self.say(DecisionKind::Deny, Code::AgentNotAllowed, message);
        }
    }

    fn waiver(&mut self) {
        let Inputs { waiver, request, now, .. } = self.inputs;
        if let Some(waiver) = waiver {
            let left = waiver.until.since_ms(*now);
            let service = &request.service;
            let message = format!("silence of {service} is planned ({}), for {left} ms", waiver.id);
            self.hold(Code::Waived, left, message);
        }
    }

    fn fingerprint(&mut self) {
        let request = &self.inputs.request;
        if let Some(block) = &self.inputs.blocked {
            let message = format!(
                "digest {} made {} {} in {}; it is refused everywhere",
                request.digest,
                block.service,
                block.verdict.as_str(),
                block.rollout
            );
            self.say(DecisionKind::Deny, Code::BlockedDigest, message);
        }
        if self.inputs.from.as_ref() == Some(&request.to) {
            let message = format!("{} is both the revision to leave and to go to", request.to);
            self.say(DecisionKind::Deny, Code::SameRevision, message);
        }
    }

    fn sight(&mut self) {
        let Inputs { evidence, policy, request, question, .. } = self.inputs;
        if !evidence.is_live() {
            let word = evidence.verdict.as_str();
            let message = format!("{} is {word}: {}", request.service, evidence.reason);
            return self.hold(Code::of_verdict(evidence.verdict), RETRY_MS, message);
        }
        let dwelt = match question {
            Question::Admit | Question::Begin => {
                evidence.live_ms.is_some_and(|live_ms| live_ms >= policy.dwell_ms)
            }
            Question::Continue | Question::Bake => evidence.live_ms.is_some(),
        };
        if !dwelt {
            let left =
                evidence.live_ms.map_or(policy.dwell_ms, |ms| policy.dwell_ms.saturating_sub(ms));
            let message = format!("{} must be seen live for another {left} ms", request.service);
            self.hold(Code::Dwell, left, message);
        }
    }

    fn way_back(&mut self) {
        let service = &self.inputs.request.service;
        if self.inputs.from.is_none() {
            let message =
                format!("no instance of {service} says which revision it runs; name `from`");
            self.hold(Code::FromUnknown, RETRY_MS, message);
        }
        self.goal_runs();
        if self.inputs.revert == RevertAction::Missing {
            let message = format!("no revert action is configured for {service}");
            return self.hold(Code::NoRevert, RETRY_MS, message);
        }
        match &self.inputs.readiness {
            Readiness::Passed { .. } => {}
            Readiness::NotTried | Readiness::Running { .. } => {
                let message = format!("the revert action of {service} is being tried");
                self.hold(Code::RevertUntested, 1_000, message);
            }
            Readiness::Failed { why, .. } => {
                let message =
                    format!("the dry run of the revert action of {service} failed: {why}");
                self.hold(Code::RevertDryRunFailed, self.inputs.policy.dry_run_retry_ms, message);
            }
        }
    }

    /// The way back must lead to what runs now, not to what an agent says. Once a permit is out
    /// the agent may have begun, and what runs is changing.
    fn goal_runs(&mut self) {
        let Inputs { from, evidence, request, question, permit, .. } = self.inputs;
        if let (Some(from), Some(runs), Question::Admit, None) =
            (from, evidence.running(&request.to), question, permit)
            && evidence.revision(from).is_none_or(|seen| seen.instances == 0)
        {
            let message = format!("{} runs {runs}, not {from}", request.service);
            self.hold(Code::FromNotRunning, RETRY_MS, message);
        }
    }

    fn approval(&mut self) {
        let missing = self.unapproved().filter(|_| self.inputs.needs_approval);
        if let Some(Missing { code, message }) = missing {
            self.hold(code, 10_000, message);
        }
    }

    /// A person who approves a change of a service that drifts approves what it starts from.
    fn drift(&mut self) {
        let Inputs { drift, request, .. } = self.inputs;
        if let Some(revision) = drift.as_ref().filter(|_| self.unapproved().is_some()) {
            let message = format!(
                "{} runs {revision}, which no permit led to; a person brings back what was \
                 granted, or approves",
                request.service
            );
            self.hold(Code::Drift, 10_000, message);
        }
    }

    fn unapproved(&self) -> Option<Missing> {
        let Inputs { approvals, requested_by, policy, environment, now, .. } = self.inputs;
        approvals::missing(approvals, requested_by.as_deref(), policy, environment, *now)
    }

    fn predecessor(&mut self) {
        let Some(before) = &self.inputs.based_on else { return };
        if before.proven {
            return;
        }
        let named = &before.named;
        match before.state {
            Some(
                StateName::Reverting
                | StateName::Reverted
                | StateName::Stuck
                | StateName::Denied
                | StateName::Expired
                | StateName::Aborted,
            ) => {
                let message = format!("{named}, which this is based on, came to nothing");
                self.say(DecisionKind::Deny, Code::BasedOnFailed, message);
            }
            Some(
                StateName::Held
                | StateName::Allowed
                | StateName::Applying
                | StateName::Baking
                | StateName::Inconclusive
                | StateName::Confirmed,
            )
            | None => {
                let message =
                    format!("{named}, which this is based on, is not confirmed by live evidence");
                self.hold(Code::BasedOnUnproven, 5_000, message);
            }
        }
    }

    fn blast_radius(&mut self) {
        let BudgetSeen { limit, in_use } = self.inputs.budget;
        if let Some(other) = self.inputs.busy {
            let message = format!("{other} is in flight on the same service");
            self.hold(Code::ServiceBusy, 5_000, message);
        }
        if let Some(other) = self.inputs.telemetry_change {
            let message = format!("{other} touches telemetry too and is in flight");
            self.hold(Code::TelemetryChange, 5_000, message);
        }
        if in_use >= limit {
            let message = format!("{in_use} of {limit} unproven rollouts are in flight");
            self.hold(Code::Budget, 5_000, message);
        }
    }

    fn close(mut self) -> Decision {
        if self.reasons.is_empty() {
            let service = &self.inputs.request.service;
            let message = format!("{service} is seen live and all conditions are met");
            self.say(DecisionKind::Allow, Code::Clear, message);
        }
        // What denies is said before what holds; the first reason names the state.
        self.reasons.sort_by_key(|(kind, _)| std::cmp::Reverse(*kind));
        let kind = self.reasons.first().map_or(DecisionKind::Hold, |(kind, _)| *kind);
        let reasons: Vec<_> = self.reasons.into_iter().map(|(_, reason)| reason).collect();
        Decision {
            kind,
            permit: (kind == DecisionKind::Allow).then(|| grant(self.inputs)),
            retry_after_ms: (kind == DecisionKind::Hold).then_some(self.retry_ms),
            needs_approval: reasons.iter().any(|why| {
                matches!(why.code, Code::ApprovalNeeded | Code::SecondPerson | Code::Drift)
            }),
            reasons,
            ruling: None,
            comparison: None,
        }
    }
}

/// The permit that an `allow` comes with.
fn grant(inputs: &Inputs) -> PermitTerms {
    let Inputs { now, epoch, question, policy, request, .. } = inputs;
    let live = inputs.permit.as_ref().filter(|permit| permit.is_live(*now));
    let (id, of_epoch, granted) = live.map_or((inputs.next_permit, *epoch, *now), |permit| {
        (permit.id, permit.epoch, permit.granted)
    });
    // Asking again for a permit that is out gives the same one; only a renewal prolongs it.
    let expires = match (question, live) {
        (Question::Admit, Some(permit)) => permit.expires,
        (Question::Admit | Question::Begin | Question::Continue | Question::Bake, _) => {
            now.plus_ms(policy.permit_ttl_ms)
        }
    };
    PermitTerms {
        id,
        rollout: inputs.rollout,
        service: request.service.clone(),
        to: request.to.clone(),
        digest: request.digest.clone(),
        scope: Scope::Service(request.service.clone()),
        epoch: of_epoch,
        granted,
        expires,
        expires_in_ms: expires.since_ms(*now),
        decided: *epoch,
    }
}

impl PermitTerms {
    /// The permit as the ledger keeps it.
    pub(crate) fn permit(&self) -> Permit {
        Permit { id: self.id, epoch: self.epoch, granted: self.granted, expires: self.expires }
    }
}

impl Ledger {
    /// Decides about a rollout and records the decision with its inputs.
    pub(crate) fn judge(
        &mut self,
        step: &mut Step<'_>,
        id: RolloutId,
        question: Question,
    ) -> Decision {
        let inputs = self.inputs(step, id, question, None);
        let decision = judge(&inputs);
        self.record(step, inputs, decision.clone());
        if let Some(terms) = &decision.permit {
            self.head.permits = self.head.permits.max(terms.id.0);
        }
        decision
    }

    pub(crate) fn record(&mut self, step: &mut Step<'_>, inputs: Inputs, decision: Decision) {
        let id = self.next_decision();
        self.edit(step, inputs.rollout).last_decision = Some(id);
        step.decisions.push(DecisionRecord { id, inputs, decision });
    }

    /// Everything a decision about the rollout rests on.
    pub(crate) fn inputs(
        &self,
        step: &Step<'_>,
        id: RolloutId,
        question: Question,
        bake: Option<BakeSeen>,
    ) -> Inputs {
        let rollout = self.rollouts.get(&id).expect("a question is about a rollout of the ledger");
        let request = &rollout.request;
        let configured = step.policy.services.get(&request.service);
        let (policy, tables) = step.policy.binding(&request.service);
        let busy = |other: &&Rollout| other.request.service == request.service;
        let telemetry =
            |other: &&Rollout| request.touches_telemetry && other.request.touches_telemetry;
        Inputs {
            question,
            now: step.now,
            epoch: self.head.epoch,
            rollout: id,
            request: request.clone(),
            requested_by: Some(rollout.requested_by.clone()),
            environment: step.policy.environment(&request.service),
            from: rollout.from.clone(),
            evidence: step.sight.of(&request.service).clone(),
            freezes: self
                .freezes_over(rollout, step.policy)
                .map(|freeze| FreezeSeen {
                    id: freeze.id,
                    scope: freeze.scope.clone(),
                    cause: freeze.cause.clone(),
                    reason: freeze.reason.clone(),
                    stage: freeze.stage,
                })
                .collect(),
            waiver: self
                .waiver_over(&request.service, step.now, step.policy)
                .map(|waiver| waiver.seen(None)),
            budget: BudgetSeen {
                limit: self.budget(&step.policy.fleet),
                in_use: self.in_use(rollout, step),
            },
            busy: self.in_flight_beside(id).find(busy).map(|other| other.id),
            telemetry_change: self.in_flight_beside(id).find(telemetry).map(|other| other.id),
            needs_approval: step.policy.needs_approval(&request.service),
            drift: self.drifted(&request.service).cloned(),
            approvals: rollout.approvals.clone(),
            revert: configured.map_or(RevertAction::Missing, |service| service.revert),
            readiness: self.readiness_now(step, &request.service),
            based_on: request.based_on.as_deref().map(|named| self.predecessor(named)),
            blocked: self.blocked.get(&request.digest).cloned(),
            permit: rollout.permit().cloned(),
            next_permit: self.coming_permit(),
            bake,
            policy: policy.clone(),
            policy_hash: step.policy.hash.clone(),
            tables: Some(tables.clone()),
        }
    }

    /// Other rollouts that have got a permit and are not over.
    fn in_flight_beside(&self, id: RolloutId) -> impl Iterator<Item = &Rollout> {
        self.open().filter(move |other| other.id != id && other.state.name() != StateName::Held)
    }

    /// The unproven rollouts that come before `rollout`: all that are in flight, and those held
    /// that were asked for earlier and not long ago. A held one would otherwise starve the rest
    /// for as long as its service stays idle or its approval is missing.
    fn in_use(&self, rollout: &Rollout, step: &Step<'_>) -> u32 {
        let counts = |other: &&Rollout| match other.state.name() {
            StateName::Held => {
                let share_ms = step.policy.of(&other.request.service).held_share_ms;
                other.id < rollout.id && step.now.since_ms(other.requested_at) < share_ms
            }
            StateName::Allowed
            | StateName::Applying
            | StateName::Baking
            | StateName::Inconclusive
            | StateName::Reverting
            | StateName::Stuck => true,
            StateName::Confirmed
            | StateName::Reverted
            | StateName::Denied
            | StateName::Expired
            | StateName::Aborted => false,
        };
        let count = self.open().filter(|other| other.id != rollout.id).filter(counts).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    fn predecessor(&self, named: &str) -> PredecessorSeen {
        let by_id = named.parse().ok().and_then(|id| self.rollout(id));
        let by_change = || ChangeId::new(named).ok().and_then(|change| self.by_change(&change));
        let found = by_id.or_else(by_change);
        let proven = found.is_some_and(|rollout| match &rollout.state {
            State::Confirmed { proof, suspected } => *proof == Proof::Live && !suspected,
            State::Held { .. }
            | State::Allowed { .. }
            | State::Applying { .. }
            | State::Baking(_)
            | State::Inconclusive { .. }
            | State::Reverting(_)
            | State::Reverted { .. }
            | State::Stuck { .. }
            | State::Denied { .. }
            | State::Expired
            | State::Aborted { .. } => false,
        });
        PredecessorSeen {
            named: named.to_owned(),
            rollout: found.map(|rollout| rollout.id),
            state: found.map(|rollout| rollout.state.name()),
            proven,
        }
    }
}

/// Takes away permits that time or sight ended, and requests nobody asks for any more.
impl Ledger {
    pub(crate) fn turn_held(&mut self, step: &mut Step<'_>, id: RolloutId) {
        let rollout = &self.rollouts[&id];
        let ttl_ms = step.policy.of(&rollout.request.service).held_ttl_ms;
        if step.now >= rollout.asked_at.plus_ms(ttl_ms) {
            return self.enter(step, id, State::Expired, "its agent did not ask again");
        }
        // A permit was out, so the change may have been applied without a word.
        if rollout.last_epoch.is_some() {
            self.turn_silent_apply(step, id);
        }
    }

    pub(crate) fn turn_allowed(&mut self, step: &mut Step<'_>, id: RolloutId, permit: &Permit) {
        let verdict = step.sight.of(&self.rollouts[&id].request.service).verdict;
        if !permit.is_live(step.now) {
            let state = State::Held { code: Code::PermitEnded };
            self.enter(step, id, state, "the permit ran out before it was used");
        } else if verdict != VerdictKind::Live {
            let code = Code::of_verdict(verdict);
            let why = format!("the service is {}", verdict.as_str());
            self.enter(step, id, State::Held { code }, &why);
        }
        self.turn_silent_apply(step, id);
    }

    /// Sight is lost while a permit is or was out, and nobody said `applied`: if the new revision
    /// runs it is taken back, and in any case the line stops.
    fn turn_silent_apply(&mut self, step: &mut Step<'_>, id: RolloutId) {
        let request = &self.rollouts[&id].request;
        let evidence = step.sight.of(&request.service);
        let runs = evidence.revision(&request.to).is_some_and(|seen| seen.instances > 0);
        if reverts(evidence.verdict) && runs {
            self.take_back(step, id, Way::Verdict(evidence.verdict));
        } else {
            self.alarm(step, id);
        }
    }
}
