//! Reverts: the way back, tried until it is verified by the signal on the old revision.
//!
//! ```text
//! running ──done──► verifying ──live on the old revision for a dwell──► reverted
//!    ▲  └─failed─► waiting ─┐        │
//!    └──────────────────────┘        └──deadline, or attempts used up──► stuck: a person
//! ```
//!
//! Invariant: one effect id per generation, however often it is tried; results of an older
//! generation change nothing. No freeze is ever asked before a revert.

use serde::{Deserialize, Serialize};
use watchdog_core::names::{Revision, Service};
use watchdog_core::tick::Tick;
use watchdog_core::verdict::VerdictKind;

use crate::gate::decision::{Block, Code, Readiness};
use crate::gate::effect::{Call, CallReason, DryRunOrder, Effect, RevertOrder};
use crate::gate::event::EffectResult;
use crate::gate::freeze::FreezeCause;
use crate::gate::ledger::{Ledger, Step};
use crate::gate::rollout::{Rollout, State, TakenBack};
use crate::gate::sight::Evidence;
use crate::ids::{EffectId, Generation, RolloutId};
use crate::policy::RevertAction;

/// One generation of a revert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revert {
    pub generation: Generation,
    pub effect: EffectId,
    /// The revision to go back to.
    pub to: Revision,
    /// Why the rollout is taken back.
    pub why: String,
    pub attempt: u32,
    /// Verified by then, or stuck.
    pub due: Tick,
    pub phase: Phase,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "phase")]
pub enum Phase {
    /// The action runs, as far as the gate knows.
    Running,
    /// The last attempt failed; the next one starts then.
    Waiting { until: Tick, failure: String },
    /// The action is done. Since when the old revision has been seen live, and the records it had
    /// shown when the action ended.
    Verifying { since: Tick, good_since: Option<Tick>, records: Option<u64> },
}

/// Why a rollout is stuck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StuckReason {
    NoRevert,
    FromUnknown,
    AttemptsUsedUp,
    NotVerified,
}

impl StuckReason {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoRevert => "no_revert",
            Self::FromUnknown => "from_unknown",
            Self::AttemptsUsedUp => "attempts_used_up",
            Self::NotVerified => "not_verified",
        }
    }

    /// One sentence for a person.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::NoRevert => "there is no revert action for the service",
            Self::FromUnknown => "nobody knows which revision to go back to",
            Self::AttemptsUsedUp => "every attempt of the revert action failed",
            Self::NotVerified => "the old revision was not seen live in time",
        }
    }
}

/// What takes a rollout back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Way {
    /// Sight was lost or the signal is wrong.
    Verdict(VerdictKind),
    Regressed,
    Violation,
    Abandoned,
    /// It could not be judged and policy reverts then.
    Inconclusive,
    Person {
        why: String,
    },
}

impl Ledger {
    /// Freezes as the way asks, and starts a generation of the revert.
    pub(crate) fn take_back(&mut self, step: &mut Step<'_>, id: RolloutId, way: Way) {
        let rollout = &self.rollouts[&id];
        let service = rollout.request.service.clone();
        let digest = rollout.request.digest.clone();
        let (code, why, cause) = match way {
            Way::Verdict(verdict) => {
                self.edit(step, id).alarmed = true;
                let block = Block { rollout: id, service: service.clone(), verdict, at: step.now };
                self.block(step, digest, block);
                let why = format!("{service} became {}", verdict.as_str());
                let cause = FreezeCause::Verdict { rollout: id, service, verdict };
                (Code::of_verdict(verdict), why, Some(cause))
            }
            Way::Regressed => {
                let why = format!("{service} has more errors than before");
                let cause = FreezeCause::Regressed { rollout: id, service };
                (Code::Regressed, why, Some(cause))
            }
            Way::Violation => {
                let why = "applied without a live permit".to_owned();
                (Code::Violation, why, Some(FreezeCause::Violation { rollout: id, service }))
            }
            Way::Abandoned => {
                let why = "given up after it was begun".to_owned();
                (Code::Abandoned, why, Some(FreezeCause::Abandoned { rollout: id, service }))
            }
            Way::Inconclusive => (Code::Inconclusive, "it could not be judged".to_owned(), None),
            Way::Person { why } => (Code::Settled, why, None),
        };
        if let Some(cause) = cause {
            self.freeze_for(step, cause, &format!("{why}, in {id}"));
        }
        self.edit(step, id).taken_back = Some(TakenBack { code, why: why.clone() });
        self.start_revert(step, id, why);
    }

