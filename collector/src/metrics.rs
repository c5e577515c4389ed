//! All metrics of the collector, once.
//!
//! Invariant: label values are enums, or backends from the configuration; nothing that a client
//! sends becomes a label.

mod breaker;
mod health;
mod peers;

use std::fmt::Error;
use std::sync::Arc;

use front_door::Counts as DoorCounts;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use watchdog_core::tally::{Counts, Signal};
use watchdog_core::tick::Tick;

use crate::arrival::Transport;
use crate::config::ExporterConfig;
use crate::driver;
use crate::kind::Kind;
use crate::line::DropReason;
use crate::line::Line;
use crate::refusal::Refusal;
use crate::reload::Outcome;
use crate::tally::Size;

pub(crate) use breaker::BreakerMetrics;
pub(crate) use health::Health;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfSignal {
    signal: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reload {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    /// `unknown` if the request did not get as far as to name one.
    signal: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfExporter {
    exporter: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Forwarded {
    exporter: String,
    signal: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Dropped {
    exporter: String,
    signal: &'static str,
    reason: &'static str,
}

/// One counter per signal, found without a lookup.
#[derive(Debug)]
struct PerSignal([Counter; Kind::ALL.len()]);

impl PerSignal {
    fn new(make: impl Fn(&'static str) -> Counter) -> Self {
        Self(Kind::ALL.map(|kind| make(kind.as_str())))
    }

    fn of(&self, kind: Kind) -> &Counter {
        let [traces, metrics, logs, profiles] = &self.0;
        match kind {
            Kind::Tallied(Signal::Traces) => traces,
            Kind::Tallied(Signal::Metrics) => metrics,
            Kind::Tallied(Signal::Logs) => logs,
            Kind::Profiles => profiles,
        }
    }
}

/// The collector's metrics, and what is counted for its beat.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: PerSignal,
    records: PerSignal,
    bytes: PerSignal,
    refused: Family<Refused, Counter>,
    forwarded: Family<Forwarded, Counter>,
    dropped: Family<Dropped, Counter>,
    ruled_out: PerSignal,
    disowned: PerSignal,
    failed_attempts: Family<OfExporter, Counter>,
    queued_bytes: Family<OfExporter, Gauge>,
    breakers: breaker::Breakers,
    reloads: Family<Reload, Counter>,
    healthy: Gauge,
    by_transport: peers::Received,
    started: Tick,
    queued_records: Gauge,
    memory_bytes: Gauge,
    spool_bytes: Gauge,
    spool_bytes_max: Gauge,
    spool_failures: Gauge,
    spool_damaged: Gauge,
    imbalance: Gauge,
    rows: Gauge,
    rows_refused: Gauge,
    unnamed_records: Gauge,
    /// Export requests, and those of them that were refused for the collector's own sake, since
    /// the last beat.
    work: Counts<2>,
}

/// What is read when the metrics page is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) tally: Size,
    pub(crate) memory_bytes: usize,
    pub(crate) imbalance: u64,
    /// Bytes of the spool, bytes that it may have, writes that failed, and damaged bytes.
    pub(crate) spool: [u64; 4],
}

impl Metrics {
    pub(crate) fn new(
        doors: [(&'static str, Arc<DoorCounts>); 4],
        also_shown: Vec<Box<dyn Collector>>,
    ) -> Self {
        let mut registry = Registry::with_prefix("holdpoint_collector");
        let requests = Family::<OfSignal, Counter>::default();
        let records = Family::<OfSignal, Counter>::default();
        let bytes = Family::<OfSignal, Counter>::default();
        let dropped = Family::<Dropped, Counter>::default();
        let per_signal = |family: &Family<OfSignal, Counter>| {
            PerSignal::new(|signal| family.get_or_create(&OfSignal { signal }).clone())
        };
        let nobodys = |reason| {
            PerSignal::new(|signal| {
                let exporter = String::new();
                dropped.get_or_create(&Dropped { exporter, signal, reason }).clone()
            })
        };
        let metrics = Self {
            requests: per_signal(&requests),
            records: per_signal(&records),
            bytes: per_signal(&bytes),
            refused: Family::default(),
            forwarded: Family::default(),
            ruled_out: nobodys("rule"),
            disowned: nobodys("removed"),
            dropped,
            failed_attempts: Family::default(),
            queued_bytes: Family::default(),
            breakers: breaker::Breakers::default(),
            reloads: Family::default(),
            healthy: Gauge::default(),
            by_transport: peers::Received::default(),
            started: driver::now(),
            queued_records: Gauge::default(),
            memory_bytes: Gauge::default(),
            spool_bytes: Gauge::default(),
            spool_bytes_max: Gauge::default(),
            spool_failures: Gauge::default(),
            spool_damaged: Gauge::default(),
            imbalance: Gauge::default(),
            rows: Gauge::default(),
            rows_refused: Gauge::default(),
            unnamed_records: Gauge::default(),
            work: Counts::new(),
            registry: Registry::default(),
        };
        registry.register("requests", "Export requests taken", requests);
        registry.register("records", "Spans, data points, log records and profiles taken", records);
        registry.register("request_bytes", "Bytes of taken requests, as they came", bytes);
        for outcome in Outcome::ALL {
            // Begun at 0, so that the first one is seen as a change.
            drop(metrics.reloads.get_or_create(&Reload { outcome: outcome.as_str() }));
        }
        metrics.register(&mut registry);
        registry.register_collector(Box::new(Doors(doors)));
        also_shown.into_iter().for_each(|more| registry.register_collector(more));
        Self { registry, ..metrics }
    }

    fn register_spool(&self, registry: &mut Registry) {
        registry.register("spool_bytes", "Bytes of the spool on disk", self.spool_bytes.clone());
        registry.register(
            "spool_limit_bytes",
            "Bytes that the spool may have; 0 if there is none",
            self.spool_bytes_max.clone(),
        );
        registry.register(
            "spool_write_failures",
            "Groups of requests that could not be written to the spool",
            self.spool_failures.clone(),
        );
        registry.register(
            "spool_damaged_bytes",
            "Bytes of the spool that the start found damaged and put aside",
            self.spool_damaged.clone(),
        );
    }

    fn register(&self, registry: &mut Registry) {
        registry.register("refused_requests", "Requests not taken", self.refused.clone());
        registry.register(
            "forwarded_records",
            "Records that a backend took",
            self.forwarded.clone(),
        );
        registry.register(
            "dropped_records",
            "Records taken from a client that a backend will never have",
            self.dropped.clone(),
        );
        registry.register(
            "failed_attempts",
            "Attempts to reach a backend that are tried again",
            self.failed_attempts.clone(),
        );
        registry.register(
            "queued_bytes",
            "Bytes that wait for a backend",
            self.queued_bytes.clone(),
        );
        self.breakers.register(registry);
        registry.register(
            "queued_records",
            "Records on their way to the far tap",
            self.queued_records.clone(),
        );
        registry.register(
            "memory_held_bytes",
            "Bytes of the memory budget in use",
            self.memory_bytes.clone(),
        );
        registry.register(
            "healthy",
            "1 while telemetry gets through, as /healthz says",
            self.healthy.clone(),
        );
        registry.register(
            "config_reloads",
            "Configurations proposed to the running collector",
            self.reloads.clone(),
        );
        self.register_spool(registry);
        registry.register(
            "ledger_imbalance_records",
            "Records by which what came in differs from what became of it; always 0",
            self.imbalance.clone(),
        );
        registry.register("tally_rows", "Rows of the tally", self.rows.clone());
        registry.register(
            "tally_rows_refused",
            "Times that the full tally had no place for a new row",
            self.rows_refused.clone(),
        );
        registry.register(
            "unnamed_records",
            "Records without a usable service.name, which are in no row",
            self.unnamed_records.clone(),
        );
    }

    /// A request was taken.
    pub(crate) fn received(&self, kind: Kind, by: Transport, records: u64, bytes: usize) {
        self.by_transport.accepted(by, kind, records);
        self.requests.of(kind).inc();
        self.records.of(kind).inc_by(records);
        self.bytes.of(kind).inc_by(bytes as u64);
        self.work.add([1, 0]);
    }

    /// A request was refused.
    pub(crate) fn refused(&self, kind: Option<Kind>, refusal: &Refusal) {
        let signal = kind.map_or("unknown", Kind::as_str);
        self.refused.get_or_create(&Refused { signal, reason: refusal.reason() }).inc();
        // Only what the collector owes its clients is an error of the collector.
        self.work.add([1, u64::from(refusal.http_status().is_server_error())]);
    }

    /// Well-formed records had no place.
    pub(crate) fn refused_records(&self, by: Transport, kind: Kind, records: u64) {
        self.by_transport.refused(by, kind, records);
    }

    /// What /healthz says.
    pub(crate) fn is_healthy(&self, healthy: bool) {
        self.healthy.set(i64::from(healthy));
    }

    /// A new configuration was proposed.
    pub(crate) fn reloaded(&self, outcome: Outcome) {
        self.reloads.get_or_create(&Reload { outcome: outcome.as_str() }).inc();
    }

    /// Rules took records out; no exporter ever saw them.
    pub(crate) fn ruled_out(&self, kind: Kind, records: u64) {
        self.ruled_out.of(kind).inc_by(records);
    }

    /// An earlier run left records for an exporter that is not configured any more.
    pub(crate) fn disowned(&self, kind: Kind, records: u64) {
        self.disowned.of(kind).inc_by(records);
    }

    /// Requests and errors since the last call.
    pub(crate) fn drain_work(&self) -> [u64; 2] {
        self.work.drain()
    }

    /// The metrics of one exporter.
    pub(crate) fn exporter(&self, config: &ExporterConfig) -> Arc<ExporterMetrics> {
        let exporter = config.label();
        let dropped = |reason: DropReason| {
            PerSignal::new(|signal| {
                let (exporter, reason) = (exporter.clone(), reason.as_str());
                self.dropped.get_or_create(&Dropped { exporter, signal, reason }).clone()
            })
        };
        let of = || OfExporter { exporter: exporter.clone() };
        Arc::new(ExporterMetrics {
            forwarded: PerSignal::new(|signal| {
                let exporter = exporter.clone();
                self.forwarded.get_or_create(&Forwarded { exporter, signal }).clone()
            }),
            dropped: DropReason::ALL.map(dropped),
            failed_attempts: self.failed_attempts.get_or_create(&of()).clone(),
            queued_bytes: self.queued_bytes.get_or_create(&of()).clone(),
            breaker: self.breakers.of(&exporter),
            health: Health::default(),
        })
    }

    /// The page, in OpenMetrics.
    pub(crate) fn page(&self, moment: Moment, line: &Line) -> Result<String, Error> {
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.queued_records.set(gauge(moment.tally.queued_records));
        self.memory_bytes.set(gauge(moment.memory_bytes as u64));
        let [bytes, bytes_max, failures, damaged] = moment.spool;
        self.spool_bytes.set(gauge(bytes));
        self.spool_bytes_max.set(gauge(bytes_max));
        self.spool_failures.set(gauge(failures));
        self.spool_damaged.set(gauge(damaged));
        self.imbalance.set(gauge(moment.imbalance));
        self.rows.set(gauge(moment.tally.rows as u64));
        self.rows_refused.set(gauge(moment.tally.rows_refused));
        self.unnamed_records.set(gauge(moment.tally.unnamed_records));
        let mut page = String::new();
        encode_registry(&mut page, &self.registry)?;
        page += &self.by_transport.page(line, driver::now().since_ms(self.started))?;
        encode_eof(&mut page)?;
        Ok(page)
    }
}

/// What one exporter counts.
#[derive(Debug)]
pub(crate) struct ExporterMetrics {
    forwarded: PerSignal,
    dropped: [PerSignal; DropReason::ALL.len()],
    failed_attempts: Counter,
    queued_bytes: Gauge,
    pub(crate) breaker: BreakerMetrics,
    pub(crate) health: Health,
}

impl ExporterMetrics {
    pub(crate) fn forwarded(&self, kind: Kind, records: u64) {
        self.forwarded.of(kind).inc_by(records);
    }

    pub(crate) fn dropped(&self, kind: Kind, reason: DropReason, records: u64) {
        let [rejected, expired, stopped, damaged] = &self.dropped;
        let counters = match reason {
            DropReason::Rejected => rejected,
            DropReason::Expired => expired,
            DropReason::Stopped => stopped,
            DropReason::Damaged => damaged,
        };
        counters.of(kind).inc_by(records);
    }

    pub(crate) fn failed_attempt(&self) {
        self.failed_attempts.inc();
    }

    pub(crate) fn set_queued_bytes(&self, bytes: usize) {
        self.queued_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

/// The connections at each door.
#[derive(Debug)]
struct Doors([(&'static str, Arc<DoorCounts>); 4]);

impl Collector for Doors {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut family = |name, help, kind: MetricType, value: fn(&front_door::Seen) -> u64| {
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for (door, counts) in &self.0 {
                let labels = [("door", *door)];
                ConstCounter::new(value(&counts.seen())).encode(family.encode_family(&labels)?)?;
            }
            Ok(())
        };
        let counter = MetricType::Counter;
        family("connections_accepted", "Connections let in", counter, |seen| seen.accepted)?;
        family("connections_refused", "Not let in for want of room", counter, |s| s.refused)?;
        family("connections_evicted", "Closed to make room", counter, |seen| seen.evicted)?;
        family("connections_timed_out", "Closed for slowness", counter, |seen| seen.timed_out)?;
        family("connections_closed", "Connections that ended", counter, |seen| {
            seen.accepted.saturating_sub(seen.open)
        })?;
        family("accept_errors", "Failures of accept", counter, |seen| seen.accept_errors)?;
        family("tls_handshake_errors", "Failed TLS handshakes", counter, |s| s.handshake_errors)?;
        family("certificates_renewed", "Changed certificates taken", counter, |seen| {
            seen.certificates_renewed
        })?;
        family("certificates_kept", "Changed certificates of no use", counter, |seen| {
            seen.certificates_kept
        })
    }
}
