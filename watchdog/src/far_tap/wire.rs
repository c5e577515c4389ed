//! Probes in an OTLP request: a walk over the wire bytes that stops only at our service name.
//!
//! ```text
//! request ─1─► resource ─1─► resource attributes: service.name = holdpoint.probe?
//!                      └2─► scope ─2─► span or log record ─9 or 6─► attributes
//!                                  └2─► metric ─5─► gauge ─1─► point ─6─► value, ─7─► attributes
//! ```
//!
//! Field numbers are those of `opentelemetry/proto/{trace,metrics,logs,common}/v1`.
//!
//! Invariant: bytes decide nothing but what is copied out: no length is believed beyond its bytes.

use watchdog_core::probe::{
    ATTR_MAC, ATTR_RUN, ATTR_SEQ, ATTR_VALUE, POINT_RUN, PROBE_SERVICE, ProbeEcho,
};
use watchdog_core::tally::Signal;

const FIXED64: u64 = 1;
const BYTES: u64 = 2;

/// The bytes are no protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// A field: its number, its wire type, and its content if that is not a varint.
type Field<'b> = (u64, u64, &'b [u8]);

/// Everything in `request` that claims to be a probe.
pub fn probes(signal: Signal, request: &[u8]) -> Result<Vec<ProbeEcho>, Malformed> {
    let mut found = Vec::new();
    for group in children(request, 1) {
        let group = group?;
        if !is_ours(group)? {
            continue;
        }
        for scope in children(group, 2) {
            for record in children(scope?, 2) {
                let record = record?;
                match signal {
                    Signal::Traces => found.extend(marked(signal, record, 9)?),
                    Signal::Logs => found.extend(marked(signal, record, 6)?),
                    Signal::Metrics => found.extend(gauge(record)?),
                }
            }
        }
    }
    Ok(found)
}

fn is_ours(group: &[u8]) -> Result<bool, Malformed> {
    for resource in children(group, 1) {
        for pair in children(resource?, 1) {
            if text(pair?)? == Some(("service.name", PROBE_SERVICE)) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The probe in a span or log record, if all of its attributes are there.
fn marked(signal: Signal, record: &[u8], number: u64) -> Result<Option<ProbeEcho>, Malformed> {
    let (mut run, mut seq, mut value, mut mac) = (None, None, None, None);
    for pair in children(record, number) {
        let Some((key, text)) = text(pair?)? else { continue };
        let place = match key {
            ATTR_RUN => &mut run,
            ATTR_SEQ => &mut seq,
            ATTR_VALUE => &mut value,
            ATTR_MAC => &mut mac,
            _ => continue,
        };
        *place = Some(text.to_owned());
    }
    let (Some(run), Some(seq), Some(value), Some(mac)) = (run, seq, value, mac) else {
        return Ok(None);
    };
    Ok(Some(ProbeEcho { signal, run, seq, value, mac, age_ms: 0 }))
}

/// The probes in a metric: the integer points of its gauge that name a run.
fn gauge(metric: &[u8]) -> Result<Vec<ProbeEcho>, Malformed> {
    let mut found = Vec::new();
    for gauge in children(metric, 5) {
        for point in children(gauge?, 1) {
            found.extend(number(point?)?);
        }
    }
    Ok(found)
}

fn number(point: &[u8]) -> Result<Option<ProbeEcho>, Malformed> {
    let (mut run, mut value) = (None, None);
    for field in fields(point) {
        match field? {
            (6, FIXED64, bytes) => {
                let bytes = bytes.try_into().expect("a fixed64 has eight bytes");
                value = Some(i64::from_le_bytes(bytes).to_string());
            }
            (7, BYTES, pair) => {
                if let Some((POINT_RUN, text)) = text(pair)? {
                    run = Some(text.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(run.zip(value).map(|(run, value)| {
        let (seq, mac) = (String::new(), String::new());
        ProbeEcho { signal: Signal::Metrics, run, seq, value, mac, age_ms: 0 }
    }))
}

/// Key and value of a `KeyValue` whose value is a text.
fn text(pair: &[u8]) -> Result<Option<(&str, &str)>, Malformed> {
    let (mut key, mut value) = (None, None);
    for field in fields(pair) {
        match field? {
            (1, BYTES, bytes) => key = std::str::from_utf8(bytes).ok(),
            (2, BYTES, any) => {
                for field in fields(any) {
                    if let (1, BYTES, bytes) = field? {
                        value = std::str::from_utf8(bytes).ok();
                    }
                }
            }
            _ => {}
        }
    }
    Ok(key.zip(value))
}

/// The messages in field `number` of a message.
fn children(
    message: &[u8],
    number: u64,
) -> impl Iterator<Item = Result<&[u8], Malformed>> + use<'_> {
    fields(message).filter_map(move |field| match field {
        Ok((found, BYTES, content)) if found == number => Some(Ok(content)),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    })
}

/// All fields of a message, up to the first that is none.
fn fields(mut rest: &[u8]) -> impl Iterator<Item = Result<Field<'_>, Malformed>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = split(&mut rest);
        if field.is_none() {
            rest = &[];
        }
        Some(field.ok_or(Malformed))
    })
}

fn split<'b>(rest: &mut &'b [u8]) -> Option<Field<'b>> {
    let tag = varint(rest)?;
    let length = match tag & 7 {
        0 => return varint(rest).map(|_| (tag >> 3, 0, &[][..])),
        FIXED64 => 8,
        BYTES => usize::try_from(varint(rest)?).ok()?,
        5 => 4,
        _ => return None,
    };
    let (content, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some((tag >> 3, tag & 7, content))
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use watchdog_core::probe::Way;

    use super::*;
    use crate::probes::{Asked, ProbeKey, request};

    fn asked(signal: Signal) -> Asked<'static> {
        Asked { run: "run", way: Way::Path, signal, seq: 12 }
    }

    #[test]
    fn a_probe_is_found_as_it_was_sent() {
        let key = ProbeKey::new([7; 32]);
        for signal in Signal::ALL {
            let asked = asked(signal);
            let found = probes(signal, &request(&key, asked, 1_700_000_000_000_000_000));
            let (seq, mac) = match signal {
                Signal::Traces | Signal::Logs => ("12".into(), key.mac(asked)),
                Signal::Metrics => (String::new(), String::new()),
            };
            let value = key.value(asked);
            let expected = ProbeEcho { signal, run: "run".into(), seq, value, mac, age_ms: 0 };
            assert_eq!(found, Ok(vec![expected]));
        }
    }

    #[test]
    fn every_prefix_of_a_request_is_refused_or_holds_no_false_probe() {
        let key = ProbeKey::new([7; 32]);
        for signal in Signal::ALL {
            let request = request(&key, asked(signal), 1);
            for length in 0..request.len() {
                let found = probes(signal, &request[..length]);
                assert!(found.is_err() || found == Ok(Vec::new()), "{length}: {found:?}");
            }
        }
    }

    #[test]
    fn records_of_others_are_not_looked_at() {
        let key = ProbeKey::new([7; 32]);
        let mut request = request(&key, asked(Signal::Traces), 1);
        let name = PROBE_SERVICE.as_bytes();
        let at = request.windows(name.len()).position(|window| window == name).expect("named");
        request[at] = b'x';
        assert_eq!(probes(Signal::Traces, &request), Ok(Vec::new()));
    }
}
