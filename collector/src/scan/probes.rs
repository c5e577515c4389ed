//! Probes: the known answers that the watchdog sends through the path.
//!
//! Only a resource whose service is `holdpoint.probe` is looked at, so ordinary telemetry pays
//! nothing. What is found is untrusted text; the watchdog verifies it.
//!
//! Invariant: a request yields at most [`PROBES_MAX`] probes of at most [`TEXT_BYTES_MAX`] bytes a
//! text, whoever sent it.

use watchdog_core::probe::{ATTR_MAC, ATTR_RUN, ATTR_SEQ, ATTR_VALUE, POINT_RUN};
use watchdog_core::tally::Signal;

use super::{DEPTH_MAX, values};
use crate::wire::{Malformed, Reader, bytes, fixed64};

pub(super) const PROBES_MAX: usize = 16;
const TEXT_BYTES_MAX: usize = 256;

/// What one probe carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) signal: Signal,
    pub(crate) run: String,
    /// Empty for a metric probe: its value says it. So is `mac`.
    pub(crate) seq: String,
    pub(crate) value: String,
    pub(crate) mac: String,
}

/// The first `most` probes in the resource of a request of `signal`.
pub(super) fn probes(
    signal: Signal,
    resource: &[u8],
    most: usize,
) -> Result<Vec<Probe>, Malformed> {
    let mut found = Vec::new();
    each(resource, 2, |scope| {
        each(scope, 2, |record| {
            if found.len() >= most {
                return Ok(());
            }
            match signal {
                Signal::Traces => found.extend(marked(signal, record, 9)?),
                Signal::Logs => found.extend(marked(signal, record, 6)?),
                Signal::Metrics => found.extend(gauge(record)?),
            }
            Ok(())
        })
    })?;
    Ok(found)
}

/// The probe in a span or log record, if all of its attributes (field `attributes`) are there.
fn marked(signal: Signal, record: &[u8], attributes: u32) -> Result<Option<Probe>, Malformed> {
    let (mut run, mut seq, mut value, mut mac) = (None, None, None, None);
    each(record, attributes, |attribute| {
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
    Ok((|| Some(Probe { signal, run: run?, seq: seq?, value: value?, mac: mac? }))())
}

/// The probe in a metric: the first integer point of its gauge that names a run.
fn gauge(metric: &[u8]) -> Result<Option<Probe>, Malformed> {
    const GAUGE: u32 = 5;
    const POINT: u32 = 1;

    let mut found = None;
    each(metric, GAUGE, |gauge| {
        each(gauge, POINT, |point| {
            if found.is_none() {
                found = number(point)?;
            }
            Ok(())
        })
    })?;
    Ok(found)
}

fn number(point: &[u8]) -> Result<Option<Probe>, Malformed> {
    const AS_INT: u32 = fixed64(6);
    const ATTRIBUTE: u32 = bytes(7);

    let (mut run, mut value) = (None, None);
    let mut reader = Reader::new(point);
    while let Some(tag) = reader.tag()? {
        match tag {
            AS_INT => value = Some(reader.fixed64()?.cast_signed().to_string()),
            ATTRIBUTE => {
                let (key, text) = values::key_value(reader.bytes()?, DEPTH_MAX)?;
                if values::utf8(key)? == POINT_RUN {
                    let text = values::as_str(text)?;
                    run = text.filter(|text| text.len() <= TEXT_BYTES_MAX).map(str::to_owned);
                }
            }
            _ => reader.value(tag).map(drop)?,
        }
    }
    let (seq, mac) = (String::new(), String::new());
    Ok((|| Some(Probe { signal: Signal::Metrics, run: run?, seq, value: value?, mac }))())
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
