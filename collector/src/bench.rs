//! The door through which benchmarks and fuzz targets reach what they measure and judge.
//!
//! Scan, transcoder and decompression are no interface of this crate, and a benchmark or a fuzz
//! target sees a crate from outside only.
//!
//! Invariant: nothing here does work of its own, and the collector does not use it.

use watchdog_core::tally::Signal;

use crate::gunzip;
use crate::json;
use crate::memory::{Budget, Buffer};
use crate::scan::{self, Scanned};
use crate::wire::Malformed;

/// Scans `request` as the pipeline does; the records in it, or `None` if it is malformed.
#[must_use]
pub fn scan(signal: Signal, request: &[u8]) -> Option<u64> {
    Scanned::of(signal, request).ok().map(|scanned| scanned.records)
}

/// What a scan found, or that it refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    Good { records: u64, ended: u64, rejected: u64 },
    TooDeep,
    Malformed,
}

/// Scans `request` as the pipeline does.
#[must_use]
pub fn look(signal: Signal, request: &[u8]) -> Look {
    match Scanned::of(signal, request) {
        Ok(Scanned { records, ended, rejected, .. }) => Look::Good { records, ended, rejected },
        Err(Malformed::Depth) => Look::TooDeep,
        Err(
            Malformed::Truncated
            | Malformed::Varint
            | Malformed::Tag
            | Malformed::WireType
            | Malformed::Utf8
            | Malformed::Id,
        ) => Look::Malformed,
    }
}

/// `request`, which a scan took, without the records that it rejected.
#[must_use]
pub fn without_rejected(signal: Signal, request: &[u8]) -> Option<Vec<u8>> {
    written(2 * request.len() + 1_024, |buffer| {
        scan::without_rejected(signal, request, buffer).ok()
    })
}

/// Transcodes `json` to at most `max` bytes; how many it took, or `None` if it is refused.
#[must_use]
pub fn transcode(signal: Signal, json: &[u8], max: usize) -> Option<usize> {
    let mut buffer = Buffer::new(&Budget::new(max), max).ok()?;
    json::transcode(signal, json, &mut buffer).ok()?;
    Some(buffer.len())
}

/// Transcodes `json` to at most `max` bytes, which it gives.
#[must_use]
pub fn transcoded(signal: Signal, json: &[u8], max: usize) -> Option<Vec<u8>> {
    written(max, |buffer| json::transcode(signal, json, buffer).ok())
}

/// Inflates `gzip` to at most `max` bytes.
#[must_use]
pub fn gunzipped(gzip: &[u8], max: usize) -> Option<Vec<u8>> {
    let opened = gunzip::gunzip(gzip, &Budget::new(2 * max), max).ok()?;
    Some(opened.buffer.as_slice().to_vec())
}

fn written(max: usize, write: impl FnOnce(&mut Buffer) -> Option<()>) -> Option<Vec<u8>> {
    let mut buffer = Buffer::new(&Budget::new(max.max(1_024)), max).ok()?;
    write(&mut buffer)?;
    Some(buffer.as_slice().to_vec())
}
