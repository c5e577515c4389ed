//! A watchdog whose word stands alone against two or more that agree: a person is told once.
//!
//! Whether its word counts is the quorum's affair; that it stands alone is a fault of one side in
//! any case.
//!
//! Invariant: told once for as long as it stands, and never a change of what is decided.

use watchdog_core::names::Service;

use crate::gate::effect::{Call, CallReason, Effect};
use crate::gate::ledger::{Ledger, Step};

impl Ledger {
    /// The watchdog whose word about `service` stands alone.
    #[must_use]
    pub fn dissent(&self, service: &Service) -> Option<&str> {
        self.head.dissent.get(service).map(String::as_str)
    }

    /// Says who began to stand alone, and forgets who no longer does.
    pub(crate) fn turn_dissent(&mut self, step: &mut Step<'_>) {
        let sight = step.sight;
        for (service, evidence) in &sight.services {
            let Some(watchdog) = &evidence.suspect else {
                self.head.dissent.remove(service);
                continue;
            };
            if self.dissent(service) == Some(watchdog) {
                continue;
            }
            self.head.dissent.insert(service.clone(), watchdog.clone());
            let said = evidence.attested.iter().find(|each| each.watchdog == *watchdog);
            let message = format!(
                "watchdog {watchdog} alone says that {service} is {}, and all say {} together: \
                 look at {watchdog} first",
                said.map_or("unknown", |said| said.verdict.as_str()),
                evidence.verdict.as_str()
            );
            let (why, service) = (CallReason::Dissent, Some(service.clone()));
            step.orders.push(Effect::CallPerson(Call { why, rollout: None, service, message }));
        }
    }
}
