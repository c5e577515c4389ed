//! The table of rows, the flow as a whole, and the latest echoes.
//!
//! Invariant: the cursor moves with every change, and each row, echo and the flow remember the
//! cursor of their last change.

use std::collections::{HashMap, VecDeque};

use watchdog_core::names::{Boot, Instance, Revision, Service};
use watchdog_core::probe::ProbeEcho;
use watchdog_core::tally::{Flow, Signal, TallyPage};
use watchdog_core::tick::Tick;

use super::Size;
use super::row::{Arrival, Names, Row};
use super::streams::Watched;
use crate::ledger::Outgo;
use crate::scan::{Found, Identity, Probe, Scanned, Sighting};

/// Echoes that are kept for readers; at two probes a second, minutes of them.
const ECHOES_MAX: usize = 512;
/// Without a probe for so long nobody probes.
const PROBING_MS: u64 = 60_000;

#[derive(Debug)]
pub(super) struct Book {
    boot: Boot,
    cursor: u64,
    rows_max: usize,
    rows: Vec<Row>,
    /// From the key of [`write_key`] to the place in `rows`.
    index: HashMap<Box<[u8]>, usize>,
    /// The key that is looked for; kept so that a lookup allocates nothing.
    key: Vec<u8>,
    streams: Watched,
    echoes: VecDeque<Echo>,
    /// When the last probe of each signal came.
    last_probes: [Option<Tick>; 3],
    /// The first probe of each that came after the last one that reached the far tap.
    unanswered_since: [Option<Tick>; 3],
    flow: Flowing,
    rows_refused: u64,
    unnamed_records: u64,
    /// Counts requests, to tell two resources of one request from two requests.
    request: u64,
}

#[derive(Debug)]
struct Echo {
    changed_at: u64,
    at: Tick,
    probe: Probe,
}

/// Why records are in no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NoRow {
    /// Their resource has no `service.name`, or one that is no name.
    Unnamed,
    /// The table is full.
    Full,
}

/// The counts of [`Flow`].
#[derive(Debug)]
pub(super) struct Flowing {
    pub(super) backend: bool,
    received: u64,
    pub(super) forwarded: u64,
    pub(super) refused: u64,
    /// By the exporters.
    dropped: u64,
    pub(super) dropped_by_rule: u64,
    queued: u64,
    last_forward: Option<Tick>,
}

impl Book {
    pub(super) fn new(boot: Boot, rows_max: usize, backend: bool) -> Self {
        let flow = Flowing {
            backend,
            received: 0,
            forwarded: 0,
            refused: 0,
            dropped: 0,
            dropped_by_rule: 0,
            queued: 0,
            last_forward: None,
        };
        Self {
            // A boot without a time starts at 1: 0 means "everything" to readers.
            cursor: boot.started_ms().map_or(1, |ms| ms.saturating_mul(1_000).max(1)),
            boot,
            rows_max,
            rows: Vec::new(),
            index: HashMap::new(),
            key: Vec::new(),
            streams: Watched::default(),
            echoes: VecDeque::new(),
            last_probes: [None; 3],
            unanswered_since: [None; 3],
            flow,
            rows_refused: 0,
            unnamed_records: 0,
            request: 0,
        }
    }

    pub(super) const fn cursor(&self) -> u64 {
        self.cursor
    }

    /// The flow, to be changed.
    pub(super) const fn flow_mut(&mut self) -> &mut Flowing {
        self.cursor += 1;
        &mut self.flow
    }

    /// Takes over how far the exporters are. It is told again and again, also when nothing moved,
    /// and then no reader is woken.
    pub(super) fn follow(&mut self, worst: Outgo, delivered: Option<Tick>) {
        let Flowing { forwarded, dropped, queued, .. } = self.flow;
        let has_moved =
            (forwarded, dropped, queued) != (worst.forwarded, worst.dropped, worst.waiting);
        if has_moved || delivered.is_some() {
            self.flow_mut().follow(worst, delivered);
        }
    }

