//! OTLP/protobuf in, OTLP/JSON out: the other way round than the JSON door.
//!
//! A message is walked once to see which fields it has, and once for each of those, so nothing is
//! collected: fields of one number may stand apart on the wire, and JSON wants them together. What
//! is there is written, also if it is the default; unknown fields are left out, as they have no
//! name. Of a field that is not repeated the last value counts, and messages are merged.
//!
//! Invariant: what is written reads back, through the JSON door, as the same message.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::otlp::{Field, Kind, Message, Shape};
use crate::wire::{Malformed, Reader, Value};

/// Appends `bytes`, a `message` that was scanned, to `out` as one line without its end.
///
/// # Errors
/// What is not well formed in `bytes`.
pub(super) fn write(message: &Message, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut present = 0_u64;
    let mut reader = Reader::new(bytes);
    while let Some((number, _)) = reader.next()? {
        // All numbers of OTLP are below 64; others are unknown.
        present |= 1_u64.checked_shl(number).unwrap_or(0);
    }
    out.push(b'{');
    let mut is_first = true;
    for field in message.fields.iter().filter(|field| present & (1 << field.number) != 0) {
        if !is_first {
            out.push(b',');
        }
        is_first = false;
        json(&field.json, out);
        out.push(b':');
        if field.repeated { many(field, bytes, out)? } else { one(field, bytes, out)? }
    }
    out.push(b'}');
    Ok(())
}

/// Writes the values of a repeated field, packed or not.
fn many(field: &Field, message: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    out.push(b'[');
    let start = out.len();
    let next = |value: Value<'_>, out: &mut Vec<u8>| {
        if out.len() > start {
            out.push(b',');
        }
        scalar(field.kind, value, out)
    };
    let mut reader = Reader::new(message);
    while let Some((number, value)) = reader.next()? {
        if number != field.number {
            continue;
        }
        match (field.kind.shape(), value) {
            (Shape::Bytes, value) => next(value, out)?,
            (shape, Value::Bytes(packed)) => {
                let mut packed = Reader::new(packed);
                while !packed.is_empty() {
                    let value = match shape {
                        Shape::Varint => Value::Varint(packed.varint()?),
                        Shape::Fixed64 => Value::Fixed64(packed.fixed64()?),
                        Shape::Fixed32 => Value::Fixed32(packed.fixed32()?),
                        Shape::Bytes => return Err(Malformed::WireType),
                    };
                    next(value, out)?;
                }
            }
            (Shape::Varint | Shape::Fixed64 | Shape::Fixed32, value) => next(value, out)?,
        }
    }
    out.push(b']');
    Ok(())
}

/// Writes the value of a field that stands once, as a rule.
fn one(field: &Field, message: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut last = None;
    let mut merged = Vec::new();
    let mut reader = Reader::new(message);
    while let Some((number, value)) = reader.next()? {
        if number != field.number {
            continue;
        }
        if let (Kind::Message(_), Some(earlier)) = (field.kind, last) {
            // Protobuf merges messages by concatenation.
            if merged.is_empty() {
                merged.extend_from_slice(Value::bytes(earlier)?);
            }
            merged.extend_from_slice(value.bytes()?);
        }
        last = Some(value);
    }
    match last {
        Some(_) if !merged.is_empty() => scalar(field.kind, Value::Bytes(&merged), out),
        Some(value) => scalar(field.kind, value, out),
        // The field was seen, so there is a value.
        None => Err(Malformed::Truncated),
    }
}

/// Writes one value: a scalar, or a message within.
fn scalar(kind: Kind, value: Value<'_>, out: &mut Vec<u8>) -> Result<(), Malformed> {
    match kind {
        Kind::Message(message) => return write(message, value.bytes()?, out),
        Kind::Text => {
            let text = std::str::from_utf8(value.bytes()?).map_err(|_| Malformed::Utf8)?;
            json(&text, out);
        }
        Kind::Bytes => json(&STANDARD.encode(value.bytes()?), out),
        Kind::TraceId | Kind::SpanId => json(&hex::encode(value.bytes()?), out),
        Kind::Bool => json(&(value.varint()? != 0), out),
        // Protobuf writes negative 32-bit integers as 64 bits, and readers cut them.
        Kind::Int32 | Kind::Enum => json(&(value.varint()? as i32), out),
        Kind::Uint32 => json(&(value.varint()? as u32), out),
        Kind::Sint32 => {
            let zigzag = value.varint()? as u32;
            json(&((zigzag >> 1) as i32 ^ -((zigzag & 1) as i32)), out);
        }
        Kind::Int64 => text(&(value.varint()? as i64), out),
        Kind::Uint64 => text(&value.varint()?, out),
        Kind::Fixed32 => match value {
            Value::Fixed32(value) => json(&value, out),
            Value::Varint(_) | Value::Fixed64(_) | Value::Bytes(_) | Value::Group => {
                return Err(Malformed::WireType);
            }
        },
        Kind::Fixed64 => text(&fixed64(value)?, out),
        Kind::Sfixed64 => text(&(fixed64(value)? as i64), out),
        Kind::Double => double(f64::from_bits(fixed64(value)?), out),
    }
    Ok(())
}

