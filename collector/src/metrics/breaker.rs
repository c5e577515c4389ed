//! What each exporter's breaker does, as metrics.
//!
//! Invariant: of the states of one exporter exactly one is 1.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::OfExporter;
use crate::export::Doing;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    exporter: String,
    state: &'static str,
}

/// The breakers of all exporters.
#[derive(Debug, Default)]
pub(super) struct Breakers {
    states: Family<OfState, Gauge>,
    trips: Family<OfExporter, Counter>,
}

/// The breaker of one exporter.
#[derive(Debug)]
pub(crate) struct BreakerMetrics {
    states: [Gauge; Doing::ALL.len()],
    trips: Counter,
}

impl Breakers {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "breaker_state",
            "What the breaker of a backend does: 1 for its state, 0 for the others",
            self.states.clone(),
        );
        registry.register(
            "breaker_trips",
            "Times that a backend failed so often in a row that it was left in peace",
            self.trips.clone(),
        );
    }

    pub(super) fn of(&self, exporter: &str) -> BreakerMetrics {
        let state = |doing: Doing| {
            let of = OfState { exporter: exporter.to_owned(), state: doing.as_str() };
            self.states.get_or_create(&of).clone()
        };
        let of = OfExporter { exporter: exporter.to_owned() };
        let metrics = BreakerMetrics {
            states: Doing::ALL.map(state),
            trips: self.trips.get_or_create(&of).clone(),
        };
        metrics.is(Doing::Passing);
        metrics
    }
}

impl BreakerMetrics {
    pub(crate) fn is(&self, now: Doing) {
        for (doing, gauge) in Doing::ALL.into_iter().zip(&self.states) {
            gauge.set(i64::from(doing == now));
        }
    }

    pub(crate) fn trips(&self) {
        self.trips.inc();
    }
}
