//! A request without its rejected records, for what is taken in part.
//!
//! A record with an id of a wrong length would make a strict backend refuse all that came with it,
//! so it is cut out and the rest goes on. This is the one case in which the bytes that leave are
//! not the bytes that came; everything but the records and the lengths above them is copied as it
//! stands.
//!
//! Invariant: what is written has no rejected record, and every other record of the request.

use watchdog_core::tally::Signal;

use super::{Counts, logs, metrics, traces};
use crate::memory::Buffer;
use crate::refusal::Refusal;
use crate::wire::{Malformed, Reader, insert_length};

/// The way from a request to its records: the number of the field at each level, and after the
/// last whether a record stays.
struct Way {
    levels: &'static [&'static [u32]],
    read: fn(u32, &[u8]) -> Result<(), Malformed>,
}

const WAY_OF_TRACES: Way =
    Way { levels: &[&[1], &[2], &[2]], read: |_, span| traces::span(span, &mut Counts::default()) };
const WAY_OF_METRICS: Way =
    Way { levels: &[&[1], &[2], &[2], &[5, 7, 9, 10, 11], &[1]], read: metrics::read_point };
const WAY_OF_LOGS: Way = Way {
    levels: &[&[1], &[2], &[2]],
    read: |_, record| logs::log_record(record, &mut Counts::default()),
};

/// Appends `request`, which passed the scan, to `out` without the records that it rejected.
///
/// # Errors
/// What the buffer refuses with.
pub(crate) fn without_rejected(
    signal: Signal,
    request: &[u8],
    out: &mut Buffer,
) -> Result<(), Refusal> {
    let way = match signal {
        Signal::Traces => &WAY_OF_TRACES,
        Signal::Metrics => &WAY_OF_METRICS,
        Signal::Logs => &WAY_OF_LOGS,
    };
    message(way, 0, 0, request, out)
}

/// Copies the message at `level`, which is field `number` of the one above.
fn message(
    way: &Way,
    level: usize,
    number: u32,
    bytes: &[u8],
    out: &mut Buffer,
) -> Result<(), Refusal> {
    let mut reader = Reader::new(bytes);
    loop {
        let field = reader.rest();
        let Some(tag) = reader.tag()? else { return Ok(()) };
        let tag_bytes = &field[..field.len() - reader.rest().len()];
        let value = reader.value(tag)?;
        if !way.levels[level].contains(&(tag >> 3)) {
            out.extend(&field[..field.len() - reader.rest().len()])?;
            continue;
        }
        let content = value.bytes()?;
        if level + 1 == way.levels.len() && (way.read)(number, content) == Err(Malformed::Id) {
            continue;
        }
        out.extend(tag_bytes)?;
        let start = out.len();
        if level + 1 == way.levels.len() {
            out.extend(content)?;
        } else {
            message(way, level + 1, tag >> 3, content, out)?;
        }
        insert_length(out, start)?;
    }
}
