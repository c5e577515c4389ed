//! Probes: the known answers that the watchdog sends through the path.
//!
//! Only a resource whose service is `holdpoint.probe` is looked at, so ordinary telemetry pays
//! nothing. What is found is untrusted text; the watchdog verifies it.
//!
//! Invariant: a request yields at most [`PROBES_MAX`] probes of at most [`TEXT_BYTES_MAX`] bytes a
//! text, whoever sent it.

use watchdog_core::probe::{ATTR_MAC, ATTR_RUN, ATTR_SEQ, ATTR_VALUE};

use super::{DEPTH_MAX, values};
use crate::wire::{Malformed, Reader};

pub(super) const PROBES_MAX: usize = 16;
const TEXT_BYTES_MAX: usize = 256;

/// The attributes of one probe span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) run: String,
    pub(crate) seq: String,
    pub(crate) value: String,
    pub(crate) mac: String,
}

/// The first `most` probes in a `ResourceSpans`.
pub(super) fn probes(resource_spans: &[u8], most: usize) -> Result<Vec<Probe>, Malformed> {
    let mut found = Vec::new();
    each(resource_spans, 2, |scope| {
        each(scope, 2, |span| {
            if found.len() < most {
                found.extend(probe(span)?);
            }
            Ok(())
        })
    })?;
    Ok(found)
}

/// The probe in a `Span`, if all four of its attributes are there.
fn probe(span: &[u8]) -> Result<Option<Probe>, Malformed> {
    let (mut run, mut seq, mut value, mut mac) = (None, None, None, None);
    each(span, 9, |attribute| {
        let (key, text) = values::key_value(attribute, DEPTH_MAX)?;
        let key = values::utf8(key)?;
        let slot = match key {
            ATTR_RUN => &mut run,
            ATTR_SEQ => &mut seq,
            ATTR_VALUE => &mut value,
            ATTR_MAC => &mut mac,
            _ => return Ok(()),
        };
        *slot =
            values::as_str(text)?.filter(|text| text.len() <= TEXT_BYTES_MAX).map(str::to_owned);
        Ok(())
    })?;
    Ok((|| Some(Probe { run: run?, seq: seq?, value: value?, mac: mac? }))())
}

/// Calls `visit` with each field `wanted` of `message`.
fn each<'a>(
    message: &'a [u8],
    wanted: u32,
    mut visit: impl FnMut(&'a [u8]) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let mut reader = Reader::new(message);
    while let Some((number, value)) = reader.next()? {
        if number == wanted {
            visit(value.bytes()?)?;
        }
    }
    Ok(())
}
