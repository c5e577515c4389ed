//! Log records: counted; their times tell one batch from the next.

use super::{Counts, DEPTH_MAX, mix, values};
use crate::otlp::logs::LOG_RECORD;
use crate::wire::{FIXED64, LENGTH, Malformed, Reader};

const TIME: u8 = 1 << 3 | FIXED64;
const SEVERITY: u8 = 2 << 3;
const SEVERITY_TEXT: u8 = 3 << 3 | LENGTH;
const BODY: u8 = 5 << 3 | LENGTH;
const ATTRIBUTE: u8 = 6 << 3 | LENGTH;
const TRACE_ID: u8 = 9 << 3 | LENGTH;
const SPAN_ID: u8 = 10 << 3 | LENGTH;
const OBSERVED: u8 = 11 << 3 | FIXED64;

/// What the scan reads of a log record.
#[derive(Default)]
struct Seen {
    time: u64,
    observed: u64,
}

pub(super) fn log_record(mut record: Reader<'_>, counts: &mut Counts) -> Result<(), Malformed> {
    let mut seen = Seen::default();
    let length = record.len() as u64;
    while let Some(tag) = record.peek() {
        match tag {
            ATTRIBUTE => values::attribute(&mut record)?,
            BODY => {
                record.step();
                values::body(record.enter()?)?;
            }
            SEVERITY_TEXT => values::name(&mut record)?,
            TRACE_ID | SPAN_ID => {
                record.step();
                record.bytes()?;
            }
            SEVERITY => {
                record.step();
                record.varint()?;
            }
            TIME => seen.time = record.tagged_fixed64()?,
            OBSERVED => seen.observed = record.tagged_fixed64()?,
            _ => seldom(&mut record, &mut seen)?,
        }
    }
    counts.records += 1;
    let hash = mix(mix(length, seen.time), seen.observed);
    counts.fingerprint = counts.fingerprint.wrapping_add(hash);
    Ok(())
}

/// The next field, whichever it is and however its tag is written.
fn seldom(record: &mut Reader<'_>, seen: &mut Seen) -> Result<(), Malformed> {
    let Some((number, value)) = record.next()? else { return Ok(()) };
    match number {
        1 => seen.time = value.fixed64()?,
        11 => seen.observed = value.fixed64()?,
        _ => values::field(&LOG_RECORD, number, value, DEPTH_MAX)?,
    }
    Ok(())
}
