//! Metric data points: counted, and fingerprinted by their values.
//!
//! A frozen exporter repeats its values under fresh timestamps, so times stay out of the
//! fingerprint. Attributes stay out too: their order may vary from export to export, and a change
//! of a value is what is looked for.

use super::{Counts, DEPTH_MAX, mix, mix_bytes, values};
use crate::otlp::Message;
use crate::otlp::metrics::{
    EXPONENTIAL_POINT, HISTOGRAM_POINT, METRIC, NUMBER_POINT, SUMMARY_POINT,
};
use crate::wire::{Malformed, Reader, Value};

/// `DataPointFlags.NO_RECORDED_VALUE`.
const NO_RECORDED_VALUE: u64 = 1;

/// Where a kind of data point has its parts.
struct Point {
    message: &'static Message,
    attributes: u32,
    flags: u32,
    /// Whether field `number` is a value, so that it belongs to the fingerprint.
    is_value: fn(u32) -> bool,
}

static NUMBER: Point = Point {
    message: &NUMBER_POINT,
    attributes: 7,
    flags: 8,
    is_value: |number| matches!(number, 4 | 6),
};
static HISTOGRAM: Point = Point {
    message: &HISTOGRAM_POINT,
    attributes: 9,
    flags: 10,
    is_value: |number| matches!(number, 4 | 5 | 6 | 11 | 12),
};
static EXPONENTIAL: Point = Point {
    message: &EXPONENTIAL_POINT,
    attributes: 1,
    flags: 10,
    is_value: |number| matches!(number, 4..=9 | 12..=14),
};
static SUMMARY: Point = Point {
    message: &SUMMARY_POINT,
    attributes: 7,
    flags: 8,
    is_value: |number| matches!(number, 4..=6),
};

/// Points and fingerprint of one metric, so far.
#[derive(Default)]
struct Points {
    records: u64,
    ended: u64,
    fingerprint: u64,
}

pub(super) fn metric(mut reader: Reader<'_>, counts: &mut Counts) -> Result<(), Malformed> {
    let mut points = Points::default();
    let (mut kind_before, mut name) = (0, 0);
    while let Some((number, value)) = reader.next()? {
        let point = match number {
            1 => {
                name = mix_bytes(0, values::text(value.bytes()?)?.as_bytes());
                continue;
            }
            5 | 7 => &NUMBER,
            9 => &HISTOGRAM,
            10 => &EXPONENTIAL,
            11 => &SUMMARY,
            _ => {
                values::field(&METRIC, number, value, DEPTH_MAX)?;
                continue;
            }
        };
        // A metric has one kind: another one later replaces it, the same one again adds to it.
        if number != kind_before {
            points = Points::default();
            kind_before = number;
        }
        container(point, value.bytes()?, &mut points)?;
    }
    counts.records += points.records;
    counts.ended += points.ended;
    counts.fingerprint = counts.fingerprint.wrapping_add(mix(points.fingerprint, name));
    Ok(())
}

/// A `Gauge`, `Sum`, `Histogram`, `ExponentialHistogram` or `Summary`: points at field 1, then
/// temporality and monotony.
fn container(point: &Point, bytes: &[u8], points: &mut Points) -> Result<(), Malformed> {
    let mut reader = Reader::new(bytes);
    while let Some((number, value)) = reader.next()? {
        match number {
            1 => data_point(point, value.bytes()?, points)?,
            2 | 3 => value.varint().map(drop)?,
            _ => {}
        }
    }
    Ok(())
}

fn data_point(point: &Point, bytes: &[u8], points: &mut Points) -> Result<(), Malformed> {
    let (mut flags, mut hash) = (0, 0);
    let mut reader = Reader::new(bytes);
    while let Some((number, value)) = reader.next()? {
        if number == point.attributes {
            values::key_value(value.bytes()?, DEPTH_MAX).map(drop)?;
            continue;
        }
        values::field(point.message, number, value, DEPTH_MAX)?;
        if number == point.flags {
            flags = value.varint()?;
        } else if (point.is_value)(number) {
            hash = mix_value(mix(hash, u64::from(number)), value);
        }
    }
    if flags & NO_RECORDED_VALUE != 0 {
        points.ended += 1;
    } else {
        points.records += 1;
        points.fingerprint = points.fingerprint.wrapping_add(hash);
    }
    Ok(())
}

fn mix_value(hash: u64, value: Value<'_>) -> u64 {
    match value {
        Value::Varint(word) | Value::Fixed64(word) => mix(hash, word),
        Value::Fixed32(word) => mix(hash, u64::from(word)),
        Value::Bytes(bytes) => mix_bytes(hash, bytes),
        Value::Group => hash,
    }
}
