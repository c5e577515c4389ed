//! The calls of agents and persons about rollouts.
//!
//! Branching is here, in one exhaustive match on states per call; deciding is in
//! [`admission`](crate::gate::admission) and [`bake`](crate::gate::bake).
//!
//! Invariant: an agent's call moves a rollout towards safety or asks for a decision. Approving,
//! rejecting and settling are a person's.

use watchdog_core::names::Revision;

use crate::gate::answer::{Answered, agent_or_operator, operator};
use crate::gate::approvals;
use crate::gate::clock::Clock;
use crate::gate::decision::{Code, Decision, DecisionKind, PermitTerms, Question, Reason};
use crate::gate::effect::Refusal;
use crate::gate::event::{Caller, Claim, Outcome, RolloutRequest, Settlement};
use crate::gate::ledger::{Ledger, Step};
use crate::gate::revert::Way;
use crate::gate::rollout::{Approval, Proof, Rollout, State, StateName};
use crate::ids::{Digest, Epoch, RolloutId};

/// What an agent may call.
impl Ledger {
    pub(crate) fn request(
        &mut self,
        step: &mut Step<'_>,
        request: &RolloutRequest,
        by: &Caller,
    ) -> Answered {
        agent_or_operator(by)?;
        let id = match self.by_change(&request.change_id).map(|known| known.id) {
            Some(id) => {
                let known = self.owned(id, by)?;
                if known.request != *request {
                    return Err(Refusal::DifferentBody { rollout: id });
                }
                id
            }
            None => {
                let open = self.open().count();
                if open >= step.policy.fleet.open_max as usize {
                    return Err(Refusal::TooManyOpen { open });
                }
                self.open_rollout(step, request, by)
            }
        };
        self.try_way_back(step, id);
        let question = match self.rollouts[&id].state.name() {
            StateName::Held | StateName::Allowed => Question::Admit,
            // Only a renewal prolongs a permit that is out; one that ended may be followed by
            // another.
            StateName::Applying if self.rollouts[&id].permit().is_some() => {
                return self.standing(step, id);
            }
            StateName::Applying => Question::Continue,
            StateName::Baking
            | StateName::Inconclusive
            | StateName::Confirmed
            | StateName::Reverting
            | StateName::Reverted
            | StateName::Stuck
            | StateName::Denied
            | StateName::Expired
            | StateName::Aborted => return self.standing(step, id),
        };
        let rollout = self.edit(step, id);
        rollout.asked_at = step.now;
        if rollout.from.is_none() {
            let evidence = step.sight.of(&rollout.request.service);
            rollout.from = evidence.running(&rollout.request.to).cloned();
        }
        let decision = self.judge(step, id, question);
        self.obey(step, id, question, &decision);
        Ok(self.answer(id, decision))
    }

    fn open_rollout(
        &mut self,
        step: &mut Step<'_>,
        request: &RolloutRequest,
        by: &Caller,
    ) -> RolloutId {
        let id = self.next_rollout();
        let rollout = Rollout {
            id,
            request: request.clone(),
            requested_by: by.name.clone(),
            requested_at: step.now,
            asked_at: step.now,
            from: request.from.clone(),
            approvals: Vec::new(),
            baseline: None,
            last_epoch: None,
            fenced: None,
            applied_at: None,
            taken_back: None,
            generation: None,
            last_decision: None,
            claim: None,
            contradictions: 0,
            alarmed: false,
            state: State::Held { code: Code::Unknown },
            since: step.now,
            timeline: Vec::new(),
        };
        self.insert(step, rollout);
        id
    }

    /// Carries a decision of admission out.
    fn obey(&mut self, step: &mut Step<'_>, id: RolloutId, question: Question, made: &Decision) {
        if let Some(terms) = &made.permit {
            return self.grant(step, id, question, terms);
        }
        if self.rollouts[&id].state.name() == StateName::Applying {
            // What was begun stays begun. The permit is suspended: it is not prolonged and runs
            // out by itself.
            return;
        }
        let why = made.reasons.first().expect("a decision has a reason");
        match made.kind {
            DecisionKind::Allow | DecisionKind::Hold => self.hold(step, id, why),
            DecisionKind::Deny => {
                let state = State::Denied { code: why.code, message: why.message.clone() };
                self.enter(step, id, state, &why.message);
            }
        }
    }

