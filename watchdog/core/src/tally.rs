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
    /// What else was counted; a collector that does not count it leaves it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub particulars: Option<Particulars>,
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
    /// By how many milliseconds the last arrival came after the time that its newest record tells
    /// of itself; negative for a record that is dated in the future. `None` if no record told a
    /// time. The collector compares both by its own clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_ms: Option<i64>,
}

/// Requests, errors and durations, from spans of kind server or consumer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Red {
    pub requests: u64,
    /// Requests whose span status is `ERROR`.
    pub errors: u64,
    /// Counts per bucket; a span that ends before it starts is in none.
    pub durations: Durations,
}

/// What is counted beside arrivals and requests. All counts are cumulative since the collector
/// booted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Particulars {
    /// Thousandths of requests that the spans stand for: a span that was kept with probability p
    /// (`ot=th` in its tracestate) stands for 1/p of them, one that says nothing for itself.
    pub adjusted_requests_milli: u64,
    /// The same of requests whose span status is `ERROR`.
    pub adjusted_errors_milli: u64,
    /// Log records of severity `ERROR` or `FATAL` (`severity_number` from 17).
    pub error_logs: u64,
    /// Requests by the counts of server duration histograms (`http.server.request.duration`,
    /// `rpc.server.duration`, `rpc.server.call.duration`), as far as their streams are watched.
    pub metric_requests: u64,
    /// Those of them whose histogram has an `error.type`.
    pub metric_errors: u64,
    /// Records that the collector refused for want of room: if the service is silent here, it is
    /// the collector's doing.
    pub refused: u64,
    /// Records of requests that rules of the collector's configuration emptied, by signal in the
    /// order of [`Signal::ALL`]. They are no arrivals: nothing of them gets through to anybody.
    pub ruled_out: [u64; 3],
    pub streams: Streams,
}

/// What the data points of sums and histograms say of their streams. A stream is a metric of one
/// scope with one set of attributes; its steps are judged by the rules of the OpenTelemetry
/// metrics data model.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Streams {
    /// Points of delta and of cumulative temporality.
    pub delta: u64,
    pub cumulative: u64,
    /// Points whose value is NaN or infinite; they are in no sum.
    pub not_finite: u64,
    /// Points that say "no recorded value": their series has ended.
    pub ended: u64,
    /// Points whose temporality is not that of the point before: one stream must not mix.
    pub mixed: u64,
    /// Points whose start lies after the point before: the count began anew.
    pub resets: u64,
    /// Values that fell although the count did not begin anew: a mistake of the sender.
    pub drops: u64,
    /// Points that leave time uncovered after the point before.
    pub gaps: u64,
    /// Points that cover time again: a second writer, or a request that was sent twice.
    pub overlaps: u64,
    /// Points that were not compared, because more streams live than are watched.
    pub unwatched: u64,
}

/// Upper bounds of the duration buckets, in milliseconds.
pub const DURATION_BOUNDS_MS: [u64; 15] =
    [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000];

/// Requests by how long they took: bucket `i` holds durations of up to [`DURATION_BOUNDS_MS`]`[i]`,
/// the last one those above all bounds.
pub type Durations = [u64; DURATION_BOUNDS_MS.len() + 1];

/// Records as a whole, over all services, since the collector booted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    pub received: u64,
    pub forwarded: u64,
    pub refused: u64,
    pub dropped: u64,
    /// Of the dropped ones, those that a rule of the collector's configuration took out: nothing
    /// is broken, and yet they get through to nobody.
    #[serde(default)]
    pub dropped_by_rule: u64,
    /// Records that wait for the backend.
    pub queued: u64,
    /// Whether a backend is configured; without one the far tap is the end of the path.
    pub backend: bool,
    /// Milliseconds since the backend last took something; `None` if it never did.
    pub last_forward_age_ms: Option<u64>,
}
