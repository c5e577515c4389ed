//! How the command line ends: the exit codes that scripts and agents branch on, and one of roles.
//!
//! Invariant: 0 is said only when something was allowed or done. Whatever goes wrong on the way,
//! a usage mistake, a gate that cannot be reached, an answer that cannot be read, is 2.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Allowed, or done.
    Done,
    /// Denied.
    Denied,
    /// No decision was possible: usage, unreachable, unsafe.
    Undecided,
    /// A command that ran under a permit failed.
    Failed,
    /// A command that ran under a permit was stopped before its end.
    Stopped,
    /// Held; ask again (`EX_TEMPFAIL`).
    Held,
    /// A role cannot read what it kept on disk (`EX_IOERR`); its configuration is not to blame.
    Unreadable,
}

impl Ending {
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Denied => 1,
            Self::Undecided => 2,
            Self::Failed => 3,
            Self::Stopped => 4,
            Self::Held => 75,
            Self::Unreadable => 74,
        }
    }
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        Self::from(ending.code())
    }
}