    fn start_revert(&mut self, step: &mut Step<'_>, id: RolloutId, why: String) {
        let rollout = &self.rollouts[&id];
        let service = &rollout.request.service;
        let action = step.policy.services.get(service).map(|configured| configured.revert);
        let generation = Generation(rollout.generation.map_or(1, |last| last.0 + 1));
        let due = step.now.plus_ms(step.policy.of(service).revert_deadline_ms);
        let Some(to) = rollout.from.clone() else {
            return self.get_stuck(step, id, StuckReason::FromUnknown);
        };
        if action != Some(RevertAction::Configured) {
            return self.get_stuck(step, id, StuckReason::NoRevert);
        }
        let effect = self.next_effect();
        let phase = Phase::Running;
        let revert = Revert { generation, effect, to, why: why.clone(), attempt: 1, due, phase };
        self.edit(step, id).generation = Some(generation);
        self.enter(step, id, State::Reverting(revert), &why);
        self.order_revert(step, id);
    }

    /// Orders the attempt that stands in the state; again with the same id after a restart.
    fn order_revert(&self, step: &mut Step<'_>, id: RolloutId) {
        let rollout = &self.rollouts[&id];
        if let State::Reverting(revert) = &rollout.state {
            step.orders.push(Effect::Revert(RevertOrder {
                rollout: id,
                service: rollout.request.service.clone(),
                from: rollout.request.to.clone(),
                to: revert.to.clone(),
                generation: revert.generation,
                effect: revert.effect,
                attempt: revert.attempt,
            }));
        }
    }

    fn get_stuck(&mut self, step: &mut Step<'_>, id: RolloutId, why: StuckReason) {
        self.enter(step, id, State::Stuck { why }, why.sentence());
        let service = self.rollouts[&id].request.service.clone();
        let cause = FreezeCause::Stuck { rollout: id, service: service.clone() };
        self.freeze_for(step, cause, &format!("{id} is stuck: {}", why.sentence()));
        let message = format!(
            "{id} of {service} is stuck: {}. Bring the service back by hand, then settle {id}",
            why.sentence()
        );
        let why = CallReason::Stuck;
        let call = Call { why, rollout: Some(id), service: Some(service), message };
        step.orders.push(Effect::CallPerson(call));
    }

    /// The action ended, one way or the other.
    pub(crate) fn revert_done(
        &mut self,
        step: &mut Step<'_>,
        effect: EffectId,
        generation: Generation,
        result: &EffectResult,
    ) {
        let waits = |rollout: &&Rollout| match &rollout.state {
            State::Reverting(revert) => {
                revert.effect == effect
                    && revert.generation == generation
                    && revert.phase == Phase::Running
            }
            State::Held { .. }
            | State::Allowed { .. }
            | State::Applying { .. }
            | State::Baking(_)
            | State::Inconclusive { .. }
            | State::Confirmed { .. }
            | State::Reverted { .. }
            | State::Stuck { .. }
            | State::Denied { .. }
            | State::Expired
            | State::Aborted { .. } => false,
        };
        let Some(id) = self.open().find(waits).map(|rollout| rollout.id) else { return };
        let evidence = step.sight.of(&self.rollouts[&id].request.service);
        let policy = step.policy.of(&self.rollouts[&id].request.service);
        let now = step.now;
        let State::Reverting(revert) = &mut self.edit(step, id).state else { return };
        match result {
            EffectResult::Done => {
                let records = evidence.revision(&revert.to).and_then(|seen| seen.records);
                revert.phase = Phase::Verifying { since: now, good_since: None, records };
            }
            EffectResult::Failed(_) if revert.attempt >= policy.revert_attempts => {
                self.get_stuck(step, id, StuckReason::AttemptsUsedUp);
            }
            EffectResult::Failed(failure) => {
                let doublings = (revert.attempt - 1).min(16);
                let wait_ms = policy.revert_backoff_ms.saturating_mul(1 << doublings);
                revert.phase =
                    Phase::Waiting { until: now.plus_ms(wait_ms), failure: failure.clone() };
            }
        }
    }

