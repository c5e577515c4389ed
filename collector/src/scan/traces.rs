//! Spans: rate, errors and duration of the requests a service answered.
//!
//! Only spans of kind server and consumer are requests; client and internal spans are records, but
//! would count one request several times. A span that ends before it starts has no duration.

use watchdog_core::tally::DURATION_BOUNDS_MS;

use super::{Counts, DEPTH_MAX, mix, mix_bytes, values};
use crate::otlp::traces::SPAN;
use crate::wire::{FIXED64, LENGTH, Malformed, Reader};

const KIND_SERVER: u64 = 2;
const KIND_CONSUMER: u64 = 5;
const STATUS_ERROR: u64 = 2;

// Tags of the usual fields: number and wire type in one byte.
const TRACE_ID: u8 = 1 << 3 | LENGTH;
const SPAN_ID: u8 = 2 << 3 | LENGTH;
const PARENT_SPAN_ID: u8 = 4 << 3 | LENGTH;
const NAME: u8 = 5 << 3 | LENGTH;
const KIND: u8 = 6 << 3;
const START: u8 = 7 << 3 | FIXED64;
const END: u8 = 8 << 3 | FIXED64;
const ATTRIBUTE: u8 = 9 << 3 | LENGTH;

/// What the scan reads of a span.
#[derive(Default)]
struct Seen {
    kind: u64,
    start: u64,
    end: u64,
    code: u64,
    id: u64,
}

pub(super) fn span(mut span: Reader<'_>, counts: &mut Counts) -> Result<(), Malformed> {
    let mut seen = Seen::default();
    while let Some(tag) = span.peek() {
        match tag {
            // Attributes stand together, so the branch on the tag is skipped between them.
            ATTRIBUTE => {
                while span.peek() == Some(ATTRIBUTE) {
                    values::attribute(&mut span)?;
                }
            }
            TRACE_ID => {
                if span.tagged::<16>().is_none() {
                    seldom(&mut span, &mut seen)?;
                }
            }
            PARENT_SPAN_ID => {
                if span.tagged::<8>().is_none() {
                    seldom(&mut span, &mut seen)?;
                }
            }
            SPAN_ID => match span.tagged::<8>() {
                Some(id) => seen.id = u64::from_le_bytes(*id),
                None => seldom(&mut span, &mut seen)?,
            },
            NAME => values::name(&mut span)?,
            KIND => {
                span.step();
                seen.kind = span.varint()?;
            }
            START => seen.start = span.tagged_fixed64()?,
            END => seen.end = span.tagged_fixed64()?,
            _ => seldom(&mut span, &mut seen)?,
        }
    }
    seen.count(counts);
    Ok(())
}

/// The next field, whichever it is and however its tag is written.
#[inline(never)]
fn seldom(span: &mut Reader<'_>, seen: &mut Seen) -> Result<(), Malformed> {
    let Some((number, value)) = span.next()? else { return Ok(()) };
    match number {
        2 => seen.id = mix_bytes(0, value.bytes()?),
        6 => seen.kind = value.varint()?,
        7 => seen.start = value.fixed64()?,
        8 => seen.end = value.fixed64()?,
        15 => status(value.bytes()?, &mut seen.code)?,
        _ => values::field(&SPAN, number, value, DEPTH_MAX)?,
    }
    Ok(())
}

impl Seen {
    #[inline]
    fn count(&self, counts: &mut Counts) {
        counts.records += 1;
        let hash = mix(mix(self.id, self.start), self.end);
        counts.fingerprint = counts.fingerprint.wrapping_add(hash);
        if self.kind == KIND_SERVER || self.kind == KIND_CONSUMER {
            counts.requests += 1;
            counts.errors += u64::from(self.code == STATUS_ERROR);
            if self.start > 0 && self.end >= self.start {
                counts.durations[bucket(self.end - self.start)] += 1;
            }
        }
    }
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
