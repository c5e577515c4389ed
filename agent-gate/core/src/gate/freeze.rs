//! Freezes: stop the line for a scope, and who may lift it.
//!
//! Invariant: a freeze is never lost and never blocks a revert. Only a person thaws, and not
//! while the cause holds, unless the person overrides it with a reason.

use serde::{Deserialize, Serialize};
use watchdog_core::names::{Revision, Service};
use watchdog_core::tick::Tick;
use watchdog_core::verdict::VerdictKind;

use crate::gate::answer::{Answered, agent_or_operator, operator};
use crate::gate::decision::Code;
use crate::gate::effect::{Answer, Refusal};
use crate::gate::event::{Caller, Fenced, Role};
use crate::gate::ledger::{Ledger, Step};
use crate::gate::rollout::{State, StateName, reverts};
use crate::ids::{Epoch, FreezeId, RolloutId};
use crate::scope::Scope;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Freeze {
    pub id: FreezeId,
    pub scope: Scope,
    pub cause: FreezeCause,
    pub reason: String,
    pub by: FrozenBy,
    pub at: Tick,
    /// The epoch the freeze raised the gate to; targets refuse older ones in its scope.
    pub epoch: Epoch,
    pub stage: Stage,
    pub fenced: Option<Fenced>,
    /// When the last permit ends that was out in its scope: for so long a target that checks
    /// permits, and was not told, may still take one.
    #[serde(default)]
    pub permits_end: Option<Tick>,
    pub thawed: Option<Thawed>,
}

/// Who froze.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "who")]
pub enum FrozenBy {
    Gate,
    Caller { name: String, role: Role },
}

/// How far a freeze has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// In memory: no new permit, no renewal.
    Requested,
    /// Survives power loss.
    Durable,
    /// All fenceable targets refuse older epochs.
    Fenced,
}

/// What a freeze is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum FreezeCause {
    /// Asked for by an agent or a person.
    Asked,
    /// Sight was lost during a rollout.
    Verdict { rollout: RolloutId, service: Service, verdict: VerdictKind },
    /// The new revision is worse than the old one.
    Regressed { rollout: RolloutId, service: Service },
    /// A change was applied without a live permit.
    Violation { rollout: RolloutId, service: Service },
    /// The agent gave up after applying.
    Abandoned { rollout: RolloutId, service: Service },
    /// A revert did not verify.
    Stuck { rollout: RolloutId, service: Service },
    /// A service went blind soon after a confirmed rollout.
    Suspicion { rollout: RolloutId, service: Service, verdict: VerdictKind },
    /// Most services fell silent at once: the observer or the backend is suspect.
    MassSilence,
    /// A revision runs that no permit led to.
    Drift { service: Service, revision: Revision },
}

