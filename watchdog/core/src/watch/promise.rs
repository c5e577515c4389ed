//! What was promised of each service's detector, beside what it achieves.
//!
//! Invariant: a promise that the way no longer allows says so here, with what would keep it; it is
//! never quietly widened.

use serde::{Deserialize, Serialize};

use crate::liveness::{LivenessContract, Plan, Way, plan, suspicion};
use crate::names::Service;
use crate::tick::Tick;
use crate::watch::quality::Achieved;
use crate::watch::service::ServiceWatch;
use crate::watch::{Watch, WatchConfig};

/// One service's detector: promise, means and figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Liveness {
    /// The contract; `None` if the configuration gives none.
    pub promise: Option<LivenessContract>,
    /// Why the promise cannot be kept on the way as it is measured; `None` while it can.
    pub unkept: Option<String>,
    /// The beats that are due and the silences that are suspected and convicted, in milliseconds.
    pub interval_ms: u64,
    pub suspect_ms_max: u64,
    pub convict_ms: u64,
    /// The beats that the promise needs on the way as it is measured.
    pub wanted: Option<Plan>,
    /// φ of the least suspected instance now: 3 is a chance of one in a thousand that it lives.
    pub suspicion: Option<f64>,
    /// Standard deviation of the delay of beats; `None` before three were heard.
    pub jitter_ms: Option<f64>,
    pub achieved: Achieved,
}

impl Watch {
    /// The detectors of all services as of `now`, in the order of [`Watch::verdicts`].
    #[must_use]
    pub fn liveness(&self, now: Tick) -> Vec<(Service, Liveness)> {
        let all = self.order.iter().map(|index| &self.services[*index]);
        all.map(|service| (service.service.clone(), self.liveness_of(service, now))).collect()
    }

    fn liveness_of(&self, service: &ServiceWatch, now: Tick) -> Liveness {
        let contract = &service.contract;
        let bounds = service.bounds(self.sight);
        let horizon = self.sight.blind_until;
        let way = service.way(&self.config);
        let promised = contract.liveness.map(|promise| {
            let interval_ms = contract.bounds.interval_ms;
            let kept = plan(&promise, Some(interval_ms), way, &self.config);
            let wanted = kept.or_else(|_| plan(&promise, None, way, &self.config));
            (kept.err().map(|unkept| unkept.to_string()), wanted.ok())
        });
        let (unkept, wanted) = promised.unwrap_or((None, None));
        let levels = service.instances.values().map(|instance| {
            let silent_ms = now.since_ms(instance.detector.last().max(horizon));
            suspicion(silent_ms, contract.bounds.interval_ms, way)
        });
        Liveness {
            promise: contract.liveness,
            unkept,
            interval_ms: contract.bounds.interval_ms,
            suspect_ms_max: bounds.suspect_max_ms(),
            convict_ms: bounds.convict_ms,
            wanted,
            suspicion: levels.min_by(f64::total_cmp),
            jitter_ms: service.jitter_ms(),
            achieved: service.quality.achieved(),
        }
    }
}

impl ServiceWatch {
    /// The worst jitter of its instances.
    fn jitter_ms(&self) -> Option<f64> {
        let spreads = self.instances.values().filter_map(|instance| instance.detector.jitter_ms());
        spreads.max_by(f64::total_cmp)
    }

    fn way(&self, config: &WatchConfig) -> Way {
        self.quality.way(self.jitter_ms(), config)
    }
}