    pub(crate) fn turn_reverting(&mut self, step: &mut Step<'_>, id: RolloutId, revert: &Revert) {
        let rollout = &self.rollouts[&id];
        let service = &rollout.request.service;
        let now = step.now;
        match &revert.phase {
            Phase::Running => {}
            Phase::Waiting { until, .. } if now >= *until && now < revert.due => {
                if let State::Reverting(revert) = &mut self.edit(step, id).state {
                    revert.attempt += 1;
                    revert.phase = Phase::Running;
                }
                return self.order_revert(step, id);
            }
            Phase::Waiting { .. } => {}
            Phase::Verifying { good_since, records, .. } => {
                let evidence = step.sight.of(service);
                let good = is_back(evidence, &revert.to, &rollout.request.to, *records);
                let since = good.then(|| good_since.unwrap_or(now));
                let dwell_ms = step.policy.of(service).dwell_ms;
                if since.is_some_and(|since| now.since_ms(since) >= dwell_ms) {
                    let why = format!("{service} is seen live on {}", revert.to);
                    let state = State::Reverted { generation: revert.generation };
                    return self.enter(step, id, state, &why);
                }
                if since != *good_since
                    && let State::Reverting(revert) = &mut self.edit(step, id).state
                    && let Phase::Verifying { good_since, .. } = &mut revert.phase
                {
                    *good_since = since;
                }
            }
        }
        if now >= revert.due {
            self.get_stuck(step, id, StuckReason::NotVerified);
        }
    }

    /// A gate that starts does not know whether an action that it ordered still runs, so it orders
    /// it again with the same effect id.
    pub(crate) fn reissue(&mut self, step: &mut Step<'_>) {
        for id in self.open_ids() {
            if let State::Reverting(Revert { phase: Phase::Running, .. }) =
                &self.rollouts[&id].state
            {
                self.order_revert(step, id);
            }
        }
        for readiness in self.readiness.values() {
            if let Readiness::Running { order } = readiness {
                step.orders.push(Effect::DryRun(order.clone()));
            }
        }
    }
}

/// Whether the service is seen live on `good` and no instance runs `bad` any more.
///
/// Where beats carry no revision, no revision has instances; then new records of the old revision
/// show that it runs.
fn is_back(
    evidence: &Evidence,
    good: &Revision,
    bad: &Revision,
    records_before: Option<u64>,
) -> bool {
    let beats_tell = evidence.revisions.iter().any(|seen| seen.instances > 0);
    let runs = evidence.revision(good).is_some_and(|seen| {
        seen.instances > 0 || !beats_tell && seen.records.is_some() && seen.records > records_before
    });
    let gone = good == bad || evidence.revision(bad).is_none_or(|seen| seen.instances == 0);
    evidence.is_live() && runs && gone
}

/// Dry runs: whether the way back would work is known before it is needed.
impl Ledger {
    /// What is known about the way back, as far as it is not too old.
    pub(crate) fn readiness_now(&self, step: &Step<'_>, service: &Service) -> Readiness {
        match self.readiness(service) {
            Readiness::Passed { at }
                if step.now.since_ms(*at) >= step.policy.of(service).dry_run_ttl_ms =>
            {
                Readiness::NotTried
            }
            known @ (Readiness::NotTried
            | Readiness::Running { .. }
            | Readiness::Passed { .. }
            | Readiness::Failed { .. }) => known.clone(),
        }
    }

    /// Orders a dry run if a held rollout needs one.
    pub(crate) fn try_way_back(&mut self, step: &mut Step<'_>, id: RolloutId) {
        let request = &self.rollouts[&id].request;
        let policy = step.policy.of(&request.service);
        let action = step.policy.services.get(&request.service).map(|service| service.revert);
        let due = match self.readiness_now(step, &request.service) {
            Readiness::NotTried => true,
            Readiness::Running { .. } | Readiness::Passed { .. } => false,
            Readiness::Failed { at, .. } => step.now.since_ms(at) >= policy.dry_run_retry_ms,
        };
        let is_over = self.rollouts[&id].state.name().is_terminal();
        if is_over || !due || action != Some(RevertAction::Configured) {
            return;
        }
        let order = DryRunOrder {
            service: request.service.clone(),
            rollout: id,
            from: request.to.clone(),
            to: self.rollouts[&id].from.clone(),
            effect: EffectId(self.head.effects + 1),
        };
        self.next_effect();
        self.set_readiness(step, &order.service, Readiness::Running { order: order.clone() });
        step.orders.push(Effect::DryRun(order));
    }

    pub(crate) fn dry_run_done(
        &mut self,
        step: &mut Step<'_>,
        service: &Service,
        effect: EffectId,
        result: &EffectResult,
    ) {
        let runs = match self.readiness(service) {
            Readiness::Running { order } => order.effect == effect,
            Readiness::NotTried | Readiness::Passed { .. } | Readiness::Failed { .. } => false,
        };
        if runs {
            let at = step.now;
            let readiness = match result {
                EffectResult::Done => Readiness::Passed { at },
                EffectResult::Failed(why) => Readiness::Failed { at, why: why.clone() },
            };
            self.set_readiness(step, service, readiness);
        }
    }
}
