//! The one state machine over all services: events in, orders out.
//!
//! Invariant: a fresh watch knows nothing, and says `unknown` of everything.

use std::collections::{BTreeMap, BTreeSet};

use crate::names::{Environment, Service};
use crate::tick::Tick;
use crate::verdict::{
    BeatEvidence, BeatState, ObserverEvidence, ProbeEvidence, ProbeState, Verdict, VerdictKind,
};

mod config;
mod event;

pub use config::{COLLECTOR_SERVICE, ExpectedService, WatchConfig};
pub use event::{Conviction, Effect, Event, Reason};

/// All that the watchdog knows.
#[derive(Debug, Clone)]
pub struct Watch {
    config: WatchConfig,
    start: Tick,
    services: BTreeMap<Service, Environment>,
    heard: BTreeSet<Service>,
}

/// What is known of the collector itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CollectorView {
    pub beats: BeatState,
    pub age_ms: Option<u64>,
    /// Whether this start was convicted already.
    pub convicted: bool,
}

impl Watch {
    /// A watch that starts at `now` and knows nothing yet.
    #[must_use]
    pub fn new(config: WatchConfig, services: Vec<ExpectedService>, now: Tick) -> Self {
        let services = services.into_iter().map(|s| (s.service, s.environment)).collect();
        Self { config, start: now, services, heard: BTreeSet::new() }
    }

    /// Takes one event in and gives the orders that follow from it, in their order.
    pub fn step(&mut self, event: Event, _now: Tick) -> Vec<Effect> {
        if let Event::BeatHeard { service, .. } = event
            && self.services.len() < self.config.services_max
        {
            self.heard.insert(service);
        }
        Vec::new()
    }

    /// When [`Event::Turn`] must be told at the latest, and why; `None`: never.
    #[must_use]
    pub const fn deadline(&self) -> Option<(Tick, Reason)> {
        None
    }

    /// The verdicts about all services as of `now`, in the order of their names.
    #[must_use]
    pub fn verdicts(&self, now: Tick) -> Vec<Verdict> {
        self.services.keys().filter_map(|service| self.verdict(service, now)).collect()
    }

    /// The verdict about one service as of `now`; `None` if it is not known.
    #[must_use]
    pub fn verdict(&self, service: &Service, now: Tick) -> Option<Verdict> {
        let environment = self.services.get(service)?.clone();
        Some(Verdict {
            service: service.clone(),
            environment,
            verdict: VerdictKind::Unknown,
            since_ms: now.since_ms(self.start),
            stage: None,
            reason: String::from("the watch just started"),
            revisions: Vec::new(),
            signals: BTreeMap::new(),
            beats: BeatEvidence {
                state: BeatState::Never,
                age_ms: None,
                interval_ms: None,
                authenticated: false,
            },
            witness: None,
            probes: ProbeEvidence { state: ProbeState::Unknown, coverage: None, age_ms: None },
            observer: ObserverEvidence { late_ms: 0, healthy: true },
            instances: Vec::new(),
        })
    }

    /// Whether most services fell silent together.
    #[must_use]
    pub const fn mass_silence(&self) -> bool {
        false
    }

    /// What is known of the collector itself.
    #[must_use]
    pub const fn collector(&self, _now: Tick) -> CollectorView {
        CollectorView { beats: BeatState::Never, age_ms: None, convicted: false }
    }
}
