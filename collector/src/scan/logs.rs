//! Log records: counted, errors apart; their times tell one batch from the next.

use super::{Counts, DEPTH_MAX, id, mix, values};
use crate::otlp::logs::LOG_RECORD;
use crate::wire::{Malformed, Reader, bytes, fixed32, fixed64, varint};

const TIME: u32 = fixed64(1);
const SEVERITY: u32 = varint(2);
const SEVERITY_TEXT: u32 = bytes(3);
const BODY: u32 = bytes(5);
const ATTRIBUTE: u32 = bytes(6);
const FLAGS: u32 = fixed32(8);
const TRACE_ID: u32 = bytes(9);
const SPAN_ID: u32 = bytes(10);
const OBSERVED: u32 = fixed64(11);
const EVENT_NAME: u32 = bytes(12);

/// `SEVERITY_NUMBER_ERROR`; the numbers above it are worse.
const SEVERITY_ERROR: i32 = 17;

pub(super) fn log_record(bytes: &[u8], counts: &mut Counts) -> Result<(), Malformed> {
    read(bytes, counts).map_err(|wrong| values::worst(wrong, &LOG_RECORD, bytes))
}

#[inline(always)]
fn read(bytes: &[u8], counts: &mut Counts) -> Result<(), Malformed> {
    let (mut time, mut observed, mut severity) = (0, 0, 0);
    let mut reader = Reader::new(bytes);
    while let Some(tag) = reader.tag()? {
        match tag {
            TIME => time = reader.fixed64()?,
            // Enums are 32 bits wide; decoders drop the rest.
            SEVERITY => severity = reader.varint()? as i32,
            SEVERITY_TEXT | EVENT_NAME => values::text(reader.bytes()?)?,
            BODY => values::any_value(reader.bytes()?, DEPTH_MAX).map(drop)?,
            ATTRIBUTE => values::attributes(&mut reader, ATTRIBUTE, DEPTH_MAX)?,
            FLAGS => reader.fixed32().map(drop)?,
            TRACE_ID => id::<16>(reader.bytes_of::<16>()?).map(drop)?,
            SPAN_ID => id::<8>(reader.bytes_of::<8>()?).map(drop)?,
            OBSERVED => observed = reader.fixed64()?,
            _ => values::other(&LOG_RECORD, tag, &mut reader, DEPTH_MAX)?,
        }
    }
    counts.records += 1;
    counts.newest_ns = counts.newest_ns.max(if time == 0 { observed } else { time });
    counts.errors += u64::from(severity >= SEVERITY_ERROR);
    let hash = mix(mix(bytes.len() as u64, time), observed);
    counts.fingerprint = counts.fingerprint.wrapping_add(hash);
    Ok(())
}
