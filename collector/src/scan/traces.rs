//! Spans: rate, errors and duration of the requests a service answered.
//!
//! Only spans of kind server and consumer are requests; client and internal spans are records, but
//! would count one request several times. A span that ends before it starts has no duration.

use watchdog_core::tally::DURATION_BOUNDS_MS;

use super::{Counts, DEPTH_MAX, mix, mix_bytes, values};
use crate::otlp::traces::SPAN;
use crate::wire::{Malformed, Reader};

const KIND_SERVER: u64 = 2;
const KIND_CONSUMER: u64 = 5;
const STATUS_ERROR: u64 = 2;

pub(super) fn span(bytes: &[u8], counts: &mut Counts) -> Result<(), Malformed> {
    let (mut kind, mut start, mut end, mut code, mut hash) = (0, 0, 0, 0, 0);
    let mut reader = Reader::new(bytes);
    while let Some((number, value)) = reader.next()? {
        match number {
            2 => hash = mix_bytes(0, value.bytes()?),
            6 => kind = value.varint()?,
            7 => start = value.fixed64()?,
            8 => end = value.fixed64()?,
            9 => values::key_value(value.bytes()?, DEPTH_MAX).map(drop)?,
            15 => status(value.bytes()?, &mut code)?,
            _ => values::field(&SPAN, number, value, DEPTH_MAX)?,
        }
    }
    counts.records += 1;
    counts.fingerprint = counts.fingerprint.wrapping_add(mix(mix(hash, start), end));
    if kind == KIND_SERVER || kind == KIND_CONSUMER {
        counts.requests += 1;
        counts.errors += u64::from(code == STATUS_ERROR);
        if start > 0 && end >= start {
            counts.durations[bucket(end - start)] += 1;
        }
    }
    Ok(())
}

fn status(bytes: &[u8], code: &mut u64) -> Result<(), Malformed> {
    let mut reader = Reader::new(bytes);
    while let Some((number, value)) = reader.next()? {
        match number {
            2 => values::text(value.bytes()?).map(drop)?,
            3 => *code = value.varint()?,
            _ => {}
        }
    }
    Ok(())
}

/// The bucket of a duration in nanoseconds; bounds belong to the bucket they end.
pub(super) fn bucket(duration_ns: u64) -> usize {
    DURATION_BOUNDS_MS.partition_point(|bound_ms| duration_ns > bound_ms * 1_000_000)
}
