//! What the watch is told, and what it orders.
//!
//! Events are facts that the shell observed; the time of each is the `now` beside it. Effects are
//! orders that leave nothing to decide.
//!
//! Invariant: an event never carries a time of another clock, only ages.

use crate::beat::BeatBody;
use crate::names::{Boot, Service};
use crate::probe::Way;
use crate::tally::{Signal, TallyPage};
use crate::watch::ReadBack;

/// A fact that the shell observed.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A beat that [`crate::admission::Admission`] let in. It stands for `told` beats of its
    /// instance: itself, and older ones that had waited and were not told.
    BeatHeard { service: Service, body: BeatBody, authenticated: bool, told: u64 },
    /// The collector answered the long poll. Echoes in the page are ignored here: the shell
    /// verifies them and tells each as [`Event::ProbeReturned`].
    TallyRead { page: TallyPage },
    /// The collector did not answer the long poll.
    TallyFailed,
    /// A probe left; also told when the collector refused it, since that is a probe without answer.
    ProbeSent { signal: Signal, seq: u64 },
    /// A probe passed the far tap with the right or with a wrong answer.
    ProbeReturned { signal: Signal, seq: u64, right: bool },
    /// Something came back that could not be checked. It proves nothing.
    ProbeUnverifiable,
    /// The backend was asked for the metric probes that went one way.
    ReadBack { way: Way, found: ReadBack },
    /// The kernel was asked for a service whether bytes came in on its port within the last
    /// `span_ms`; `None`: it cannot say.
    KernelAsked { service: Service, moved: Option<bool>, span_ms: u64 },
    /// The verdict loop ran `gap_ms` later than it had asked for. Tell it before the facts that
    /// waited meanwhile: they are fresh evidence.
    ObserverLate { gap_ms: u64 },
    /// The watchdog's own port answered its own question `late_ms` late, or not within that time.
    EchoLate { late_ms: u64 },
    /// The clock jumped.
    ClockStepped,
    /// A collector was started or adopted.
    CollectorStarted { boot: Boot },
    /// Something was done about the collector, or is no more.
    CollectorTended { remark: Remark, on: bool },
    /// All facts that waited are told: judge. Orders come from this event alone.
    Turn,
}

/// What was done about a collector that fell, besides starting it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Remark {
    /// It runs with the last configuration that was proven, and not with the one in its file.
    OnKnownGood,
    /// What waited in its spool was put aside.
    SpoolAside,
    /// It is not started again.
    GivenUp,
}

impl Remark {
    /// What a person is told beside the reason of a verdict.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::OnKnownGood => "the collector runs with its last proven configuration",
            Self::SpoolAside => "what waited in the collector's spool is put aside",
            Self::GivenUp => "the collector died too often and is not started again",
        }
    }
}

/// An order to the shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Publish the verdict about this service: kind or stage changed.
    VerdictChanged { service: Service },
    /// End this start of the collector and start another.
    ConvictCollector { boot: Boot, reason: Conviction },
    /// Most services fell silent together, or no longer are. While on, restart nothing.
    MassSilence { on: bool },
}

/// What is laid to the collector. Each needs two witnesses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Conviction {
    /// Its beat is lost, and probes are overdue or the tally cannot be read.
    Silent,
    /// Its beat comes, its token stands still, and probes are lost.
    Hung,
    /// Its beat and its token are fine, probes are lost, and it reports no trouble at the backend.
    Drops,
    /// The same, and rules of its own configuration drop records. A restart with the same one heals
    /// nothing, so this is no verdict on the start, and is told anew each time probes fall silent.
    Rules,
}

impl Conviction {
    /// The word in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Hung => "hung",
            Self::Drops => "drops",
            Self::Rules => "rules",
        }
    }
}

/// What the next deadline is for; for logs and tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The verdict about a service may change by time alone.
    Service,
    /// A probe becomes late or lost.
    Probe,
    /// The collector may have to be convicted.
    Collector,
    /// The watchdog's own strain falls.
    Observer,
}