    pub(super) fn add(&mut self, scanned: &Scanned<'_>, now: Tick, unix_ms: u64) {
        self.cursor += 1;
        self.request += 1;
        let arrival = Arrival { request: self.request, at: now, unix_ms };
        self.flow.received += scanned.records;
        let mut sightings: &[Sighting] = &scanned.sightings;
        scanned.each(|found| {
            let (of_this, of_others) = sightings
                .split_at_checked(found.counts.sightings)
                .expect("a scan finds the same sightings again");
            sightings = of_others;
            let has_any = found.counts.records + found.counts.ended > 0;
            if has_any && !found.identity.is_probe() {
                self.add_found(scanned, found, of_this, arrival);
            }
        });
    }

    /// A service that is known is told to be silent because of us.
    pub(super) fn refused(&mut self, scanned: &Scanned<'_>) {
        self.flow_mut().refused += scanned.records;
        scanned.each(|found| {
            write_key(&mut self.key, &found.identity);
            if let Some(at) = self.index.get(self.key.as_slice()).copied() {
                let row = &mut self.rows[at];
                row.particulars.refused += found.counts.records;
                row.changed_at = self.cursor;
            }
        });
    }

    /// A service is told to be silent because of our rules.
    pub(super) fn emptied(&mut self, scanned: &Scanned<'_>) {
        self.flow_mut().received += scanned.records;
        scanned.each(|found| {
            if found.counts.records == 0 || found.identity.is_probe() {
                return;
            }
            match self.row_of(&found.identity) {
                Ok(at) => {
                    let row = &mut self.rows[at];
                    row.particulars.ruled_out[scanned.signal as usize] += found.counts.records;
                    row.changed_at = self.cursor;
                }
                Err(NoRow::Unnamed) => self.unnamed_records += found.counts.records,
                Err(NoRow::Full) => self.rows_refused += 1,
            }
        });
    }

    fn add_found(
        &mut self,
        scanned: &Scanned<'_>,
        found: &Found<'_>,
        sightings: &[Sighting],
        arrival: Arrival,
    ) {
        // A series that ended is no arrival: it makes no row where none is.
        let row = if found.counts.records > 0 {
            self.row_of(&found.identity)
        } else {
            write_key(&mut self.key, &found.identity);
            self.index.get(self.key.as_slice()).copied().ok_or(NoRow::Unnamed)
        };
        match row {
            Ok(at) => {
                let row = &mut self.rows[at];
                row.add(scanned.signal, &found.counts, arrival);
                self.streams.see(at, sightings, &mut row.particulars);
                row.changed_at = self.cursor;
            }
            Err(NoRow::Unnamed) => self.unnamed_records += found.counts.records,
            Err(NoRow::Full) => self.rows_refused += 1,
        }
    }

    /// The place of the row of `identity`, which is made if there is room.
    fn row_of(&mut self, identity: &Identity<'_>) -> Result<usize, NoRow> {
        write_key(&mut self.key, identity);
        if let Some(at) = self.index.get(self.key.as_slice()) {
            return Ok(*at);
        }
        let names = names(identity).ok_or(NoRow::Unnamed)?;
        // A name that is not acceptable was dropped, so this may be a row that exists.
        write_key(&mut self.key, &names.identity());
        if let Some(at) = self.index.get(self.key.as_slice()) {
            return Ok(*at);
        }
        if self.rows.len() >= self.rows_max {
            return Err(NoRow::Full);
        }
        let at = self.rows.len();
        self.rows.push(Row::new(names));
        self.index.insert(self.key.as_slice().into(), at);
        Ok(at)
    }

    pub(super) fn probe_came(&mut self, signal: Signal, now: Tick) {
        self.last_probes[signal as usize] = Some(now);
        self.unanswered_since[signal as usize].get_or_insert(now);
    }