    fn grant(
        &mut self,
        step: &mut Step<'_>,
        id: RolloutId,
        question: Question,
        terms: &PermitTerms,
    ) {
        let now = step.now;
        let evidence = step.sight.of(&terms.service);
        let rollout = self.edit(step, id);
        rollout.last_epoch = Some(terms.epoch);
        let shown = rollout.from.as_ref().and_then(|from| evidence.revision(from)).cloned();
        rollout.baseline = shown.or_else(|| rollout.baseline.take());
        let permit = terms.permit();
        if let State::Applying { permit: lease, .. } = &mut rollout.state {
            *lease = Some(permit);
        } else if question == Question::Begin {
            let state = State::Applying { permit: Some(permit), clock: Clock::started(now) };
            self.enter(step, id, state, "the agent began");
        } else if rollout.permit() != Some(&permit) {
            self.enter(step, id, State::Allowed { permit }, "seen live, all conditions met");
        }
    }

    fn hold(&mut self, step: &mut Step<'_>, id: RolloutId, why: &Reason) {
        let rollout = &self.rollouts[&id];
        // The timeline tells changes; a rollout that is held for the same reason as before is
        // not news.
        let known = matches!(&rollout.state, State::Held { code } if *code == why.code);
        if !known || rollout.timeline.is_empty() {
            self.enter(step, id, State::Held { code: why.code }, &why.message);
        }
    }

    pub(crate) fn renew(
        &mut self,
        step: &mut Step<'_>,
        id: RolloutId,
        epoch: Epoch,
        by: &Caller,
    ) -> Answered {
        let rollout = self.owned(id, by)?;
        let Some(last) = rollout.last_epoch else {
            return Err(Refusal::Illegal { state: rollout.state.name(), call: "renewed" });
        };
        let is_fenced = rollout.fenced.is_some_and(|fenced| epoch < fenced);
        let is_frozen = self.freezes_over(rollout, step.policy).next().is_some();
        let name = rollout.state.name();
        // A freeze that stands is the better answer than the epoch it raised.
        if epoch != last || (is_fenced && !is_frozen) {
            return Err(Refusal::OldEpoch { given: epoch, now: self.head.epoch });
        }
        let question = match name {
            StateName::Allowed => Question::Begin,
            StateName::Applying if rollout.permit().is_some() || is_frozen => Question::Continue,
            StateName::Held if is_frozen => Question::Admit,
            StateName::Applying
            | StateName::Held
            | StateName::Baking
            | StateName::Inconclusive
            | StateName::Confirmed
            | StateName::Reverting
            | StateName::Reverted
            | StateName::Stuck
            | StateName::Denied
            | StateName::Expired
            | StateName::Aborted => return self.standing(step, id),
        };
        let decision = self.judge(step, id, question);
        self.obey(step, id, question, &decision);
        Ok(self.answer(id, decision))
    }

    pub(crate) fn applied(
        &mut self,
        step: &mut Step<'_>,
        id: RolloutId,
        epoch: Epoch,
        revision: Option<&Revision>,
        by: &Caller,
    ) -> Answered {
        let rollout = self.owned(id, by)?;
        let permitted = rollout.permit().is_some_and(|permit| {
            permit.is_live(step.now)
                && permit.epoch == epoch
                && revision.is_none_or(|revision| *revision == rollout.request.to)
        });
        let was_applied = rollout.applied_at.is_some();
        let way = match rollout.state.name() {
            StateName::Allowed | StateName::Applying if permitted => {
                self.edit(step, id).applied_at = Some(step.now);
                self.begin_bake(step, id);
                return self.standing(step, id);
            }
            StateName::Held
            | StateName::Allowed
            | StateName::Applying
            | StateName::Denied
            | StateName::Expired
            | StateName::Aborted
            | StateName::Reverted => Way::Violation,
            StateName::Inconclusive if !was_applied => Way::Violation,
            StateName::Baking
            | StateName::Inconclusive
            | StateName::Confirmed
            | StateName::Reverting
            | StateName::Stuck => return self.standing(step, id),
        };
        self.edit(step, id).applied_at = Some(step.now);
        self.take_back(step, id, way);
        self.standing(step, id)
    }

