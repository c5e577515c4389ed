//! An exporter's end of the line.
//!
//! Invariant: `recv` may be dropped at any await and loses nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tracing::error;

use super::share::{Item, Owed, Share};
use super::{DropReason, ENTRY_BYTES, Entry, Line, Seat, State};
use crate::arrival::Payload;
use crate::kind::Kind;
use crate::spool::{Place, Reader, Spool, SpoolError, Stored};

/// How long a spool that cannot be read is left alone.
const UNREADABLE_FOR: Duration = Duration::from_secs(1);

/// What there is for an exporter.
enum Next {
    Item(Item),
    /// It is on disk only, from this place on and before this entry.
    Behind(Place, u64),
    Nothing,
    Closed,
}

/// Entries that are being read back.
type Reading = JoinHandle<(Reader, Result<Vec<Stored>, SpoolError>)>;

/// Gives one exporter what is owed to it.
#[derive(Debug)]
pub(crate) struct Source {
    line: Arc<Line>,
    who: usize,
    seat: Arc<Seat>,
    reader: Option<Reader>,
    reading: Option<Reading>,
    read: VecDeque<Stored>,
}

impl Source {
    pub(crate) fn new(line: Arc<Line>, who: usize) -> Self {
        let reader = line.spool.as_ref().map(|spool| Reader::new(spool.dir()));
        let seat = Arc::clone(&line.state().seats[who]);
        Self { line, who, seat, reader, reading: None, read: VecDeque::new() }
    }

    /// No more requests join the line.
    pub(crate) fn close(&self) {
        self.line.close();
    }

    /// The next request; `None` when the line is closed and everything was given out, or at once
    /// if the rest stays in the spool.
    pub(crate) async fn recv(&mut self) -> Option<Item> {
        loop {
            match self.next() {
                Next::Item(item) => return Some(item),
                Next::Closed => return None,
                Next::Nothing => self.seat.wake.notified().await,
                Next::Behind(place, before) => self.read_back(place, before).await,
            }
        }
    }

    /// Whether the line takes no more requests.
    pub(crate) fn is_closed(&self) -> bool {
        self.line.state().is_closed
    }

    fn next(&mut self) -> Next {
        let line = Arc::clone(&self.line);
        let mut state = line.state();
        while let Some(stored) = self.read.pop_front() {
            if let Some(owed) = state.read_back(self.who, &stored) {
                drop(state);
                let payload = Arc::new(Payload::stored(&stored.head, stored.body));
                return Next::Item(self.item(owed, payload));
            }
        }
        let (first, cursor) = (state.first, &mut state.cursors[self.who]);
        if !cursor.is_through() && cursor.next < first {
            match cursor.place {
                Some(place) => return Next::Behind(place, first),
                None => cursor.next = first,
            }
        }
        if let Some((owed, payload)) = state.take(self.who) {
            state.trim(line.spool.is_some());
            drop(state);
            return Next::Item(self.item(owed, payload));
        }
        let damaged = state.residue(self.who);
        let is_closed = state.is_closed || state.cursors[self.who].is_through();
        line.tell(&mut state, false);
        drop(state);
        for (kind, records) in damaged {
            self.seat.metrics.dropped(kind, DropReason::Damaged, records);
        }
        if is_closed { Next::Closed } else { Next::Nothing }
    }

    fn item(&self, owed: Owed, payload: Arc<Payload>) -> Item {
        let (line, metrics) = (Arc::clone(&self.line), Arc::clone(&self.seat.metrics));
        Item { payload, share: Share::new(line, self.who, metrics, owed) }
    }

    /// Reads more entries of the spool, from `place` on.
    async fn read_back(&mut self, place: Place, before: u64) {
        let last = self.line.spool.as_ref().map_or(place.number, Spool::last_number);
        if let Some(reader) = self.reader.take() {
            self.reading = Some(spawn_blocking(move || {
                let read = reader.read(place, last);
                (reader, read)
            }));
        }
        let Some(reading) = &mut self.reading else { return };
        let read = reading.await;
        self.reading = None;
        let dir = || self.line.spool.as_ref().expect("only a spool is read").dir();
        let (reader, read) = match read {
            Ok((reader, read)) => (reader, read),
            // The runtime is ending, and with it this exporter.
            Err(_) => (Reader::new(dir()), Ok(Vec::new())),
        };
        self.reader = Some(reader);
        match read {
            Ok(stored) if stored.is_empty() => self.line.state().pass_over(self.who, before),
            Ok(stored) => self.read.extend(stored),
            Err(error) => {
                error!(%error, "cannot read the spool; trying again");
                tokio::time::sleep(UNREADABLE_FOR).await;
            }
        }
    }
}

impl State {
    /// Gives the exporter at `who` its next entry in memory.
    fn take(&mut self, who: usize) -> Option<(Owed, Arc<Payload>)> {
        let cursor = &mut self.cursors[who];
        let from = self.entries.partition_point(|entry| entry.seq < cursor.next);
        for entry in self.entries.range(from..) {
            if cursor.is_through() {
                return None;
            }
            let is_owed = cursor.pass(entry.seq);
            // A record that was passed will do as a place: it is passed over again.
            cursor.place = entry.place.or(cursor.place);
            if is_owed && self.seats[who].is_for(entry.kind) {
                cursor.sending.insert(entry.seq);
                let Entry { seq, kind, records, weight, ref payload, .. } = *entry;
                return Some((Owed { seq, kind, records, weight }, Arc::clone(payload)));
            }
        }
        None
    }

    /// Gives the exporter at `who` an entry that was read back, if it is its next one.
    fn read_back(&mut self, who: usize, stored: &Stored) -> Option<Owed> {
        let (cursor, head) = (&mut self.cursors[who], &stored.head);
        cursor.place = Some(stored.next);
        let is_next = head.seq >= cursor.next && !cursor.is_through();
        if !is_next || !cursor.pass(head.seq) || !self.seats[who].is_for(head.kind) {
            return None;
        }
        cursor.sending.insert(head.seq);
        let weight = stored.body.len() + ENTRY_BYTES;
        Some(Owed { seq: head.seq, kind: head.kind, records: head.records, weight })
    }

    /// What should be on disk before this entry is not there: the exporter at `who` goes on.
    fn pass_over(&mut self, who: usize, before: u64) {
        let cursor = &mut self.cursors[who];
        cursor.next = cursor.next.max(before);
    }

    /// What still waits for an exporter that has been given everything and sends nothing: its
    /// bytes could not be read. It is taken off the ledger, and given.
    fn residue(&mut self, who: usize) -> Vec<(Kind, u64)> {
        let cursor = &self.cursors[who];
        if !cursor.sending.is_empty() || cursor.wanted() < self.next {
            return Vec::new();
        }
        let mut residue = Vec::new();
        for kind in Kind::ALL {
            let outgo = self.ledger.outgo[who].of(kind);
            if outgo.waiting > 0 {
                residue.push((kind, outgo.waiting));
                outgo.dropped += outgo.waiting;
                outgo.waiting = 0;
            }
        }
        residue
    }
}
