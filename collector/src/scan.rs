//! One pass over an export request: is it well formed, who sent it, how much is in it.
//!
//! Nothing is decoded into structures: 18 MiB of empty spans would become gigabytes that way. The
//! scan walks the wire format in place, keeps one [`Counts`] on the stack per resource, and hands
//! each resource to a sink as it ends. All nested messages and texts are checked as a strict
//! decoder checks them, so that what is acknowledged here is not refused as malformed later, by a
//! backend that the client does not hear.
//!
//! Invariant: no allocation per record, no recursion beyond [`DEPTH_MAX`], no panic on any bytes.

mod cut;
mod logs;
mod metrics;
mod probes;
mod profiles;
mod resource;
mod sightings;
#[cfg(test)]
mod tests;
mod traces;
mod values;

use std::sync::Arc;

use smallvec::SmallVec;
use watchdog_core::tally::{DURATION_BOUNDS_MS, Signal};

use crate::wire::{Malformed, Reader, bytes};

use probes::{PROBES_MAX, probes};

pub(crate) use cut::without_rejected;
pub(crate) use probes::Probe;
pub(crate) use profiles::profiles;
pub(crate) use resource::Identity;
pub(crate) use sightings::{Sighting, Sightings, Temporality};

/// How deeply values may nest. The strictest decoder in use (prost) allows 47 levels.
const DEPTH_MAX: u32 = 32;

/// What one resource of a request holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    /// Spans, metric data points with a value, or log records.
    pub(crate) records: u64,
    /// Records that hold an id of a wrong length. They are in no other count.
    pub(crate) rejected: u64,
    /// Metric data points that say "no recorded value": the series has ended.
    pub(crate) ended: u64,
    /// Metric data points whose value is NaN or infinite.
    pub(crate) not_finite: u64,
    /// How many of [`Scanned::sightings`] are of this resource, and points that had no room there.
    pub(crate) sightings: usize,
    pub(crate) unseen: u64,
    /// Changes when the content changes, whatever the order of the records.
    pub(crate) fingerprint: u64,
    /// Spans of kind server or consumer.
    pub(crate) requests: u64,
    /// Spans whose status is `ERROR` among the requests; log records of severity `ERROR`.
    pub(crate) errors: u64,
    /// Thousandths of requests and errors that the spans stand for under sampling.
    pub(crate) adjusted_milli: u64,
    pub(crate) adjusted_errors_milli: u64,
    /// Durations of the requests, in the buckets of [`DURATION_BOUNDS_MS`].
    pub(crate) durations: [u64; DURATION_BOUNDS_MS.len() + 1],
    /// The newest time that a record of it tells, in nanoseconds since 1970; 0 if none tells any.
    /// Of a span that is its end, of a log record its own time or else when it was observed.
    pub(crate) newest_ns: u64,
    /// Tells the scope that is being read from others.
    scope: u64,
}

/// One resource of a request, with the records under it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found<'a> {
    pub(crate) identity: Identity<'a>,
    pub(crate) counts: Counts,
    /// The bytes of the `ResourceSpans` (or -`Metrics`, -`Logs`), for a second look at a probe.
    pub(crate) bytes: &'a [u8],
}

/// Resources of one request that are kept while it is scanned; a request with more is scanned a
/// second time when it is counted, so that memory does not grow with hostile requests.
const FOUND_MAX: usize = 256;

/// Resources that are kept without an allocation: what an SDK sends has one, what a collector
/// sends a few.
const FOUND_INLINE: usize = 8;

/// A request that is well formed, and what is in it.
#[derive(Debug)]
pub(crate) struct Scanned<'a> {
    pub(crate) signal: Signal,
    /// Records of all resources.
    pub(crate) records: u64,
    /// Data points that ended a series, of all resources.
    pub(crate) ended: u64,
    /// Records of all resources that cannot go on; see [`without_rejected`].
    pub(crate) rejected: u64,
    pub(crate) probes: Vec<Probe>,
    /// The steps of metric streams, resource by resource.
    pub(crate) sightings: Sightings,
    request: &'a [u8],
    found: SmallVec<[Found<'a>; FOUND_INLINE]>,
    found_all: bool,
}

impl<'a> Scanned<'a> {
    /// The service that it is accounted to: that of its first resource; empty if that has none.
    pub(crate) fn service(&self) -> Arc<str> {
        let Some(Found { identity, .. }) = self.found.first() else { return "".into() };
        let name = identity.name.unwrap_or_default();
        match identity.namespace {
            Some(namespace) => format!("{namespace}/{name}").into(),
            None => name.into(),
        }
    }

