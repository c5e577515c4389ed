//! The verdict table: from what each witness says to one opinion about one service.
//!
//! | beats | telemetry | and | verdict |
//! |---|---|---|---|
//! | fresh | fresh | counts agree, values move, probes return | `live` |
//! | fresh | quiet: no work is unanswered | probes return | `idle` |
//! | fresh | silent | work moves | `telemetry_lost` |
//! | fresh | some signals or one instance silent | work moves | `lossy` |
//! | fresh | fresh | counts fall short of the witness | `lossy` |
//! | fresh | fresh | counts may fall short, or exceed the work | `unknown` |
//! | fresh | fresh, and its records are old or dated in the future | | `unknown` |
//! | fresh | silent or short | the collector refuses its records | `unknown` |
//! | fresh | fresh | values stand still while work moves | `frozen` |
//! | heard | any | a probe came back wrong | `forged` |
//! | lost | fresh | | `heartbeat_lost` |
//! | lost | silent | | `down` |
//! | any | any | never heard, too little evidence, the observer was blind | `unknown` |
//!
//! What the witnesses say is an enum each, so that "it said nothing" is a word of its own and
//! cannot be mistaken for a number.
//!
//! Invariant: `live` needs every witness to speak and to agree. Whatever is missing makes the
//! opinion worse, never better.

use crate::verdict::{Stage, VerdictKind};

/// Whether the watchdog itself could see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Observer {
    Steady,
    /// The watchdog just started and not every witness has had its time.
    Started,
    /// It stalled, slept or its clock jumped, and not every witness has had its time since.
    Blind,
}

/// What the beats say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Beats {
    /// No beat was ever heard.
    Never,
    /// One beat shows no progress.
    TooFew,
    /// Enough instances beat and their tokens move.
    Fresh,
    /// Instances beat, fewer than the contract asks for.
    Short,
    /// All instances are silent; a planned stop was announced and its grace runs.
    Leaving,
    /// Beats come and the token stands still: a timer kicks a hung loop.
    Hung,
    /// Silent past the suspicion threshold.
    Lost,
}

/// What the arrivals of the expected signals say, together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Telemetry {
    /// No telemetry ever arrived.
    Never,
    /// A signal that must arrive never did, and the others are fine.
    Missing,
    /// All of it is fresh.
    Fresh,
    /// It arrives as it should, and the records tell of a time long past.
    Stale,
    /// It arrives as it should, and the records are dated in the future.
    Skewed,
    /// Nothing is overdue: no work is unanswered, and none was done of late.
    Quiet,
    /// Work was done after a quiet time, and its telemetry is not due yet.
    Due,
    /// Some signals are overdue for work that was done; others are fresh.
    PartlySilent,
    /// One instance is overdue for its work; the service as a whole is fresh.
    BlindInstance,
    /// All of it is overdue for work that was done.
    Silent,
    /// Some signals are silent, and no witness can say whether there was work.
    PartlyMute,
    /// All of it is silent, and no witness can say whether there was work.
    Mute,
}

/// How telemetry counts compare with the witness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Counts {
    /// Beats carry no work counters, or there was too little work to compare.
    Unproven,
    /// So much work was recorded that no loss that matters is left to chance.
    Agree,
    /// More records than the work makes.
    Excess,
    /// Fewer records than the work asks for, not yet beyond the bound.
    Doubtful,
    /// Fewer records than the work asks for, beyond the bound.
    Short,
}

/// Whether what arrives changes as work moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Values {
    /// They change, or nothing says that they should.
    Moving,
    /// Metrics arrive and stand still while work moves.
    Standing,
}

/// What the probes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Probes {
    /// None was sent, or none could be checked.
    Unknown,
    Returning,
    Late,
    Lost,
    Wrong,
}

/// Where the path is proven to be sound or suspected to be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Path {
    /// Nothing can be located yet.
    Unproven,
    /// A probe sent after the service's last good arrival came back right.
    Proven,
    /// The collector's own beat is lost or its loop hangs, or it cannot be asked.
    CollectorSick,
    /// The collector refused records of this very service for want of room: it was heard.
    Refusing,
    /// A rule of the collector's configuration drops what comes in, and probes do not pass it.
    Filtered,
    /// The collector seems fine and probes do not pass it.
    Swallowed,
    /// The collector takes records and neither forwards nor queues them.
    ExporterStalled,
    /// Records wait for a backend that takes none.
    BackendStalled,
    /// What is read back from the backend is wrong, and what is sent straight to it is right.
    ExporterLies,
    /// What is read back from the backend is wrong.
    BackendLies,
    /// Most services fell silent together while the path is proven.
    MassSilence,
}

