//! What became of a role's own telemetry, for its `/metrics`.
//!
//! Invariant: a record that was made is waiting, sent, or counted as dropped for a reason.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use watchdog_core::tally::Signal;

/// Records that may wait to be sent, of one signal.
pub const WAITING_MAX: u64 = 2_048;

/// The counts of one signal; clones count into the same ones.
#[derive(Debug, Clone, Default)]
pub struct Counts(Arc<Counted>);

#[derive(Debug, Default)]
struct Counted {
    waiting: AtomicU64,
    sent: AtomicU64,
    /// There was no place to wait.
    full: AtomicU64,
    /// The backend could not be reached, or refused the request.
    undelivered: AtomicU64,
    /// The backend took the request without them.
    rejected: AtomicU64,
}

impl Counts {
    /// Whether one more record may wait; one that may not is dropped.
    pub fn admit(&self) -> bool {
        let more = |waiting| (waiting < WAITING_MAX).then_some(waiting + 1);
        let waiting = &self.0.waiting;
        let is_in = waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        if !is_in {
            self.0.full.fetch_add(1, Ordering::Relaxed);
        }
        is_in
    }

    /// Records that waited wait no more.
    pub fn leave(&self, records: u64) {
        self.0.waiting.fetch_sub(records, Ordering::Relaxed);
    }

    /// A request with so many records was taken, or was not.
    pub fn ended(&self, records: u64, is_taken: bool) {
        let end = if is_taken { &self.0.sent } else { &self.0.undelivered };
        end.fetch_add(records, Ordering::Relaxed);
    }

    /// So many of the records of a request that is taken are not.
    pub fn rejected(&self, records: u64) {
        self.0.rejected.fetch_add(records, Ordering::Relaxed);
    }

    /// Records that were taken, and those that are lost, by reason.
    fn seen(&self) -> (u64, [(&'static str, u64); 3]) {
        let Counted { sent, full, undelivered, rejected, .. } = &*self.0;
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let lost = [("full", full), ("undelivered", undelivered), ("rejected", rejected)];
        // A rejected record was in a request that was taken.
        (of(sent).saturating_sub(of(rejected)), lost.map(|(reason, count)| (reason, of(count))))
    }
}

/// The counts of all signals, as part of a metrics page.
#[derive(Debug, Clone)]
pub struct Shown(pub Vec<(Signal, Counts)>);

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (name, help) = ("telemetry_sent_records", "Records of own telemetry that were taken");
        let mut sent = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (signal, counts) in &self.0 {
            let labels = [("signal", signal.as_str())];
            ConstCounter::new(counts.seen().0).encode(sent.encode_family(&labels)?)?;
        }
        let (name, help) = ("telemetry_dropped_records", "Records of own telemetry that are lost");
        let mut dropped = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (signal, counts) in &self.0 {
            for (reason, count) in counts.seen().1 {
                let labels = [("signal", signal.as_str()), ("reason", reason)];
                ConstCounter::new(count).encode(dropped.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn what_finds_no_place_is_dropped_and_room_comes_back() {
        let counts = Counts::default();
        assert!((0..WAITING_MAX).all(|_| counts.admit()));
        assert!(!counts.admit());
        counts.leave(2);
        counts.ended(2, false);
        assert!(counts.admit() && counts.admit() && !counts.admit());
        let expected = [("full", 2), ("undelivered", 2), ("rejected", 0)];
        assert_eq!(counts.seen(), (0, expected));
    }

    #[test]
    fn every_signal_has_a_line_for_each_reason() {
        let counts = Counts::default();
        counts.ended(7, true);
        counts.rejected(3);
        let mut registry = Registry::with_prefix("holdpoint_gate");
        registry.register_collector(Box::new(Shown(vec![(Signal::Logs, counts)])));
        let mut page = String::new();
        encode(&mut page, &registry).unwrap();
        for line in [
            "holdpoint_gate_telemetry_sent_records_total{signal=\"logs\"} 4",
            "holdpoint_gate_telemetry_dropped_records_total{signal=\"logs\",reason=\"rejected\"} 3",
            "holdpoint_gate_telemetry_dropped_records_total{signal=\"logs\",reason=\"full\"} 0",
        ] {
            assert!(page.contains(line), "{line} is not in\n{page}");
        }
    }
}
