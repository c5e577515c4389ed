//! The faults: what is missing, stands still or lies, and where.
//!
//! Each is what a person would do to a running system with a signal, a firewall rule or a bad
//! deploy; what the two cores and the re-stated peers see of it follows from the same words.
//!
//! Invariant: every fault lasts. A system that comes back is another story.

/// When the fault begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    AtRequest,
    Applying,
    Baking,
}

impl Phase {
    pub const ALL: [Self; 3] = [Self::AtRequest, Self::Applying, Self::Baking];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AtRequest => "at request",
            Self::Applying => "applying",
            Self::Baking => "baking",
        }
    }
}

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident = $words:literal,)*) => {
        /// What is wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault {
            $($(#[$doc])* $name,)*
        }

        impl Fault {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $words,)* }
            }
        }
    };
}

faults! {
    /// The recursive crash: the service works on and exports nothing.
    ExporterHangs = "no data: the exporter hangs, work goes on",
    BothArmsSilent = "both arms silent together",
    /// From the first moment of the process on.
    NeverMeasured = "the run ends before the first measurement",
    NotANumber = "NaN in every metric",
    ConstantZero = "constant zero for work that goes on",
    /// Nothing lies: there is no work, and nothing can be proven by it.
    ZeroTraffic = "zero traffic",
    /// The last export is sent again and again.
    StaleLast = "stale last value, sent again and again",
    BackendDown = "metrics backend down",
    /// The request path is counted right in spans; the metrics do not move.
    FrozenCounters = "frozen counters, the endpoint answers",
    Halved = "half of the records lost",
    /// Spans go on, metrics are gone.
    SignalLost = "one signal of two lost",
    /// Every export arrives half a minute after it was due.
    SlowDrip = "telemetry half a minute late",
    CollectorStopped = "collector stopped",
    CollectorHangs = "collector's pipeline hangs, its process answers",
    CollectorDrops = "collector alive, drops everything",
    ProbesForged = "probes come back with wrong answers",
    /// The process is dead; somebody replays what it once sent.
    BeatsReplayed = "dead process, beats and telemetry replayed",
    BeatsLost = "beats lost, telemetry flows",
    LoopHangs = "work loop hangs, timer beats on",
    ServiceDown = "process dead",
    WatchdogSilent = "watchdog silent",
    WatchdogStalls = "watchdog stalls again and again",
    ClockSteps = "clocks jump again and again",
    GateRestarts = "gate restarts again and again",
    /// Each export comes a little later than the one before, and none is missed.
    LaterAndLater = "telemetry later and later, never silent",
    ClockAhead = "the service's clock jumps an hour ahead",
    ClockBehind = "the service's clock jumps an hour back",
    Quartered = "a quarter of the records lost",
}

/// What becomes of one signal's exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Export {
    Fine,
    Silent,
    /// They arrive, with values that do not move.
    Standing,
    Halved,
    Quartered,
    Late,
    Later,
    /// They are dated an hour wrong.
    Ahead,
    Behind,
    /// Old ones, played again.
    Replayed,
}

/// What becomes of the beats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beats {
    Fine,
    Lost,
    /// The token stands still.
    Hung,
    /// Only those that were heard before come again.
    Replayed,
}

/// What becomes of the probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probes {
    Right,
    Wrong,
    Gone,
}

impl Fault {
    /// Whether the fault is one of the process that changes, or of the whole installation.
    pub const fn is_the_services(self) -> bool {
        match self {
            Self::ExporterHangs
            | Self::BothArmsSilent
            | Self::NeverMeasured
            | Self::NotANumber
            | Self::ConstantZero
            | Self::ZeroTraffic
            | Self::StaleLast
            | Self::FrozenCounters
            | Self::Halved
            | Self::Quartered
            | Self::SignalLost
            | Self::SlowDrip
            | Self::LaterAndLater
            | Self::ClockAhead
            | Self::ClockBehind
            | Self::BeatsReplayed
            | Self::BeatsLost
            | Self::LoopHangs
            | Self::ServiceDown => true,
            Self::BackendDown
            | Self::CollectorStopped
            | Self::CollectorHangs
            | Self::CollectorDrops
            | Self::ProbesForged
            | Self::WatchdogSilent
            | Self::WatchdogStalls
            | Self::ClockSteps
            | Self::GateRestarts => false,
        }
    }

