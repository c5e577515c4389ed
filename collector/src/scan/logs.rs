//! Log records: counted; their times tell one batch from the next.

use super::{Counts, DEPTH_MAX, mix, values};
use crate::otlp::logs::LOG_RECORD;
use crate::wire::{Malformed, Reader};

pub(super) fn log_record(bytes: &[u8], counts: &mut Counts) -> Result<(), Malformed> {
    let (mut time, mut observed) = (0, 0);
    let mut reader = Reader::new(bytes);
    while let Some((number, value)) = reader.next()? {
        match number {
            1 => time = value.fixed64()?,
            6 => values::key_value(value.bytes()?, DEPTH_MAX).map(drop)?,
            11 => observed = value.fixed64()?,
            _ => values::field(&LOG_RECORD, number, value, DEPTH_MAX)?,
        }
    }
    counts.records += 1;
    let hash = mix(mix(bytes.len() as u64, time), observed);
    counts.fingerprint = counts.fingerprint.wrapping_add(hash);
    Ok(())
}
