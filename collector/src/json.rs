//! OTLP/JSON in, OTLP/protobuf out, in one pass and without a tree in between.
//!
//! JSON is how browsers and shell scripts speak OTLP; behind this door there is protobuf only, so
//! that the scan and the exporters know one encoding. The rules are those of the OTLP
//! specification, "JSON Protobuf Encoding": ids are hex, enums are integers, 64-bit integers are
//! strings or numbers, unknown keys are ignored, `null` is the default.
//!
//! Invariant: the output is bounded by its [`Buffer`] and nesting by `serde_json` (128 levels),
//! so hostile JSON costs no more than its own size allows.

mod scalar;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use watchdog_core::tally::Signal;

use crate::memory::Buffer;
use crate::otlp::{self, Field, Kind, Message, Shape};
use crate::refusal::Refusal;
use crate::wire::varint_bytes;
use scalar::Scalar;

/// Some editors put it before a text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Where protobuf is written; remembers why it could not be.
pub(crate) struct Out<'b> {
    buffer: &'b mut Buffer,
    refused: Option<Refusal>,
}

/// Appends to `buffer` the protobuf of an export request of `signal` in JSON.
///
/// # Errors
/// [`Refusal::Malformed`] with line and column, or what the buffer refuses with.
pub(crate) fn transcode(signal: Signal, json: &[u8], buffer: &mut Buffer) -> Result<(), Refusal> {
    let json = json.strip_prefix(BYTE_ORDER_MARK).unwrap_or(json);
    // Judged as a whole, texts need not be judged again one by one.
    let json = std::str::from_utf8(json)
        .map_err(|error| Refusal::Malformed(format!("JSON: not UTF-8: {error}")))?;
    let mut out = Out { buffer, refused: None };
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let request = ObjectSeed { message: otlp::request(signal), out: &mut out };
    let read = request.deserialize(&mut deserializer).and_then(|()| deserializer.end());
    match (out.refused, read) {
        (Some(refusal), _) => Err(refusal),
        (None, Err(error)) => Err(Refusal::Malformed(format!("JSON: {error}"))),
        (None, Ok(())) => Ok(()),
    }
}

impl Out<'_> {
    #[inline]
    fn extend<E: Error>(&mut self, bytes: &[u8]) -> Result<(), E> {
        self.buffer.extend(bytes).map_err(|refusal| self.refuse(refusal))
    }

    #[cold]
    fn refuse<E: Error>(&mut self, refusal: Refusal) -> E {
        let error = E::custom(&refusal);
        self.refused = Some(refusal);
        error
    }

    #[inline]
    fn varint<E: Error>(&mut self, value: u64) -> Result<(), E> {
        match u8::try_from(value) {
            Ok(byte) if byte < 0x80 => self.extend(&[byte]),
            _ => {
                let (bytes, width) = varint_bytes(value);
                self.extend(&bytes[..width])
            }
        }
    }

    #[inline]
    fn key<E: Error>(&mut self, field: &Field, shape: Shape) -> Result<(), E> {
        let wire_type = match shape {
            Shape::Varint => 0,
            Shape::Fixed64 => 1,
            Shape::Bytes => 2,
            Shape::Fixed32 => 5,
        };
        self.varint(u64::from(field.number) << 3 | wire_type)
    }

    #[inline]
    fn text<E: Error>(&mut self, bytes: &[u8]) -> Result<(), E> {
        self.varint(bytes.len() as u64)?;
        self.extend(bytes)
    }

    /// Writes a length-delimited field whose content `write` appends. The length is known only
    /// afterwards, so one byte is kept for it, and the content moves if it needs more.
    fn delimited<E: Error>(
        &mut self,
        field: &Field,
        write: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.key(field, Shape::Bytes)?;
        let at = self.buffer.len();
        self.extend(&[0])?;
        write(self)?;
        let (start, end) = (at + 1, self.buffer.len());
        let (digits, width) = varint_bytes((end - start) as u64);
        if width > 1 {
            self.extend(&digits[..width - 1])?;
            self.buffer.as_mut_slice().copy_within(start..end, at + width);
        }
        self.buffer.as_mut_slice()[at..at + width].copy_from_slice(&digits[..width]);
        Ok(())
    }
}