/// All that is known of one service, in the words of its witnesses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Evidence {
    pub observer: Observer,
    pub beats: Beats,
    pub telemetry: Telemetry,
    pub counts: Counts,
    pub values: Values,
    pub probes: Probes,
    pub path: Path,
}

/// The named reason of an opinion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    AllProven,
    NoWork,
    JustStarted,
    ObserverBlind,
    NeverHeard,
    NeverBeat,
    TooFewBeats,
    PlannedStop,
    NeverTelemetry,
    SignalMissing,
    TelemetryDue,
    NoWitness,
    RecordsOld,
    RecordsAhead,
    ProbesUnknown,
    ProbesOverdue,
    RuleDrops,
    CollectorRefuses,
    BeatsLost,
    LoopHung,
    TooFewInstances,
    CountsShort,
    CountsDoubtful,
    CountsExceed,
    SignalsSilent,
    InstanceBlind,
    ValuesStanding,
    ProbeWrong,
    WorkWithoutTelemetry,
    AllSilent,
}

/// An opinion about one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Opinion {
    pub kind: VerdictKind,
    pub stage: Option<Stage>,
    pub why: Why,
}

impl Opinion {
    /// Before anything was heard.
    pub const AT_START: Self = unknown(Some(Stage::Observer), Why::JustStarted);
}

const fn unknown(stage: Option<Stage>, why: Why) -> Opinion {
    Opinion { kind: VerdictKind::Unknown, stage, why }
}

const fn opinion(kind: VerdictKind, stage: Option<Stage>, why: Why) -> Opinion {
    Opinion { kind, stage, why }
}

/// The verdict table.
#[must_use]
pub fn judge(evidence: &Evidence) -> Opinion {
    match evidence.observer {
        Observer::Started => return unknown(Some(Stage::Observer), Why::JustStarted),
        Observer::Blind => return unknown(Some(Stage::Observer), Why::ObserverBlind),
        Observer::Steady => {}
    }
    match evidence.beats {
        Beats::Never => match evidence.telemetry {
            Telemetry::Never | Telemetry::Missing => unknown(None, Why::NeverHeard),
            Telemetry::Fresh
            | Telemetry::Stale
            | Telemetry::Skewed
            | Telemetry::Quiet
            | Telemetry::Due
            | Telemetry::PartlySilent
            | Telemetry::BlindInstance
            | Telemetry::Silent
            | Telemetry::PartlyMute
            | Telemetry::Mute => unknown(None, Why::NeverBeat),
        },
        Beats::Leaving => unknown(None, Why::PlannedStop),
        Beats::Lost => judge_without_beats(evidence, Why::BeatsLost),
        Beats::Hung => judge_without_beats(evidence, Why::LoopHung),
        // A wrong answer needs no second beat to be wrong.
        Beats::TooFew | Beats::Fresh | Beats::Short if evidence.probes == Probes::Wrong => {
            opinion(VerdictKind::Forged, Some(forger(evidence.path)), Why::ProbeWrong)
        }
        Beats::TooFew => unknown(None, Why::TooFewBeats),
        Beats::Fresh => judge_with_beats(evidence),
        Beats::Short => {
            let seen = judge_with_beats(evidence);
            match seen.kind {
                VerdictKind::Live | VerdictKind::Idle => {
                    opinion(VerdictKind::HeartbeatLost, Some(Stage::Service), Why::TooFewInstances)
                }
                VerdictKind::Unknown
                | VerdictKind::HeartbeatLost
                | VerdictKind::Lossy
                | VerdictKind::Frozen
                | VerdictKind::Forged
                | VerdictKind::TelemetryLost
                | VerdictKind::Down => seen,
            }
        }
    }
}