    pub const fn traces(self) -> Export {
        match self {
            Self::ExporterHangs
            | Self::BothArmsSilent
            | Self::NeverMeasured
            | Self::ConstantZero
            | Self::StaleLast
            | Self::LoopHangs
            | Self::ServiceDown
            | Self::CollectorStopped
            | Self::CollectorHangs => Export::Silent,
            Self::Halved => Export::Halved,
            Self::Quartered => Export::Quartered,
            Self::SlowDrip => Export::Late,
            Self::LaterAndLater => Export::Later,
            Self::ClockAhead => Export::Ahead,
            Self::ClockBehind => Export::Behind,
            Self::BeatsReplayed => Export::Replayed,
            Self::NotANumber
            | Self::ZeroTraffic
            | Self::BackendDown
            | Self::FrozenCounters
            | Self::SignalLost
            | Self::CollectorDrops
            | Self::ProbesForged
            | Self::BeatsLost
            | Self::WatchdogSilent
            | Self::WatchdogStalls
            | Self::ClockSteps
            | Self::GateRestarts => Export::Fine,
        }
    }

    pub const fn metrics(self) -> Export {
        match self {
            Self::NotANumber | Self::ConstantZero | Self::StaleLast | Self::FrozenCounters => {
                Export::Standing
            }
            Self::SignalLost => Export::Silent,
            Self::ExporterHangs
            | Self::BothArmsSilent
            | Self::NeverMeasured
            | Self::ZeroTraffic
            | Self::BackendDown
            | Self::Halved
            | Self::Quartered
            | Self::SlowDrip
            | Self::LaterAndLater
            | Self::ClockAhead
            | Self::ClockBehind
            | Self::CollectorStopped
            | Self::CollectorHangs
            | Self::CollectorDrops
            | Self::ProbesForged
            | Self::BeatsReplayed
            | Self::BeatsLost
            | Self::LoopHangs
            | Self::ServiceDown
            | Self::WatchdogSilent
            | Self::WatchdogStalls
            | Self::ClockSteps
            | Self::GateRestarts => self.traces(),
        }
    }

    pub const fn beats(self) -> Beats {
        if matches!(self, Self::BeatsLost | Self::ServiceDown) {
            Beats::Lost
        } else if matches!(self, Self::LoopHangs) {
            Beats::Hung
        } else if matches!(self, Self::BeatsReplayed) {
            Beats::Replayed
        } else {
            Beats::Fine
        }
    }

    /// Whether the process still serves requests.
    pub const fn works(self) -> bool {
        !matches!(
            self,
            Self::ZeroTraffic | Self::LoopHangs | Self::ServiceDown | Self::BeatsReplayed
        )
    }

    pub const fn probes(self) -> Probes {
        if matches!(self, Self::ProbesForged) {
            Probes::Wrong
        } else if matches!(
            self,
            Self::BackendDown
                | Self::CollectorStopped
                | Self::CollectorHangs
                | Self::CollectorDrops
        ) {
            Probes::Gone
        } else {
            Probes::Right
        }
    }

    /// How long the fault needs to be there before it can be told from chance, at most, in
    /// milliseconds: half of the records are counted over windows of up to 20 s, the rest is seen
    /// in two periods or, for probes, in five seconds.
    pub const fn settles_ms(self) -> u64 {
        if matches!(self, Self::Halved) {
            25_000
        } else if matches!(self, Self::Quartered) {
            // One instance, eight requests a second, an export every two seconds: the worst case.
            60_000
        } else if matches!(self, Self::LaterAndLater) {
            // A third of a second each second, until it is more than a late export.
            30_000
        } else {
            8_000
        }
    }
}