/// Reads an object as a `message`.
struct ObjectSeed<'o, 'b> {
    message: &'static Message,
    out: &'o mut Out<'b>,
}

impl<'de> DeserializeSeed<'de> for ObjectSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ObjectSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object ({})", self.message.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        object(self.message, self.out, map)
    }
}

fn object<'de, A: MapAccess<'de>>(
    message: &'static Message,
    out: &mut Out<'_>,
    mut map: A,
) -> Result<(), A::Error> {
    let mut expected = 0;
    while let Some(place) = map.next_key_seed(NameSeed { message, expected })? {
        match place.and_then(|place| message.fields.get(place)) {
            Some(field) => map.next_value_seed(ValueSeed { field, in_list: false, out })?,
            None => map.next_value::<IgnoredAny>().map(drop)?,
        }
        // Writers keep to the order of the fields.
        expected = place.map_or(expected, |place| place + 1);
    }
    Ok(())
}

/// Reads a key and looks up the place of its field, without keeping it.
struct NameSeed {
    message: &'static Message,
    /// Where it is looked for first.
    expected: usize,
}

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = Option<usize>;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for NameSeed {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    #[inline]
    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        let fields = self.message.fields;
        Ok(match fields.get(self.expected) {
            Some(field) if field.json == name => Some(self.expected),
            _ => fields.iter().position(|field| field.json == name),
        })
    }
}

/// Reads a value of `field`, key and all, to `out`.
struct ValueSeed<'o, 'b> {
    field: &'static Field,
    /// Whether the value is an item of the field's list.
    in_list: bool,
    out: &'o mut Out<'b>,
}

impl ValueSeed<'_, '_> {
    /// Whether a single value may stand here.
    const fn takes_one(&self) -> bool {
        self.in_list || !self.field.repeated
    }

    fn scalar<E: Error>(self, value: &Scalar<'_>) -> Result<(), E> {
        if !self.takes_one() {
            return Err(E::custom(format_args!("`{}` must be a list", self.field.json)));
        }
        let packed = self.in_list && self.field.kind.shape() != Shape::Bytes;
        value.write(self.field, !packed, self.out)
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.takes_one(), self.field.kind) {
            (false, _) => write!(f, "a list for `{}`", self.field.json),
            (true, Kind::Message(message)) => write!(f, "an object ({})", message.name),
            (true, kind) => write!(f, "a {kind:?} for `{}`", self.field.json),
        }
    }

    /// `null` is the default, which protobuf says by leaving the field out.
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        if self.in_list { Err(E::custom("null is no item of a list")) } else { Ok(()) }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let (takes_one, Kind::Message(message)) = (self.takes_one(), self.field.kind) else {
            return Err(A::Error::custom(format_args!("`{}` is no object", self.field.json)));
        };
        if !takes_one {
            return Err(A::Error::custom(format_args!("`{}` must be a list", self.field.json)));
        }
        self.out.delimited(self.field, |out| object(message, out, map))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<(), A::Error> {
        let field = self.field;
        if self.in_list || !field.repeated {
            return Err(A::Error::custom(format_args!("`{}` must not be a list here", field.json)));
        }
        if field.kind.shape() == Shape::Bytes {
            return items(field, self.out, list);
        }
        // Numbers are packed: one key for all of them.
        self.out.delimited(field, |out| items(field, out, list))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.scalar(&Scalar::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.scalar(&Scalar::Unsigned(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.scalar(&Scalar::Signed(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.scalar(&Scalar::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.scalar(&Scalar::Text(value))
    }
}

fn items<'de, A: SeqAccess<'de>>(
    field: &'static Field,
    out: &mut Out<'_>,
    mut list: A,
) -> Result<(), A::Error> {
    while list.next_element_seed(ValueSeed { field, in_list: true, out })?.is_some() {}
    Ok(())
}
