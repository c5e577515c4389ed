//! How far the gate's own freezes reach, by what they are for.
//!
//! ```toml
//! freeze_scope = "fleet"
//! freeze_scope = { regressed = "service", telemetry_lost = "environment", other = "fleet" }
//! ```
//!
//! Invariant: a freeze for what a narrower one did not stop reaches at least as far as that one.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use watchdog_core::verdict::VerdictKind;

use crate::gate::freeze::FreezeCause;

/// How far one freeze reaches, from narrow to wide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FreezeScope {
    Service,
    Environment,
    Fleet,
}

/// What a freeze of the gate's own is for, where policy may choose its scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    Lossy,
    Frozen,
    Forged,
    TelemetryLost,
    Down,
    Regressed,
    Violation,
    Abandoned,
    Drift,
    /// A revert that did not verify: the freeze before it was not enough.
    Stuck,
    /// A service that goes blind with nothing in flight: what did it is a guess.
    Suspicion,
}

impl Trigger {
    /// What `cause` is called in a policy; `None` where policy has no say.
    #[must_use]
    pub const fn of(cause: &FreezeCause) -> Option<Self> {
        match cause {
            FreezeCause::Asked | FreezeCause::MassSilence => None,
            FreezeCause::Verdict { verdict, .. } => match verdict {
                VerdictKind::Lossy => Some(Self::Lossy),
                VerdictKind::Frozen => Some(Self::Frozen),
                VerdictKind::Forged => Some(Self::Forged),
                VerdictKind::TelemetryLost => Some(Self::TelemetryLost),
                VerdictKind::Down => Some(Self::Down),
                // None of these freezes.
                VerdictKind::Live
                | VerdictKind::Idle
                | VerdictKind::Unknown
                | VerdictKind::HeartbeatLost => None,
            },
            FreezeCause::Regressed { .. } => Some(Self::Regressed),
            FreezeCause::Violation { .. } => Some(Self::Violation),
            FreezeCause::Abandoned { .. } => Some(Self::Abandoned),
            FreezeCause::Drift { .. } => Some(Self::Drift),
            FreezeCause::Stuck { .. } => Some(Self::Stuck),
            FreezeCause::Suspicion { .. } => Some(Self::Suspicion),
        }
    }
}

/// The scope of each freeze.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct FreezeScopes {
    other: FreezeScope,
    of: BTreeMap<Trigger, FreezeScope>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged, expecting = "one of fleet, environment and service, or a table of them by cause")]
enum Written {
    All(FreezeScope),
    Each(Each),
}

#[derive(Clone, Serialize, Deserialize)]
struct Each {
    #[serde(default = "widest")]
    other: FreezeScope,
    #[serde(flatten)]
    of: BTreeMap<Trigger, FreezeScope>,
}

const fn widest() -> FreezeScope {
    FreezeScope::Fleet
}

impl From<Written> for FreezeScopes {
    fn from(written: Written) -> Self {
        match written {
            Written::All(other) => Self::from(other),
            Written::Each(Each { other, of }) => Self { other, of },
        }
    }
}

impl From<FreezeScopes> for Written {
    fn from(scopes: FreezeScopes) -> Self {
        let FreezeScopes { other, of } = scopes;
        if of.is_empty() { Self::All(other) } else { Self::Each(Each { other, of }) }
    }
}

impl From<FreezeScope> for FreezeScopes {
    fn from(other: FreezeScope) -> Self {
        Self { other, of: BTreeMap::new() }
    }
}

/// One word where one will do, so that the canonical text of a policy stays what it was.
impl fmt::Debug for FreezeScopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.of.is_empty() {
            return self.other.fmt(f);
        }
        f.debug_map().entries(&self.of).entry(&"other", &self.other).finish()
    }
}

impl FreezeScopes {
    /// How far a freeze for `trigger` reaches.
    #[must_use]
    pub fn scope(&self, trigger: Trigger) -> FreezeScope {
        let unsaid = match trigger {
            Trigger::Stuck | Trigger::Suspicion => FreezeScope::Fleet,
            Trigger::Lossy
            | Trigger::Frozen
            | Trigger::Forged
            | Trigger::TelemetryLost
            | Trigger::Down
            | Trigger::Regressed
            | Trigger::Violation
            | Trigger::Abandoned
            | Trigger::Drift => self.other,
        };
        self.of.get(&trigger).copied().unwrap_or(unsaid)
    }

    /// What cannot be meant, in words.
    #[must_use]
    pub fn contradiction(&self) -> Option<String> {
        let stuck = self.scope(Trigger::Stuck);
        let of = self.of.iter().filter(|(trigger, _)| **trigger != Trigger::Suspicion);
        let wider = of.map(|(_, scope)| *scope).chain([self.other]).any(|scope| scope > stuck);
        wider.then(|| {
            "lets stuck reach less far than others; a revert that did not verify shows that the \
             freeze before it was not enough"
                .to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<FreezeScopes, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn a_word_is_for_all_and_a_table_for_each_with_the_rest_as_wide_as_can_be() {
        let narrow = read(r#""service""#).expect("a word");
        assert_eq!(narrow.scope(Trigger::Down), FreezeScope::Service);
        assert_eq!(narrow.scope(Trigger::Stuck), FreezeScope::Fleet, "it says: not enough");
        let each = read(r#"{"regressed": "service", "down": "environment"}"#).expect("a table");
        assert_eq!(each.scope(Trigger::Regressed), FreezeScope::Service);
        assert_eq!(each.scope(Trigger::Down), FreezeScope::Environment);
        assert_eq!(each.scope(Trigger::Lossy), FreezeScope::Fleet);
        let again = serde_json::to_string(&each).expect("JSON");
        assert_eq!(read(&again), Ok(each));
        for wrong in [r#""team""#, r#"{"regresed": "service"}"#, r#"{"down": "all"}"#, "3"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn stuck_cannot_reach_less_far_than_what_came_before_it() {
        let of = |json| read(json).expect("a table").contradiction();
        assert!(of(r#"{"stuck": "service"}"#).is_some(), "others are fleet");
        assert!(of(r#"{"stuck": "environment", "other": "service"}"#).is_none());
        assert!(of(r#"{"stuck": "service", "other": "service", "down": "fleet"}"#).is_some());
    }
}