    /// Scans an export request of `signal`.
    ///
    /// # Errors
    /// [`Malformed`], for the first mistake anywhere in it.
    pub(crate) fn of(signal: Signal, request: &'a [u8]) -> Result<Self, Malformed> {
        let mut scanned = Self {
            signal,
            records: 0,
            ended: 0,
            rejected: 0,
            probes: Vec::new(),
            sightings: Sightings::default(),
            request,
            found: SmallVec::new(),
            found_all: true,
        };
        let mut probing = Ok(());
        let mut sightings = match signal {
            Signal::Metrics => Sightings::lend(),
            Signal::Traces | Signal::Logs => Sightings::default(),
        };
        scan(signal, request, &mut sightings, &mut |found| {
            scanned.records += found.counts.records;
            scanned.rejected += found.counts.rejected;
            scanned.ended += found.counts.ended;
            if found.identity.is_probe() {
                match probes(signal, found.bytes, PROBES_MAX - scanned.probes.len()) {
                    Ok(probes) => scanned.probes.extend(probes),
                    Err(malformed) => probing = Err(malformed),
                }
            }
            scanned.found_all &= scanned.found.len() < FOUND_MAX;
            if scanned.found_all {
                scanned.found.push(*found);
            }
        })?;
        scanned.sightings = sightings;
        probing.map(|()| scanned)
    }

    /// Gives each resource to `visit`.
    pub(crate) fn each(&self, mut visit: impl FnMut(&Found<'a>)) {
        if self.found_all {
            self.found.iter().for_each(visit);
        } else {
            // Sightings of the first time are still there; these would be the same.
            let mut again = Sightings::lend();
            scan(self.signal, self.request, &mut again, &mut visit)
                .expect("the same bytes passed this scan");
        }
    }
}

/// Scans an export request of `signal` and gives each of its resources to `sink`.
///
/// # Errors
/// [`Malformed`]; the resources before the mistake have been given to `sink` by then.
fn scan<'a>(
    signal: Signal,
    request: &'a [u8],
    sightings: &mut Sightings,
    sink: &mut impl FnMut(&Found<'a>),
) -> Result<(), Malformed> {
    let mut metric = |bytes: &[u8], counts: &mut Counts| metrics::metric(bytes, counts, sightings);
    match signal {
        Signal::Traces => resources(request, &mut traces::span, sink),
        Signal::Metrics => resources(request, &mut metric, sink),
        Signal::Logs => resources(request, &mut logs::log_record, sink),
    }
}

/// The three signals share the upper levels: request, resource, scope; each at field 1, 2, 2.
fn resources<'a>(
    request: &'a [u8],
    record: &mut impl FnMut(&[u8], &mut Counts) -> Result<(), Malformed>,
    sink: &mut impl FnMut(&Found<'a>),
) -> Result<(), Malformed> {
    let mut reader = Reader::new(request);
    while let Some((number, value)) = reader.next()? {
        if number == 1 {
            let bytes = value.bytes()?;
            let mut found =
                Found { identity: Identity::default(), counts: Counts::default(), bytes };
            resource(bytes, record, &mut found)?;
            sink(&found);
        }
    }
    Ok(())
}

fn resource<'a>(
    bytes: &'a [u8],
    record: &mut impl FnMut(&[u8], &mut Counts) -> Result<(), Malformed>,
    found: &mut Found<'a>,
) -> Result<(), Malformed> {
    let mut reader = Reader::new(bytes);
    while let Some((number, value)) = reader.next()? {
        match number {
            1 => found.identity.read(value.bytes()?)?,
            2 => scope(value.bytes()?, record, &mut found.counts)?,
            3 => values::text(value.bytes()?)?,
            _ => {}
        }
    }
    Ok(())
}

fn scope(
    scope: &[u8],
    record: &mut impl FnMut(&[u8], &mut Counts) -> Result<(), Malformed>,
    counts: &mut Counts,
) -> Result<(), Malformed> {
    const RECORD: u32 = bytes(2);

    counts.scope = 0;
    let mut reader = Reader::new(scope);
    while let Some(tag) = reader.tag()? {
        if tag == RECORD {
            match record(reader.bytes()?, counts) {
                Err(Malformed::Id) => counts.rejected += 1,
                read => read?,
            }
            continue;
        }
        let value = reader.value(tag)?;
        match tag >> 3 {
            1 => {
                let bytes = value.bytes()?;
                values::check(&crate::otlp::attributes::SCOPE, bytes, DEPTH_MAX)?;
                counts.scope = mix_bytes(0, bytes);
            }
            2 => return Err(Malformed::WireType),
            3 => values::text(value.bytes()?)?,
            _ => {}
        }
    }
    Ok(())
}

/// Mixes `word` into `hash`; the multiplier is that of `FxHash`.
#[inline]
const fn mix(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(26) ^ word).wrapping_mul(0xf135_7aea_2e62_a9c5)
}

/// Checks an id, which has `N` bytes or none; gives it if it is there.
#[inline]
fn id<const N: usize>(id: &[u8]) -> Result<Option<&[u8; N]>, Malformed> {
    match id.try_into() {
        Ok(id) => Ok(Some(id)),
        Err(_) if id.is_empty() => Ok(None),
        Err(_) => Err(Malformed::Id),
    }
}

/// Mixes bytes into `hash`, eight at a time.
fn mix_bytes(hash: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let hash = words.iter().fold(hash, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(mix(hash, u64::from_le_bytes(last)), bytes.len() as u64)
}
