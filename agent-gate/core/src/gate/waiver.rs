//! Waivers: planned silence, declared by a person, for a scope and a time.
//!
//! A word that is waived counts as `unknown`: it freezes nothing, and nothing rolls out on it.
//! Where a waiver stands no permit is given, and a service whose rollout has or had one is judged
//! as if there were no waiver, so that a rollout can never hide behind planned silence.
//!
//! Invariant: a waiver takes freezes away and never adds a permit or a confirmation; it ends by the
//! gate's own clock.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use watchdog_core::names::Service;
use watchdog_core::tick::Tick;
use watchdog_core::verdict::VerdictKind;

use crate::gate::answer::{Answered, operator};
use crate::gate::effect::{Answer, Refusal};
use crate::gate::event::Caller;
use crate::gate::ledger::{Ledger, Step};
use crate::gate::rollout::Rollout;
use crate::gate::sight::Evidence;
use crate::ids::WaiverId;
use crate::policy::PolicySet;
use crate::scope::Scope;

/// The verdicts that can be planned: silence, and what it looks like at its edges. What is forged
/// is not silent.
pub const WAIVABLE: [VerdictKind; 4] =
    [VerdictKind::Lossy, VerdictKind::Frozen, VerdictKind::TelemetryLost, VerdictKind::Down];

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiver {
    pub id: WaiverId,
    pub scope: Scope,
    /// What is expected, of [`WAIVABLE`].
    pub verdicts: BTreeSet<VerdictKind>,
    pub reason: String,
    pub by: String,
    pub at: Tick,
    pub from: Tick,
    /// From this tick on it is over.
    pub until: Tick,
    pub ended: Option<WaiverEnded>,
}

/// A person ended it before its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaiverEnded {
    pub by: String,
    pub at: Tick,
    pub reason: String,
}

/// What a call asks to be waived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaiverRequest {
    pub scope: Scope,
    pub verdicts: BTreeSet<VerdictKind>,
    pub reason: String,
    /// `None` is now.
    pub from: Option<Tick>,
    pub span_ms: u64,
}

/// A waiver as a piece of evidence or a decision saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaiverSeen {
    pub id: WaiverId,
    pub until: Tick,
    /// The word that it took back to `unknown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<VerdictKind>,
}

impl Waiver {
    #[must_use]
    pub fn is_in_force(&self, now: Tick) -> bool {
        self.ended.is_none() && self.from <= now && now < self.until
    }

    /// Whether silence of `service` lies in its scope.
    fn covers(&self, service: &Service, policy: &PolicySet) -> bool {
        match &self.scope {
            Scope::Fleet => true,
            Scope::Environment(name) => *name == policy.environment(service),
            Scope::Service(name) => name == service,
            Scope::Agent(_) => false,
        }
    }

    #[must_use]
    pub fn seen(&self, verdict: Option<VerdictKind>) -> WaiverSeen {
        WaiverSeen { id: self.id, until: self.until, verdict }
    }

    /// One watchdog's word under the waiver.
    #[must_use]
    pub fn over(&self, said: Evidence) -> Evidence {
        if !self.verdicts.contains(&said.verdict) {
            return said;
        }
        let word = said.verdict.as_str();
        Evidence {
            verdict: VerdictKind::Unknown,
            live_ms: None,
            reason: format!("{word} is waived ({}) by {}: {}", self.id, self.by, self.reason),
            waived: Some(self.seen(Some(said.verdict))),
            ..said
        }
    }
}

impl Ledger {
    #[must_use]
    pub fn waiver(&self, id: WaiverId) -> Option<&Waiver> {
        self.waivers.get(&id)
    }

    /// All waivers, oldest first.
    pub fn waivers(&self) -> impl DoubleEndedIterator<Item = &Waiver> {
        self.waivers.values()
    }

    /// The waiver in force that covers `service`; of several, the one that ends last.
    #[must_use]
    pub fn waiver_over(&self, service: &Service, now: Tick, policy: &PolicySet) -> Option<&Waiver> {
        let in_force = self.waivers.values().filter(|waiver| waiver.is_in_force(now));
        let over = in_force.filter(|waiver| waiver.covers(service, policy));
        over.max_by_key(|waiver| (waiver.until, waiver.id))
    }

    /// The waivers by which words about `service` are judged: none while a rollout of it has or
    /// had a permit.
    #[must_use]
    pub fn waivers_for(&self, service: &Service, now: Tick, policy: &PolicySet) -> Vec<&Waiver> {
        let in_force = self.waivers.values().filter(|waiver| waiver.is_in_force(now));
        let over: Vec<&Waiver> = in_force.filter(|each| each.covers(service, policy)).collect();
        let had_permit =
            |each: &Rollout| each.request.service == *service && each.last_epoch.is_some();
        if over.is_empty() || self.open().any(had_permit) { Vec::new() } else { over }
    }

    /// Whether silence of the whole fleet is planned.
    #[must_use]
    pub fn is_silence_waived(&self, now: Tick) -> bool {
        self.waivers.values().any(|waiver| {
            waiver.is_in_force(now)
                && waiver.scope == Scope::Fleet
                && waiver.verdicts.contains(&VerdictKind::TelemetryLost)
        })
    }

    /// The next moment after `after` at which a waiver begins or ends.
    #[must_use]
    pub fn waiver_edge(&self, after: Tick) -> Option<Tick> {
        let open = self.waivers.values().filter(|waiver| waiver.ended.is_none());
        open.flat_map(|waiver| [waiver.from, waiver.until]).filter(|edge| *edge > after).min()
    }

    /// The call: a person plans silence.
    pub(crate) fn waive(
        &mut self,
        step: &mut Step<'_>,
        request: &WaiverRequest,
        by: &Caller,
    ) -> Answered {
        operator(by)?;
        let WaiverRequest { scope, verdicts, reason, from, span_ms } = request.clone();
        let from = from.unwrap_or(step.now).max(step.now);
        let until = from.plus_ms(span_ms);
        let max_ms = step.policy.fleet.waiver_max_ms;
        let refuse = |why: &str| Err(Refusal::NotWaivable { why: why.to_owned() });
        if matches!(scope, Scope::Agent(_)) {
            return refuse("an agent is not silent; name the fleet, an environment or a service");
        }
        if verdicts.is_empty() || !verdicts.iter().all(|each| WAIVABLE.contains(each)) {
            return refuse("only lossy, frozen, telemetry_lost and down can be planned");
        }
        if span_ms == 0 || until.since_ms(step.now) > max_ms {
            return refuse(&format!("it must be over within waiver_max_ms = {max_ms} from now"));
        }
        self.head.waivers += 1;
        let id = WaiverId(self.head.waivers);
        let (by, at) = (by.name.clone(), step.now);
        let waiver = Waiver { id, scope, verdicts, reason, by, at, from, until, ended: None };
        self.put_waiver(step, waiver.clone());
        Ok(Answer::Waiver { waiver, created: true })
    }

    /// The call: a person ends a waiver before its time.
    pub(crate) fn end_waiver(
        &mut self,
        step: &mut Step<'_>,
        id: WaiverId,
        reason: &str,
        by: &Caller,
    ) -> Answered {
        operator(by)?;
        let mut waiver = self.waiver(id).ok_or(Refusal::NoWaiver(id))?.clone();
        if waiver.ended.is_none() && step.now < waiver.until {
            let (by, reason) = (by.name.clone(), reason.to_owned());
            waiver.ended = Some(WaiverEnded { by, at: step.now, reason });
            self.put_waiver(step, waiver.clone());
        }
        Ok(Answer::Waiver { waiver, created: false })
    }
}
