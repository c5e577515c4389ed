//! One row: a service, instance and revision, and what arrived from it.
//!
//! Invariant: a signal that never arrived, and requests that were never seen, are `None`.

use watchdog_core::names::{Instance, Revision, Service};
use watchdog_core::tally::{DURATION_BOUNDS_MS, Particulars, Red, Signal, SignalTally, TallyRow};
use watchdog_core::tick::Tick;

use crate::scan::{Counts, Identity};

/// Fingerprints that are remembered: an exporter that splits its metrics over this many requests
/// and then repeats them is still seen to stand still.
const RECENT: usize = 8;

/// Who the row is of.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) service: Service,
    /// Where the namespace ends in `service`, if it has one.
    pub(super) namespace_bytes: Option<usize>,
    pub(super) instance: Option<Instance>,
    pub(super) revision: Option<Revision>,
}

impl Names {
    /// The names as the scan would find them.
    pub(super) fn identity(&self) -> Identity<'_> {
        let service = self.service.as_str();
        let (namespace, name) = match self.namespace_bytes {
            None => (None, service),
            Some(end) => (Some(&service[..end]), &service[end + 1..]),
        };
        Identity {
            namespace,
            name: Some(name),
            instance: self.instance.as_ref().map(Instance::as_str),
            version: self.revision.as_ref().map(Revision::as_str),
        }
    }
}

#[derive(Debug)]
pub(super) struct Row {
    names: Names,
    pub(super) changed_at: u64,
    traces: Option<Arrivals>,
    metrics: Option<Arrivals>,
    logs: Option<Arrivals>,
    red: Option<Red>,
    pub(super) particulars: Particulars,
}

/// One request as it arrives.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    /// Its number.
    pub(super) request: u64,
    pub(super) at: Tick,
    /// The same moment by the clock that records are dated by.
    pub(super) unix_ms: u64,
}

#[derive(Debug)]
struct Arrivals {
    arrivals: u64,
    records: u64,
    changes: u64,
    last: Tick,
    /// How much later the last request came than its newest record says; `None` if none says.
    late_ms: Option<i64>,
    /// The request that was counted last, and whether it was counted as a change.
    request: u64,
    changed: bool,
    recent: [Option<u64>; RECENT],
    /// Where the next fingerprint goes.
    next: usize,
}

impl Row {
    pub(super) fn new(names: Names) -> Self {
        let particulars = Particulars::default();
        Self {
            names,
            changed_at: 0,
            traces: None,
            metrics: None,
            logs: None,
            red: None,
            particulars,
        }
    }

    /// Counts what `request` holds of this row; a request may come here several times.
    pub(super) fn add(&mut self, signal: Signal, counts: &Counts, arrival: Arrival) {
        let arrivals = match signal {
            Signal::Traces => &mut self.traces,
            Signal::Metrics => &mut self.metrics,
            Signal::Logs => &mut self.logs,
        };
        if counts.records > 0 {
            arrivals.get_or_insert_with(|| Arrivals::new(arrival.at)).add(counts, arrival);
        }
        self.add_particulars(signal, counts);
        if counts.requests > 0 {
            let none = Red { requests: 0, errors: 0, durations: [0; DURATION_BOUNDS_MS.len() + 1] };
            let red = self.red.get_or_insert(none);
            red.requests += counts.requests;
            red.errors += counts.errors;
            for (sum, count) in red.durations.iter_mut().zip(counts.durations) {
                *sum += count;
            }
        }
    }

    fn add_particulars(&mut self, signal: Signal, counts: &Counts) {
        let sum = &mut self.particulars;
        match signal {
            Signal::Traces => {
                let (requests, errors) =
                    (&mut sum.adjusted_requests_milli, &mut sum.adjusted_errors_milli);
                *requests = requests.saturating_add(counts.adjusted_milli);
                *errors = errors.saturating_add(counts.adjusted_errors_milli);
            }
            Signal::Metrics => {
                sum.streams.ended += counts.ended;
                sum.streams.not_finite += counts.not_finite;
                sum.streams.unwatched += counts.unseen;
            }
            Signal::Logs => sum.error_logs += counts.errors,
        }
    }

    pub(super) fn tell(&self, now: Tick) -> TallyRow {
        let tell = |arrivals: &Option<Arrivals>| arrivals.as_ref().map(|it| it.tell(now));
        TallyRow {
            service: self.names.service.clone(),
            instance: self.names.instance.clone(),
            revision: self.names.revision.clone(),
            traces: tell(&self.traces),
            metrics: tell(&self.metrics),
            logs: tell(&self.logs),
            red: self.red.clone(),
            particulars: Some(self.particulars.clone()),
        }
    }
}

impl Arrivals {
    const fn new(now: Tick) -> Self {
        Self {
            arrivals: 0,
            records: 0,
            changes: 0,
            last: now,
            late_ms: None,
            request: 0,
            changed: false,
            recent: [None; RECENT],
            next: 0,
        }
    }

    fn add(&mut self, counts: &Counts, arrival: Arrival) {
        if self.request != arrival.request {
            self.request = arrival.request;
            self.changed = false;
            self.late_ms = None;
            self.arrivals += 1;
        }
        self.records += counts.records;
        self.last = arrival.at;
        if counts.newest_ns > 0 {
            let late_ms = signed(arrival.unix_ms) - signed(counts.newest_ns / 1_000_000);
            self.late_ms = Some(self.late_ms.map_or(late_ms, |known| known.min(late_ms)));
        }
        if !self.recent.contains(&Some(counts.fingerprint)) {
            self.recent[self.next] = Some(counts.fingerprint);
            self.next = (self.next + 1) % RECENT;
            if !self.changed {
                self.changed = true;
                self.changes += 1;
            }
        }
    }

    const fn tell(&self, now: Tick) -> SignalTally {
        SignalTally {
            arrivals: self.arrivals,
            records: self.records,
            changes: self.changes,
            last_age_ms: now.since_ms(self.last),
            late_ms: self.late_ms,
        }
    }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).expect("64 bits of nanoseconds are less than 2^63 milliseconds")
}
