//! The line in which requests wait for the exporters.
//!
//! ```text
//!        settled        being sent         waiting
//!  ──────────────────┬──────────────┬───────────────────────► arrivals
//!                    low            cursor of an exporter
//! ```
//!
//! All exporters walk the same line, each with a cursor of its own, so the bytes of a request are
//! there once. With a spool, what is oldest leaves the memory when there is too much of it, and an
//! exporter that is behind reads it back. Without one, the line is bounded and a full line refuses.
//!
//! Invariant: each exporter is given each entry that is owed to it once, in the order of arrival,
//! and an entry stays owed until its [`Share`] says how it ended.

mod cursor;
mod fair;
mod flow;
mod share;
mod source;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};
use tracing::warn;

use crate::arrival::Payload;
use crate::driver;
use crate::kind::Kind;
use crate::ledger::{Ledger, Outgo, PerKind};
use crate::metrics::ExporterMetrics;
use crate::refusal::Refusal;
use crate::scan::Probe;
use crate::spool::{Owner, Place, Recovered, Resume, Spool};
use crate::tally::Tally;

use cursor::Cursor;
use fair::Fair;
use flow::Flow;
pub(crate) use share::{DropReason, Ending, Item};
pub(crate) use source::Source;

/// What an entry costs beside its bytes, so that a flood of tiny requests is bounded too.
const ENTRY_BYTES: usize = 512;
/// Requests whose end is watched for the probes in them; beyond it probes are not echoed.
const TAPS_MAX: usize = 4_096;
const ALL_TAKEN: Ending = Ending::Taken { rejected: 0 };

/// One exporter's place at the line.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) name: String,
    pub(crate) owner: Owner,
    /// Which kinds of requests it takes, in the order of [`Kind::ALL`].
    pub(crate) takes: [bool; Kind::ALL.len()],
    /// Bytes that may wait for it in memory, if there is no spool.
    pub(crate) bytes_max: AtomicUsize,
    pub(crate) metrics: Arc<ExporterMetrics>,
    pub(crate) wake: Notify,
}

/// The line.
#[derive(Debug)]
pub(crate) struct Line {
    state: Mutex<State>,
    spool: Option<Spool>,
    tally: Arc<Tally>,
}

#[derive(Debug)]
struct State {
    /// Ordered by number; numbers may be missing.
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Bytes that are kept in memory if there is a spool.
    bytes_max: usize,
    /// Entries before it are not in memory.
    first: u64,
    next: u64,
    /// Exporters by number, those that are retired among them.
    seats: Vec<Arc<Seat>>,
    cursors: Vec<Cursor>,
    taps: HashMap<u64, Tap>,
    ledger: Ledger,
    flow: Flow,
    fair: Fair,
    /// What an earlier run left for exporters that take their seats now.
    recovered: Option<Recovered>,
    is_closed: bool,
}

#[derive(Debug)]
struct Entry {
    seq: u64,
    kind: Kind,
    records: u64,
    /// Bytes in memory.
    bytes: usize,
    /// Bytes for which it counts while it waits.
    weight: usize,
    payload: Arc<Payload>,
    place: Option<Place>,
}

/// What happens when all exporters are done with an entry.
#[derive(Debug)]
struct Tap {
    left: usize,
    /// The worst so far.
    ending: Ending,
    probes: Vec<Probe>,
    ended: Option<oneshot::Sender<Ending>>,
}

/// A request that goes to the end of the line.
#[derive(Debug)]
pub(crate) struct Joining {
    pub(crate) kind: Kind,
    pub(crate) records: u64,
    pub(crate) payload: Arc<Payload>,
    pub(crate) probes: Vec<Probe>,
    /// Whose it is, for the fair share.
    pub(crate) service: Arc<str>,
    /// Told when all exporters are done with it.
    pub(crate) ended: Option<oneshot::Sender<Ending>>,
}

