//! Cutting records out of a request, and adding attributes to its resources, on the wire bytes.
//!
//! ```text
//! request ─┬─ resource … ─┬─ resource: attributes are matched, and added to
//!          │              └─ scope … ─┬─ span, log record: matched, kept or cut
//!          │                          └─ metric ── gauge, sum, … ── data point: as a span
//! ```
//!
//! What is kept is copied as it came, unknown fields too; only the lengths of what holds it are
//! written anew. What has lost all its records goes with them.
//!
//! Invariant: the result is what decoding, editing and encoding again would give, which the tests
//! hold it to with `prost`.

use std::fmt::Write as _;

use watchdog_core::tally::Signal;

use super::{Drop, Edited};
use crate::memory::Buffer;
use crate::refusal::Refusal;
use crate::wire::{self, Malformed, Reader, Value, insert_length, varint_bytes};

/// Fields of the messages that hold others; the same numbers for all three signals.
const RESOURCES: u32 = 1;
const RESOURCE: u32 = 1;
const SCOPES: u32 = 2;
const RECORDS: u32 = 2;
const RESOURCE_ATTRIBUTES: u32 = 1;
/// `data_points` in every kind of metric.
const POINTS: u32 = 1;

/// Carries one request over into `out`.
#[derive(Debug)]
pub(super) struct Splice<'a> {
    signal: Signal,
    drops: Vec<&'a Drop>,
    adds: &'a [(Vec<u8>, Vec<u8>)],
    out: Buffer,
    dropped: u64,
    changed: bool,
}

/// What became of a message that holds records.
#[derive(Debug, Clone, Copy, Default)]
struct Carried {
    kept: u64,
    cut: u64,
}

impl Carried {
    fn add(&mut self, other: Self) {
        self.kept += other.kept;
        self.cut += other.cut;
    }
}

/// An attribute of a resource, as a field of it.
pub(super) fn attribute(key: &str, value: &str) -> Vec<u8> {
    let mut any = Vec::new();
    put_bytes(&mut any, 1, value.as_bytes());
    let mut pair = Vec::new();
    put_bytes(&mut pair, 1, key.as_bytes());
    put_bytes(&mut pair, 2, &any);
    let mut field = Vec::new();
    put_bytes(&mut field, RESOURCE_ATTRIBUTES, &pair);
    field
}

fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    for value in [u64::from(wire::bytes(field)), bytes.len() as u64] {
        let (digits, width) = varint_bytes(value);
        out.extend_from_slice(&digits[..width]);
    }
    out.extend_from_slice(bytes);
}

impl<'a> Splice<'a> {
    pub(super) fn new(
        signal: Signal,
        drops: Vec<&'a Drop>,
        adds: &'a [(Vec<u8>, Vec<u8>)],
        out: Buffer,
    ) -> Self {
        Self { signal, drops, adds, out, dropped: 0, changed: false }
    }

    /// What came out; `None` if nothing changed.
    pub(super) fn finish(self) -> Option<Edited> {
        let (bytes, held) = self.out.freeze();
        self.changed.then_some(Edited { bytes, held, dropped: self.dropped })
    }

    pub(super) fn request(&mut self, request: &[u8]) -> Result<(), Refusal> {
        let mut reader = Reader::new(request);
        while let Some((number, value, raw)) = field(&mut reader)? {
            match (number, value) {
                (RESOURCES, Value::Bytes(bytes)) => {
                    self.nested(RESOURCES, |splice| splice.resource_records(bytes))?;
                }
                _other_fields => self.out.extend(raw)?,
            }
        }
        Ok(())
    }

