//! A probe: a known-answer record, written into the monitored path and looked for at its end.
//!
//! The watchdog sends ordinary OTLP requests of each signal to the collector's front door. The one
//! span, log record or data point in each carries what is below; the collector recognises the
//! service name, and when the request passes its far tap (after the exporter took it, or where it
//! would have) it reports what it carried back as a [`ProbeEcho`]. The verifier recomputes value
//! and MAC from key and sequence, so it needs no memory and survives its own restart.
//!
//! A data point becomes a series in most backends, and each attribute a label of it. So a metric
//! probe has no sequence and no MAC as attributes: its value is both, [`SEQ_BITS`] bits of the
//! sequence above [`TAG_BITS`] bits of the MAC, exact in a double.
//!
//! Invariant: the right answer is never zero and never the same twice, so that a path which
//! replays, freezes or zeroes gives a *wrong* answer and not merely none.

use serde::{Deserialize, Serialize};

use crate::tally::Signal;

/// The `service.name` of probes. Filter on it to keep probes off your own dashboards.
pub const PROBE_SERVICE: &str = "holdpoint.probe";
/// Attribute of spans and log records (string): the sequence number in decimal.
pub const ATTR_SEQ: &str = "holdpoint.probe.seq";
/// Attribute of spans and log records (string): the value in decimal.
pub const ATTR_VALUE: &str = "holdpoint.probe.value";
/// Attribute of spans and log records (string): HMAC-SHA-256 in hex over
/// `run \n way \n signal \n seq \n value`.
pub const ATTR_MAC: &str = "holdpoint.probe.mac";
/// Attribute of spans and log records (string): the run, that is this start of the watchdog.
pub const ATTR_RUN: &str = "holdpoint.probe.run";
/// Attribute of spans and log records (string): [`Way::as_str`].
pub const ATTR_WAY: &str = "holdpoint.probe.way";
/// The gauge of metric probes.
pub const PROBE_METRIC: &str = "holdpoint_probe";
/// Attributes of its data points: run and way, in names that every backend keeps as they are.
pub const POINT_RUN: &str = "holdpoint_run";
pub const POINT_WAY: &str = "holdpoint_way";
/// Low bits of the sequence in the value of a metric probe.
pub const SEQ_BITS: u32 = 21;
/// Bits of the MAC below them; the lowest is set, so that no value is 0.
pub const TAG_BITS: u32 = 32;

/// Which way a probe was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// Through the collector, as services send.
    Path,
    /// Straight to the backend.
    Direct,
}

impl Way {
    pub const ALL: [Self; 2] = [Self::Path, Self::Direct];

    /// The word in attributes and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Direct => "direct",
        }
    }
}

/// A probe as it was seen at the far tap. Text, because it is untrusted until it is verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeEcho {
    /// What kind of request carried it.
    #[serde(default = "traces")]
    pub signal: Signal,
    pub run: String,
    /// Empty for a metric probe, whose value says it.
    pub seq: String,
    pub value: String,
    /// Empty for a metric probe, whose value holds it.
    pub mac: String,
    /// Milliseconds since the probe passed the far tap when the page was made.
    pub age_ms: u64,
}

/// A collector that does not say the signal knows probes of traces alone.
const fn traces() -> Signal {
    Signal::Traces
}