/// Nothing vouches for the service but the path that is distrusted, or nothing at all.
fn judge_without_beats(evidence: &Evidence, why: Why) -> Opinion {
    if evidence.path == Path::Refusing {
        // What was refused was sent: it is heard, though nobody counted it.
        return opinion(VerdictKind::HeartbeatLost, Some(Stage::Service), why);
    }
    match evidence.telemetry {
        Telemetry::Fresh
        | Telemetry::Stale
        | Telemetry::Skewed
        | Telemetry::PartlySilent
        | Telemetry::BlindInstance
        | Telemetry::PartlyMute
        | Telemetry::Missing
        | Telemetry::Due => opinion(VerdictKind::HeartbeatLost, Some(Stage::Service), why),
        Telemetry::Never | Telemetry::Quiet | Telemetry::Silent | Telemetry::Mute => {
            let stage = match evidence.path {
                Path::MassSilence => Stage::Observer,
                Path::Unproven
                | Path::Proven
                | Path::CollectorSick
                | Path::Refusing
                | Path::Filtered
                | Path::Swallowed
                | Path::ExporterStalled
                | Path::BackendStalled
                | Path::ExporterLies
                | Path::BackendLies => Stage::Service,
            };
            let why = if why == Why::LoopHung { why } else { Why::AllSilent };
            opinion(VerdictKind::Down, Some(stage), why)
        }
    }
}

/// The service is proven to run; what of its telemetry?
fn judge_with_beats(evidence: &Evidence) -> Opinion {
    let stage = located(evidence.path);
    match evidence.telemetry {
        Telemetry::Never => unknown(None, Why::NeverTelemetry),
        Telemetry::Missing => unknown(None, Why::SignalMissing),
        // Our own silence, and not the service's: it sends, and nobody takes it.
        Telemetry::Silent
        | Telemetry::PartlySilent
        | Telemetry::BlindInstance
        | Telemetry::Mute
        | Telemetry::PartlyMute
            if evidence.path == Path::Refusing =>
        {
            unknown(stage, Why::CollectorRefuses)
        }
        Telemetry::Mute | Telemetry::PartlyMute => unknown(stage, Why::NoWitness),
        Telemetry::Due => unknown(None, Why::TelemetryDue),
        Telemetry::Silent => opinion(VerdictKind::TelemetryLost, stage, Why::WorkWithoutTelemetry),
        Telemetry::PartlySilent => lossy(evidence, Why::SignalsSilent),
        Telemetry::BlindInstance => lossy(evidence, Why::InstanceBlind),
        Telemetry::Quiet => with_probes(evidence, VerdictKind::Idle, Why::NoWork),
        Telemetry::Fresh | Telemetry::Stale | Telemetry::Skewed => arriving(evidence, stage),
    }
}

/// It arrives in time: does it tell the truth?
fn arriving(evidence: &Evidence, stage: Option<Stage>) -> Opinion {
    match (evidence.values, evidence.counts) {
        (
            Values::Standing,
            Counts::Unproven | Counts::Agree | Counts::Excess | Counts::Doubtful | Counts::Short,
        ) => opinion(VerdictKind::Frozen, Some(Stage::Sdk), Why::ValuesStanding),
        (Values::Moving, Counts::Short | Counts::Doubtful) if evidence.path == Path::Refusing => {
            unknown(stage, Why::CollectorRefuses)
        }
        (Values::Moving, Counts::Short) => lossy(evidence, Why::CountsShort),
        (Values::Moving, Counts::Doubtful) => unknown(stage, Why::CountsDoubtful),
        (Values::Moving, Counts::Excess) => unknown(None, Why::CountsExceed),
        (Values::Moving, Counts::Unproven | Counts::Agree) => match evidence.telemetry {
            Telemetry::Stale => unknown(stage, Why::RecordsOld),
            Telemetry::Skewed => unknown(None, Why::RecordsAhead),
            Telemetry::Never
            | Telemetry::Missing
            | Telemetry::Fresh
            | Telemetry::Quiet
            | Telemetry::Due
            | Telemetry::PartlySilent
            | Telemetry::BlindInstance
            | Telemetry::Silent
            | Telemetry::PartlyMute
            | Telemetry::Mute => with_probes(evidence, VerdictKind::Live, Why::AllProven),
        },
    }
}

/// Part of the telemetry is lost and part of it comes, over the same path. If probes return on it
/// too, the loss is before it.
fn lossy(evidence: &Evidence, why: Why) -> Opinion {
    let stage = match (evidence.path, evidence.probes) {
        (Path::Unproven, Probes::Returning) => Some(Stage::Sdk),
        (
            Path::Unproven
            | Path::Proven
            | Path::CollectorSick
            | Path::Refusing
            | Path::Filtered
            | Path::Swallowed
            | Path::ExporterStalled
            | Path::BackendStalled
            | Path::ExporterLies
            | Path::BackendLies
            | Path::MassSilence,
            Probes::Unknown | Probes::Returning | Probes::Late | Probes::Lost | Probes::Wrong,
        ) => located(evidence.path),
    };
    opinion(VerdictKind::Lossy, stage, why)
}

