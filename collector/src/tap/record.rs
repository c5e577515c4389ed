//! A request as a person reads it: one record a line, cut to what fits.
//!
//! Invariant: the work and the output per record are bounded, whatever a client sends.

use serde::Serialize;
use serde_json::{Map, Value as Json};
use watchdog_core::tally::Signal;

use crate::wire::{Malformed, Reader, Value};

const ATTRIBUTES_MAX: usize = 16;
const TEXT_CHARS_MAX: usize = 200;

/// One span, log record or metric.
#[derive(Debug, Serialize)]
pub(super) struct Record {
    pub(super) signal: Signal,
    pub(super) service: String,
    /// Span kind, severity or kind of metric.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) kind: &'static str,
    pub(super) name: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) duration_ms: Option<f64>,
    /// Data points of a metric.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) points: Option<u64>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(super) attributes: Map<String, Json>,
}

/// Shows every record of `request` to `sink`.
pub(super) fn each(
    signal: Signal,
    request: &[u8],
    mut sink: impl FnMut(Record),
) -> Result<(), Malformed> {
    fields(request, |number, value| {
        if number != 1 {
            return Ok(());
        }
        let resource_records = value.bytes()?;
        let mut service = String::new();
        fields(resource_records, |number, value| {
            if number == 1 {
                service = service_of(value.bytes()?)?;
            }
            Ok(())
        })?;
        fields(resource_records, |number, value| {
            if number != 2 {
                return Ok(());
            }
            fields(value.bytes()?, |number, value| {
                if number == 2 {
                    let mut record = Record {
                        signal,
                        service: service.clone(),
                        kind: "",
                        name: String::new(),
                        status: "",
                        duration_ms: None,
                        points: None,
                        attributes: Map::new(),
                    };
                    match signal {
                        Signal::Traces => record.span(value.bytes()?)?,
                        Signal::Logs => record.log(value.bytes()?)?,
                        Signal::Metrics => record.metric(value.bytes()?)?,
                    }
                    sink(record);
                }
                Ok(())
            })
        })
    })
}

fn fields<'a>(
    message: &'a [u8],
    mut each: impl FnMut(u32, Value<'a>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let mut reader = Reader::new(message);
    while let Some((number, value)) = reader.next()? {
        each(number, value)?;
    }
    Ok(())
}

/// `namespace/name`, as everywhere.
fn service_of(resource: &[u8]) -> Result<String, Malformed> {
    let (mut namespace, mut name) = (String::new(), String::new());
    fields(resource, |number, value| {
        if number == 1 {
            let (key, text) = pair(value.bytes()?)?;
            let slot = match key.as_str() {
                "service.namespace" => &mut namespace,
                "service.name" => &mut name,
                _ => return Ok(()),
            };
            if let Json::String(text) = text {
                *slot = text;
            }
        }
        Ok(())
    })?;
    Ok(if namespace.is_empty() { name } else { format!("{namespace}/{name}") })
}

impl Record {
    fn span(&mut self, span: &[u8]) -> Result<(), Malformed> {
        let (mut start, mut end) = (0, 0);
        fields(span, |number, value| {
            match (number, value) {
                (5, value) => self.name = cut(value.bytes()?),
                (6, value) => {
                    self.kind = match value.varint()? {
                        1 => "internal",
                        2 => "server",
                        3 => "client",
                        4 => "producer",
                        5 => "consumer",
                        _ => "",
                    }
                }
                (7, Value::Fixed64(at)) => start = at,
                (8, Value::Fixed64(at)) => end = at,
                (9, value) => self.attribute(value.bytes()?)?,
                (15, value) => fields(value.bytes()?, |number, value| {
                    if number == 3 {
                        self.status = match value.varint()? {
                            1 => "ok",
                            2 => "error",
                            _ => "",
                        };
                    }
                    Ok(())
                })?,
                _ => {}
            }
            Ok(())
        })?;
        self.duration_ms = end.checked_sub(start).map(|ns: u64| ns as f64 / 1e6);
        Ok(())
    }

    fn log(&mut self, log: &[u8]) -> Result<(), Malformed> {
        fields(log, |number, value| {
            match number {
                2 => {
                    self.kind = match value.varint()? {
                        1..=4 => "trace",
                        5..=8 => "debug",
                        9..=12 => "info",
                        13..=16 => "warn",
                        17..=20 => "error",
                        21..=24 => "fatal",
                        _ => "",
                    }
                }
                5 => {
                    let body = any(value.bytes()?)?;
                    self.name = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
                }
                6 => self.attribute(value.bytes()?)?,
                _ => {}
            }
            Ok(())
        })
    }

    fn metric(&mut self, metric: &[u8]) -> Result<(), Malformed> {
        fields(metric, |number, value| {
            let kind = match number {
                1 => {
                    self.name = cut(value.bytes()?);
                    return Ok(());
                }
                5 => "gauge",
                7 => "sum",
                9 => "histogram",
                10 => "exponential histogram",
                11 => "summary",
                _ => return Ok(()),
            };
            self.kind = kind;
            let mut points = 0;
            fields(value.bytes()?, |number, _| {
                points += u64::from(number == 1);
                Ok(())
            })?;
            self.points = Some(points);
            Ok(())
        })
    }

    fn attribute(&mut self, key_value: &[u8]) -> Result<(), Malformed> {
        if self.attributes.len() < ATTRIBUTES_MAX {
            let (key, value) = pair(key_value)?;
            self.attributes.insert(key, value);
        }
        Ok(())
    }
}

fn pair(key_value: &[u8]) -> Result<(String, Json), Malformed> {
    let (mut key, mut value) = (String::new(), Json::Null);
    fields(key_value, |number, field| {
        match number {
            1 => key = cut(field.bytes()?),
            2 => value = any(field.bytes()?)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok((key, value))
}

/// A value; what holds others is shown by its size alone.
fn any(value: &[u8]) -> Result<Json, Malformed> {
    let mut shown = Json::Null;
    fields(value, |number, value| {
        shown = match (number, value) {
            (1, value) => cut(value.bytes()?).into(),
            (2, value) => (value.varint()? != 0).into(),
            (3, value) => value.varint()?.cast_signed().into(),
            (4, Value::Fixed64(bits)) => f64::from_bits(bits).into(),
            (5..=7, Value::Bytes(bytes)) => format!("({} bytes)", bytes.len()).into(),
            _ => return Ok(()),
        };
        Ok(())
    })?;
    Ok(shown)
}

fn cut(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(TEXT_CHARS_MAX * 4)]);
    text.chars().take(TEXT_CHARS_MAX).collect()
}
