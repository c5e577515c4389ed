//! The rules of others, re-stated from their sources and documents, judging the same trials.
//!
//! Each looks at a metrics backend every ten seconds for a minute, from the request or from the
//! moment the change was applied. What the backend shows follows from the same fault: series that
//! a service pushes end or stand still, series of a collector that dies keep their last value (a
//! metrics store looks back five minutes), a backend that is down answers nothing.
//!
//! Invariant: a peer is never worse off here than by its own documented rule.

#![allow(
    clippy::neg_cmp_op_on_partial_ord,
    reason = "every comparison with NaN is false, and whether a peer asks for the good or for the \
              bad is what its rule comes to"
)]

use crate::fault::{Fault, Phase};
use crate::plan::Plan;

const POLLS: u64 = 6;
const POLL_MS: f64 = 10_000.0;
/// The bake in which faults begin; as for the gate.
const ONSET_MS: f64 = 30_000.0;
const LATENCY_MAX_MS: f64 = 1_000.0;
const ERRORS_MAX: f64 = 0.05;

macro_rules! peers {
    ($($(#[$doc:meta])* $name:ident = $words:literal,)*) => {
        /// A rule of another system.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Peer {
            $($(#[$doc])* $name,)*
        }

        impl Peer {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $words,)* }
            }
        }
    };
}

peers! {
    /// `successCondition: all(result, # < 1000)`, as documented for latency.
    ArgoAll = "Argo all()",
    /// `failureCondition: result[0] >= 0.05` alone.
    ArgoFailure = "Argo fail-only",
    /// `thresholdRange.max` on Prometheus; no value and NaN halt.
    FlaggerPrometheus = "Flagger Prom",
    /// The same on InfluxDB, whose provider answers 0 for no rows.
    FlaggerInflux = "Flagger Influx",
    /// Latency, errors and three metrics of the host, against the baseline.
    Kayenta = "Kayenta",
    /// Failure criteria alone, over values that the operator keeps.
    Keptn = "Keptn",
    /// A ramp with one guardrail.
    GrowthBook = "GrowthBook",
    /// A monitor rule, by the command line tool with its defaults.
    Datadog = "Datadog CLI",
    /// An alert on the error share and on latency, nothing fires: go.
    Alert = "Prom alert",
}

/// What a query brings.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Reading {
    Empty,
    Failed,
    Value(f64),
}

/// What the backend shows of the candidate and of the baseline at one poll.
#[derive(Debug, Clone, Copy)]
struct Shown {
    latency_ms: Reading,
    error_share: Reading,
    base_latency_ms: Reading,
    base_error_share: Reading,
    /// Users are assigned to the candidate; the flag service counts them itself.
    exposures: bool,
}

/// Whether the peer waves the trial on.
pub fn waves_on(peer: Peer, plan: &Plan) -> bool {
    let shown: Vec<Shown> = (1..=POLLS).map(|poll| shown(plan, poll as f64 * POLL_MS)).collect();
    let all = |rule: &dyn Fn(&Shown) -> bool| shown.iter().all(rule);
    match peer {
        Peer::ArgoAll => argo(&shown, |seen| match seen.latency_ms {
            Reading::Empty => Some(true),
            Reading::Failed => None,
            Reading::Value(value) => Some(value < LATENCY_MAX_MS),
        }),
        Peer::ArgoFailure => argo(&shown, |seen| match seen.error_share {
            // There is no first result.
            Reading::Empty | Reading::Failed => None,
            Reading::Value(value) => Some(!(value >= ERRORS_MAX)),
        }),
        Peer::FlaggerPrometheus => all(&|seen| match seen.error_share {
            Reading::Empty | Reading::Failed => false,
            Reading::Value(value) => !value.is_nan() && value <= ERRORS_MAX,
        }),
        Peer::FlaggerInflux => all(&|seen| match seen.error_share {
            Reading::Failed => false,
            Reading::Empty => true,
            Reading::Value(value) => !(value > ERRORS_MAX),
        }),
        Peer::Kayenta => all(&kayenta),
        Peer::Keptn => all(&|seen| match seen.latency_ms {
            // The last value is kept, with the time of now; without one the criterion is not met.
            Reading::Empty | Reading::Failed => true,
            Reading::Value(value) => !(value > LATENCY_MAX_MS),
        }),
        Peer::GrowthBook => all(&|seen| {
            seen.exposures
                && match seen.error_share {
                    Reading::Failed => false,
                    Reading::Empty => true,
                    Reading::Value(value) => !(value > ERRORS_MAX),
                }
        }),
        Peer::Datadog => all(&|seen| match seen.error_share {
            // Exit status 0, "unexpected error happened".
            Reading::Failed => true,
            Reading::Empty => false,
            Reading::Value(value) => !value.is_nan() && value <= ERRORS_MAX,
        }),
        Peer::Alert => all(&|seen| {
            let fires = |reading, max| matches!(reading, Reading::Value(value) if value > max);
            !fires(seen.error_share, ERRORS_MAX) && !fires(seen.latency_ms, LATENCY_MAX_MS)
        }),
    }
}