    pub(crate) fn report(
        &mut self,
        step: &mut Step<'_>,
        id: RolloutId,
        epoch: Option<Epoch>,
        claim: &Claim,
        by: &Caller,
    ) -> Answered {
        let rollout = self.owned(id, by)?;
        if let Some(given) = epoch.filter(|given| Some(*given) != rollout.last_epoch) {
            return Err(Refusal::OldEpoch { given, now: self.head.epoch });
        }
        let evidence = step.sight.of(&rollout.request.service);
        let shown = evidence.revision(&rollout.request.to);
        let errors = shown.and_then(|shown| shown.errors);
        let requests = shown.and_then(|shown| shown.requests);
        let contradicts = claim.healthy == Some(true) && !evidence.is_live()
            || claim.errors == Some(0) && errors.is_some_and(|seen| seen > 0)
            || claim.requests.is_some_and(|said| said > 0) && requests.is_none();
        let rollout = self.edit(step, id);
        rollout.claim = Some(claim.clone());
        rollout.contradictions += u32::from(contradicts);
        self.standing(step, id)
    }

    pub(crate) fn conclude(
        &mut self,
        step: &mut Step<'_>,
        id: RolloutId,
        outcome: Outcome,
        by: &Caller,
    ) -> Answered {
        let state = self.owned(id, by)?.state.name();
        match outcome {
            Outcome::Abandoned => self.give_up(step, id, "abandoned by its agent"),
            Outcome::Succeeded => match state {
                StateName::Held | StateName::Allowed | StateName::Applying => {
                    return Err(Refusal::Illegal { state, call: "concluded before it is applied" });
                }
                StateName::Baking
                | StateName::Inconclusive
                | StateName::Confirmed
                | StateName::Reverting
                | StateName::Reverted
                | StateName::Stuck
                | StateName::Denied
                | StateName::Expired
                | StateName::Aborted => {}
            },
        }
        self.standing(step, id)
    }

    pub(crate) fn abort(
        &mut self,
        step: &mut Step<'_>,
        id: RolloutId,
        reason: &str,
        by: &Caller,
    ) -> Answered {
        self.owned(id, by)?;
        self.give_up(step, id, reason);
        self.standing(step, id)
    }

    /// Before applying there is nothing to take back; after it, all of it.
    fn give_up(&mut self, step: &mut Step<'_>, id: RolloutId, reason: &str) {
        match self.rollouts[&id].state.name() {
            StateName::Held | StateName::Allowed => {
                self.enter(step, id, State::Aborted { reason: reason.to_owned() }, reason);
            }
            StateName::Applying | StateName::Baking | StateName::Inconclusive => {
                self.take_back(step, id, Way::Abandoned);
            }
            StateName::Confirmed
            | StateName::Reverting
            | StateName::Reverted
            | StateName::Stuck
            | StateName::Denied
            | StateName::Expired
            | StateName::Aborted => {}
        }
    }
}