impl Line {
    /// A line without exporters, which goes on where an earlier run ended if there is a spool.
    pub(crate) fn new(
        spool: Option<(Spool, Recovered)>,
        bytes_max: usize,
        tally: Arc<Tally>,
    ) -> Arc<Self> {
        let (spool, recovered) = match spool {
            Some((spool, recovered)) => (Some(spool), recovered),
            None => (None, Recovered::nothing()),
        };
        let mut ledger = Ledger::default();
        ledger.recover(&recovered.found);
        let state = State {
            entries: VecDeque::new(),
            bytes: 0,
            bytes_max,
            first: recovered.next_seq,
            next: recovered.next_seq,
            seats: Vec::new(),
            cursors: Vec::new(),
            taps: HashMap::new(),
            ledger,
            flow: Flow::default(),
            fair: Fair::default(),
            recovered: Some(recovered),
            is_closed: false,
        };
        Arc::new(Self { state: Mutex::new(state), spool, tally })
    }

    /// All exporters of the start have their seats. What was owed to others is not sent any more;
    /// the records of each such request are returned.
    pub(crate) fn begun(&self) -> Vec<(Kind, u64)> {
        let recovered = self.state().recovered.take();
        let left = recovered.map_or_else(Vec::new, |recovered| recovered.removed());
        if !left.is_empty() {
            let (requests, records) = (left.len(), left.iter().map(|(_, n)| n).sum::<u64>());
            warn!(requests, records, "the spool held these for backends that are not configured");
        }
        left
    }

    /// One exporter more; it is owed what joins from now on.
    pub(crate) fn add(&self, seat: Seat) -> usize {
        let mut state = self.state();
        let next = state.next;
        let resume = match &mut state.recovered {
            Some(recovered) => recovered.resume(seat.owner),
            None => Resume::at(next),
        };
        let who = state.seat(seat, resume);
        self.tell_owners(&state);
        who
    }

    /// The exporter at `who` may have so many bytes waiting, if there is no spool.
    pub(crate) fn bound(&self, who: usize, bytes_max: usize) {
        self.state().seats[who].bytes_max.store(bytes_max, Ordering::Relaxed);
    }

    pub(crate) const fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// The exporter at `who` is given what is owed to it, and nothing new.
    pub(crate) fn retire(&self, who: usize) {
        let mut state = self.state();
        let end = state.next;
        state.cursors[who].end.get_or_insert(end);
        state.seats[who].wake.notify_one();
        self.tell_owners(&state);
    }