/// One failure ends the analysis, and so do five errors in a row.
fn argo(shown: &[Shown], measure: impl Fn(&Shown) -> Option<bool>) -> bool {
    let mut errors = 0;
    for seen in shown {
        match measure(seen) {
            Some(true) => errors = 0,
            Some(false) => return false,
            None => errors += 1,
        }
        if errors >= 5 {
            return false;
        }
    }
    true
}

/// Metrics without data are left out of the score; the three of the host are always fine.
fn kayenta(seen: &Shown) -> bool {
    let pairs =
        [(seen.latency_ms, seen.base_latency_ms), (seen.error_share, seen.base_error_share)];
    pairs.iter().all(|(candidate, baseline)| match (candidate, baseline) {
        (Reading::Failed, _) | (_, Reading::Failed) => false,
        (Reading::Empty, _) | (_, Reading::Empty) => true,
        (Reading::Value(candidate), Reading::Value(baseline)) => {
            // Only an increase fails, by more than a quarter of the baseline. NaN is no data.
            !(*candidate > baseline * 1.25 + 0.01)
        }
    })
}

fn shown(plan: &Plan, at_ms: f64) -> Shown {
    let onset_ms = match plan.phase {
        Phase::AtRequest | Phase::Applying => 0.0,
        Phase::Baking => plan.onset * ONSET_MS,
    };
    let latency = 100.0 + 20.0 * plan.onset;
    let fine = (Reading::Value(latency), Reading::Value(plan.error_share));
    let broken = plan.fault.filter(|_| at_ms > onset_ms + POLL_MS);
    let ours = broken.map_or(fine, |fault| series(fault, fine, at_ms - onset_ms));
    let theirs = broken
        .filter(|fault| plan.fault_of(0) == Some(*fault) && plan.candidate() != 0)
        .map_or(fine, |fault| series(fault, fine, at_ms - onset_ms));
    Shown {
        latency_ms: ours.0,
        error_share: ours.1,
        base_latency_ms: theirs.0,
        base_error_share: theirs.1,
        exposures: broken.is_none_or(Fault::works),
    }
}

/// Latency and error share of one arm under `fault`.
fn series(fault: Fault, fine: (Reading, Reading), since_ms: f64) -> (Reading, Reading) {
    let both = |reading| (reading, reading);
    match fault {
        // What the process pushes ends with it.
        Fault::ExporterHangs
        | Fault::BothArmsSilent
        | Fault::NeverMeasured
        | Fault::SignalLost
        | Fault::LoopHangs
        | Fault::ServiceDown => both(Reading::Empty),
        // Beyond what a query looks back, or ahead of it.
        Fault::ClockAhead | Fault::ClockBehind => both(Reading::Empty),
        Fault::SlowDrip if since_ms < 30_000.0 => both(Reading::Empty),
        Fault::NotANumber | Fault::ZeroTraffic => both(Reading::Value(f64::NAN)),
        Fault::ConstantZero => both(Reading::Value(0.0)),
        Fault::BackendDown => both(Reading::Failed),
        // Nothing grows: no error among no requests, and the last latency.
        Fault::FrozenCounters => (fine.0, Reading::Value(0.0)),
        // The last value stays in the store's look-back, old ones look new, shares are of what is
        // left, and what is wrong beside the metrics is not in them.
        Fault::SlowDrip
        | Fault::LaterAndLater
        | Fault::StaleLast
        | Fault::CollectorStopped
        | Fault::CollectorHangs
        | Fault::CollectorDrops
        | Fault::Halved
        | Fault::Quartered
        | Fault::ProbesForged
        | Fault::BeatsReplayed
        | Fault::BeatsLost
        | Fault::WatchdogSilent
        | Fault::WatchdogStalls
        | Fault::ClockSteps
        | Fault::GateRestarts => fine,
    }
}

/// Whether a peer has the part that breaks at all.
pub const fn concerns_peers(fault: Fault) -> bool {
    !matches!(
        fault,
        Fault::ProbesForged
            | Fault::WatchdogSilent
            | Fault::WatchdogStalls
            | Fault::ClockSteps
            | Fault::GateRestarts
    )
}
