//! Metric data points: counted, fingerprinted by their values, and sighted for the tally.
//!
//! A frozen exporter repeats its values under fresh timestamps, so times stay out of the
//! fingerprint. Attributes stay out too: their order may vary from export to export, and a change
//! of a value is what is looked for. Buckets of histograms are not mixed in: they do not change
//! while count, sum and extremes stand still.

mod points;

use super::sightings::{Sighting, Sightings, Temporality};
use super::{Counts, DEPTH_MAX, mix, mix_bytes, values};
use crate::otlp::metrics::METRIC;
use crate::wire::{Malformed, Reader, bytes, varint};
use points::{Point, Shape};

/// `DataPointFlags.NO_RECORDED_VALUE`.
const NO_RECORDED_VALUE: u64 = 1;

/// Histograms that count each request a server answered.
const SERVER_DURATIONS: [&[u8]; 3] =
    [b"http.server.request.duration", b"rpc.server.duration", b"rpc.server.call.duration"];

/// One metric, as far as it was read.
#[derive(Default)]
struct Metric {
    shape: Option<Shape>,
    name: u64,
    is_server_duration: bool,
    /// `AggregationTemporality`, an enum.
    temporality: u32,
    is_monotonic: bool,
    records: u64,
    rejected: u64,
    ended: u64,
    not_finite: u64,
    unseen: u64,
    fingerprint: u64,
    newest_ns: u64,
}

impl Metric {
    /// The other kind of data that a metric turned out to have.
    fn become_shape(&mut self, shape: Shape) {
        let Self { name, is_server_duration, rejected, .. } = *self;
        *self = Self { shape: Some(shape), name, is_server_duration, rejected, ..Self::default() };
    }
}

pub(super) fn metric(
    bytes_: &[u8],
    counts: &mut Counts,
    sightings: &mut Sightings,
) -> Result<(), Malformed> {
    const NAME: u32 = bytes(1);
    const DESCRIPTION: u32 = bytes(2);
    const UNIT: u32 = bytes(3);

    let sighted = sightings.len();
    let mut metric = Metric::default();
    let mut reader = Reader::new(bytes_);
    while let Some(tag) = reader.tag()? {
        match (tag, Shape::of(tag)) {
            (_, Some(shape)) => {
                // A metric has one kind: another one later replaces it, the same one again adds.
                if metric.shape != Some(shape) {
                    metric.become_shape(shape);
                    sightings.truncate(sighted);
                }
                container(shape, reader.bytes()?, &mut metric, sightings)?;
            }
            (NAME, None) => {
                let name = reader.bytes()?;
                values::text(name)?;
                metric.name = mix_bytes(0, name);
                metric.is_server_duration = SERVER_DURATIONS.contains(&name);
            }
            (DESCRIPTION | UNIT, None) => values::text(reader.bytes()?)?,
            (_, None) => values::other(&METRIC, tag, &mut reader, DEPTH_MAX)?,
        }
    }
    finish(&metric, counts.scope, sighted, sightings);
    counts.records += metric.records;
    counts.rejected += metric.rejected;
    counts.ended += metric.ended;
    counts.not_finite += metric.not_finite;
    counts.unseen += metric.unseen;
    counts.newest_ns = counts.newest_ns.max(metric.newest_ns);
    counts.sightings += sightings.len() - sighted;
    counts.fingerprint = counts.fingerprint.wrapping_add(mix(metric.fingerprint, metric.name));
    Ok(())
}

/// Temporality and name are known at the end of a metric only.
fn finish(metric: &Metric, scope: u64, sighted: usize, sightings: &mut Sightings) {
    let temporality = match metric.temporality {
        1 => Temporality::Delta,
        2 => Temporality::Cumulative,
        // Without one, nothing follows from the point before.
        _ => return sightings.truncate(sighted),
    };
    for sighting in sightings.tail(sighted) {
        sighting.stream = mix(mix(sighting.stream, scope), metric.name);
        sighting.temporality = temporality;
        sighting.monotonic |= metric.is_monotonic;
    }
}

/// A `Gauge`, `Sum`, `Histogram`, `ExponentialHistogram` or `Summary`: points at field 1, then
/// temporality and monotony, if the shape has them.
fn container(
    shape: Shape,
    container: &[u8],
    metric: &mut Metric,
    sightings: &mut Sightings,
) -> Result<(), Malformed> {
    const POINT: u32 = bytes(1);
    const TEMPORALITY: u32 = varint(2);
    const MONOTONIC: u32 = varint(3);

    let fields = shape.fields();
    let mut reader = Reader::new(container);
    while let Some(tag) = reader.tag()? {
        match tag {
            POINT => match points::read(shape, reader.bytes()?, metric.is_server_duration) {
                Err(Malformed::Id) => metric.rejected += 1,
                read => count(shape, &read?, metric, sightings),
            },
            TEMPORALITY if fields >= 2 => metric.temporality = reader.varint()? as u32,
            MONOTONIC if fields >= 3 => metric.is_monotonic = reader.varint()? != 0,
            _ => {
                reader.value(tag)?;
                if tag >> 3 <= fields {
                    return Err(Malformed::WireType);
                }
            }
        }
    }
    Ok(())
}

#[inline]
fn count(shape: Shape, point: &Point, metric: &mut Metric, sightings: &mut Sightings) {
    if point.flags & NO_RECORDED_VALUE != 0 {
        metric.ended += 1;
        return;
    }
    metric.records += 1;
    metric.newest_ns = metric.newest_ns.max(point.time);
    metric.fingerprint = metric.fingerprint.wrapping_add(point.hash);
    if !(point.value.is_finite() && point.sum.is_finite()) {
        metric.not_finite += 1;
    } else if shape.is_stream() {
        let has_room = sightings.push(Sighting {
            stream: point.attributes,
            start_ns: point.start,
            time_ns: point.time,
            value: point.value,
            temporality: Temporality::Delta,
            // The count of a histogram never falls.
            monotonic: shape != Shape::Sum,
            requests: metric.is_server_duration && shape != Shape::Sum,
            errors: point.has_error,
        });
        metric.unseen += u64::from(!has_room);
    }
}

/// Reads a data point of the kind that field `number` of a metric holds.
pub(super) fn read_point(number: u32, point: &[u8]) -> Result<(), Malformed> {
    let shape = Shape::of(bytes(number)).ok_or(Malformed::Tag)?;
    points::read(shape, point, false).map(drop)
}
