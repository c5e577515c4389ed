//! What time and sight do to the rollouts, without anybody's call.
//!
//! Invariant: a second turn at the same time and sight changes nothing.

use watchdog_core::names::Service;
use watchdog_core::tick::Tick;

use crate::gate::decision::Code;
use crate::gate::effect::{Call, CallReason, Effect};
use crate::gate::event::Event;
use crate::gate::freeze::{FreezeCause, Stage};
use crate::gate::ledger::{Ledger, Step};
use crate::gate::revert::Way;
use crate::gate::rollout::{Rollout, State, reverts};
use crate::ids::RolloutId;

impl Ledger {
    /// Lets time and sight act, until nothing more comes of it: what one rollout did may block
    /// or free another that was looked at before.
    pub(crate) fn turn(&mut self, step: &mut Step<'_>) {
        let mut before = None;
        while before != Some(step.entered) {
            before = Some(step.entered);
            self.turn_each(step);
        }
        self.turn_drift(step);
        self.turn_dissent(step);
        self.turn_suspicion(step);
        self.turn_mass_silence(step);
    }

    /// One exhaustive match on states. A rollout whose service the entry shows nothing of is not
    /// what the entry is about.
    fn turn_each(&mut self, step: &mut Step<'_>) {
        for id in self.open_in(step.sight) {
            let state = self.rollouts[&id].state.clone();
            match &state {
                State::Held { .. } => self.turn_held(step, id),
                State::Allowed { permit } => self.turn_allowed(step, id, permit),
                State::Applying { .. } => self.turn_applying(step, id),
                State::Baking(bake) => self.turn_baking(step, id, bake),
                State::Inconclusive { .. } => self.turn_inconclusive(step, id),
                State::Reverting(revert) => self.turn_reverting(step, id, revert),
                // A person must look; nothing that time does helps.
                State::Stuck { .. } => {}
                State::Confirmed { .. }
                | State::Reverted { .. }
                | State::Denied { .. }
                | State::Expired
                | State::Aborted { .. } => {}
            }
        }
    }

    fn turn_inconclusive(&mut self, step: &mut Step<'_>, id: RolloutId) {
        let verdict = step.sight.of(&self.rollouts[&id].request.service).verdict;
        if reverts(verdict) {
            self.take_back(step, id, Way::Verdict(verdict));
        }
    }

    /// A service that goes blind soon after a confirmed rollout, with none in flight: the fleet is
    /// frozen, and taking the rollout back is proposed to a person.
    fn turn_suspicion(&mut self, step: &mut Step<'_>) {
        let is_suspect = |(service, rollout): &(&Service, &Rollout)| {
            let window_ms = step.policy.of(service).suspicion_window_ms;
            let known = matches!(rollout.state, State::Confirmed { suspected: true, .. });
            let in_flight = self
                .open()
                .any(|other| other.request.service == **service && other.last_epoch.is_some());
            !known
                && !in_flight
                && step.now.since_ms(rollout.since) <= window_ms
                && step.sight.services.get(service).is_some_and(|seen| reverts(seen.verdict))
        };
        let suspects: Vec<RolloutId> = step
            .sight
            .services
            .keys()
            .filter_map(|service| Some((service, self.confirmed_of(service)?)))
            .filter(is_suspect)
            .map(|(_, rollout)| rollout.id)
            .collect();
        for id in suspects {
            let service = self.rollouts[&id].request.service.clone();
            let verdict = step.sight.of(&service).verdict;
            if let State::Confirmed { suspected, .. } = &mut self.edit(step, id).state {
                *suspected = true;
            }
            let reason = format!("{service} became {} soon after {id}", verdict.as_str());
            let cause = FreezeCause::Suspicion { rollout: id, service: service.clone(), verdict };
            self.freeze_for(step, cause, &reason);
            let message = format!("{reason}. Settle {id} as reverting if it is the cause");
            let why = CallReason::Suspicion;
            let call = Call { why, rollout: Some(id), service: Some(service), message };
            step.orders.push(Effect::CallPerson(call));
        }
    }

    fn turn_mass_silence(&mut self, step: &mut Step<'_>) {
        if step.sight.mass_silence == self.head.mass_alarmed {
            return;
        }
        self.head.mass_alarmed = step.sight.mass_silence;
        if step.sight.mass_silence {
            let message = "most services fell silent at once: look at the watchdog, the collector \
                           and the backend first"
                .to_owned();
            self.freeze_for(step, FreezeCause::MassSilence, &message);
            let why = CallReason::MassSilence;
            let call = Call { why, rollout: None, service: None, message };
            step.orders.push(Effect::CallPerson(call));
        }
    }

    /// The gate starts on this ledger: what spanned its outage counts the outage as a gap.
    pub(crate) fn started(&mut self, step: &mut Step<'_>, last_alive: Option<Tick>) {
        let last_alive = last_alive.max(self.head.touched).unwrap_or(step.now).min(step.now);
        for id in self.open_ids() {
            let mut state = self.rollouts[&id].state.clone();
            let clock = match &mut state {
                State::Applying { clock, .. } => Some(clock),
                State::Baking(bake) => bake.clock.as_mut(),
                State::Held { .. }
                | State::Allowed { .. }
                | State::Inconclusive { .. }
                | State::Confirmed { .. }
                | State::Reverting(_)
                | State::Reverted { .. }
                | State::Stuck { .. }
                | State::Denied { .. }
                | State::Expired
                | State::Aborted { .. } => None,
            };
            if let Some(clock) = clock {
                clock.stand(last_alive);
                self.edit(step, id).state = state;
            }
        }
        // What was read from the store survived.
        for id in self.in_force().map(|freeze| freeze.id).collect::<Vec<_>>() {
            if self.freezes[&id].stage == Stage::Requested
                && let Some(freeze) = self.edit_freeze(step, id)
            {
                freeze.stage = Stage::Durable;
            }
        }
        self.reissue(step);
        self.void_leases(step);
    }

    /// Every permit that is out is dead.
    pub(crate) fn void_leases(&mut self, step: &mut Step<'_>) {
        step.shut = true;
        self.raise_epoch();
        for id in self.open_ids() {
            self.fence_off(step, id, Code::Unknown, "the gate or its clock started anew");
        }
    }

    /// The services whose evidence `event` needs, beside those of open rollouts.
    pub(crate) fn concerns<'a>(&'a self, event: &'a Event) -> Option<&'a Service> {
        let of = |id: RolloutId| self.rollout(id).map(|rollout| &rollout.request.service);
        match event {
            Event::Request { request, .. } => Some(&request.service),
            Event::Renew { rollout, .. }
            | Event::Applied { rollout, .. }
            | Event::Report { rollout, .. }
            | Event::Conclude { rollout, .. }
            | Event::Abort { rollout, .. }
            | Event::Approve { rollout, .. }
            | Event::Reject { rollout, .. }
            | Event::Settle { rollout, .. } => of(*rollout),
            Event::Thaw { freeze, .. } => {
                self.freeze(*freeze).and_then(|freeze| freeze.cause.service())
            }
            Event::Freeze { .. }
            | Event::Waive { .. }
            | Event::EndWaiver { .. }
            | Event::Committed { .. }
            | Event::Fenced { .. }
            | Event::Attested(_)
            | Event::DryRunDone { .. }
            | Event::RevertDone { .. }
            | Event::Turn
            | Event::GateStarted { .. }
            | Event::ClockJumped => None,
        }
    }
}
