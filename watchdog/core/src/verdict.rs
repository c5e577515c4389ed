//! The verdict about one service, as the watchdog publishes it and the gate reads it.
//!
//! Invariant: a number that is not known is `null` on the wire and `None` here, never 0.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::names::{Boot, Environment, Instance, Revision, Service};
use crate::roster::Roster;
use crate::tally::{Durations, Signal};

/// What the evidence says about one service. The order is from best to worst, so that the worst of
/// several watchdogs is the maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictKind {
    /// Beats and telemetry are fresh, counts agree, probes return.
    Live,
    /// Beats prove that there is no work. Nothing can be proven, nothing is wrong.
    Idle,
    /// Never heard, too little evidence, or the watchdog itself was late.
    Unknown,
    /// Telemetry without beats: heard only through the path that is distrusted.
    HeartbeatLost,
    /// Telemetry counts fewer than the witness, beyond the bound.
    Lossy,
    /// Values or sequence stand still while work moves.
    Frozen,
    /// A probe came back with a wrong answer.
    Forged,
    /// Work moves and no telemetry arrives: the recursive crash.
    TelemetryLost,
    /// Neither beats nor telemetry.
    Down,
}

impl VerdictKind {
    pub const ALL: [Self; 9] = [
        Self::Live,
        Self::Idle,
        Self::Unknown,
        Self::HeartbeatLost,
        Self::Lossy,
        Self::Frozen,
        Self::Forged,
        Self::TelemetryLost,
        Self::Down,
    ];

    /// What several watchdogs say together: the worst that one of them says.
    #[must_use]
    pub fn worst(self, other: Self) -> Self {
        self.max(other)
    }

    /// The word in API, metrics and dashboards.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Idle => "idle",
            Self::Unknown => "unknown",
            Self::HeartbeatLost => "heartbeat_lost",
            Self::Lossy => "lossy",
            Self::Frozen => "frozen",
            Self::Forged => "forged",
            Self::TelemetryLost => "telemetry_lost",
            Self::Down => "down",
        }
    }
}

/// Where on the path the fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Service,
    Sdk,
    Collector,
    Exporter,
    Backend,
    Observer,
}

/// The opinion about one service, with its evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    pub service: Service,
    pub environment: Environment,
    pub verdict: VerdictKind,
    /// Milliseconds for which this verdict has stood.
    pub since_ms: u64,
    /// The located stage; `None` while nothing is wrong or nothing can be located.
    pub stage: Option<Stage>,
    /// One sentence for a person.
    pub reason: Cow<'static, str>,
    pub revisions: Vec<RevisionEvidence>,
    pub signals: Roster<Signal, SignalEvidence>,
    pub beats: BeatEvidence,
    pub witness: Option<WitnessEvidence>,
    pub probes: ProbeEvidence,
    pub observer: ObserverEvidence,
    pub instances: Vec<InstanceEvidence>,
}

impl Verdict {
    /// Lets `ms` milliseconds pass in which nothing was heard: every age grows.
    pub fn grow_older(&mut self, ms: u64) {
        let older = |age_ms: &mut Option<u64>| {
            if let Some(age_ms) = age_ms {
                *age_ms = age_ms.saturating_add(ms);
            }
        };
        self.since_ms = self.since_ms.saturating_add(ms);
        self.signals.values_mut().for_each(|signal| older(&mut signal.last_arrival_age_ms));
        older(&mut self.beats.age_ms);
        older(&mut self.probes.age_ms);
        self.instances.iter_mut().for_each(|instance| older(&mut instance.age_ms));
    }
}

/// What one revision of the service has shown, over all instances, since first seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionEvidence {
    pub revision: Revision,
    /// Live instances that beat with this revision.
    pub instances: u32,
    /// Telemetry records of all signals; `None` if none ever arrived.
    pub records: Option<u64>,
    /// Requests and errors by spans; `None` if no server span ever arrived.
    pub requests: Option<u64>,
    pub errors: Option<u64>,
    /// Requests by the beats' own counters; `None` if beats carry none.
    pub witnessed: Option<u64>,
    /// Requests by how long they took, by server spans; `None` if none ever arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durations: Option<Durations>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalState {
    Fresh,
    /// It arrives, and its records tell of a time long past.
    Stale,
    /// It arrives, and its records are dated in the future.
    Skewed,
    Late,
    Silent,
    Ended,
    Never,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalEvidence {
    pub state: SignalState,
    pub expected: bool,
    pub last_arrival_age_ms: Option<u64>,
    pub cadence_ms: Option<u64>,
    /// By how much the newest record of the last arrival was older than the arrival; negative if
    /// it is dated in the future. `None` if no record told its time.
    #[serde(default)]
    pub late_ms: Option<i64>,
    pub records: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BeatState {
    Fresh,
    /// Silent past the suspicion threshold.
    Suspect,
    /// Silent past the conviction threshold.
    Lost,
    /// Beats come and the progress token stands still: a timer kicks a hung loop.
    Stuck,
    Never,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeatEvidence {
    pub state: BeatState,
    pub age_ms: Option<u64>,
    pub interval_ms: Option<u64>,
    pub authenticated: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WitnessState {
    /// Telemetry counts agree with the work counters.
    Agrees,
    /// Too little work to say.
    Thin,
    /// Work is witnessed, and no trace ever came that it could be compared with.
    Unpaired,
    /// Fewer records than the work asks for, not yet beyond the bound.
    Doubtful,
    /// More records than the work makes.
    Excess,
    /// Fewer records than the work asks for, beyond the bound.
    Short,
    /// The work counter stands still.
    Still,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WitnessEvidence {
    pub state: WitnessState,
    /// Requests by the beats in the window.
    pub requests: u64,
    /// Spans that arrived for them; `None` if traces are not expected.
    pub records: Option<u64>,
    /// The share of requests that become spans, learnt while live.
    pub ratio: Option<f64>,
    /// The bound on the share in this window, low and high.
    pub interval: Option<[f64; 2]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeState {
    Returning,
    /// Overdue past the suspicion threshold.
    Late,
    Lost,
    /// A wrong answer came back.
    Wrong,
    /// No probe has been sent, or none could be checked.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeEvidence {
    pub state: ProbeState,
    /// Share of the last probes that came back right; `None` before the first is due.
    pub coverage: Option<f64>,
    /// Age of the last right answer.
    pub age_ms: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObserverEvidence {
    /// How late the watchdog's own verdict loop ran at worst in the last window.
    pub late_ms: u64,
    pub healthy: bool,
    /// How much that strains it, from 0 to 8: thresholds of silence are stretched by so many
    /// eighths.
    pub strain: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceEvidence {
    pub instance: Instance,
    pub boot: Option<Boot>,
    pub revision: Option<Revision>,
    pub beats: BeatState,
    pub age_ms: Option<u64>,
    pub leaving: bool,
}