    fn tell_owners(&self, state: &State) {
        if let Some(spool) = &self.spool {
            spool.set_owners(state.active().map(|(seat, _)| seat.owner).collect());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) const fn spool(&self) -> Option<&Spool> {
        self.spool.as_ref()
    }

    /// The seats of exporters that are not retired, with the bytes that wait for each.
    pub(crate) fn seats(&self) -> Vec<(Arc<Seat>, usize)> {
        let state = self.state();
        let active = state.active();
        active.map(|(seat, cursor)| (Arc::clone(seat), cursor.waiting_bytes)).collect()
    }

    /// All counts of one moment, and whose they are: the name of each exporter, and whether it is
    /// retired.
    pub(crate) fn books(&self) -> (Vec<(String, bool)>, Ledger) {
        let state = self.state();
        let names = state.seats.iter().map(|seat| seat.name.clone());
        let retired = state.cursors.iter().map(|cursor| cursor.end.is_some());
        (names.zip(retired).collect(), state.ledger.clone())
    }

    /// Whether the smallest request would be refused.
    pub(crate) fn is_full(&self) -> bool {
        match &self.spool {
            Some(spool) => spool.is_failing() || spool.reserve(0).is_none(),
            None => !has_room(&self.state(), ENTRY_BYTES),
        }
    }

    /// Records came in that are well formed.
    pub(crate) fn received(&self, kind: Kind, records: u64) {
        let mut state = self.state();
        let intake = state.ledger.intake.of(kind);
        intake.received += records;
        intake.pending += records;
    }

    /// Records that came in are refused.
    pub(crate) fn refused(&self, kind: Kind, records: u64) {
        let mut state = self.state();
        let intake = state.ledger.intake.of(kind);
        intake.pending = intake.pending.saturating_sub(records);
        intake.refused += records;
    }

    /// Records that came in are dropped by a rule of the configuration.
    pub(crate) fn ruled_out(&self, kind: Kind, records: u64) {
        let mut state = self.state();
        let intake = state.ledger.intake.of(kind);
        intake.received += records;
        intake.ruled_out += records;
    }

    /// Puts a request to the end of a line that is in memory alone.
    pub(crate) fn join(&self, joining: Joining) -> Result<(), Refusal> {
        let mut state = self.state();
        if self.spool.is_some() || state.active().next().is_none() {
            // It came while nothing was to be exported.
            state.ledger.accept(joining.kind, joining.records);
            self.tell(&mut state, false);
            drop(state);
            self.reached(joining.probes, joining.ended, ALL_TAKEN);
            return Ok(());
        }
        let bytes = joining.payload.bytes();
        if !has_room(&state, bytes) {
            return Err(Refusal::QueueFull);
        }
        let capacity = state.active().map(|(seat, _)| seat.bytes_max.load(Ordering::Relaxed));
        let capacity = capacity.min().unwrap_or(usize::MAX);
        if !state.fair.admits(&joining.service, bytes + ENTRY_BYTES, capacity) {
            return Err(Refusal::ShareFull);
        }
        let seq = state.next;
        self.push(&mut state, seq, None, joining);
        Ok(())
    }

    /// Whether `service` may put so many more bytes into the spool.
    pub(crate) fn is_fair(&self, service: &str, bytes: usize, spool: &Spool) -> bool {
        let capacity = usize::try_from(spool.limit_bytes()).unwrap_or(usize::MAX);
        self.state().fair.admits(service, bytes + ENTRY_BYTES, capacity)
    }

    /// Puts a request to the end of the line that the spool has as entry `seq` at `place`.
    pub(crate) fn spooled(&self, seq: u64, place: Place, joining: Joining) {
        self.push(&mut self.state(), seq, Some(place), joining);
    }

    fn push(&self, state: &mut State, seq: u64, place: Option<Place>, joining: Joining) {
        let Joining { kind, records, payload, probes, service, ended } = joining;
        state.next = seq + 1;
        state.ledger.accept(kind, records);
        let bytes = payload.bytes() + ENTRY_BYTES;
        // In the spool there is one form of it.
        let weight =
            if place.is_some() { payload.stored_form().1.len() + ENTRY_BYTES } else { bytes };
        let mut left = 0;
        let State { seats, cursors, ledger, .. } = &mut *state;
        for ((seat, cursor), outgo) in seats.iter().zip(cursors).zip(&mut ledger.outgo) {
            cursor.place = cursor.place.or(place);
            if cursor.end.is_none() && seat.is_for(kind) {
                let outgo = outgo.of(kind);
                outgo.owed += records;
                outgo.waiting += records;
                cursor.waiting_bytes += weight;
                left += 1;
            }
        }
        if left == 0 {
            self.tell(state, true);
            return self.reached(probes, ended, ALL_TAKEN);
        }
        // Who waits for the end is bounded by the requests in flight.
        if ended.is_some() || (!probes.is_empty() && state.taps.len() < TAPS_MAX) {
            state.taps.insert(seq, Tap { left, ending: ALL_TAKEN, probes, ended });
        }
        state.fair.joined(seq, service, weight);
        state.bytes += bytes;
        state.entries.push_back(Entry { seq, kind, records, bytes, weight, payload, place });
        state.trim(self.spool.is_some());
        self.tell(state, false);
        state.wake();
    }

    /// All exporters are done with a request. Only one that was taken whole is at the far tap.
    fn reached(&self, probes: Vec<Probe>, ended: Option<oneshot::Sender<Ending>>, ending: Ending) {
        if ending == ALL_TAKEN && !probes.is_empty() {
            self.tally.echo(probes, driver::now());
        }
        if let Some(ended) = ended {
            // Whoever asked may be gone.
            let _ = ended.send(ending);
        }
    }

    /// Tells the watchdog how far the exporters are.
    fn tell(&self, state: &mut State, delivered: bool) {
        let flow = state.flow.follow(&state.cursors, &state.ledger);
        self.tally.flow(flow, delivered.then(driver::now));
    }

    /// The exporter at `who` is done with its share.
    fn settle(&self, who: usize, share: &share::Owed, ending: Ending) {
        let dropped = ending.dropped(share.records).map_or(0, |(_, dropped)| dropped);
        let mut state = self.state();
        let cursor = &mut state.cursors[who];
        if !cursor.sending.remove(&share.seq) {
            return;
        }
        cursor.waiting_bytes = cursor.waiting_bytes.saturating_sub(share.weight);
        let low = state.cursors.iter().map(Cursor::low).min().unwrap_or(state.next);
        let settled = low.min(state.next);
        state.fair.settled_before(settled);
        let outgo = state.ledger.outgo[who].of(share.kind);
        outgo.waiting = outgo.waiting.saturating_sub(share.records);
        outgo.dropped += dropped;
        outgo.forwarded += share.records - dropped;
        self.tell(&mut state, share.records == 0 || dropped < share.records);
        let ended = state.tap(share.seq, ending);
        if let Some(spool) = &self.spool {
            spool.settle(state.seats[who].owner, share.seq, low.min(state.next));
        }
        drop(state);
        if let Some(Tap { ending, probes, ended, .. }) = ended {
            self.reached(probes, ended, ending);
        }
    }

    /// Ends the line: what is in it is still given out, and then `None`.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        state.wake();
    }
}

