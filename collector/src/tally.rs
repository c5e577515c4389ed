//! What was counted, for the watchdog's long poll.
//!
//! Counts are cumulative since boot, so a page that is lost loses nothing. Every change moves a
//! cursor; a page holds what changed after the cursor that the reader gives. The cursor starts at
//! the boot's time in microseconds, so a cursor of an older boot lies before all rows of this one.
//!
//! Invariant: rows are never evicted. A flood of made-up names fills the table and is then counted
//! as refused rows, while the services that were there first go on being counted.

mod book;
mod row;
mod streams;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use watchdog_core::names::Boot;
use watchdog_core::tally::{Signal, TallyPage};
use watchdog_core::tick::Tick;

use crate::ledger::Outgo;
use crate::scan::{Probe, Scanned};
use book::Book;

/// A reader that polls without pause is answered this often, however fast telemetry arrives.
const PAGE_EVERY: Duration = Duration::from_millis(50);

/// The collector's counts.
#[derive(Debug)]
pub(crate) struct Tally {
    book: Mutex<Book>,
    /// The book's cursor, for those who wait for a change.
    cursor: watch::Sender<u64>,
}

/// The size of the table, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) rows: usize,
    /// Times that a new row had no place.
    pub(crate) rows_refused: u64,
    /// Records without a usable `service.name`.
    pub(crate) unnamed_records: u64,
    /// Records that wait for an exporter.
    pub(crate) queued_records: u64,
}

impl Tally {
    pub(crate) fn new(boot: Boot, rows_max: usize, backend: bool) -> Self {
        let book = Book::new(boot, rows_max, backend);
        let cursor = watch::Sender::new(book.cursor());
        Self { book: Mutex::new(book), cursor }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Whoever panicked in there left counts behind that are no worse than before.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Book)) {
        let (before, cursor) = {
            let mut book = self.book();
            let before = book.cursor();
            change(&mut book);
            (before, book.cursor())
        };
        if cursor == before {
            return;
        }
        self.cursor.send_if_modified(|known| {
            let moved = cursor > *known;
            *known = cursor.max(*known);
            moved
        });
    }

    /// Counts a request that arrived at `now`, which is `unix_ms` by the clock that records are
    /// dated by.
    pub(crate) fn add(&self, scanned: &Scanned<'_>, now: Tick, unix_ms: u64) {
        self.change(|book| book.add(scanned, now, unix_ms));
    }

    /// Counts records that were refused for want of room, and whose they are.
    pub(crate) fn refused(&self, scanned: &Scanned<'_>) {
        self.change(|book| book.refused(scanned));
    }

    /// How far the exporters are; `delivered` if one of them delivered something just now.
    pub(crate) fn flow(&self, worst: Outgo, delivered: Option<Tick>) {
        self.change(|book| book.follow(worst, delivered));
    }

    /// Counts a request that rules have emptied: it arrived, and is no arrival of anybody.
    pub(crate) fn emptied(&self, scanned: &Scanned<'_>) {
        self.change(|book| book.emptied(scanned));
    }

    /// Counts records that arrived and that rules of the configuration dropped.
    pub(crate) fn ruled_out(&self, records: u64) {
        self.change(|book| book.flow_mut().dropped_by_rule += records);
    }

    /// Probes reached the far tap.
    pub(crate) fn echo(&self, probes: Vec<Probe>, now: Tick) {
        self.change(|book| book.echo(probes, now));
    }

    /// Probes came in, and should reach the far tap.
    pub(crate) fn probe_came(&self, signal: Signal, now: Tick) {
        self.book().probe_came(signal, now);
    }

    /// The signal whose probes have come in for the longest without one of them reaching the far
    /// tap, and for how long.
    pub(crate) fn probes_unanswered(&self, now: Tick) -> Option<(Signal, u64)> {
        self.book().probes_unanswered(now)
    }

    /// Whether there is a backend from now on.
    pub(crate) fn has_backend(&self, backend: bool) {
        self.change(|book| book.flow_mut().backend = backend);
    }

    /// Passes through the lock, to prove that it can be had.
    pub(crate) fn touch(&self) {
        drop(self.book());
    }

    pub(crate) fn size(&self) -> Size {
        self.book().size()
    }

    /// What changed after `after`, at once.
    pub(crate) fn page(&self, after: u64, now: Tick) -> TallyPage {
        self.book().page(after, now)
    }

    /// Waits until something changed after `after`, or for `wait`.
    pub(crate) async fn changed_after(&self, after: u64, wait: Duration) {
        let mut cursor = self.cursor.subscribe();
        let first = Instant::now() + PAGE_EVERY.min(wait);
        // A reader that is ahead of this boot's cursor is given everything at once.
        let changed = cursor.wait_for(|cursor| *cursor != after);
        if tokio::time::timeout(wait, changed).await.is_ok() {
            tokio::time::sleep_until(first).await;
        }
    }
}
