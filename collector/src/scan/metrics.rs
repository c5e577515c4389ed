//! Metric data points: counted, and fingerprinted by their values.
//!
//! A frozen exporter repeats its values under fresh timestamps, so times stay out of the
//! fingerprint. Attributes stay out too: their order may vary from export to export, and a change
//! of a value is what is looked for. Buckets of histograms are not mixed in: they cannot change
//! while count, sum and extremes stand still, or only as a witness that lies.

mod points;

use super::{Counts, DEPTH_MAX, mix, mix_bytes, values};
use crate::otlp::metrics::METRIC;
use crate::wire::{Malformed, Reader, bytes, varint};
use points::Point;

/// `DataPointFlags.NO_RECORDED_VALUE`.
const NO_RECORDED_VALUE: u64 = 1;

/// Points and fingerprint of one metric, so far.
#[derive(Default)]
struct Points {
    records: u64,
    ended: u64,
    fingerprint: u64,
}

pub(super) fn metric(metric: &[u8], counts: &mut Counts) -> Result<(), Malformed> {
    const NAME: u32 = bytes(1);
    const DESCRIPTION: u32 = bytes(2);
    const UNIT: u32 = bytes(3);
    const GAUGE: u32 = bytes(5);
    const SUM: u32 = bytes(7);
    const HISTOGRAM: u32 = bytes(9);
    const EXPONENTIAL: u32 = bytes(10);
    const SUMMARY: u32 = bytes(11);

    let mut points = Points::default();
    let (mut kind_before, mut name) = (0, 0);
    let mut reader = Reader::new(metric);
    while let Some(tag) = reader.tag()? {
        let (read, known): (Read, u32) = match tag {
            NAME => {
                let text = reader.bytes()?;
                values::text(text)?;
                name = mix_bytes(0, text);
                continue;
            }
            DESCRIPTION | UNIT => {
                values::text(reader.bytes()?)?;
                continue;
            }
            GAUGE => (points::number, 1),
            SUM => (points::number, 3),
            HISTOGRAM => (points::histogram, 2),
            EXPONENTIAL => (points::exponential, 2),
            SUMMARY => (points::summary, 1),
            _ => {
                values::other(&METRIC, tag, &mut reader, DEPTH_MAX)?;
                continue;
            }
        };
        // A metric has one kind: another one later replaces it, the same one again adds to it.
        if tag != kind_before {
            points = Points::default();
            kind_before = tag;
        }
        container(read, known, reader.bytes()?, &mut points)?;
    }
    counts.records += points.records;
    counts.ended += points.ended;
    counts.fingerprint = counts.fingerprint.wrapping_add(mix(points.fingerprint, name));
    Ok(())
}

type Read = fn(&[u8]) -> Result<Point, Malformed>;

/// A `Gauge`, `Sum`, `Histogram`, `ExponentialHistogram` or `Summary`: points at field 1, then
/// temporality and monotony, as far as its fields are `known`.
fn container(
    read: Read,
    known: u32,
    container: &[u8],
    points: &mut Points,
) -> Result<(), Malformed> {
    const POINT: u32 = bytes(1);
    const TEMPORALITY: u32 = varint(2);
    const MONOTONIC: u32 = varint(3);

    let mut reader = Reader::new(container);
    while let Some(tag) = reader.tag()? {
        match tag {
            POINT => {
                let point = read(reader.bytes()?)?;
                if point.flags & NO_RECORDED_VALUE != 0 {
                    points.ended += 1;
                } else {
                    points.records += 1;
                    points.fingerprint = points.fingerprint.wrapping_add(point.hash);
                }
            }
            TEMPORALITY if known >= 2 => reader.varint().map(drop)?,
            MONOTONIC if known >= 3 => reader.varint().map(drop)?,
            _ => {
                reader.value(tag)?;
                if tag >> 3 <= known {
                    return Err(Malformed::WireType);
                }
            }
        }
    }
    Ok(())
}
