//! What the collector counted, as the watchdog reads it.
//!
//! The watchdog asks the collector's admin port (`GET /v1/tally?after=CURSOR&wait_ms=N`, a long
//! poll) for the rows that changed since a cursor. Counts are cumulative, so a page that is lost
//! loses nothing. Ages cross the border instead of times, so that no two clocks are compared.
//!
//! Invariant: a signal that never arrived has no entry. There is no row of zeros.

mod counts;

pub use counts::Counts;

use serde::{Deserialize, Serialize};

use crate::names::{Boot, Instance, Revision, Service};
use crate::probe::ProbeEcho;

/// The OpenTelemetry signals that Holdpoint tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    Traces,
    Metrics,
    Logs,
}

impl Signal {
    pub const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    /// The name in configuration, API and metrics labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }
}

/// One answer to the watchdog's long poll.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TallyPage {
    /// This start of the collector. Another boot means that all counts began again.
    pub boot: Boot,
    /// To be given as `after` in the next poll.
    pub cursor: u64,
    /// The rows that changed since `after`; all rows if `after` was 0 or of another boot.
    pub rows: Vec<TallyRow>,
    /// Probes that passed the far tap since `after`, oldest first.
    pub echoes: Vec<ProbeEcho>,
    /// What happened to records as a whole, for the located stage.
    pub flow: Flow,
}

/// The counts of one service, instance and revision since the collector booted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TallyRow {
    pub service: Service,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Instance>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traces: Option<SignalTally>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<SignalTally>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<SignalTally>,
    /// Rate, errors and duration of the requests, counted from server and consumer spans.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub red: Option<Red>,
}

impl TallyRow {
    /// The counts of `signal`, if it ever arrived.
    #[must_use]
    pub const fn signal(&self, signal: Signal) -> Option<&SignalTally> {
        match signal {
            Signal::Traces => self.traces.as_ref(),
            Signal::Metrics => self.metrics.as_ref(),
            Signal::Logs => self.logs.as_ref(),
        }
    }
}

/// Arrivals of one signal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalTally {
    /// Export requests that carried at least one record of this row.
    pub arrivals: u64,
    /// Spans, metric data points or log records.
    pub records: u64,
    /// Arrivals whose content differed from the one before: metric values that stand still do not
    /// count here, so a frozen exporter shows as `records` that grow while `changes` do not.
    pub changes: u64,
    /// Milliseconds since the last arrival when the page was made.
    pub last_age_ms: u64,
}

/// Requests, errors and durations, from spans of kind server or consumer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Red {
    pub requests: u64,
    /// Requests whose span status is `ERROR`.
    pub errors: u64,
    /// Counts per bucket; bucket `i` holds durations of up to [`DURATION_BOUNDS_MS`]`[i]`, the
    /// last one those above all bounds.
    pub durations: [u64; DURATION_BOUNDS_MS.len() + 1],
}

/// Upper bounds of the duration buckets, in milliseconds.
pub const DURATION_BOUNDS_MS: [u64; 15] =
    [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000];

/// Records as a whole, over all services, since the collector booted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    pub received: u64,
    pub forwarded: u64,
    pub refused: u64,
    pub dropped: u64,
    /// Records that wait for the backend.
    pub queued: u64,
    /// Whether a backend is configured; without one the far tap is the end of the path.
    pub backend: bool,
    /// Milliseconds since the backend last took something; `None` if it never did.
    pub last_forward_age_ms: Option<u64>,
}