/// Whether every exporter has room for so many bytes.
fn has_room(state: &State, bytes: usize) -> bool {
    let fits = |(seat, cursor): (&Arc<Seat>, &Cursor)| {
        cursor.waiting_bytes + bytes <= seat.bytes_max.load(Ordering::Relaxed)
    };
    state.active().all(fits)
}

impl State {
    /// A seat with its cursor and its page of the ledger.
    fn seat(&mut self, seat: Seat, resume: Resume) -> usize {
        let mut outgo = PerKind::<Outgo>::default();
        for (kind, records, _) in resume.owed.iter().filter(|(kind, ..)| seat.is_for(*kind)) {
            let outgo = outgo.of(*kind);
            outgo.owed += records;
            outgo.waiting += records;
        }
        self.ledger.outgo.push(outgo);
        self.flow.join();
        self.cursors.push(Cursor::resumed(resume));
        self.seats.push(Arc::new(seat));
        self.seats.len() - 1
    }

    fn active(&self) -> impl Iterator<Item = (&Arc<Seat>, &Cursor)> {
        self.seats.iter().zip(&self.cursors).filter(|(_, cursor)| cursor.end.is_none())
    }

    fn wake(&self) {
        self.seats.iter().for_each(|seat| seat.wake.notify_one());
    }

    /// Lets go of what all cursors have passed, and with a spool of what is too much.
    fn trim(&mut self, has_spool: bool) {
        let passed = self.cursors.iter().map(Cursor::wanted).min().unwrap_or(u64::MAX);
        while let Some(entry) = self.entries.front() {
            let is_passed = entry.seq < passed;
            let is_too_much = has_spool && self.bytes > self.bytes_max && self.entries.len() > 1;
            if !is_passed && !is_too_much {
                return;
            }
            self.first = entry.seq + 1;
            self.bytes -= entry.bytes;
            self.entries.pop_front();
        }
    }

    /// One exporter less is to end `seq`; the tap if it was the last.
    fn tap(&mut self, seq: u64, ending: Ending) -> Option<Tap> {
        let tap = self.taps.get_mut(&seq)?;
        tap.left -= 1;
        tap.ending = tap.ending.worse(ending);
        if tap.left == 0 { self.taps.remove(&seq) } else { None }
    }
}

impl Seat {
    pub(crate) fn is_for(&self, kind: Kind) -> bool {
        self.takes[kind.place()]
    }
}
