//! JSON scalars as protobuf values.
//!
//! Invariant: a value that the field's type cannot hold is an error; nothing is rounded or cut.

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::Error;

use super::Out;
use crate::otlp::{Field, Kind, Shape};

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);

/// A JSON scalar.
#[derive(Debug)]
pub(super) enum Scalar<'a> {
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(&'a str),
}

impl Scalar<'_> {
    /// Writes the value as `field`, with its key unless it stands in a packed list.
    pub(super) fn write<E: Error>(
        &self,
        field: &Field,
        with_key: bool,
        out: &mut Out<'_>,
    ) -> Result<(), E> {
        let wrong = || E::custom(format_args!("`{}` is no {:?}: {self:?}", field.json, field.kind));
        let shape = field.kind.shape();
        // The value is read before the key is written, so that an error leaves no half a field.
        let value = match field.kind {
            Kind::Message(_) => return Err(wrong()),
            Kind::Text => {
                let Self::Text(text) = self else { return Err(wrong()) };
                return bytes(field, text.as_bytes(), out);
            }
            Kind::Bytes => return bytes(field, &self.base64().ok_or_else(wrong)?, out),
            Kind::TraceId => return self.id::<16, E>(field, out).unwrap_or_else(|| Err(wrong())),
            Kind::SpanId => return self.id::<8, E>(field, out).unwrap_or_else(|| Err(wrong())),
            Kind::Bool => match self {
                Self::Bool(value) => Some(u64::from(*value)),
                Self::Unsigned(_) | Self::Signed(_) | Self::Float(_) | Self::Text(_) => None,
            },
            Kind::Double => self.double().map(f64::to_bits),
            Kind::Int32
            | Kind::Int64
            | Kind::Uint32
            | Kind::Uint64
            | Kind::Sint32
            | Kind::Enum
            | Kind::Fixed32
            | Kind::Fixed64
            | Kind::Sfixed64 => self.integer().and_then(|value| in_range(field.kind, value)),
        };
        let value = value.ok_or_else(wrong)?;
        if with_key {
            out.key(field, shape)?;
        }
        match shape {
            Shape::Varint => out.varint(value),
            Shape::Fixed64 => out.extend(&value.to_le_bytes()),
            Shape::Fixed32 => out.extend(&value.to_le_bytes()[..4]),
            Shape::Bytes => Err(wrong()),
        }
    }

    /// Writes an id of `N` bytes, or none; `None` if the value is no id.
    fn id<const N: usize, E: Error>(
        &self,
        field: &Field,
        out: &mut Out<'_>,
    ) -> Option<Result<(), E>> {
        let Self::Text(text) = self else { return None };
        let mut id = [0; N];
        if text.is_empty() {
            return Some(bytes(field, &[], out));
        }
        hex::decode_to_slice(text, &mut id).ok()?;
        Some(bytes(field, &id, out))
    }

    fn base64(&self) -> Option<Vec<u8>> {
        let Self::Text(text) = self else { return None };
        let engine = if text.contains(['-', '_']) { &BASE64_URL } else { &BASE64 };
        engine.decode(text).ok()
    }

    fn double(&self) -> Option<f64> {
        match self {
            Self::Bool(_) => None,
            Self::Unsigned(value) => Some(*value as f64),
            Self::Signed(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            Self::Text("NaN") => Some(f64::NAN),
            Self::Text("Infinity") => Some(f64::INFINITY),
            Self::Text("-Infinity") => Some(f64::NEG_INFINITY),
            // Rust reads more words as numbers than JSON has.
            Self::Text(text) if text.ends_with(|c: char| c.is_ascii_digit()) => text.parse().ok(),
            Self::Text(_) => None,
        }
    }

    fn integer(&self) -> Option<i128> {
        match self {
            Self::Bool(_) => None,
            Self::Unsigned(value) => Some(i128::from(*value)),
            Self::Signed(value) => Some(i128::from(*value)),
            Self::Float(value) => whole(*value),
            Self::Text(text) => text.parse().ok().or_else(|| whole(self.double()?)),
        }
    }
}

fn bytes<E: Error>(field: &Field, bytes: &[u8], out: &mut Out<'_>) -> Result<(), E> {
    out.key(field, Shape::Bytes)?;
    out.text(bytes)
}

/// `1.0` and `1e3` are integers in JSON.
fn whole(value: f64) -> Option<i128> {
    // Beyond 2^64 no field can hold it, and the cast would saturate.
    (value.fract() == 0.0 && value.abs() <= 18_446_744_073_709_551_616.0).then_some(value as i128)
}

/// The bits that stand on the wire for `value`, if `kind` can hold it.
fn in_range(kind: Kind, value: i128) -> Option<u64> {
    match kind {
        Kind::Int32 | Kind::Enum => {
            // Negative 32-bit integers are sign-extended to 64 bits on the wire.
            i32::try_from(value).ok().map(|value| i64::from(value) as u64)
        }
        Kind::Sint32 => {
            let value = i32::try_from(value).ok()?;
            Some(u64::from(((value << 1) ^ (value >> 31)) as u32))
        }
        Kind::Uint32 | Kind::Fixed32 => u32::try_from(value).ok().map(u64::from),
        Kind::Int64 | Kind::Sfixed64 => i64::try_from(value).ok().map(|value| value as u64),
        Kind::Uint64 | Kind::Fixed64 => u64::try_from(value).ok(),
        Kind::Text
        | Kind::Bytes
        | Kind::TraceId
        | Kind::SpanId
        | Kind::Bool
        | Kind::Double
        | Kind::Message(_) => None,
    }
}
