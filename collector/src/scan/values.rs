//! Checks attributes and values, and by the tables of [`crate::otlp`] all that the scan does not
//! look into.
//!
//! Attributes are most of the bytes of most requests, so [`key_value`] and [`any_value`] are
//! written out, and [`attributes`] has straight-line code for the usual one; everything else goes
//! through [`check`].
//!
//! Invariant: what a strict protobuf decoder refuses for its structure is refused here.

use super::{DEPTH_MAX, id};
use crate::otlp::{Kind, Message, Shape};
use crate::wire::{Malformed, Reader, Value, bytes, fixed64, varint};

/// Checks `bytes` against the table of `message`.
///
/// An id of a wrong length is told only if nothing else is wrong: then the record can be rejected
/// alone.
pub(super) fn check(message: &'static Message, bytes: &[u8], depth: u32) -> Result<(), Malformed> {
    let depth = depth.checked_sub(1).ok_or(Malformed::Depth)?;
    let mut reader = Reader::new(bytes);
    let mut ids = Ok(());
    while let Some(tag) = reader.tag()? {
        match other(message, tag, &mut reader, depth) {
            Err(Malformed::Id) => ids = Err(Malformed::Id),
            read => read?,
        }
    }
    ids
}

/// What is wrong with a `record` in which `wrong` was found first: an id of a wrong length only if
/// the rest of it is well formed.
#[cold]
pub(super) fn worst(wrong: Malformed, message: &'static Message, record: &[u8]) -> Malformed {
    match wrong {
        Malformed::Id => check(message, record, DEPTH_MAX + 1).err().unwrap_or(Malformed::Id),
        Malformed::Truncated
        | Malformed::Varint
        | Malformed::Tag
        | Malformed::WireType
        | Malformed::Depth
        | Malformed::Utf8 => wrong,
    }
}

/// Checks the field of a `message` whose `tag` was read; fields that the table does not know are
/// good.
#[inline(never)]
pub(super) fn other(
    message: &'static Message,
    tag: u32,
    reader: &mut Reader<'_>,
    depth: u32,
) -> Result<(), Malformed> {
    let value = reader.value(tag)?;
    let Some(known) = message.by_number(tag >> 3) else { return Ok(()) };
    match known.kind {
        Kind::Message(inner) => return nested(inner, value.bytes()?, depth),
        Kind::Text => return text(value.bytes()?),
        Kind::TraceId => return id::<16>(value.bytes()?).map(drop),
        Kind::SpanId => return id::<8>(value.bytes()?).map(drop),
        Kind::Bytes
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
    match shape {
        Shape::Varint => {
            let mut reader = Reader::new(bytes);
            while !reader.is_empty() {
                reader.varint()?;
            }
            Ok(())
        }
        Shape::Fixed64 => packed64(bytes),
        Shape::Fixed32 if bytes.len().is_multiple_of(4) => Ok(()),
        Shape::Fixed32 => Err(Malformed::Truncated),
        Shape::Bytes => Err(Malformed::WireType),
    }
}

/// Checks a packed list of 64-bit numbers.
#[inline]
pub(super) const fn packed64(bytes: &[u8]) -> Result<(), Malformed> {
    if bytes.len().is_multiple_of(8) { Ok(()) } else { Err(Malformed::Truncated) }
}

/// Checks a text.
#[inline]
pub(super) fn text(bytes: &[u8]) -> Result<(), Malformed> {
    if is_ascii(bytes) { Ok(()) } else { utf8(bytes).map(drop) }
}

/// The text of a value that is one.
pub(super) fn as_str(text: Option<&[u8]>) -> Result<Option<&str>, Malformed> {
    text.map(utf8).transpose()
}

#[cold]
#[inline(never)]
pub(super) fn utf8(bytes: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|_| Malformed::Utf8)
}