impl FreezeCause {
    /// The service the cause lies in.
    #[must_use]
    pub const fn service(&self) -> Option<&Service> {
        match self {
            Self::Asked | Self::MassSilence => None,
            Self::Verdict { service, .. }
            | Self::Regressed { service, .. }
            | Self::Violation { service, .. }
            | Self::Abandoned { service, .. }
            | Self::Stuck { service, .. }
            | Self::Suspicion { service, .. }
            | Self::Drift { service, .. } => Some(service),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thawed {
    pub by: String,
    pub at: Tick,
    pub reason: String,
    /// Whether the cause still held.
    pub overridden: bool,
}

impl Ledger {
    /// The call: anybody who may act may stop the line.
    pub(crate) fn ask_freeze(
        &mut self,
        step: &mut Step<'_>,
        scope: &Scope,
        reason: &str,
        by: &Caller,
    ) -> Answered {
        agent_or_operator(by)?;
        let by = FrozenBy::Caller { name: by.name.clone(), role: by.role };
        let (id, created) = self.freeze_scope(step, scope, FreezeCause::Asked, reason, by);
        let freeze = self.freezes[&id].clone();
        Ok(Answer::Freeze { freeze, created })
    }

    /// The gate's own freeze, in the scope that policy gives.
    pub(crate) fn freeze_for(&mut self, step: &mut Step<'_>, cause: FreezeCause, reason: &str) {
        let scope = step.policy.freeze_scope(&cause);
        self.freeze_scope(step, &scope, cause, reason, FrozenBy::Gate);
    }

    /// Freezes, or finds the equal freeze that is in force.
    fn freeze_scope(
        &mut self,
        step: &mut Step<'_>,
        scope: &Scope,
        cause: FreezeCause,
        reason: &str,
        by: FrozenBy,
    ) -> (FreezeId, bool) {
        if let Some(equal) = self.in_force().find(|f| f.scope == *scope && f.cause == cause) {
            return (equal.id, false);
        }
        step.shut = true;
        let epoch = self.raise_epoch();
        let id = self.next_freeze();
        let freeze = Freeze {
            id,
            scope: scope.clone(),
            cause,
            reason: reason.to_owned(),
            by,
            at: step.now,
            epoch,
            stage: Stage::Requested,
            fenced: None,
            permits_end: self.permits_end(step, scope),
            thawed: None,
        };
        self.insert_freeze(step, freeze);
        for rollout in self.open_ids() {
            let request = &self.rollouts[&rollout].request;
            if step.policy.covers(scope, &request.service, &request.agent) {
                self.fence_off(step, rollout, Code::Frozen, "frozen");
            }
        }
        (id, true)
    }

    /// When the last permit in `scope` ends that is out.
    fn permits_end(&self, step: &Step<'_>, scope: &Scope) -> Option<Tick> {
        let covered = self.open().filter(|rollout| {
            step.policy.covers(scope, &rollout.request.service, &rollout.request.agent)
        });
        covered.filter_map(|rollout| rollout.permit()).map(|permit| permit.expires).max()
    }

    /// Ends the permit of a rollout for good. What was begun stays begun.
    pub(crate) fn fence_off(&mut self, step: &mut Step<'_>, id: RolloutId, code: Code, why: &str) {
        let epoch = self.head.epoch;
        if self.rollouts[&id].permit().is_none() {
            return;
        }
        let rollout = self.edit(step, id);
        rollout.fenced = Some(epoch);
        if let State::Applying { permit, .. } = &mut rollout.state {
            *permit = None;
        } else {
            self.enter(step, id, State::Held { code }, why);
        }
    }

    /// The call: only a person lifts a freeze.
    pub(crate) fn thaw(
        &mut self,
        step: &mut Step<'_>,
        id: FreezeId,
        reason: &str,
        override_cause: bool,
        by: &Caller,
    ) -> Answered {
        operator(by)?;
        let freeze = self.freeze(id).ok_or(Refusal::NoFreeze(id))?;
        if freeze.thawed.is_some() {
            return Ok(Answer::Freeze { freeze: freeze.clone(), created: false });
        }
        let holds = self.cause_holds(step, &freeze.cause);
        if let Some(why) = holds.clone().filter(|_| !override_cause) {
            return Err(Refusal::CauseHolds { freeze: id, why });
        }
        let thawed = Thawed {
            by: by.name.clone(),
            at: step.now,
            reason: reason.to_owned(),
            overridden: holds.is_some(),
        };
        let freeze = self.edit_freeze(step, id).expect("the freeze was found above");
        freeze.thawed = Some(thawed);
        let freeze = freeze.clone();
        self.end_freeze(id);
        step.clear = true;
        Ok(Answer::Freeze { freeze, created: false })
    }

    /// Why the cause of a freeze still holds, in words; `None` if it is over.
    fn cause_holds(&self, step: &Step<'_>, cause: &FreezeCause) -> Option<String> {
        let (rollout, service) = match cause {
            FreezeCause::Asked => return None,
            FreezeCause::Drift { service, revision } => {
                let runs = self.drifted(service) == Some(revision);
                return runs.then(|| format!("{service} runs {revision} still"));
            }
            FreezeCause::MassSilence => {
                let silent = step.sight.mass_silence;
                return silent.then(|| "most services are silent".to_owned());
            }
            FreezeCause::Verdict { rollout, service, .. }
            | FreezeCause::Suspicion { rollout, service, .. }
            | FreezeCause::Regressed { rollout, service }
            | FreezeCause::Violation { rollout, service }
            | FreezeCause::Abandoned { rollout, service }
            | FreezeCause::Stuck { rollout, service } => (*rollout, service),
        };
        let evidence = step.sight.of(service);
        if !evidence.is_live() {
            return Some(format!(
                "{service} is {}: {}",
                evidence.verdict.as_str(),
                evidence.reason
            ));
        }
        match self.rollout(rollout)?.state.name() {
            name @ (StateName::Applying
            | StateName::Baking
            | StateName::Inconclusive
            | StateName::Reverting
            | StateName::Stuck) => Some(format!("rollout {rollout} is {name}")),
            StateName::Held
            | StateName::Allowed
            | StateName::Confirmed
            | StateName::Reverted
            | StateName::Denied
            | StateName::Expired
            | StateName::Aborted => None,
        }
    }

    /// The store has the freezes.
    pub(crate) fn committed(&mut self, step: &mut Step<'_>, freezes: &[FreezeId]) {
        for id in freezes {
            if self.freeze(*id).is_some_and(|freeze| freeze.stage == Stage::Requested)
                && let Some(freeze) = self.edit_freeze(step, *id)
            {
                freeze.stage = Stage::Durable;
            }
        }
    }

    /// Targets hold the freeze's epoch.
    pub(crate) fn fenced(&mut self, step: &mut Step<'_>, id: FreezeId, fenced: Fenced) {
        if self.freeze(id).is_none_or(|freeze| freeze.fenced == Some(fenced)) {
            return;
        }
        if let Some(freeze) = self.edit_freeze(step, id) {
            freeze.fenced = Some(fenced);
            if fenced.done == fenced.total && fenced.unfenceable == 0 {
                freeze.stage = Stage::Fenced;
            }
        }
    }

    /// Freezes for a verdict that reverts, once for as long as it stands: a person who thaws with
    /// override is not overruled by the next turn.
    pub(crate) fn alarm(&mut self, step: &mut Step<'_>, id: RolloutId) -> bool {
        let rollout = &self.rollouts[&id];
        let service = rollout.request.service.clone();
        let verdict = step.sight.of(&service).verdict;
        if !reverts(verdict) {
            if rollout.alarmed && verdict == VerdictKind::Live {
                self.edit(step, id).alarmed = false;
            }
            return false;
        }
        if rollout.alarmed {
            return false;
        }
        self.edit(step, id).alarmed = true;
        let reason = format!("{service} became {} during {id}", verdict.as_str());
        self.freeze_for(step, FreezeCause::Verdict { rollout: id, service, verdict }, &reason);
        true
    }
}
