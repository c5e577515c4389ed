//! Spans: rate, errors and duration of the requests a service answered.
//!
//! Only spans of kind server and consumer are requests; client and internal spans are records, but
//! would count one request several times. A span that ends before it starts has no duration.

mod sampling;

use watchdog_core::tally::DURATION_BOUNDS_MS;

use super::{Counts, DEPTH_MAX, id, mix, values};
use crate::otlp::traces::{EVENT as EVENT_MESSAGE, SPAN};
use crate::wire::{Malformed, Reader, bytes, fixed32, fixed64, varint};

const TRACE_ID: u32 = bytes(1);
const SPAN_ID: u32 = bytes(2);
const STATE: u32 = bytes(3);
const PARENT_ID: u32 = bytes(4);
const NAME: u32 = bytes(5);
const KIND: u32 = varint(6);
const START: u32 = fixed64(7);
const END: u32 = fixed64(8);
const ATTRIBUTE: u32 = bytes(9);
const EVENT: u32 = bytes(11);
const STATUS: u32 = bytes(15);
const FLAGS: u32 = fixed32(16);

const KIND_SERVER: u32 = 2;
const KIND_CONSUMER: u32 = 5;
const STATUS_ERROR: u32 = 2;

pub(super) fn span(bytes: &[u8], counts: &mut Counts) -> Result<(), Malformed> {
    read(bytes, counts).map_err(|wrong| values::worst(wrong, &SPAN, bytes))
}

#[inline(always)]
fn read(bytes: &[u8], counts: &mut Counts) -> Result<(), Malformed> {
    let (mut kind, mut start, mut end, mut code, mut name) = (0, 0, 0, 0, 0);
    let mut weight_milli = sampling::ONE_MILLI;
    let mut reader = Reader::new(bytes);
    while let Some(tag) = reader.tag()? {
        match tag {
            TRACE_ID => id::<16>(reader.bytes_of::<16>()?).map(drop)?,
            SPAN_ID => {
                name = id::<8>(reader.bytes_of::<8>()?)?.map_or(0, |id| u64::from_le_bytes(*id))
            }
            PARENT_ID => id::<8>(reader.bytes_of::<8>()?).map(drop)?,
            STATE => {
                let state = reader.bytes()?;
                values::text(state)?;
                weight_milli = sampling::weight_milli(state);
            }
            NAME => values::text(reader.bytes()?)?,
            // Enums are 32 bits wide; decoders drop the rest.
            KIND => kind = reader.varint()? as u32,
            START => start = reader.fixed64()?,
            END => end = reader.fixed64()?,
            ATTRIBUTE => values::attributes(&mut reader, ATTRIBUTE, DEPTH_MAX)?,
            EVENT => event(reader.bytes()?)?,
            STATUS => status(reader.bytes()?, &mut code)?,
            FLAGS => reader.fixed32().map(drop)?,
            _ => values::other(&SPAN, tag, &mut reader, DEPTH_MAX)?,
        }
    }
    counts.records += 1;
    counts.newest_ns = counts.newest_ns.max(end);
    counts.fingerprint = counts.fingerprint.wrapping_add(mix(mix(name, start), end));
    if kind == KIND_SERVER || kind == KIND_CONSUMER {
        counts.requests += 1;
        counts.adjusted_milli = counts.adjusted_milli.saturating_add(weight_milli);
        if code == STATUS_ERROR {
            counts.errors += 1;
            counts.adjusted_errors_milli =
                counts.adjusted_errors_milli.saturating_add(weight_milli);
        }
        if start > 0 && end >= start {
            counts.durations[bucket(end - start)] += 1;
        }
    }
    Ok(())
}

fn status(status: &[u8], code: &mut u32) -> Result<(), Malformed> {
    const MESSAGE: u32 = bytes(2);
    const CODE: u32 = varint(3);

    let mut reader = Reader::new(status);
    while let Some(tag) = reader.tag()? {
        match tag {
            MESSAGE => values::text(reader.bytes()?)?,
            CODE => *code = reader.varint()? as u32,
            _ => values::other(&crate::otlp::traces::STATUS, tag, &mut reader, DEPTH_MAX)?,
        }
    }
    Ok(())
}

fn event(event: &[u8]) -> Result<(), Malformed> {
    const TIME: u32 = fixed64(1);
    const NAME: u32 = bytes(2);
    const ATTRIBUTE: u32 = bytes(3);
    const DEPTH: u32 = DEPTH_MAX - 1;

    let mut reader = Reader::new(event);
    while let Some(tag) = reader.tag()? {
        match tag {
            TIME => reader.fixed64().map(drop)?,
            NAME => values::text(reader.bytes()?)?,
            ATTRIBUTE => values::attributes(&mut reader, ATTRIBUTE, DEPTH)?,
            _ => values::other(&EVENT_MESSAGE, tag, &mut reader, DEPTH)?,
        }
    }
    Ok(())
}

/// The upper bounds in nanoseconds.
const BOUNDS_NS: [u64; DURATION_BOUNDS_MS.len()] = {
    let mut bounds = DURATION_BOUNDS_MS;
    let mut i = 0;
    while i < bounds.len() {
        bounds[i] *= 1_000_000;
        i += 1;
    }
    bounds
};

/// The bucket of the shortest duration of each bit length. Bounds at least double, so that a
/// duration is in this bucket or in the next.
const BUCKET_BY_BITS: [u8; 65] = {
    let mut buckets = [0; 65];
    let (mut bits, mut bucket) = (0, 0);
    while bits <= 64 {
        let shortest = if bits == 0 { 0 } else { 1 << (bits - 1) };
        while bucket < BOUNDS_NS.len() && shortest > BOUNDS_NS[bucket] {
            assert!(bucket == 0 || BOUNDS_NS[bucket] >= 2 * BOUNDS_NS[bucket - 1]);
            bucket += 1;
        }
        buckets[bits] = bucket as u8;
        bits += 1;
    }
    buckets
};

/// The bucket of a duration in nanoseconds; bounds belong to the bucket they end.
#[inline]
pub(super) fn bucket(duration_ns: u64) -> usize {
    let bits = (u64::BITS - duration_ns.leading_zeros()) as usize;
    let bucket = usize::from(BUCKET_BY_BITS[bits]);
    bucket + usize::from(BOUNDS_NS.get(bucket).is_some_and(|bound| duration_ns > *bound))
}