/// Whether all bytes are ASCII: their high bits, ORed a register at a time. Chunks at the end
/// overlap the ones before, which spares a loop over single bytes.
#[inline]
fn is_ascii(bytes: &[u8]) -> bool {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    if let (Some(first), Some(last)) = (bytes.first_chunk::<16>(), bytes.last_chunk::<16>()) {
        let mut high = halves(first) | halves(last);
        if bytes.len() > 32 {
            let (chunks, _) = bytes.as_chunks::<32>();
            for chunk in chunks {
                let (low, upper) = chunk.split_first_chunk::<16>().expect("32 bytes");
                high |= halves(low) | upper.first_chunk::<16>().map_or(0, halves);
            }
            high |= bytes[bytes.len() - 32..].first_chunk::<16>().map_or(0, halves);
        }
        return high & HIGH == 0;
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        return (u64::from_le_bytes(*first) | u64::from_le_bytes(*last)) & HIGH == 0;
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        return u64::from(u32::from_le_bytes(*first) | u32::from_le_bytes(*last)) & HIGH == 0;
    }
    match *bytes {
        [] => true,
        [one] => one < 0x80,
        [one, ref more @ ..] => one | more[0] | more[more.len() - 1] < 0x80,
    }
}

#[inline]
fn halves(bytes: &[u8; 16]) -> u64 {
    let both = u128::from_le_bytes(*bytes);
    both as u64 | (both >> 64) as u64
}

/// A `KeyValue` at the start of some bytes, if it is one of the usual ones.
enum Usual {
    /// All its bytes are texts and what frames them; so many bytes follow it.
    Text {
        after: usize,
    },
    /// The bytes of its number may be anything, but they are good.
    Number {
        before: usize,
        after: usize,
    },
    None,
}

/// Judges the `KeyValue` whose length is the first of `bytes`: a key and then one text or one
/// number, all shorter than 128 bytes. Says where it ends by what is left of `bytes`.
///
/// ```text
///   length │ 0a length key… │ 12 length │ 0a length text…
///                                       │ 10|18 varint, 21 double
/// ```
#[inline]
fn usual(bytes: &[u8]) -> Usual {
    let Some(head) = bytes.first_chunk::<4>() else { return Usual::None };
    let head = u32::from_le_bytes(*head);
    if head & 0x0080_ff80 != 0x0000_0a00 {
        return Usual::None;
    }
    let (length, key) = ((head & 0x7f) as usize, (head >> 16 & 0x7f) as usize);
    let Some((body, after)) = bytes[1..].split_at_checked(length) else { return Usual::None };
    let Some(value) = body.get(2 + key..) else { return Usual::None };
    let Some(word) = value.first_chunk::<4>() else { return Usual::None };
    let word = u32::from_le_bytes(*word);
    let size = value.len() as u32;
    // As bytes: 0x12, size - 2, 0x0a, size - 4. Sizes are under 128, so nothing carries.
    if word
        == 0x000a_0012_u32.wrapping_add(size.wrapping_sub(2) << 8).wrapping_add((size - 4) << 24)
    {
        return Usual::Text { after: after.len() };
    }
    let number = &value[3..];
    let good = word & 0xffff == 0x12 | (size - 2) << 8
        && match word >> 16 & 0xff {
            0x10 | 0x18 => is_varint(number),
            0x21 => number.len() == 8,
            _ => false,
        };
    let before = after.len() + number.len();
    if good { Usual::Number { before, after: after.len() } } else { Usual::None }
}

/// Whether `bytes` are one varint and nothing else.
#[inline]
fn is_varint(bytes: &[u8]) -> bool {
    match *bytes {
        [last] => last < 0x80,
        [first, last] => first >= 0x80 && last < 0x80,
        _ => {
            let mut reader = Reader::new(bytes);
            reader.varint().is_ok() && reader.is_empty()
        }
    }
}

/// Checks the `KeyValue`s in a row whose `tag` is one byte and has just been read.
///
/// Their texts are checked together: what stands between the texts of usual attributes is ASCII,
/// so a stretch of them is UTF-8 exactly if each of its texts is.
#[inline]
pub(super) fn attributes(reader: &mut Reader<'_>, tag: u32, depth: u32) -> Result<(), Malformed> {
    let mut rest = reader.rest();
    let mut stretch = rest;
    loop {
        match usual(rest) {
            Usual::Text { after } => rest = &rest[rest.len() - after..],
            Usual::Number { before, after } => {
                text(&stretch[..stretch.len() - before])?;
                rest = &rest[rest.len() - after..];
                stretch = rest;
            }
            Usual::None => {
                text(&stretch[..stretch.len() - rest.len()])?;
                *reader = Reader::new(rest);
                key_value(reader.bytes()?, depth)?;
                rest = reader.rest();
                stretch = rest;
            }
        }
        match *rest {
            [byte, ref more @ ..] if u32::from(byte) == tag => rest = more,
            _ => break,
        }
    }
    text(&stretch[..stretch.len() - rest.len()])?;
    *reader = Reader::new(rest);
    Ok(())
}