    /// The signal whose probes have come in for the longest without an answer.
    pub(super) fn probes_unanswered(&self, now: Tick) -> Option<(Signal, u64)> {
        let waits = Signal::ALL.into_iter().filter_map(|signal| {
            let keep_coming =
                self.last_probes[signal as usize].is_some_and(|at| now.since_ms(at) < PROBING_MS);
            let since = self.unanswered_since[signal as usize].filter(|_| keep_coming)?;
            Some((signal, now.since_ms(since)))
        });
        waits.max_by_key(|(_, for_ms)| *for_ms)
    }

    pub(super) fn echo(&mut self, probes: Vec<Probe>, now: Tick) {
        self.cursor += 1;
        for probe in probes {
            self.unanswered_since[probe.signal as usize] = None;
            if self.echoes.len() == ECHOES_MAX {
                self.echoes.pop_front();
            }
            self.echoes.push_back(Echo { changed_at: self.cursor, at: now, probe });
        }
    }

    pub(super) fn size(&self) -> Size {
        Size {
            rows: self.rows.len(),
            rows_refused: self.rows_refused,
            unnamed_records: self.unnamed_records,
            queued_records: self.flow.queued,
        }
    }

    pub(super) fn page(&self, after: u64, now: Tick) -> TallyPage {
        // A cursor from the future is of another boot.
        let after = if after > self.cursor { 0 } else { after };
        let rows = self.rows.iter().filter(|row| row.changed_at > after);
        let echoes = self.echoes.iter().filter(|echo| echo.changed_at > after);
        TallyPage {
            boot: self.boot.clone(),
            cursor: self.cursor,
            rows: rows.map(|row| row.tell(now)).collect(),
            echoes: echoes.map(|echo| echo.tell(now)).collect(),
            flow: self.flow.tell(now),
        }
    }
}

impl Echo {
    fn tell(&self, now: Tick) -> ProbeEcho {
        let Probe { signal, run, seq, value, mac } = self.probe.clone();
        ProbeEcho { signal, run, seq, value, mac, age_ms: now.since_ms(self.at) }
    }
}

impl Flowing {
    /// Takes over how far the exporters are.
    pub(super) fn follow(&mut self, worst: Outgo, delivered: Option<Tick>) {
        self.forwarded = worst.forwarded;
        self.dropped = worst.dropped;
        self.queued = worst.waiting;
        self.last_forward = delivered.or(self.last_forward);
    }

    fn tell(&self, now: Tick) -> Flow {
        Flow {
            received: self.received,
            forwarded: self.forwarded,
            refused: self.refused,
            dropped: self.dropped + self.dropped_by_rule,
            dropped_by_rule: self.dropped_by_rule,
            queued: self.queued,
            backend: self.backend,
            last_forward_age_ms: self.last_forward.map(|at| now.since_ms(at)),
        }
    }
}

/// Writes a key that differs whenever the identity does. Lengths stand before the texts, so that
/// no text can imitate a border.
fn write_key(key: &mut Vec<u8>, identity: &Identity<'_>) {
    key.clear();
    for part in [identity.namespace, identity.name, identity.instance, identity.version] {
        match part {
            None => key.push(0),
            Some(text) => {
                key.push(1);
                key.extend_from_slice(&text.len().to_le_bytes());
                key.extend_from_slice(text.as_bytes());
            }
        }
    }
}

/// The identity as names; an instance or revision that is no name is left out.
fn names(identity: &Identity<'_>) -> Option<Names> {
    let name = identity.name?;
    let service = match identity.namespace {
        None => Service::new(name),
        Some(namespace) => Service::new(format!("{namespace}/{name}")),
    };
    Some(Names {
        service: service.ok()?,
        namespace_bytes: identity.namespace.map(str::len),
        instance: identity.instance.and_then(|text| Instance::new(text).ok()),
        revision: identity.version.and_then(|text| Revision::new(text).ok()),
    })
}
