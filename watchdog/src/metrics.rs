//! All metrics of the watchdog, `holdpoint_watchdog_*`.
//!
//! Invariant: labels are enums, but for `service`, whose number admission bounds. Verdicts are read
//! from the published snapshot at scrape time, so a service that is gone leaves no stale series.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use watchdog_core::admission::Refusal;
use watchdog_core::names::Service;

use crate::publish::Reader;

mod verdicts;

/// What all names begin with.
const PREFIX: &str = "holdpoint_watchdog";

/// The content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

macro_rules! label_value {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($variant),+ }

        impl $name {
            /// The value of the label.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
                EncodeLabelValue::encode(&self.as_str(), encoder)
            }
        }
    };
}

label_value! {
    /// How a beat came.
    Transport { Http = "http", Udp = "udp", Notify = "notify" }
}
label_value! {
    /// Why a beat does not count.
    Refused {
        Malformed = "malformed",
        TooLarge = "too_large",
        BadMac = "bad_mac",
        Forbidden = "forbidden",
        Unsigned = "unsigned",
        Replayed = "replayed",
        OlderBoot = "older_boot",
        BootWithoutStart = "boot_without_start",
        TooManyServices = "too_many_services",
        TooManyInstances = "too_many_instances",
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Replayed => Self::Replayed,
            Refusal::OlderBoot => Self::OlderBoot,
            Refusal::Unsigned => Self::Unsigned,
            Refusal::BootWithoutStart => Self::BootWithoutStart,
            Refusal::TooManyServices => Self::TooManyServices,
            Refusal::TooManyInstances => Self::TooManyInstances,
        }
    }
}
label_value! {
    /// What came of a probe.
    ProbeOutcome {
        Sent = "sent",
        SendFailed = "send_failed",
        Returned = "returned",
        Wrong = "wrong",
    }
}
label_value! {
    /// What came of one poll of the tally.
    PollOutcome { Page = "page", Failed = "failed", NoCollector = "no_collector" }
}
label_value! {
    /// What came of one attestation.
    AttestOutcome {
        Taken = "taken",
        Refused = "refused",
        Failed = "failed",
        NoGate = "no_gate",
    }
}
label_value! {
    /// What came of one dead-man ping.
    PingOutcome { Taken = "taken", Failed = "failed", Withheld = "withheld" }
}
label_value! {
    /// Why a collector is now held that was not held before.
    StartCause { First = "first", Restart = "restart", Adopted = "adopted" }
}
label_value! {
    /// Why no verdict was drawn across a span of time.
    Gap { Stall = "stall", ClockStep = "clock_step" }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TransportLabel {
    transport: Transport,
}
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabel {
    transport: Transport,
    reason: Refused,
}
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProbeLabel {
    outcome: ProbeOutcome,
}
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PollLabel {
    outcome: PollOutcome,
}
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttestLabel {
    outcome: AttestOutcome,
}
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PingLabel {
    outcome: PingOutcome,
}
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StartLabel {
    cause: StartCause,
}
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServiceLabel {
    service: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GapLabel {
    cause: Gap,
}

/// Handles to all counters; clones count into the same ones.
#[derive(Debug, Clone)]
pub struct Metrics {
    beats: Family<TransportLabel, Counter>,
    refused: Family<RefusedLabel, Counter>,
    probes: Family<ProbeLabel, Counter>,
    round_trip: Histogram,
    echo: Histogram,
    polls: Family<PollLabel, Counter>,
    attestations: Family<AttestLabel, Counter>,
    pings: Family<PingLabel, Counter>,
    starts: Family<StartLabel, Counter>,
    convictions: Counter,
    given_up: Gauge,
    on_known_good: Gauge,
    fell_back: Counter,
    quarantines: Counter,
    turns: Counter,
    gaps: Family<GapLabel, Counter>,
    shed: Counter,
    kernel_bytes: Family<ServiceLabel, Counter>,
    kernel_tells: Family<ServiceLabel, Gauge>,
    registry: Arc<Mutex<Registry>>,
    /// The verdicts, which nobody counts into: a slow reader of them holds up nobody.
    verdicts: Arc<OnceLock<Registry>>,
}

/// What `/metrics` of a watchdog shows, for whoever carries it on.
#[derive(Debug, Clone)]
pub struct MetricsPage(Metrics);

impl MetricsPage {
    pub(crate) fn of(metrics: &Metrics) -> Self {
        Self(metrics.clone())
    }

    /// The page as of now, in OpenMetrics.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        self.0.text().ok()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        // From a millisecond to the longest that a probe may be overdue.
        let bounds = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0];
        let metrics = Self {
            beats: Family::default(),
            refused: Family::default(),
            probes: Family::default(),
            round_trip: Histogram::new(bounds),
            echo: Histogram::new(bounds),
            polls: Family::default(),
            attestations: Family::default(),
            pings: Family::default(),
            starts: Family::default(),
            convictions: Counter::default(),
            given_up: Gauge::default(),
            on_known_good: Gauge::default(),
            fell_back: Counter::default(),
            quarantines: Counter::default(),
            turns: Counter::default(),
            gaps: Family::default(),
            shed: Counter::default(),
            kernel_bytes: Family::default(),
            kernel_tells: Family::default(),
            registry: Arc::new(Mutex::new(Registry::with_prefix(PREFIX))),
            verdicts: Arc::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&self) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.register("beats", "Beats that count", self.beats.clone());
        registry.register("beats_refused", "Beats that do not count", self.refused.clone());
        registry.register("probes", "Probes by what came of them", self.probes.clone());
        registry.register_with_unit(
            "probe_round_trip",
            "From sending a probe to its page from the far tap",
            Unit::Seconds,
            self.round_trip.clone(),
        );
        registry.register_with_unit(
            "observer_echo",
            "From asking the watchdog's own port to its answer",
            Unit::Seconds,
            self.echo.clone(),
        );
        registry.register("tally_polls", "Polls of the tally", self.polls.clone());
        registry.register(
            "attestations",
            "Attestations by what the gate made of them",
            self.attestations.clone(),
        );
        registry.register("dead_man_pings", "Dead-man pings", self.pings.clone());
        registry.register("collector_starts", "Collectors held", self.starts.clone());
        registry.register(
            "collector_convictions",
            "Collectors ended because they hung",
            self.convictions.clone(),
        );
        registry.register(
            "collector_given_up",
            "1 while the collector is not restarted and a person must look",
            self.given_up.clone(),
        );
        self.register_healing(&mut registry);
        self.register_kernel(&mut registry);
        registry.register("turns", "Turns of the verdict loop", self.turns.clone());
        registry.register(
            "observer_gaps",
            "Spans of time across which no verdict was drawn",
            self.gaps.clone(),
        );
        registry.register(
            "evidence_shed",
            "Beats that a newer one of the same instance replaced, or that found no room",
            self.shed.clone(),
        );
    }

    fn register_kernel(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "kernel_received",
            "Bytes that came in on the ports of a service, by the kernel",
            Unit::Bytes,
            self.kernel_bytes.clone(),
        );
        registry.register(
            "kernel_tells",
            "1 while the kernel can say whether bytes come in on the ports of a service",
            self.kernel_tells.clone(),
        );
    }

    /// Adds `more` to the text.
    pub fn show(&self, more: Box<dyn Collector>) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.register_collector(more);
    }

    fn register_healing(&self, registry: &mut Registry) {
        registry.register(
            "collector_on_known_good",
            "1 while the collector runs with the last proven configuration and not with its file",
            self.on_known_good.clone(),
        );
        registry.register(
            "collector_fallbacks",
            "Configurations that fell and were replaced by the last one that was proven",
            self.fell_back.clone(),
        );
        registry.register(
            "collector_spool_quarantines",
            "Times that the spool was put aside because the collector died with it",
            self.quarantines.clone(),
        );
    }

    /// Adds the verdicts of the published snapshot to the text.
    pub fn watch(&self, reader: Reader) {
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(verdicts::Verdicts::new(reader)));
        // Whoever comes second shows the same verdicts.
        let _first = self.verdicts.set(registry);
    }

    /// The metrics in OpenMetrics text.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        self.write(&mut text)?;
        Ok(text)
    }

    /// Writes the metrics in OpenMetrics text. While `out` waits, nothing is locked.
    pub fn write(&self, out: &mut impl std::fmt::Write) -> Result<(), std::fmt::Error> {
        let mut counted = String::new();
        encode_registry(
            &mut counted,
            &self.registry.lock().unwrap_or_else(PoisonError::into_inner),
        )?;
        out.write_str(&counted)?;
        if let Some(verdicts) = self.verdicts.get() {
            encode_registry(out, verdicts)?;
        }
        encode_eof(out)
    }

    pub fn beat(&self, transport: Transport) {
        self.beats.get_or_create(&TransportLabel { transport }).inc();
    }

    pub fn beat_refused(&self, transport: Transport, reason: Refused) {
        self.refused.get_or_create(&RefusedLabel { transport, reason }).inc();
    }

    pub fn probe(&self, outcome: ProbeOutcome) {
        self.probes.get_or_create(&ProbeLabel { outcome }).inc();
    }

    pub fn probe_returned(&self, round_trip: Duration) {
        self.probe(ProbeOutcome::Returned);
        self.round_trip.observe(round_trip.as_secs_f64());
    }

    pub fn echo(&self, round_trip: Duration) {
        self.echo.observe(round_trip.as_secs_f64());
    }

    /// The kernel told of so many bytes for `service`; `None`: it cannot say.
    pub fn kernel(&self, service: &Service, bytes: Option<u64>) {
        let label = ServiceLabel { service: service.as_str().to_owned() };
        self.kernel_tells.get_or_create(&label).set(i64::from(bytes.is_some()));
        if let Some(bytes) = bytes {
            self.kernel_bytes.get_or_create(&label).inc_by(bytes);
        }
    }

    pub fn poll(&self, outcome: PollOutcome) {
        self.polls.get_or_create(&PollLabel { outcome }).inc();
    }

    pub fn attestation(&self, outcome: AttestOutcome) {
        self.attestations.get_or_create(&AttestLabel { outcome }).inc();
    }

    pub fn ping(&self, outcome: PingOutcome) {
        self.pings.get_or_create(&PingLabel { outcome }).inc();
    }

    pub fn started(&self, cause: StartCause) {
        self.starts.get_or_create(&StartLabel { cause }).inc();
    }

    pub fn convicted(&self) {
        self.convictions.inc();
    }

    pub fn given_up(&self, given_up: bool) {
        self.given_up.set(i64::from(given_up));
    }

    pub fn on_known_good(&self, known_good: bool) {
        self.on_known_good.set(i64::from(known_good));
    }

    pub fn fell_back(&self) {
        self.fell_back.inc();
    }

    pub fn quarantined(&self) {
        self.quarantines.inc();
    }

    pub fn turn(&self) {
        self.turns.inc();
    }

    pub fn gap(&self, cause: Gap) {
        self.gaps.get_or_create(&GapLabel { cause }).inc();
    }

    pub fn shed(&self, beats: u64) {
        self.shed.inc_by(beats);
    }
}