const KEY: u32 = bytes(1);
const VALUE: u32 = bytes(2);
const KEY_INDEX: u32 = varint(3);

/// Checks a `KeyValue`; gives its key and, if its value is a text, that.
#[inline]
pub(super) fn key_value(bytes: &[u8], depth: u32) -> Result<(&[u8], Option<&[u8]>), Malformed> {
    // The usual one: a short key, then a short value, and nothing else.
    if let [0x0a, length @ 0..0x80, ref rest @ ..] = *bytes
        && let Some((key, [0x12, length @ 0..0x80, value @ ..])) =
            rest.split_at_checked(usize::from(length))
        && usize::from(*length) == value.len()
    {
        text(key)?;
        return Ok((key, any_value(value, depth)?));
    }
    any_key_value(bytes, depth)
}

fn any_key_value(bytes: &[u8], depth: u32) -> Result<(&[u8], Option<&[u8]>), Malformed> {
    let (mut key, mut string): (&[u8], _) = (&[], None);
    let mut reader = Reader::new(bytes);
    while let Some(tag) = reader.tag()? {
        match tag {
            KEY => {
                key = reader.bytes()?;
                text(key)?;
            }
            VALUE => string = any_value(reader.bytes()?, depth)?,
            KEY_INDEX => reader.varint().map(drop)?,
            _ => other(&crate::otlp::attributes::KEY_VALUE, tag, &mut reader, depth)?,
        }
    }
    Ok((key, string))
}

const STRING: u32 = bytes(1);
const BOOL: u32 = varint(2);
const INT: u32 = varint(3);
const DOUBLE: u32 = fixed64(4);
const ARRAY: u32 = bytes(5);
const LIST: u32 = bytes(6);
const BYTES: u32 = bytes(7);
const STRING_INDEX: u32 = varint(8);

/// Checks an `AnyValue`; gives its text if it is one.
#[inline]
pub(super) fn any_value(bytes: &[u8], depth: u32) -> Result<Option<&[u8]>, Malformed> {
    match *bytes {
        // The usual one: a short text, and nothing else.
        [0x0a, length @ 0..0x80, ref string @ ..]
            if usize::from(length) == string.len() && depth > 0 =>
        {
            text(string)?;
            Ok(Some(string))
        }
        _ => any_value_of(bytes, depth),
    }
}

fn any_value_of(bytes: &[u8], depth: u32) -> Result<Option<&[u8]>, Malformed> {
    let depth = depth.checked_sub(1).ok_or(Malformed::Depth)?;
    let mut string = None;
    let mut reader = Reader::new(bytes);
    while let Some(tag) = reader.tag()? {
        // The alternatives exclude each other; the last one counts.
        string = match tag {
            STRING => {
                let string = reader.bytes()?;
                text(string)?;
                Some(string)
            }
            BOOL | INT | STRING_INDEX => reader.varint().map(|_| None)?,
            DOUBLE => reader.fixed64().map(|_| None)?,
            ARRAY => items(reader.bytes()?, depth, |item| any_value(item, depth).map(drop))?,
            LIST => items(reader.bytes()?, depth, |item| key_value(item, depth).map(drop))?,
            BYTES => reader.bytes().map(|_| None)?,
            _ => {
                other(&crate::otlp::attributes::ANY_VALUE, tag, &mut reader, depth)?;
                string
            }
        };
    }
    Ok(string)
}

/// Checks the items of an array or a list, which both are at field 1.
fn items<'a>(
    bytes: &'a [u8],
    depth: u32,
    item: impl Fn(&'a [u8]) -> Result<(), Malformed>,
) -> Result<Option<&'a [u8]>, Malformed> {
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

#[cfg(test)]
mod tests;
