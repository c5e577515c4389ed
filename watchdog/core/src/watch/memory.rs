//! What the watch must not forget when it starts anew: whom it has seen live, and what they sent.
//!
//! A service that fell silent while no watchdog ran would otherwise be no service at all, and
//! nobody would hold a rollout for it. Recalled, it is `unknown` until it is heard again.
//!
//! Paces and shares are not recalled: they are learnt anew in the first live dwell, so a service
//! whose exporter was slowed down on purpose is not held to a period of its former life.
//!
//! Invariant: only a service that was live is remembered, so that a stray name on the beats' port
//! does not stay for ever; and what is remembered only grows until a person takes it out.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::names::{Environment, Service};
use crate::tally::Signal;
use crate::tick::Tick;
use crate::watch::{ExpectedService, Watch};

/// One service that was live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remembered {
    pub service: Service,
    pub environment: Environment,
    /// The signals that must arrive.
    pub expect: BTreeSet<Signal>,
}

impl Watch {
    /// Takes in what an earlier watch remembered. Configuration goes first: where it names the
    /// signals of a service, no others are expected of it.
    pub fn recall(&mut self, memory: Vec<Remembered>, now: Tick) {
        for remembered in memory {
            let Remembered { service, environment, expect } = remembered;
            let index = match self.places.get(&service) {
                Some(index) => *index,
                None if self.services.len() < self.config.services_max => {
                    self.add(ExpectedService::named(service, environment), now)
                }
                None => continue,
            };
            let service = &mut self.services[index];
            service.recalled = true;
            self.faces.judged(index, true);
            if !service.contract.signals_named {
                for stream in &mut service.streams {
                    stream.expected |= expect.contains(&stream.signal);
                }
            }
            self.enqueue(index, now);
        }
    }

    /// [`Watch::remembered`] if it may have grown since it was last asked for here.
    #[must_use]
    pub fn newly_remembered(&mut self) -> Option<Vec<Remembered>> {
        std::mem::take(&mut self.memory_grew).then(|| self.remembered())
    }

    /// What the next watch must know, in the order of names.
    #[must_use]
    pub fn remembered(&self) -> Vec<Remembered> {
        let services = self.order.iter().map(|index| &self.services[*index]);
        services
            .filter(|service| service.recalled || service.first_live.is_some())
            .map(|service| Remembered {
                service: service.service.clone(),
                environment: service.environment.clone(),
                expect: service.streams.iter().filter(|s| s.expected).map(|s| s.signal).collect(),
            })
            .collect()
    }
}
