//! A probe: a known-answer record, written into the monitored path and looked for at its end.
//!
//! The watchdog sends an ordinary OTLP trace request to the collector's front door. Its one span
//! carries the attributes below; the collector recognises the service name, and when the request
//! passes its far tap (after the exporter took it, or where it would have) it reports the
//! attributes back as a [`ProbeEcho`]. The verifier recomputes value and MAC from key and
//! sequence, so it needs no memory and survives its own restart.
//!
//! Invariant: the right answer is never zero and never the same twice, so that a path which
//! replays, freezes or zeroes gives a *wrong* answer and not merely none.

use serde::{Deserialize, Serialize};

/// The `service.name` of probes. Filter on it to keep probes off your own dashboards.
pub const PROBE_SERVICE: &str = "holdpoint.probe";
/// Span attribute (string): the sequence number in decimal.
pub const ATTR_SEQ: &str = "holdpoint.probe.seq";
/// Span attribute (string): the value in decimal.
pub const ATTR_VALUE: &str = "holdpoint.probe.value";
/// Span attribute (string): HMAC-SHA-256 in hex over `run \n seq \n value`.
pub const ATTR_MAC: &str = "holdpoint.probe.mac";
/// Span attribute (string): the run, that is this start of the watchdog.
pub const ATTR_RUN: &str = "holdpoint.probe.run";

/// A probe as it was seen at the far tap. Text, because it is untrusted until it is verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeEcho {
    pub run: String,
    pub seq: String,
    pub value: String,
    pub mac: String,
    /// Milliseconds since the probe passed the far tap when the page was made.
    pub age_ms: u64,
}
