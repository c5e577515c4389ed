//! The door through which `benches/scan.rs` reaches what it measures.
//!
//! The scan and the transcoder are no interface of this crate, and a benchmark sees a crate from
//! outside only.
//!
//! Invariant: nothing here does work of its own, and the collector does not use it.

use watchdog_core::tally::Signal;

use crate::json;
use crate::memory::{Budget, Buffer};
use crate::scan::Scanned;

/// Scans `request` as the pipeline does; the records in it, or `None` if it is malformed.
#[must_use]
pub fn scan(signal: Signal, request: &[u8]) -> Option<u64> {
    Scanned::of(signal, request).ok().map(|scanned| scanned.records)
}

/// Transcodes `json` to at most `max` bytes; how many it took, or `None` if it is refused.
#[must_use]
pub fn transcode(signal: Signal, json: &[u8], max: usize) -> Option<usize> {
    let mut buffer = Buffer::new(&Budget::new(max), max).ok()?;
    json::transcode(signal, json, &mut buffer).ok()?;
    Some(buffer.len())
}