/// `kind`, if probes prove that the path could have told otherwise.
fn with_probes(evidence: &Evidence, kind: VerdictKind, why: Why) -> Opinion {
    match evidence.probes {
        Probes::Returning => opinion(kind, None, why),
        Probes::Unknown => unknown(None, Why::ProbesUnknown),
        Probes::Late | Probes::Lost => {
            let filtered = evidence.path == Path::Filtered;
            let why = if filtered { Why::RuleDrops } else { Why::ProbesOverdue };
            unknown(located(evidence.path), why)
        }
        Probes::Wrong => opinion(VerdictKind::Forged, Some(forger(evidence.path)), Why::ProbeWrong),
    }
}

/// Where wrong answers are made up.
const fn forger(path: Path) -> Stage {
    match path {
        Path::ExporterLies => Stage::Exporter,
        Path::BackendLies => Stage::Backend,
        Path::Unproven
        | Path::Proven
        | Path::CollectorSick
        | Path::Refusing
        | Path::Filtered
        | Path::Swallowed
        | Path::ExporterStalled
        | Path::BackendStalled
        | Path::MassSilence => Stage::Collector,
    }
}

const fn located(path: Path) -> Option<Stage> {
    match path {
        Path::Unproven => None,
        Path::Proven => Some(Stage::Sdk),
        Path::CollectorSick | Path::Refusing | Path::Filtered | Path::Swallowed => {
            Some(Stage::Collector)
        }
        Path::ExporterStalled | Path::ExporterLies => Some(Stage::Exporter),
        Path::BackendStalled | Path::BackendLies => Some(Stage::Backend),
        Path::MassSilence => Some(Stage::Observer),
    }
}

impl Why {
    /// The reason as one sentence for a person.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::AllProven => "beats and telemetry are fresh and probes return",
            Self::NoWork => "beats prove that there is no work, so nothing can be proven by it",
            Self::JustStarted => "the watchdog just started and has not seen enough",
            Self::ObserverBlind => "the watchdog was blind and has not seen enough since",
            Self::NeverHeard => "neither a beat nor telemetry was ever heard",
            Self::NeverBeat => "telemetry arrives, but no beat was ever heard",
            Self::TooFewBeats => "one beat shows no progress; the next one will",
            Self::PlannedStop => "a planned stop was announced and its grace runs",
            Self::NeverTelemetry => "beats are fresh, but no telemetry has arrived yet",
            Self::SignalMissing => "an expected signal has not arrived yet",
            Self::TelemetryDue => "work has begun again and its telemetry is not due yet",
            Self::NoWitness => {
                "telemetry is silent and beats carry no work counter, so idle and lost look alike"
            }
            Self::RecordsOld => "telemetry arrives, and what it tells is long past",
            Self::RecordsAhead => {
                "telemetry is dated in the future: a clock is wrong, so nothing has an age"
            }
            Self::ProbesUnknown => "no probe has proven the path yet",
            Self::ProbesOverdue => "probes are overdue, so the path is not proven",
            Self::RuleDrops => {
                "a rule of the collector's configuration drops what comes in, probes included"
            }
            Self::CollectorRefuses => {
                "it sends, and the collector refuses its records for want of room"
            }
            Self::BeatsLost => "beats are lost; it is heard only through the distrusted path",
            Self::LoopHung => "beats come but the progress token stands still: a hung loop",
            Self::TooFewInstances => "fewer instances beat than the contract asks for",
            Self::CountsShort => "telemetry counts fewer than the work that beats witness",
            Self::CountsDoubtful => {
                "telemetry counts fewer than the work that beats witness, though it may be chance"
            }
            Self::CountsExceed => "telemetry counts more than the work that beats witness",
            Self::SignalsSilent => "work moves and some expected signals are silent",
            Self::InstanceBlind => "work moves on an instance that sends no telemetry",
            Self::ValuesStanding => "work moves and metrics arrive with values that stand still",
            Self::ProbeWrong => "a probe came back with a wrong answer",
            Self::WorkWithoutTelemetry => "work moves and no telemetry arrives",
            Self::AllSilent => "beats and telemetry are both silent",
        }
    }
}

#[cfg(test)]
mod tests;