const fn fixed64(value: Value<'_>) -> Result<u64, Malformed> {
    match value {
        Value::Fixed64(value) => Ok(value),
        Value::Varint(_) | Value::Bytes(_) | Value::Fixed32(_) | Value::Group => {
            Err(Malformed::WireType)
        }
    }
}

fn double(value: f64, out: &mut Vec<u8>) {
    if value.is_nan() {
        json(&"NaN", out);
    } else if value.is_infinite() {
        json(if value > 0.0 { &"Infinity" } else { &"-Infinity" }, out);
    } else {
        json(&value, out);
    }
}

/// 64 bits are a text in JSON, because many readers hold numbers as doubles.
fn text(value: &impl std::fmt::Display, out: &mut Vec<u8>) {
    json(&value.to_string(), out);
}

fn json(value: &(impl Serialize + ?Sized), out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("texts and numbers are JSON, and memory takes them");
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use proptest::prelude::*;
    use prost::Message as _;
    use watchdog_core::tally::Signal;

    use super::*;
    use crate::memory::{Budget, Buffer};
    use crate::{json, otlp, samples};

    fn line(signal: Signal, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write(otlp::request(signal), bytes, &mut out).expect("well formed");
        out
    }

    fn there_and_back(signal: Signal, bytes: &[u8]) -> Vec<u8> {
        let mut buffer = Buffer::new(&Budget::new(1 << 26), 1 << 26).expect("room");
        json::transcode(signal, &line(signal, bytes), &mut buffer).expect("OTLP/JSON");
        buffer.as_slice().to_vec()
    }

    fn same<M: prost::Message + Default + PartialEq>(signal: Signal, bytes: &[u8]) {
        let before = M::decode(bytes).expect("decodes");
        let after = M::decode(there_and_back(signal, bytes).as_slice()).expect("decodes");
        // NaN is not equal to itself; the bytes of what was decoded are.
        assert_eq!(after.encode_to_vec(), before.encode_to_vec());
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_as_the_same((signal, bytes) in samples::encoded()) {
            match signal {
                Signal::Traces => same::<ExportTraceServiceRequest>(signal, &bytes),
                Signal::Metrics => same::<ExportMetricsServiceRequest>(signal, &bytes),
                Signal::Logs => same::<ExportLogsServiceRequest>(signal, &bytes),
            }
        }
    }

    #[test]
    fn the_official_messages_read_a_full_request_of_each_signal() {
        let (traces, metrics, logs) =
            (samples::full_traces(), samples::full_metrics(), samples::full_logs());
        let json = line(Signal::Traces, &traces.encode_to_vec());
        assert_eq!(
            serde_json::from_slice::<ExportTraceServiceRequest>(&json).expect("JSON"),
            traces
        );
        let json = line(Signal::Logs, &logs.encode_to_vec());
        assert_eq!(serde_json::from_slice::<ExportLogsServiceRequest>(&json).expect("JSON"), logs);
        same::<ExportMetricsServiceRequest>(Signal::Metrics, &metrics.encode_to_vec());
    }

    #[test]
    fn concatenated_and_merged_messages_are_one() {
        let part = samples::spans("shop", 1, 0).encode_to_vec();
        let two = [part.clone(), part].concat();
        same::<ExportTraceServiceRequest>(Signal::Traces, &two);
        // A resource in two parts: the attributes of both count.
        let resource = |key: &str| {
            let attribute = samples::text(key, "v").encode_to_vec();
            samples::field(1, &samples::field(1, &attribute))
        };
        let split = samples::field(1, &[resource("a"), resource("b")].concat());
        same::<ExportTraceServiceRequest>(Signal::Traces, &split);
        let text = String::from_utf8(line(Signal::Traces, &split)).expect("text");
        assert_eq!(text.matches("\"key\"").count(), 2, "{text}");
    }
}
