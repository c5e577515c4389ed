//! Answers that record no decision: the rollout as it stands.
//!
//! Invariant: none of them makes or prolongs a permit. Only a recorded decision does.

use crate::gate::decision::{Code, Decision, DecisionKind, Question, Reason, decide};
use crate::gate::effect::{Answer, Refusal, RolloutAnswer};
use crate::gate::event::{Caller, Role};
use crate::gate::ledger::{Ledger, Step};
use crate::gate::rollout::{Rollout, State, TakenBack};
use crate::ids::RolloutId;

/// What a call comes to.
pub(crate) type Answered = Result<Answer, Refusal>;

impl Ledger {
    /// The rollout as it stands. It prolongs nothing and is no new decision.
    pub(crate) fn standing(&self, step: &Step<'_>, id: RolloutId) -> Answered {
        let rollout = self.rollout(id).ok_or(Refusal::NoRollout(id))?;
        if let Some(permit) = rollout.permit() {
            let inputs = self.inputs(step, id, Question::Continue, None);
            let mut decision = decide(&inputs);
            if let Some(terms) = &mut decision.permit {
                terms.expires = permit.expires;
                terms.expires_in_ms = permit.expires.since_ms(step.now);
            }
            return Ok(self.answer(id, decision));
        }
        let (kind, code, message) = stands(rollout);
        let mut decision = Decision::plain(kind, code, message, rollout);
        if let (State::Reverting(_) | State::Reverted { .. } | State::Stuck { .. }, Some(back)) =
            (&rollout.state, &rollout.taken_back)
        {
            let TakenBack { code, why: message } = back.clone();
            let service = Some(rollout.request.service.clone());
            decision.reasons.push(Reason { code, message, service, rule: None });
        }
        Ok(self.answer(id, decision))
    }

    /// `decision` about the rollout, as an answer.
    pub(crate) fn answer(&self, id: RolloutId, decision: Decision) -> Answer {
        let rollout = self.rollout(id).expect("the caller looked the rollout up");
        Answer::Rollout(RolloutAnswer {
            rollout: id,
            state: rollout.state.name(),
            decision,
            evidence: rollout.last_decision,
        })
    }

    /// The rollout, if `by` may speak for it.
    pub(crate) fn owned(&self, id: RolloutId, by: &Caller) -> Result<&Rollout, Refusal> {
        let rollout = self.rollout(id).ok_or(Refusal::NoRollout(id))?;
        match by.role {
            Role::Operator => Ok(rollout),
            Role::Agent if rollout.requested_by == by.name => Ok(rollout),
            Role::Agent => Err(Refusal::NotYours { rollout: id }),
            Role::Watchdog | Role::Viewer => Err(Refusal::Role { needs: "agent or operator" }),
        }
    }
}

/// Refuses all but operators.
pub(crate) fn operator(by: &Caller) -> Result<(), Refusal> {
    match by.role {
        Role::Operator => Ok(()),
        Role::Agent | Role::Watchdog | Role::Viewer => Err(Refusal::Role { needs: "operator" }),
    }
}

/// Refuses all but agents and operators.
pub(crate) fn agent_or_operator(by: &Caller) -> Result<(), Refusal> {
    match by.role {
        Role::Agent | Role::Operator => Ok(()),
        Role::Watchdog | Role::Viewer => Err(Refusal::Role { needs: "agent or operator" }),
    }
}

impl Decision {
    /// A decision for one reason, without a permit.
    pub(crate) fn plain(kind: DecisionKind, code: Code, message: String, of: &Rollout) -> Self {
        let service = Some(of.request.service.clone());
        Self {
            kind,
            reasons: vec![Reason { code, message, service, rule: None }],
            permit: None,
            retry_after_ms: (kind == DecisionKind::Hold).then_some(RETRY_MS),
            needs_approval: false,
            ruling: None,
            comparison: None,
        }
    }
}

/// How soon to ask again where nothing better is known, in milliseconds.
pub(crate) const RETRY_MS: u64 = 2_000;

fn stands(rollout: &Rollout) -> (DecisionKind, Code, String) {
    let service = &rollout.request.service;
    match &rollout.state {
        State::Held { code } => (
            DecisionKind::Hold,
            *code,
            format!("held ({code}); ask again with POST /v1/rollouts and the same change_id"),
        ),
        State::Allowed { .. } | State::Applying { .. } => (
            DecisionKind::Hold,
            Code::PermitEnded,
            "the permit ended; ask again with POST /v1/rollouts and the same change_id".to_owned(),
        ),
        State::Baking(_) => (
            DecisionKind::Hold,
            Code::Baking,
            format!("{service} is applied; the gate judges alone and the permit is spent"),
        ),
        State::Inconclusive { why } => (
            DecisionKind::Hold,
            Code::Inconclusive,
            format!("{}; a person settles it", why.sentence()),
        ),
        State::Confirmed { .. } => {
            (DecisionKind::Allow, Code::Confirmed, "confirmed; nothing is left to do".to_owned())
        }
        State::Reverting(revert) => (
            DecisionKind::Deny,
            Code::Reverting,
            format!("{service} is being taken back to {}", revert.to),
        ),
        State::Reverted { .. } => {
            (DecisionKind::Deny, Code::Reverted, format!("{service} was taken back, verified"))
        }
        State::Stuck { why } => {
            (DecisionKind::Deny, Code::Stuck, format!("{}; a person must look", why.sentence()))
        }
        State::Denied { code, message } => (DecisionKind::Deny, *code, message.clone()),
        State::Expired => (
            DecisionKind::Deny,
            Code::Expired,
            "the request expired; ask with a new change_id".to_owned(),
        ),
        State::Aborted { reason } => {
            (DecisionKind::Deny, Code::Aborted, format!("aborted: {reason}"))
        }
    }
}
