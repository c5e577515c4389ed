//! The names under which other collectors count the same things, so that boards made for them show
//! this one too. Names and labels are those of the OpenTelemetry Collector's internal telemetry
//! (`otelcol_*`, without the suffix `_total`, as it writes them by default).
//!
//! | name | what it is here |
//! |---|---|
//! | `otelcol_receiver_accepted_*` | records taken |
//! | `otelcol_receiver_refused_*` | well-formed records that had no place |
//! | `otelcol_exporter_sent_*`, `_send_failed_*` | records delivered, and given up |
//! | `otelcol_exporter_queue_size`, `_capacity` | bytes that wait, and that may wait |
//! | `otelcol_process_*` | this process |
//!
//! Invariant: a name stands here only if its meaning is the same.

use std::fmt::Error;
use std::fs;
use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use watchdog_core::tally::Signal;

use super::PerSignal;
use crate::arrival::Transport;
use crate::kind::Kind;
use crate::line::Line;

/// `USER_HZ` of proc(5): 100 a second in the ABI of every architecture that we build for.
const TICKS_PER_S: f64 = 100.0;

/// What came in, by the transport that it came by.
#[derive(Debug)]
pub(super) struct Received {
    accepted: [PerSignal; Transport::ALL.len()],
    refused: [PerSignal; Transport::ALL.len()],
}

impl Default for Received {
    fn default() -> Self {
        let new = |_| PerSignal::new(|_| Counter::default());
        Self { accepted: Transport::ALL.map(new), refused: Transport::ALL.map(new) }
    }
}

impl Received {
    pub(super) fn accepted(&self, transport: Transport, kind: Kind, records: u64) {
        let [grpc, http] = &self.accepted;
        transport.pick(grpc, http).of(kind).inc_by(records);
    }

    pub(super) fn refused(&self, transport: Transport, kind: Kind, records: u64) {
        let [grpc, http] = &self.refused;
        transport.pick(grpc, http).of(kind).inc_by(records);
    }

    /// The counts of now, under the peers' names.
    pub(super) fn page(&self, line: &Line, uptime_ms: u64) -> Result<String, Error> {
        let mut now = Now { samples: Vec::new() };
        for signal in Signal::ALL {
            let (kind, noun) = (Kind::Tallied(signal), noun(signal));
            for (what, help, counts) in [
                ("accepted", "Records taken", &self.accepted),
                ("refused", "Records that had no place", &self.refused),
            ] {
                let name = format!("otelcol_receiver_{what}_{noun}");
                for (transport, counts) in Transport::ALL.into_iter().zip(counts) {
                    let labels = vec![
                        ("receiver", "otlp".to_owned()),
                        ("transport", transport.as_str().to_owned()),
                    ];
                    now.add(&name, help, labels, counts.of(kind).get() as f64);
                }
            }
            now.exporters(line, kind, noun);
        }
        now.queues(line);
        now.process(uptime_ms);
        let mut registry = Registry::default();
        registry.register_collector(Box::new(now));
        let mut page = String::new();
        encode_registry(&mut page, &registry)?;
        Ok(page)
    }
}

const fn noun(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "spans",
        Signal::Metrics => "metric_points",
        Signal::Logs => "log_records",
    }
}

type Labels = Vec<(&'static str, String)>;

/// One family with its samples.
#[derive(Debug)]
struct Sampled {
    name: String,
    help: &'static str,
    samples: Vec<(Labels, f64)>,
}

/// The families of one moment.
#[derive(Debug)]
struct Now {
    samples: Vec<Sampled>,
}

impl Now {
    fn add(&mut self, name: &str, help: &'static str, labels: Labels, value: f64) {
        match self.samples.iter_mut().find(|family| family.name == name) {
            Some(family) => family.samples.push((labels, value)),
            None => self.samples.push(Sampled {
                name: name.to_owned(),
                help,
                samples: vec![(labels, value)],
            }),
        }
    }

    fn exporters(&mut self, line: &Line, kind: Kind, noun: &str) {
        let (seats, ledger) = line.books();
        for ((name, _), outgo) in seats.into_iter().zip(&ledger.outgo) {
            let outgo = outgo.get(kind);
            let labels = vec![("exporter", name)];
            let sent = format!("otelcol_exporter_sent_{noun}");
            self.add(&sent, "Records delivered", labels.clone(), outgo.forwarded as f64);
            let failed = format!("otelcol_exporter_send_failed_{noun}");
            self.add(&failed, "Records given up", labels, outgo.dropped as f64);
        }
    }

    fn queues(&mut self, line: &Line) {
        for (seat, bytes) in line.seats() {
            let labels = vec![("exporter", seat.name.clone())];
            let size = "otelcol_exporter_queue_size";
            self.add(size, "Bytes that wait", labels.clone(), bytes as f64);
            let capacity = match line.spool() {
                Some(spool) => spool.limit_bytes() as f64,
                None => seat.bytes_max.load(Ordering::Relaxed) as f64,
            };
            self.add("otelcol_exporter_queue_capacity", "Bytes that may wait", labels, capacity);
        }
    }

    /// What `/proc` says; a value that it does not say is left out.
    fn process(&mut self, uptime_ms: u64) {
        let uptime_s = uptime_ms as f64 / 1_000.0;
        self.add("otelcol_process_uptime", "Seconds since the start", Vec::new(), uptime_s);
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The name, in parentheses, may hold blanks; utime and stime are 14 and 15.
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or(Vec::new(), |(_, rest)| rest.split_whitespace().collect());
        let field =
            |number: usize| fields.get(number - 3).and_then(|text| text.parse::<f64>().ok());
        if let (Some(user), Some(system)) = (field(14), field(15)) {
            let seconds = (user + system) / TICKS_PER_S;
            self.add("otelcol_process_cpu_seconds", "Processor time", Vec::new(), seconds);
        }
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = resident.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        if let Some(kib) = kib {
            let bytes = kib * 1_024.0;
            self.add("otelcol_process_memory_rss", "Resident bytes", Vec::new(), bytes);
        }
    }
}

impl Collector for Now {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        for Sampled { name, help, samples } in &self.samples {
            // Without a type no suffix is written, which is what the boards ask for.
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Unknown)?;
            if let [(labels, value)] = samples.as_slice()
                && labels.is_empty()
            {
                ConstGauge::new(*value).encode(family)?;
                continue;
            }
            for (labels, value) in samples {
                ConstGauge::new(*value).encode(family.encode_family(labels)?)?;
            }
        }
        Ok(())
    }
}
