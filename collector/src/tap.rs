//! The live tap: what passes, for a person who looks.
//!
//! ```text
//! pipeline ── a copy, now and then ──► ring of the last few ──► each tap: decode, filter, write
//! ```
//!
//! Nobody looks most of the time, and then it costs one load of an atomic. While somebody does, at
//! most one request in [`EVERY_MS`] is copied, and decoded by the one who looks. A tap that is slow
//! loses what the ring no longer holds.
//!
//! Invariant: a tap never holds up the path; what it did not show it says.

mod record;

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use watchdog_core::tally::Signal;
use watchdog_core::tick::Tick;

use record::Record;

/// The shortest time between two copies.
const EVERY_MS: u64 = 20;
/// Larger requests are not copied.
const COPIED_BYTES_MAX: usize = 256 * 1_024;
/// Copies that wait for slow taps.
const RING: usize = 8;
/// Taps at a time.
const TAPS_MAX: usize = 4;

/// Where the pipeline leaves copies.
#[derive(Debug)]
pub(crate) struct Taps {
    ring: broadcast::Sender<Arc<Sample>>,
    pace: Mutex<Pace>,
}

#[derive(Debug, Default)]
struct Pace {
    last: Option<Tick>,
    skipped: u64,
}

/// A request that passed.
#[derive(Debug)]
struct Sample {
    signal: Signal,
    request: Bytes,
    /// Requests that passed uncopied since the sample before.
    skipped: u64,
}

/// What somebody wants to see.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Wanted {
    service: Option<String>,
    signal: Option<Signal>,
    /// Records after which it ends; none is never.
    n: Option<u64>,
}

/// One who looks.
#[derive(Debug)]
pub(crate) struct Tap {
    samples: broadcast::Receiver<Arc<Sample>>,
    wanted: Wanted,
    left: u64,
    missed: u64,
}

impl Default for Taps {
    fn default() -> Self {
        Self { ring: broadcast::Sender::new(RING), pace: Mutex::default() }
    }
}

impl Taps {
    /// A request passes.
    pub(crate) fn passes(&self, signal: Signal, request: &[u8], now: impl FnOnce() -> Tick) {
        if self.ring.receiver_count() == 0 {
            return;
        }
        let now = now();
        let skipped = {
            let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
            let is_early = pace.last.is_some_and(|last| now.since_ms(last) < EVERY_MS);
            if is_early || request.len() > COPIED_BYTES_MAX {
                pace.skipped += 1;
                return;
            }
            pace.last = Some(now);
            std::mem::take(&mut pace.skipped)
        };
        let sample = Sample { signal, request: Bytes::copy_from_slice(request), skipped };
        // Who looked may be gone by now.
        let _ = self.ring.send(Arc::new(sample));
    }

    /// One more tap, unless there are too many.
    pub(crate) fn tap(&self, wanted: Wanted) -> Option<Tap> {
        if self.ring.receiver_count() >= TAPS_MAX {
            return None;
        }
        let left = wanted.n.unwrap_or(u64::MAX);
        Some(Tap { samples: self.ring.subscribe(), wanted, left, missed: 0 })
    }
}

impl Tap {
    /// The next lines, each a JSON object: records, or `{"skipped_requests": n}`; `None` at the
    /// end.
    pub(crate) async fn lines(&mut self) -> Option<String> {
        if self.left == 0 {
            return None;
        }
        loop {
            let sample = match self.samples.recv().await {
                Ok(sample) => sample,
                Err(RecvError::Lagged(missed)) => {
                    self.missed += missed;
                    continue;
                }
                Err(RecvError::Closed) => return None,
            };
            let mut lines = String::new();
            let skipped = sample.skipped + std::mem::take(&mut self.missed);
            if skipped > 0 {
                lines += &json!({ "skipped_requests": skipped }).to_string();
                lines.push('\n');
            }
            let is_wanted = self.wanted.signal.is_none_or(|signal| signal == sample.signal);
            if is_wanted {
                self.write(&sample, &mut lines);
            }
            if !lines.is_empty() {
                return Some(lines);
            }
        }
    }

    fn write(&mut self, sample: &Sample, lines: &mut String) {
        let (service, left) = (self.wanted.service.as_deref(), &mut self.left);
        let shown = record::each(sample.signal, &sample.request, |record: Record| {
            let is_wanted = service.is_none_or(|service| record.service == service);
            if is_wanted && *left > 0 {
                *left -= 1;
                *lines += &serde_json::to_string(&record).expect("a record is plain JSON");
                lines.push('\n');
            }
        });
        // It was scanned before it passed.
        shown.expect("the request is well formed");
    }
}
