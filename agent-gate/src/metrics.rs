//! What the gate shows of itself under `/metrics`, once.
//!
//! Counters are counted where it happens; gauges of the state are set by the driver after each
//! commit, so they never show what could still be lost. Ages are computed when somebody looks.
//!
//! Invariant: every label value is a word of an enum or a name from the configuration.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use watchdog_core::tick::Tick;

use crate::driver;

/// Content type of the page.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const SECONDS_BUCKETS: [f64; 14] = [
    0.000_25, 0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 4.0,
];
const BATCH_BUCKETS: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DecisionLabels {
    pub decision: &'static str,
    pub reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FreezeLabels {
    pub scope: &'static str,
    pub cause: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StateLabels {
    pub state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabels {
    pub reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CallLabels {
    pub call: &'static str,
    pub status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EffectLabels {
    pub effect: &'static str,
    pub outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WatchdogLabels {
    watchdog: String,
}

/// All metrics of a gate.
#[derive(Debug)]
pub struct Metrics {
    pub decisions: Family<DecisionLabels, Counter>,
    pub freezes: Family<FreezeLabels, Gauge>,
    /// Targets in the scope of freezes in force, by whether they hold them.
    pub fences: Family<StateLabels, Gauge>,
    pub rollouts: Family<StateLabels, Gauge>,
    pub calls: Family<CallLabels, Counter>,
    pub persons: Family<ReasonLabels, Counter>,
    pub attestations_refused: Family<ReasonLabels, Counter>,
    pub effects: Family<EffectLabels, Counter>,
    pub latch_shut: Gauge,
    pub epoch: Gauge,
    pub leading: Gauge,
    pub reverts_stuck: Gauge,
    pub drifted: Gauge,
    pub clock_jumps: Counter,
    pub decision: Histogram,
    pub commit: Histogram,
    pub batch: Histogram,
    attested: Mutex<BTreeMap<String, Tick>>,
    attestation_age: Family<WatchdogLabels, Gauge<f64, std::sync::atomic::AtomicU64>>,
    registry: Mutex<Registry>,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            decisions: Family::default(),
            freezes: Family::default(),
            fences: Family::default(),
            rollouts: Family::default(),
            calls: Family::default(),
            persons: Family::default(),
            attestations_refused: Family::default(),
            effects: Family::default(),
            latch_shut: Gauge::default(),
            epoch: Gauge::default(),
            leading: Gauge::default(),
            reverts_stuck: Gauge::default(),
            drifted: Gauge::default(),
            clock_jumps: Counter::default(),
            decision: Histogram::new(SECONDS_BUCKETS),
            commit: Histogram::new(SECONDS_BUCKETS),
            batch: Histogram::new(BATCH_BUCKETS),
            attested: Mutex::default(),
            attestation_age: Family::default(),
            registry: Mutex::new(Registry::with_prefix("holdpoint_gate")),
        };
        metrics.register();
        metrics
    }
}

/// What `/metrics` of a gate shows, for whoever carries it on.
#[derive(Debug, Clone)]
pub struct MetricsPage(Arc<Metrics>);

impl MetricsPage {
    pub(crate) fn of(metrics: &Arc<Metrics>) -> Self {
        Self(Arc::clone(metrics))
    }

    /// The page as of now, in OpenMetrics.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        Some(self.0.page(driver::boot_tick()))
    }
}

impl Metrics {
    /// Shows `more` too.
    pub fn show(&self, more: Box<dyn Collector>) {
        lock(&self.registry).register_collector(more);
    }

    /// `watchdog` attested at `now`.
    pub fn attested(&self, watchdog: &str, now: Tick) {
        lock(&self.attested).insert(watchdog.to_owned(), now);
    }

    /// A duration as histograms take it.
    pub fn observe(histogram: &Histogram, duration: Duration) {
        histogram.observe(duration.as_secs_f64());
    }

    /// The page, with ages as of `now`.
    #[must_use]
    pub fn page(&self, now: Tick) -> String {
        for (watchdog, at) in lock(&self.attested).iter() {
            let age = Duration::from_millis(now.since_ms(*at)).as_secs_f64();
            let labels = WatchdogLabels { watchdog: watchdog.clone() };
            self.attestation_age.get_or_create(&labels).set(age);
        }
        let mut text = String::new();
        encode(&mut text, &lock(&self.registry)).expect("writing to a String does not fail");
        text
    }

    fn register(&self) {
        let mut registry = lock(&self.registry);
        let r = &mut *registry;
        r.register("decisions", "Decisions by their first reason", self.decisions.clone());
        r.register("freezes_in_force", "Freezes in force", self.freezes.clone());
        r.register(
            "freeze_targets",
            "Targets in the scope of freezes in force: fenced, waiting, or unfenceable",
            self.fences.clone(),
        );
        r.register("rollouts", "Rollouts by state", self.rollouts.clone());
        r.register("calls", "API calls answered", self.calls.clone());
        r.register("person_calls", "Times a person was called, by reason", self.persons.clone());
        r.register(
            "attestations_refused",
            "Attestations that were not believed",
            self.attestations_refused.clone(),
        );
        r.register("effects", "Revert actions and dry runs that ended", self.effects.clone());
        r.register("latch_shut", "1 while no permit can be issued", self.latch_shut.clone());
        r.register("leading", "1 while this gate decides", self.leading.clone());
        r.register("epoch", "The fencing epoch", self.epoch.clone());
        r.register("reverts_stuck", "Reverts that did not verify", self.reverts_stuck.clone());
        r.register(
            "drifted_services",
            "Services that run a revision that no permit led to",
            self.drifted.clone(),
        );
        r.register("clock_jumps", "Clock jumps that voided all leases", self.clock_jumps.clone());
        r.register_with_unit(
            "decision_duration",
            "From a rollout call's arrival to its answer",
            Unit::Seconds,
            self.decision.clone(),
        );
        r.register_with_unit(
            "commit_duration",
            "One durable commit of the store",
            Unit::Seconds,
            self.commit.clone(),
        );
        r.register("commit_steps", "Steps that shared one commit", self.batch.clone());
        r.register_with_unit(
            "attestation_age",
            "Since the last believed attestation",
            Unit::Seconds,
            self.attestation_age.clone(),
        );
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder of the lock panics")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_open_metrics_with_ages_as_of_now() {
        let metrics = Metrics::default();
        metrics.attested("w", Tick(1_000));
        metrics
            .decisions
            .get_or_create(&DecisionLabels { decision: "hold", reason: "frozen" })
            .inc();
        let page = metrics.page(Tick(3_500));
        assert!(page.contains("holdpoint_gate_attestation_age_seconds{watchdog=\"w\"} 2.5"));
        assert!(
            page.contains("holdpoint_gate_decisions_total{decision=\"hold\",reason=\"frozen\"} 1")
        );
        assert!(page.ends_with("# EOF\n"));
    }
}
