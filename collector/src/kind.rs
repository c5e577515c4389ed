//! What an export request carries: a signal that is tallied, or profiles.
//!
//! The profiles signal of OTLP is in development, and the watchdog draws no conclusion from it. So
//! profiles pass all steps but the tally: their bytes are checked, forwarded and counted in the
//! metrics.
//!
//! Invariant: what is not tallied never reaches the tally, as a row or in its flow.

use watchdog_core::tally::Signal;

/// What an export request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Tallied(Signal),
    Profiles,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [
        Self::Tallied(Signal::Traces),
        Self::Tallied(Signal::Metrics),
        Self::Tallied(Signal::Logs),
        Self::Profiles,
    ];

    /// Its place in [`Self::ALL`], and its number in a record of the spool, for ever.
    pub(crate) const fn place(self) -> usize {
        match self {
            Self::Tallied(Signal::Traces) => 0,
            Self::Tallied(Signal::Metrics) => 1,
            Self::Tallied(Signal::Logs) => 2,
            Self::Profiles => 3,
        }
    }

    /// The value of the label `signal` in metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Tallied(signal) => signal.as_str(),
            Self::Profiles => "profiles",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_at_its_place() {
        assert_eq!(Kind::ALL.map(Kind::place), [0, 1, 2, 3]);
    }
}
