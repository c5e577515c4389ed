//! The five shapes of data points.
//!
//! Each is written out, because points are most of what a metrics request holds; exemplars and
//! what is rare go through the tables.
//!
//! Invariant: of the alternatives of a value the last one counts, as in every decoder.

use super::super::{DEPTH_MAX, mix, mix_bytes, values};
use crate::otlp::metrics::{
    EXPONENTIAL_POINT, HISTOGRAM_POINT, NUMBER_POINT, QUANTILE as QUANTILE_MESSAGE, SUMMARY_POINT,
};
use crate::wire::{Malformed, Reader, bytes, fixed64, varint};

/// The kinds of data that a metric may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Gauge,
    Sum,
    Histogram,
    Exponential,
    Summary,
}

impl Shape {
    /// The shape that stands in a metric at this tag.
    #[inline]
    pub(super) const fn of(tag: u32) -> Option<Self> {
        const GAUGE: u32 = bytes(5);
        const SUM: u32 = bytes(7);
        const HISTOGRAM: u32 = bytes(9);
        const EXPONENTIAL: u32 = bytes(10);
        const SUMMARY: u32 = bytes(11);

        match tag {
            GAUGE => Some(Self::Gauge),
            SUM => Some(Self::Sum),
            HISTOGRAM => Some(Self::Histogram),
            EXPONENTIAL => Some(Self::Exponential),
            SUMMARY => Some(Self::Summary),
            _ => None,
        }
    }

    /// The last of: points, temporality, monotony.
    pub(super) const fn fields(self) -> u32 {
        match self {
            Self::Gauge | Self::Summary => 1,
            Self::Histogram | Self::Exponential => 2,
            Self::Sum => 3,
        }
    }

    /// Whether its points follow from each other.
    pub(super) const fn is_stream(self) -> bool {
        matches!(self, Self::Sum | Self::Histogram | Self::Exponential)
    }
}

/// What a data point says.
#[derive(Debug, Default)]
pub(super) struct Point {
    pub(super) flags: u64,
    /// Changes when a value of the point changes.
    pub(super) hash: u64,
    pub(super) start: u64,
    pub(super) time: u64,
    /// The number, or the count of a histogram.
    pub(super) value: f64,
    /// The sum of a histogram.
    pub(super) sum: f64,
    /// Tells one set of attributes from others.
    pub(super) attributes: u64,
    /// Whether there is an `error.type`, if it was looked for.
    pub(super) has_error: bool,
}

impl Point {
    /// Takes a value of field `tag` into the hash.
    #[inline]
    const fn take(&mut self, tag: u32, word: u64) {
        self.hash = mix(self.hash ^ tag as u64, word);
    }

    /// The same, and gives the value.
    #[inline]
    const fn mix(&mut self, tag: u32, word: u64) -> u64 {
        self.take(tag, word);
        word
    }

    /// Checks a row of attributes and remembers which they are.
    #[inline]
    fn attributes(
        &mut self,
        reader: &mut Reader<'_>,
        tag: u32,
        look_for_error: bool,
    ) -> Result<(), Malformed> {
        let row = reader.rest();
        values::attributes(reader, tag, DEPTH_MAX)?;
        let row = &row[..row.len() - reader.rest().len()];
        self.attributes = self.attributes.wrapping_add(hash(row));
        self.has_error |= look_for_error && row.windows(10).any(|part| part == b"error.type");
        Ok(())
    }
}

/// A hash of many bytes, in four lanes that do not wait for each other.
#[inline]
fn hash(bytes: &[u8]) -> u64 {
    let mut lanes = [bytes.len() as u64, 1, 2, 3];
    let mut take = |block: &[u8; 32]| {
        let (words, _) = block.as_chunks::<8>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane = mix(*lane, u64::from_le_bytes(*word));
        }
    };
    let (blocks, rest) = bytes.as_chunks::<32>();
    blocks.iter().for_each(&mut take);
    // The last block overlaps the one before, if there is one.
    if let Some(last) = bytes.last_chunk::<32>() {
        take(last);
    } else {
        let mut last = [0; 32];
        last[..rest.len()].copy_from_slice(rest);
        take(&last);
    }
    lanes.iter().fold(0, |hash, lane| mix(hash, *lane))
}

const START: u32 = fixed64(2);
const TIME: u32 = fixed64(3);

/// Reads a point, and looks for an `error.type` among its attributes if that is asked.
#[inline]
pub(super) fn read(shape: Shape, point: &[u8], look_for_error: bool) -> Result<Point, Malformed> {
    let (read, message) = match shape {
        Shape::Gauge | Shape::Sum => (number(point, look_for_error), &NUMBER_POINT),
        Shape::Histogram => (histogram(point, look_for_error), &HISTOGRAM_POINT),
        Shape::Exponential => (exponential(point, look_for_error), &EXPONENTIAL_POINT),
        Shape::Summary => (summary(point), &SUMMARY_POINT),
    };
    read.map_err(|wrong| values::worst(wrong, message, point))
}