    /// Writes a nested message, or nothing if it lost all its records.
    fn nested(
        &mut self,
        number: u32,
        content: impl FnOnce(&mut Self) -> Result<Carried, Refusal>,
    ) -> Result<Carried, Refusal> {
        let before = self.out.len();
        let (tag, width) = varint_bytes(u64::from(wire::bytes(number)));
        self.out.extend(&tag[..width])?;
        let start = self.out.len();
        let carried = content(self)?;
        if carried.cut > 0 && carried.kept == 0 {
            self.out.truncate(before);
        } else {
            insert_length(&mut self.out, start)?;
        }
        Ok(carried)
    }

    /// `ResourceSpans` and its like.
    fn resource_records(&mut self, message: &[u8]) -> Result<Carried, Refusal> {
        let mut resources = Vec::new();
        let mut reader = Reader::new(message);
        while let Some((number, value)) = reader.next()? {
            if number == RESOURCE {
                resources.push(value.bytes()?);
            }
        }
        let drops = self.drops.clone();
        let mut matching = Vec::new();
        for drop in &drops {
            if all_match(&drop.resource, &resources, RESOURCE_ATTRIBUTES)? {
                matching.push(*drop);
            }
        }
        let mut carried = Carried::default();
        let mut resources_left = resources.len();
        let mut reader = Reader::new(message);
        while let Some((number, value, raw)) = field(&mut reader)? {
            match (number, value) {
                (RESOURCE, Value::Bytes(bytes)) => {
                    resources_left -= 1;
                    self.resource(bytes, &resources, resources_left == 0)?;
                }
                (SCOPES, Value::Bytes(bytes)) if !matching.is_empty() => {
                    carried.add(self.nested(SCOPES, |splice| splice.scope(bytes, &matching))?);
                }
                _other_fields => self.out.extend(raw)?,
            }
        }
        if resources.is_empty() {
            self.resource(&[], &resources, true)?;
        }
        self.changed |= carried.cut > 0;
        Ok(carried)
    }

    /// A `Resource`; the last of one message takes what is to be added and not there.
    fn resource(&mut self, bytes: &[u8], all: &[&[u8]], last: bool) -> Result<(), Refusal> {
        let mut adds = Vec::new();
        if last {
            for (key, pair) in self.adds {
                if !has_key(all, key)? {
                    adds.push(pair);
                }
            }
        }
        if bytes.is_empty() && all.is_empty() && adds.is_empty() {
            return Ok(());
        }
        self.changed |= !adds.is_empty();
        self.nested(RESOURCE, |splice| {
            splice.out.extend(bytes)?;
            for pair in adds {
                splice.out.extend(pair)?;
            }
            Ok(Carried::default())
        })?;
        Ok(())
    }

    /// `ScopeSpans` and its like, of a resource that `drops` match.
    fn scope(&mut self, message: &[u8], drops: &[&Drop]) -> Result<Carried, Refusal> {
        let mut carried = Carried::default();
        let mut reader = Reader::new(message);
        while let Some((number, value, raw)) = field(&mut reader)? {
            match (number, value) {
                (RECORDS, Value::Bytes(bytes)) => carried.add(match self.signal {
                    Signal::Traces => self.record(bytes, raw, 9, drops)?,
                    Signal::Logs => self.record(bytes, raw, 6, drops)?,
                    Signal::Metrics => self.nested(RECORDS, |s| s.metric(bytes, drops))?,
                }),
                _other_fields => self.out.extend(raw)?,
            }
        }
        Ok(carried)
    }

    fn metric(&mut self, message: &[u8], drops: &[&Drop]) -> Result<Carried, Refusal> {
        let mut carried = Carried::default();
        let mut reader = Reader::new(message);
        while let Some((number, value, raw)) = field(&mut reader)? {
            let attributes = match number {
                // Gauge, sum and summary; histogram; exponential histogram.
                5 | 7 | 11 => 7,
                9 => 9,
                10 => 1,
                _other_fields => {
                    self.out.extend(raw)?;
                    continue;
                }
            };
            let bytes = value.bytes()?;
            carried.add(self.nested(number, |s| s.points(bytes, attributes, drops))?);
        }
        Ok(carried)
    }

