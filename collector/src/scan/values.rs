//! Checks messages that the scan does not look into, by the tables of [`crate::otlp`].
//!
//! Attributes are most of the bytes of most requests, so [`key_value`] and [`any_value`] are
//! written out; everything else goes through [`check`].
//!
//! Invariant: what a strict protobuf decoder refuses for its structure is refused here.

use super::{DEPTH_MAX, plain};
use crate::otlp::{Kind, Message, Shape};
use crate::wire::{LENGTH, Malformed, Reader, Value};

/// The tag of an `AnyValue` that is a text.
const TEXT: u8 = 1 << 3 | LENGTH;

/// Checks `bytes` against the table of `message`.
pub(super) fn check(message: &'static Message, bytes: &[u8], depth: u32) -> Result<(), Malformed> {
    let depth = depth.checked_sub(1).ok_or(Malformed::Depth)?;
    let mut reader = Reader::new(bytes);
    while let Some((number, value)) = reader.next()? {
        field(message, number, value, depth)?;
    }
    Ok(())
}

/// Checks one field of a `message`; fields that the table does not know are good.
pub(super) fn field(
    message: &'static Message,
    number: u32,
    value: Value<'_>,
    depth: u32,
) -> Result<(), Malformed> {
    let Some(known) = message.by_number(number) else { return Ok(()) };
    match known.kind {
        Kind::Message(inner) => return nested(inner, value.bytes()?, depth),
        Kind::Text => return text(value.bytes()?).map(drop),
        Kind::Bytes
        | Kind::TraceId
        | Kind::SpanId
        | Kind::Bool
        | Kind::Int32
        | Kind::Int64
        | Kind::Uint32
        | Kind::Uint64
        | Kind::Sint32
        | Kind::Enum
        | Kind::Fixed32
        | Kind::Fixed64
        | Kind::Sfixed64
        | Kind::Double => {}
    }
    match (known.kind.shape(), value) {
        (shape @ (Shape::Varint | Shape::Fixed64 | Shape::Fixed32), Value::Bytes(packed))
            if known.repeated =>
        {
            check_packed(shape, packed)
        }
        (Shape::Varint, Value::Varint(_))
        | (Shape::Fixed64, Value::Fixed64(_))
        | (Shape::Fixed32, Value::Fixed32(_))
        | (Shape::Bytes, Value::Bytes(_)) => Ok(()),
        (Shape::Varint | Shape::Fixed64 | Shape::Fixed32 | Shape::Bytes, _) => {
            Err(Malformed::WireType)
        }
    }
}

fn nested(message: &'static Message, bytes: &[u8], depth: u32) -> Result<(), Malformed> {
    use crate::otlp::attributes::{ANY_VALUE, KEY_VALUE};

    if std::ptr::eq(message, &KEY_VALUE) {
        key_value(bytes, depth).map(drop)
    } else if std::ptr::eq(message, &ANY_VALUE) {
        any_value(bytes, depth).map(drop)
    } else {
        check(message, bytes, depth)
    }
}

fn check_packed(shape: Shape, bytes: &[u8]) -> Result<(), Malformed> {
    let aligned = |size: usize| bytes.len().is_multiple_of(size);
    match shape {
        Shape::Varint => {
            let mut reader = Reader::new(bytes);
            while !reader.is_empty() {
                reader.varint()?;
            }
            Ok(())
        }
        Shape::Fixed64 if aligned(8) => Ok(()),
        Shape::Fixed32 if aligned(4) => Ok(()),
        Shape::Fixed64 | Shape::Fixed32 => Err(Malformed::Truncated),
        Shape::Bytes => Err(Malformed::WireType),
    }
}

/// Checks a text.
#[inline]
pub(super) fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|_| Malformed::Utf8)
}

/// Checks the text at a peeked tag of `message`, of which nothing is read.
#[inline(always)]
pub(super) fn name(message: &mut Reader<'_>) -> Result<(), Malformed> {
    match message.short() {
        Some(name) if plain::is_text(&name) => Ok(()),
        Some(name) => text(name.remaining()).map(drop),
        None => {
            message.step();
            text(message.bytes()?).map(drop)
        }
    }
}

/// Checks an `AnyValue` that nothing is read of, a text as a rule.
#[inline]
pub(super) fn body(mut body: Reader<'_>) -> Result<(), Malformed> {
    let whole = body.remaining();
    if body.peek() == Some(TEXT) && name(&mut body).is_ok() && body.is_empty() {
        return Ok(());
    }
    any_value(whole, DEPTH_MAX).map(drop)
}

/// Checks the `KeyValue` at a peeked tag of `message`, of which nothing is read.
#[inline(always)]
pub(super) fn attribute(message: &mut Reader<'_>) -> Result<(), Malformed> {
    match message.short() {
        Some(attribute) if plain::is_text_pair(&attribute) => Ok(()),
        Some(attribute) => other_attribute(&attribute),
        None => {
            message.step();
            other_attribute(&message.enter()?)
        }
    }
}

#[inline(never)]
fn other_attribute(attribute: &Reader<'_>) -> Result<(), Malformed> {
    if plain::is_number_pair(attribute) {
        return Ok(());
    }
    key_value(attribute.remaining(), DEPTH_MAX).map(drop)
}

/// Checks a `KeyValue`; gives its key and, if its value is a text, that.
pub(super) fn key_value(bytes: &[u8], depth: u32) -> Result<(&str, Option<&str>), Malformed> {
    let (mut key, mut string) = ("", None);
    let mut reader = Reader::new(bytes);
    while let Some((number, value)) = reader.next()? {
        match number {
            1 => key = text(value.bytes()?)?,
            2 => string = any_value(value.bytes()?, depth)?,
            3 => value.varint().map(drop)?,
            _ => {}
        }
    }
    Ok((key, string))
}

/// Checks an `AnyValue`; gives its text if it is one.
fn any_value(bytes: &[u8], depth: u32) -> Result<Option<&str>, Malformed> {
    let depth = depth.checked_sub(1).ok_or(Malformed::Depth)?;
    let mut string = None;
    let mut reader = Reader::new(bytes);
    while let Some((number, value)) = reader.next()? {
        // The alternatives exclude each other; the last one counts.
        string = match number {
            1 => Some(text(value.bytes()?)?),
            2 | 3 | 8 => value.varint().map(|_| None)?,
            4 => value.fixed64().map(|_| None)?,
            5 => values_of(value.bytes()?, depth, |item| any_value(item, depth).map(drop))?,
            6 => values_of(value.bytes()?, depth, |item| key_value(item, depth).map(drop))?,
            7 => value.bytes().map(|_| None)?,
            _ => string,
        };
    }
    Ok(string)
}

/// Checks the items of an array or a list, which both are at field 1.
fn values_of<'a>(
    bytes: &'a [u8],
    depth: u32,
    item: impl Fn(&'a [u8]) -> Result<(), Malformed>,
) -> Result<Option<&'a str>, Malformed> {
    if depth == 0 {
        return Err(Malformed::Depth);
    }
    let mut reader = Reader::new(bytes);
    while let Some((number, value)) = reader.next()? {
        if number == 1 {
            item(value.bytes()?)?;
        }
    }
    Ok(None)
}
