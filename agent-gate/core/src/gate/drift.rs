//! Drift: what runs is compared with what was granted.
//!
//! The fence refuses old permits only where the deploy command goes through it. Whatever goes
//! round it, a hand on the machine or an agent with rights of its own, shows in what instances say
//! they run. A revision was granted if a permit led to it and it was not taken back, or if a permit
//! led away from it. Of a service that never had a permit nothing is known to compare with.
//!
//! Invariant: an agent cannot make its own change pass for granted. Only a permit does that, and
//! while a service drifts none is given without a person's approval.

use watchdog_core::names::{Revision, Service};

use crate::gate::effect::{Call, CallReason, Effect};
use crate::gate::freeze::FreezeCause;
use crate::gate::ledger::{Ledger, Step};
use crate::gate::rollout::StateName;
use crate::gate::sight::Basis;
use crate::policy::OnDrift;

/// How many rollouts of a service are looked at, the newest first.
const LOOK_BACK: usize = 64;

impl Ledger {
    /// Whether `service` may run `revision`; `None` while nothing was ever granted to compare with.
    #[must_use]
    pub fn is_granted(&self, service: &Service, revision: &Revision) -> Option<bool> {
        let mut is_known = false;
        for rollout in self.of(service).take(LOOK_BACK) {
            if rollout.last_epoch.is_none() {
                continue;
            }
            is_known = true;
            if rollout.request.to == *revision {
                return Some(rollout.state.name() != StateName::Reverted);
            }
            if rollout.from.as_ref() == Some(revision) {
                return Some(true);
            }
        }
        is_known.then_some(false)
    }

    /// The revision that `service` runs without a permit.
    #[must_use]
    pub fn drifted(&self, service: &Service) -> Option<&Revision> {
        self.head.drifted.get(service)
    }

    /// Says what began to drift, and forgets what came back.
    pub(crate) fn turn_drift(&mut self, step: &mut Step<'_>) {
        let sight = step.sight;
        for (service, strange) in &sight.strange {
            let policy = step.policy.of(service);
            let is_said = self.head.drifted.get(service) == Some(&strange.revision);
            let is_granted = self.is_granted(service, &strange.revision) != Some(false);
            if is_said || is_granted || strange.for_ms < policy.drift_grace_ms {
                continue;
            }
            let revision = strange.revision.clone();
            self.head.drifted.insert(service.clone(), revision.clone());
            let reason = format!("{service} runs {revision}, which no permit led to");
            if policy.on_drift == OnDrift::Freeze {
                let cause = FreezeCause::Drift { service: service.clone(), revision };
                self.freeze_for(step, cause, &reason);
            }
            let message =
                format!("{reason}. Bring back what was granted, or approve what leads on");
            let (why, service) = (CallReason::Drift, Some(service.clone()));
            step.orders.push(Effect::CallPerson(Call { why, rollout: None, service, message }));
        }
        let is_over = |service: &Service, revision: &Revision| {
            let seen = sight.services.get(service);
            let is_gone = seen.is_some_and(|seen| {
                let runs = seen.revision(revision).is_some_and(|seen| seen.instances > 0);
                seen.basis == Basis::Fresh && !runs
            });
            is_gone || self.is_granted(service, revision) != Some(false)
        };
        let drifted = self.head.drifted.iter();
        let over: Vec<Service> = drifted
            .filter(|(service, revision)| is_over(service, revision))
            .map(|(service, _)| service.clone())
            .collect();
        for service in over {
            self.head.drifted.remove(&service);
        }
    }
}
