//! The tallies of the services as a page for Prometheus, for people with nothing else.
//!
//! The page is in Prometheus' text format 0.0.4, with one line per service (its instances and
//! revisions together) and signal. It is written by hand because `prometheus-client` registers
//! metrics that stay, and these come and go with the tally; and because a sum of durations is not
//! known, which it would demand.
//!
//! Invariant: absent is absent. A service that never sent a signal, or no request span, has no
//! line for it, never a 0; and no more lines exist than the tally has rows for.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use watchdog_core::tally::{DURATION_BOUNDS_MS, Red, Signal, SignalTally, TallyRow};

pub(crate) const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is known of one service.
#[derive(Debug, Default)]
struct Service {
    red: Option<Red>,
    signals: [Option<Seen>; 3],
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    arrivals: u64,
    records: u64,
    age_ms: u64,
}

/// The page of `rows`.
pub(crate) fn page(rows: &[TallyRow]) -> String {
    let mut services: BTreeMap<&str, Service> = BTreeMap::new();
    for row in rows {
        services.entry(row.service.as_str()).or_default().add(row);
    }
    let services: Vec<(String, Service)> =
        services.into_iter().map(|(name, service)| (escaped(name), service)).collect();
    let mut page = String::new();
    requests(&mut page, &services);
    durations(&mut page, &services);
    signals(&mut page, &services);
    page
}

impl Service {
    fn add(&mut self, row: &TallyRow) {
        let signals = [&row.traces, &row.metrics, &row.logs];
        for (seen, tally) in self.signals.iter_mut().zip(signals) {
            if let Some(tally) = tally {
                *seen = Some(Seen::with(*seen, tally));
            }
        }
        if let Some(new) = &row.red {
            match &mut self.red {
                None => self.red = Some(new.clone()),
                Some(red) => {
                    red.requests += new.requests;
                    red.errors += new.errors;
                    for (sum, count) in red.durations.iter_mut().zip(new.durations) {
                        *sum += count;
                    }
                }
            }
        }
    }
}

impl Seen {
    fn with(before: Option<Self>, tally: &SignalTally) -> Self {
        let SignalTally { arrivals, records, last_age_ms, .. } = *tally;
        match before {
            None => Self { arrivals, records, age_ms: last_age_ms },
            Some(before) => Self {
                arrivals: before.arrivals + arrivals,
                records: before.records + records,
                age_ms: before.age_ms.min(last_age_ms),
            },
        }
    }
}

fn requests(page: &mut String, services: &[(String, Service)]) {
    let counter = |page: &mut String, name: &str, help: &str, value: fn(&Red) -> u64| {
        head(page, name, "counter", help);
        for (service, red) in reds(services) {
            let _ = writeln!(page, "{name}{{service=\"{service}\"}} {}", value(red));
        }
    };
    counter(
        page,
        "holdpoint_service_requests_total",
        "Requests, as spans of kind server or consumer",
        |red| red.requests,
    );
    counter(
        page,
        "holdpoint_service_errors_total",
        "Requests whose span has the status ERROR",
        |red| red.errors,
    );
}

fn durations(page: &mut String, services: &[(String, Service)]) {
    let name = "holdpoint_service_request_duration_seconds";
    head(page, name, "histogram", "Durations of requests; their sum is not known");
    for (service, red) in reds(services) {
        let mut count = 0;
        let (bounded, [above]) = red.durations.split_at(DURATION_BOUNDS_MS.len()) else {
            continue;
        };
        for (bound_ms, durations) in DURATION_BOUNDS_MS.iter().zip(bounded) {
            count += durations;
            let le = *bound_ms as f64 / 1_000.0;
            let _ = writeln!(page, "{name}_bucket{{service=\"{service}\",le=\"{le}\"}} {count}");
        }
        count += above;
        let _ = writeln!(page, "{name}_bucket{{service=\"{service}\",le=\"+Inf\"}} {count}");
        let _ = writeln!(page, "{name}_count{{service=\"{service}\"}} {count}");
    }
}

fn reds(services: &[(String, Service)]) -> impl Iterator<Item = (&str, &Red)> {
    services.iter().filter_map(|(name, service)| Some((name.as_str(), service.red.as_ref()?)))
}

fn signals(page: &mut String, services: &[(String, Service)]) {
    let mut metric = |name: &str, kind: &str, help: &str, value: fn(Seen) -> String| {
        head(page, name, kind, help);
        for (service, of) in services {
            for (signal, seen) in Signal::ALL.into_iter().zip(of.signals) {
                if let Some(seen) = seen {
                    let (signal, value) = (signal.as_str(), value(seen));
                    let labels = format!("{{service=\"{service}\",signal=\"{signal}\"}}");
                    let _ = writeln!(page, "{name}{labels} {value}");
                }
            }
        }
    };
    metric(
        "holdpoint_service_arrivals_total",
        "counter",
        "Export requests with records of the service",
        |seen| seen.arrivals.to_string(),
    );
    metric(
        "holdpoint_service_records_total",
        "counter",
        "Spans, data points and log records of the service",
        |seen| seen.records.to_string(),
    );
    metric(
        "holdpoint_service_last_arrival_age_seconds",
        "gauge",
        "Time since the last arrival, of the instance and revision that was heard last",
        |seen| (seen.age_ms as f64 / 1_000.0).to_string(),
    );
}

fn head(page: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// A label's value, with what would end it written otherwise.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
