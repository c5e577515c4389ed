//! What a metrics request says of its streams, for the tally to compare with what came before.
//!
//! The scan knows one request; whether a count began anew or two writers share a stream shows only
//! beside the request before. So the scan leaves one [`Sighting`] per data point of a sum or
//! histogram, and the tally judges them after the request was taken.
//!
//! Invariant: a request leaves at most [`SIGHTINGS_MAX`] sightings, and the list is lent by the
//! thread, so that a scan allocates nothing but the first time.

use std::cell::Cell;
use std::ops::Deref;

/// Data points beyond these are counted as unseen.
pub(crate) const SIGHTINGS_MAX: usize = 4_096;

/// How the points of a sum or histogram follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Temporality {
    Delta,
    Cumulative,
}

/// One data point of a sum or histogram.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sighting {
    /// Tells the streams of one resource apart: scope, metric, attributes.
    pub(crate) stream: u64,
    pub(crate) start_ns: u64,
    pub(crate) time_ns: u64,
    /// The sum, or the count of a histogram.
    pub(crate) value: f64,
    pub(crate) temporality: Temporality,
    /// Whether the value only falls when its count begins anew.
    pub(crate) monotonic: bool,
    /// Whether the value counts requests that a server answered; and whether with an error.
    pub(crate) requests: bool,
    pub(crate) errors: bool,
}

thread_local! {
    /// The list of the scan before, empty.
    static SPARE: Cell<Vec<Sighting>> = const { Cell::new(Vec::new()) };
}

/// The sightings of one request.
#[derive(Debug, Default)]
pub(crate) struct Sightings {
    list: Vec<Sighting>,
}

impl Sightings {
    /// An empty list that gives its memory back to this thread when it goes.
    pub(crate) fn lend() -> Self {
        Self { list: SPARE.take() }
    }

    /// Whether there was room.
    #[inline]
    pub(super) fn push(&mut self, sighting: Sighting) -> bool {
        let has_room = self.list.len() < SIGHTINGS_MAX;
        if has_room {
            self.list.push(sighting);
        }
        has_room
    }

    /// Those from `start` on, to be finished.
    pub(super) fn tail(&mut self, start: usize) -> &mut [Sighting] {
        self.list.get_mut(start..).unwrap_or_default()
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.list.truncate(len);
    }
}

impl Deref for Sightings {
    type Target = [Sighting];

    fn deref(&self) -> &[Sighting] {
        &self.list
    }
}

impl Drop for Sightings {
    fn drop(&mut self) {
        let mut list = std::mem::take(&mut self.list);
        if list.capacity() > 0 {
            list.clear();
            SPARE.set(list);
        }
    }
}
