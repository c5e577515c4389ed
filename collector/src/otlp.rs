//! The messages of OTLP 1.x as tables: names in JSON, numbers and types on the wire.
//!
//! The JSON door reads them to know how a key is encoded, the scanner to check the parts of a
//! message that it does not look into. They follow `opentelemetry-proto` 1.10; a field that is not
//! here is unknown, which both skip, as the protocol demands.
//!
//! Invariant: the tables agree with the official messages; a test walks a full message of each
//! signal through both doors and compares with the generated code.

pub(crate) mod attributes;
pub(crate) mod logs;
pub(crate) mod metrics;
pub(crate) mod traces;

use watchdog_core::tally::Signal;

/// A message: its name, for error texts, and its fields.
pub(crate) struct Message {
    pub(crate) name: &'static str,
    pub(crate) fields: &'static [Field],
}

impl std::fmt::Debug for Message {
    /// The name alone: messages contain each other in circles.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// A field of a message.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) json: &'static str,
    pub(crate) number: u32,
    pub(crate) kind: Kind,
    pub(crate) repeated: bool,
}

/// The type of a field.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Text,
    /// Base64 in JSON.
    Bytes,
    /// 16 bytes, or none, that are hex in JSON.
    TraceId,
    /// 8 bytes, or none, that are hex in JSON.
    SpanId,
    Bool,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    /// Integers only in JSON; names are not OTLP.
    Enum,
    Fixed32,
    Fixed64,
    Sfixed64,
    Double,
    Message(&'static Message),
}

/// The wire format's three ways to hold a value of a [`Kind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Varint,
    Fixed64,
    Fixed32,
    Bytes,
}

impl Kind {
    pub(crate) const fn shape(self) -> Shape {
        match self {
            Self::Text | Self::Bytes | Self::TraceId | Self::SpanId | Self::Message(_) => {
                Shape::Bytes
            }
            Self::Bool
            | Self::Int32
            | Self::Int64
            | Self::Uint32
            | Self::Uint64
            | Self::Sint32
            | Self::Enum => Shape::Varint,
            Self::Fixed32 => Shape::Fixed32,
            Self::Fixed64 | Self::Sfixed64 | Self::Double => Shape::Fixed64,
        }
    }
}

impl Message {
    pub(crate) fn by_number(&self, number: u32) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.number == number)
    }
}

/// The export request of `signal`.
pub(crate) const fn request(signal: Signal) -> &'static Message {
    match signal {
        Signal::Traces => &traces::REQUEST,
        Signal::Metrics => &metrics::REQUEST,
        Signal::Logs => &logs::REQUEST,
    }
}

const fn one(json: &'static str, number: u32, kind: Kind) -> Field {
    Field { json, number, kind, repeated: false }
}

const fn many(json: &'static str, number: u32, kind: Kind) -> Field {
    Field { json, number, kind, repeated: true }
}