/// What only a person may call.
impl Ledger {
    pub(crate) fn approve(
        &mut self,
        step: &mut Step<'_>,
        id: RolloutId,
        digest: &Digest,
        reason: &str,
        expires_in_ms: Option<u64>,
        by: &Caller,
    ) -> Answered {
        let rollout = self.shown(id, digest, by)?;
        // Whoever asked for a change is the one person whose word says nothing about it.
        if rollout.requested_by == by.name {
            return Err(Refusal::OwnChange { rollout: id });
        }
        let state = rollout.state.name();
        match state {
            StateName::Held | StateName::Allowed => {}
            StateName::Applying
            | StateName::Baking
            | StateName::Inconclusive
            | StateName::Confirmed
            | StateName::Reverting
            | StateName::Reverted
            | StateName::Stuck
            | StateName::Denied
            | StateName::Expired
            | StateName::Aborted => return Err(Refusal::Illegal { state, call: "approved" }),
        }
        let policy = step.policy.of(&rollout.request.service);
        let place = step.policy.environment(&rollout.request.service);
        let until = step.now.plus_ms(expires_in_ms.unwrap_or(policy.approval_ttl_ms));
        let (by, reason, now) = (by.name.clone(), reason.to_owned(), step.now);
        let rollout = self.edit(step, id);
        approvals::add(&mut rollout.approvals, Approval { by: by.clone(), at: now, until, reason });
        let author = Some(rollout.requested_by.as_str());
        let next = match approvals::missing(&rollout.approvals, author, policy, &place, now) {
            Some(missing) => missing.message,
            None => "the agent asks again".to_owned(),
        };
        let message = format!("approved by {by}; {next}");
        // The person waits on nothing here, and the agent asks again: that keeps the place alive.
        rollout.asked_at = step.now;
        let decision = Decision::plain(DecisionKind::Hold, Code::Approved, message, rollout);
        Ok(self.answer(id, decision))
    }

    pub(crate) fn reject(
        &mut self,
        step: &mut Step<'_>,
        id: RolloutId,
        digest: &Digest,
        reason: &str,
        by: &Caller,
    ) -> Answered {
        let state = self.shown(id, digest, by)?.state.name();
        match state {
            StateName::Held | StateName::Allowed => {
                let message = format!("rejected by {}: {reason}", by.name);
                let state = State::Denied { code: Code::Rejected, message: message.clone() };
                self.enter(step, id, state, &message);
                self.standing(step, id)
            }
            StateName::Applying
            | StateName::Baking
            | StateName::Inconclusive
            | StateName::Confirmed
            | StateName::Reverting
            | StateName::Reverted
            | StateName::Stuck
            | StateName::Denied
            | StateName::Expired
            | StateName::Aborted => Err(Refusal::Illegal { state, call: "rejected" }),
        }
    }

    pub(crate) fn settle(
        &mut self,
        step: &mut Step<'_>,
        id: RolloutId,
        to: Settlement,
        reason: &str,
        by: &Caller,
    ) -> Answered {
        operator(by)?;
        let state = self.rollout(id).ok_or(Refusal::NoRollout(id))?.state.name();
        let why = format!("settled by {}: {reason}", by.name);
        match (state, to) {
            (StateName::Inconclusive | StateName::Stuck, Settlement::Confirmed) => {
                let state = State::Confirmed { proof: Proof::Person, suspected: false };
                self.enter(step, id, state, &why);
            }
            // A person may take back whatever was begun, also what was confirmed: it is what
            // suspicion proposes.
            (
                StateName::Applying
                | StateName::Baking
                | StateName::Inconclusive
                | StateName::Stuck
                | StateName::Confirmed,
                Settlement::Reverting,
            ) => self.take_back(step, id, Way::Person { why }),
            (
                StateName::Held
                | StateName::Allowed
                | StateName::Applying
                | StateName::Baking
                | StateName::Confirmed
                | StateName::Reverting
                | StateName::Reverted
                | StateName::Denied
                | StateName::Expired
                | StateName::Aborted,
                Settlement::Confirmed | Settlement::Reverting,
            ) => return Err(Refusal::Illegal { state, call: "settled" }),
        }
        self.standing(step, id)
    }

    /// The rollout a person decides about, if its digest is the one that was shown.
    fn shown(&self, id: RolloutId, digest: &Digest, by: &Caller) -> Result<&Rollout, Refusal> {
        operator(by)?;
        let rollout = self.rollout(id).ok_or(Refusal::NoRollout(id))?;
        if rollout.request.digest != *digest {
            return Err(Refusal::DifferentDigest { rollout: id });
        }
        Ok(rollout)
    }
}