    fn points(
        &mut self,
        message: &[u8],
        attributes: u32,
        drops: &[&Drop],
    ) -> Result<Carried, Refusal> {
        let mut carried = Carried::default();
        let mut reader = Reader::new(message);
        while let Some((number, value, raw)) = field(&mut reader)? {
            match (number, value) {
                (POINTS, Value::Bytes(bytes)) => {
                    carried.add(self.record(bytes, raw, attributes, drops)?);
                }
                _other_fields => self.out.extend(raw)?,
            }
        }
        Ok(carried)
    }

    /// A span, log record or data point, whose attributes are in field `attributes`.
    fn record(
        &mut self,
        bytes: &[u8],
        raw: &[u8],
        attributes: u32,
        drops: &[&Drop],
    ) -> Result<Carried, Refusal> {
        for drop in drops {
            if all_match(&drop.record, &[bytes], attributes)? {
                self.dropped += 1;
                return Ok(Carried { kept: 0, cut: 1 });
            }
        }
        self.out.extend(raw)?;
        Ok(Carried { kept: 1, cut: 0 })
    }
}

/// A field: its number, its value, and its bytes with tag and length.
type Field<'a> = (u32, Value<'a>, &'a [u8]);

fn field<'a>(reader: &mut Reader<'a>) -> Result<Option<Field<'a>>, Malformed> {
    let before = reader.rest();
    let Some((number, value)) = reader.next()? else { return Ok(None) };
    Ok(Some((number, value, &before[..before.len() - reader.rest().len()])))
}

/// Whether each of `pattern` is among the attributes, field `number` of the messages.
fn all_match(pattern: &super::Pattern, messages: &[&[u8]], number: u32) -> Result<bool, Malformed> {
    for (key, glob) in pattern {
        let mut found = false;
        each_pair(messages, number, |pair_key, value| {
            if pair_key == key.as_slice() {
                let mut text = String::new();
                found |= shown(value, &mut text)?.is_some_and(|shown| glob.matches(shown));
            }
            Ok(())
        })?;
        if !found {
            return Ok(false);
        }
    }
    Ok(true)
}

fn has_key(resources: &[&[u8]], key: &[u8]) -> Result<bool, Malformed> {
    let mut found = false;
    each_pair(resources, RESOURCE_ATTRIBUTES, |pair_key, _| {
        found |= pair_key == key;
        Ok(())
    })?;
    Ok(found)
}

/// Every `KeyValue` in field `number` of the messages: its key, and its `AnyValue`.
fn each_pair(
    messages: &[&[u8]],
    number: u32,
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    for message in messages {
        let mut reader = Reader::new(message);
        while let Some((found, value)) = reader.next()? {
            if found != number {
                continue;
            }
            let (mut key, mut any): (&[u8], &[u8]) = (&[], &[]);
            let mut pair = Reader::new(value.bytes()?);
            while let Some((part, value)) = pair.next()? {
                match part {
                    1 => key = value.bytes()?,
                    2 => any = value.bytes()?,
                    _other_fields => {}
                }
            }
            each(key, any)?;
        }
    }
    Ok(())
}

/// A text, boolean or integer as a pattern sees it; `None` for anything else.
fn shown<'a>(any: &'a [u8], into: &'a mut String) -> Result<Option<&'a [u8]>, Malformed> {
    let mut last = None;
    let mut reader = Reader::new(any);
    while let Some((number, value)) = reader.next()? {
        last = Some((number, value));
    }
    let written = match last {
        Some((1, value)) => return Ok(Some(value.bytes()?)),
        Some((2, value)) => write!(into, "{}", value.varint()? != 0),
        Some((3, value)) => write!(into, "{}", value.varint()?.cast_signed()),
        Some(_) | None => return Ok(None),
    };
    written.expect("writing to memory cannot fail");
    Ok(Some(into.as_bytes()))
}
