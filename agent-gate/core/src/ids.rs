//! The names and numbers by which rollouts, freezes, decisions, effects and permits are known.
//!
//! Ids are counters of the ledger (`r-000017`), so a replay of the journal gives the same ids and
//! a person can say them aloud. Names that come from agents are checked like all names.
//!
//! Invariant: a counter never goes back, so an id is never used twice.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use watchdog_core::names::{NameError, Service};

/// A text that is not an id of the asked kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdError {
    text: String,
    form: &'static str,
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not an id of the form {}000001", self.text, self.form)
    }
}

impl std::error::Error for IdError {}

macro_rules! counted {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{:06}"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let number = text
                    .strip_prefix($prefix)
                    .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
                    .and_then(|digits| digits.parse().ok());
                number
                    .map(Self)
                    .ok_or_else(|| IdError { text: text.to_owned(), form: $prefix })
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    };
}

counted! {
    /// One rollout.
    RolloutId, "r-"
}
counted! {
    /// One freeze.
    FreezeId, "f-"
}
counted! {
    /// One recorded decision.
    DecisionId, "d-"
}
counted! {
    /// One effect outside the gate: the idempotency key of a revert or a dry run.
    EffectId, "e-"
}
counted! {
    /// One permit. A permit that ended never comes back; the next one has another id.
    PermitId, "p-"
}

counted! {
    /// One waiver.
    WaiverId, "w-"
}

/// The fencing epoch. Every freeze, restart and clock jump raises it; permits of an older one are
/// dead where the event applies.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which try at taking a rollout back: a person who settles `stuck` starts the next one. Effects
/// of an older generation are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u32);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! named {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks `text` and makes it a name.
            ///
            /// # Errors
            /// [`NameError`] if the text is empty, longer than 255 bytes or not printable.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                Service::new(text).map(|checked| Self(checked.into()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

named! {
    /// The agent's own name for a change: the idempotency key of a request.
    ChangeId
}
named! {
    /// The content address of what is rolled out. It is the change's fingerprint: a digest that
    /// silenced one service is refused for every other.
    Digest
}
named! {
    /// A place where a service is changed: a host, a cluster, whatever has one fence.
    TargetName
}
named! {
    /// The agent as it names itself in a request.
    AgentName
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_back_from_its_text_and_nothing_else_is() {
        assert_eq!(RolloutId(17).to_string(), "r-000017");
        assert_eq!("r-000017".parse(), Ok(RolloutId(17)));
        assert_eq!("r-12345678".parse(), Ok(RolloutId(12_345_678)));
        for wrong in ["f-000017", "r-", "r-+1", "r- 1", "17", ""] {
            assert!(wrong.parse::<RolloutId>().is_err(), "{wrong:?}");
        }
    }
}
