//! The four shapes of data points.
//!
//! Each is written out, because points are most of what a metrics request holds; exemplars and
//! what is rare go through the tables.
//!
//! Invariant: of the alternatives of a value the last one counts, as in every decoder.

use super::super::{DEPTH_MAX, mix, mix_bytes, values};
use crate::otlp::metrics::{EXPONENTIAL_POINT, HISTOGRAM_POINT, NUMBER_POINT, SUMMARY_POINT};
use crate::wire::{Malformed, Reader, bytes, fixed64, varint};

/// What a data point says.
#[derive(Debug, Default)]
pub(super) struct Point {
    pub(super) flags: u64,
    /// Changes when a value of the point changes.
    pub(super) hash: u64,
}

impl Point {
    /// Takes a value of field `tag` into the hash.
    #[inline]
    const fn mix(&mut self, tag: u32, word: u64) {
        self.hash = mix(self.hash ^ tag as u64, word);
    }
}

const START: u32 = fixed64(2);
const TIME: u32 = fixed64(3);

pub(super) fn number(point: &[u8]) -> Result<Point, Malformed> {
    const DOUBLE: u32 = fixed64(4);
    const INT: u32 = fixed64(6);
    const ATTRIBUTE: u32 = bytes(7);
    const FLAGS: u32 = varint(8);

    let mut said = Point::default();
    let mut reader = Reader::new(point);
    while let Some(tag) = reader.tag()? {
        match tag {
            START | TIME => reader.fixed64().map(drop)?,
            DOUBLE | INT => said.mix(tag, reader.fixed64()?),
            ATTRIBUTE => values::attributes(&mut reader, ATTRIBUTE, DEPTH_MAX)?,
            FLAGS => said.flags = reader.varint()?,
            _ => values::other(&NUMBER_POINT, tag, &mut reader, DEPTH_MAX)?,
        }
    }
    Ok(said)
}

pub(super) fn histogram(point: &[u8]) -> Result<Point, Malformed> {
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
            START | TIME => reader.fixed64().map(drop)?,
            COUNT | SUM | MIN | MAX => said.mix(tag, reader.fixed64()?),
            COUNTS | BOUNDS => values::packed64(reader.bytes()?)?,
            ATTRIBUTE => values::attributes(&mut reader, ATTRIBUTE, DEPTH_MAX)?,
            FLAGS => said.flags = reader.varint()?,
            _ => values::other(&HISTOGRAM_POINT, tag, &mut reader, DEPTH_MAX)?,
        }
    }
    Ok(said)
}

pub(super) fn exponential(point: &[u8]) -> Result<Point, Malformed> {
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
            START | TIME => reader.fixed64().map(drop)?,
            COUNT | SUM | ZERO_COUNT | MIN | MAX => said.mix(tag, reader.fixed64()?),
            SCALE => said.mix(tag, reader.varint()?),
            ATTRIBUTE => values::attributes(&mut reader, ATTRIBUTE, DEPTH_MAX)?,
            FLAGS => said.flags = reader.varint()?,
            _ => values::other(&EXPONENTIAL_POINT, tag, &mut reader, DEPTH_MAX)?,
        }
    }
    Ok(said)
}

pub(super) fn summary(point: &[u8]) -> Result<Point, Malformed> {
    const COUNT: u32 = fixed64(4);
    const SUM: u32 = fixed64(5);
    const QUANTILE: u32 = bytes(6);
    const ATTRIBUTE: u32 = bytes(7);
    const FLAGS: u32 = varint(8);

    let mut said = Point::default();
    let mut reader = Reader::new(point);
    while let Some(tag) = reader.tag()? {
        match tag {
            START | TIME => reader.fixed64().map(drop)?,
            COUNT | SUM => said.mix(tag, reader.fixed64()?),
            QUANTILE => {
                let quantile = reader.bytes()?;
                values::check(&crate::otlp::metrics::QUANTILE, quantile, DEPTH_MAX)?;
                said.hash = mix_bytes(said.hash, quantile);
            }
            ATTRIBUTE => values::attributes(&mut reader, ATTRIBUTE, DEPTH_MAX)?,
            FLAGS => said.flags = reader.varint()?,
            _ => values::other(&SUMMARY_POINT, tag, &mut reader, DEPTH_MAX)?,
        }
    }
    Ok(said)
}