fn number(point: &[u8], look_for_error: bool) -> Result<Point, Malformed> {
    const DOUBLE: u32 = fixed64(4);
    const INT: u32 = fixed64(6);
    const ATTRIBUTE: u32 = bytes(7);
    const FLAGS: u32 = varint(8);

    let mut said = Point::default();
    let mut reader = Reader::new(point);
    while let Some(tag) = reader.tag()? {
        match tag {
            START => said.start = reader.fixed64()?,
            TIME => said.time = reader.fixed64()?,
            DOUBLE => said.value = f64::from_bits(said.mix(tag, reader.fixed64()?)),
            INT => said.value = said.mix(tag, reader.fixed64()?) as i64 as f64,
            ATTRIBUTE => said.attributes(&mut reader, ATTRIBUTE, look_for_error)?,
            FLAGS => said.flags = reader.varint()?,
            _ => values::other(&NUMBER_POINT, tag, &mut reader, DEPTH_MAX)?,
        }
    }
    Ok(said)
}

fn histogram(point: &[u8], look_for_error: bool) -> Result<Point, Malformed> {
    const COUNT: u32 = fixed64(4);
    const SUM: u32 = fixed64(5);
    const COUNTS: u32 = bytes(6);
    const BOUNDS: u32 = bytes(7);
    const ATTRIBUTE: u32 = bytes(9);
    const FLAGS: u32 = varint(10);
    const MIN: u32 = fixed64(11);
    const MAX: u32 = fixed64(12);

    let mut said = Point::default();
    let mut reader = Reader::new(point);
    while let Some(tag) = reader.tag()? {
        match tag {
            START => said.start = reader.fixed64()?,
            TIME => said.time = reader.fixed64()?,
            COUNT => said.value = said.mix(tag, reader.fixed64()?) as f64,
            SUM => said.sum = f64::from_bits(said.mix(tag, reader.fixed64()?)),
            MIN | MAX => said.take(tag, reader.fixed64()?),
            COUNTS | BOUNDS => values::packed64(reader.bytes()?)?,
            ATTRIBUTE => said.attributes(&mut reader, ATTRIBUTE, look_for_error)?,
            FLAGS => said.flags = reader.varint()?,
            _ => values::other(&HISTOGRAM_POINT, tag, &mut reader, DEPTH_MAX)?,
        }
    }
    Ok(said)
}

fn exponential(point: &[u8], look_for_error: bool) -> Result<Point, Malformed> {
    const ATTRIBUTE: u32 = bytes(1);
    const COUNT: u32 = fixed64(4);
    const SUM: u32 = fixed64(5);
    const SCALE: u32 = varint(6);
    const ZERO_COUNT: u32 = fixed64(7);
    const FLAGS: u32 = varint(10);
    const MIN: u32 = fixed64(12);
    const MAX: u32 = fixed64(13);

    let mut said = Point::default();
    let mut reader = Reader::new(point);
    while let Some(tag) = reader.tag()? {
        match tag {
            START => said.start = reader.fixed64()?,
            TIME => said.time = reader.fixed64()?,
            COUNT => said.value = said.mix(tag, reader.fixed64()?) as f64,
            SUM => said.sum = f64::from_bits(said.mix(tag, reader.fixed64()?)),
            ZERO_COUNT | MIN | MAX => said.take(tag, reader.fixed64()?),
            SCALE => said.take(tag, reader.varint()?),
            ATTRIBUTE => said.attributes(&mut reader, ATTRIBUTE, look_for_error)?,
            FLAGS => said.flags = reader.varint()?,
            _ => values::other(&EXPONENTIAL_POINT, tag, &mut reader, DEPTH_MAX)?,
        }
    }
    Ok(said)
}

fn summary(point: &[u8]) -> Result<Point, Malformed> {
    const COUNT: u32 = fixed64(4);
    const SUM: u32 = fixed64(5);
    const QUANTILE: u32 = bytes(6);
    const ATTRIBUTE: u32 = bytes(7);
    const FLAGS: u32 = varint(8);

    let mut said = Point::default();
    let mut reader = Reader::new(point);
    while let Some(tag) = reader.tag()? {
        match tag {
            START => said.start = reader.fixed64()?,
            TIME => said.time = reader.fixed64()?,
            COUNT => said.value = said.mix(tag, reader.fixed64()?) as f64,
            SUM => said.sum = f64::from_bits(said.mix(tag, reader.fixed64()?)),
            QUANTILE => {
                let quantile = reader.bytes()?;
                values::check(&QUANTILE_MESSAGE, quantile, DEPTH_MAX)?;
                said.hash = mix_bytes(said.hash, quantile);
            }
            ATTRIBUTE => values::attributes(&mut reader, ATTRIBUTE, DEPTH_MAX)?,
            FLAGS => said.flags = reader.varint()?,
            _ => values::other(&SUMMARY_POINT, tag, &mut reader, DEPTH_MAX)?,
        }
    }
    Ok(said)
}
