//! The collector: it counts what arrives and answers the watchdog's poll.
//!
//! Invariant: a signal that never arrived has no entry.

use std::collections::BTreeMap;

use watchdog_core::beat::{BeatBody, Token};
use watchdog_core::names::{Boot, Instance, Revision, Service};
use watchdog_core::tally::{Flow, Red, SignalTally, TallyPage, TallyRow};

use crate::fault::Fault;
use crate::service::Batch;

#[derive(Debug)]
pub struct Collector {
    service: Service,
    boot: Boot,
    rows: BTreeMap<(Instance, Revision), Row>,
    seq: u64,
    received: u64,
    forwarded: u64,
    dropped: u64,
    forwarded_at: Option<u64>,
    /// The fault it has, once it has begun.
    pub fault: Option<Fault>,
    is_dirty: bool,
}

#[derive(Debug, Default)]
struct Row {
    traces: Option<(SignalTally, u64)>,
    metrics: Option<(SignalTally, u64)>,
    requests: u64,
    errors: u64,
    is_dirty: bool,
}

impl Collector {
    pub fn new(service: Service, now: u64) -> Self {
        Self {
            service,
            boot: Boot::new(format!("{now}-c")).expect("valid"),
            rows: BTreeMap::new(),
            seq: 0,
            received: 0,
            forwarded: 0,
            dropped: 0,
            forwarded_at: None,
            fault: None,
            is_dirty: false,
        }
    }

    pub fn boot(&self) -> Boot {
        self.boot.clone()
    }

    pub const fn is_dirty(&self) -> bool {
        self.is_dirty
    }

    pub fn arrive(&mut self, instance: &Instance, revision: &Revision, batch: Batch, now: u64) {
        let row = self.rows.entry((instance.clone(), revision.clone())).or_default();
        let (spans, points) = (batch.spans, batch.points);
        if spans > 0 {
            count(&mut row.traces, spans, true, batch.dated, now);
            row.requests += spans;
            row.errors += batch.errors;
        }
        if points > 0 {
            count(&mut row.metrics, points, batch.changed, batch.dated, now);
        }
        row.is_dirty = true;
        self.is_dirty = true;
        self.received += spans + points;
        if self.fault == Some(Fault::BackendDown) {
            return;
        }
        if self.fault == Some(Fault::CollectorDrops) {
            self.dropped += spans + points;
            return;
        }
        self.forwarded = self.received - self.dropped;
        self.forwarded_at = Some(now);
    }

    /// Its own beat; none from a stopped process.
    pub fn beat(&mut self) -> Option<BeatBody> {
        if self.fault == Some(Fault::CollectorStopped) {
            return None;
        }
        let stands = self.fault == Some(Fault::CollectorHangs);
        let turns = self.seq + u64::from(!stands);
        self.seq += 1;
        Some(BeatBody {
            instance: Instance::new("c").expect("valid"),
            boot: self.boot.clone(),
            seq: self.seq,
            token: if stands { Token::Text("hung".to_owned()) } else { Token::Number(turns) },
            requests: None,
            errors: None,
            revision: None,
            leaving: false,
        })
    }

    /// The answer to a poll; none from a collector that hangs.
    pub fn page(&mut self, now: u64) -> Option<TallyPage> {
        if matches!(self.fault, Some(Fault::CollectorStopped | Fault::CollectorHangs)) {
            return None;
        }
        self.is_dirty = false;
        let service = &self.service;
        let dirty = self.rows.iter_mut().filter(|(_, row)| row.is_dirty);
        let rows = dirty
            .map(|((instance, revision), row)| {
                row.is_dirty = false;
                let aged = |counted: &Option<(SignalTally, u64)>| {
                    counted
                        .as_ref()
                        .map(|(tally, at)| SignalTally { last_age_ms: now - at, ..tally.clone() })
                };
                TallyRow {
                    service: service.clone(),
                    instance: Some(instance.clone()),
                    revision: Some(revision.clone()),
                    traces: aged(&row.traces),
                    metrics: aged(&row.metrics),
                    logs: None,
                    red: row.traces.is_some().then_some(Red {
                        requests: row.requests,
                        errors: row.errors,
                        durations: [0; 16],
                    }),
                    particulars: None,
                }
            })
            .collect();
        let flow = Flow {
            received: self.received,
            forwarded: self.forwarded,
            refused: 0,
            dropped: self.dropped,
            dropped_by_rule: 0,
            queued: self.received - self.forwarded - self.dropped,
            backend: true,
            last_forward_age_ms: self.forwarded_at.map(|at| now - at),
        };
        Some(TallyPage { boot: self.boot.clone(), cursor: now, rows, echoes: Vec::new(), flow })
    }
}

fn count(
    counted: &mut Option<(SignalTally, u64)>,
    records: u64,
    changed: bool,
    dated: u64,
    now: u64,
) {
    let fresh = SignalTally { arrivals: 0, records: 0, changes: 0, last_age_ms: 0, late_ms: None };
    let (tally, at) = counted.get_or_insert((fresh, now));
    tally.arrivals += 1;
    tally.records += records;
    tally.changes += u64::from(changed);
    let ms = |at: u64| i64::try_from(at).expect("a small number");
    tally.late_ms = Some(ms(now) - ms(dated));
    *at = now;
}
