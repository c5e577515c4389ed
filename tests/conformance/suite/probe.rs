//! What a probe is: one requirement, how binding it is, and a check that any server can take.
//!
//! The table of a family is data; the check is a plain function of the target, so that every probe
//! runs alone, in any order, against any address.

use super::target::Target;

/// How binding a requirement is, in the sense of RFC 2119.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Must,
    Should,
    May,
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Level::Must => "MUST",
            Level::Should => "SHOULD",
            Level::May => "MAY",
        }
    }
}

/// `Err` says what was seen instead.
pub type Outcome = Result<(), String>;

#[derive(Debug, Clone, Copy)]
pub struct Probe {
    /// `family.name`; stable, so that two runs can be compared.
    pub id: &'static str,
    pub level: Level,
    pub requirement: &'static str,
    pub check: fn(&Target) -> Outcome,
}

impl Probe {
    pub fn family(&self) -> &'static str {
        self.id.split('.').next().expect("split yields at least one part")
    }
}

type Check = fn(&Target) -> Outcome;

pub const fn must(id: &'static str, requirement: &'static str, check: Check) -> Probe {
    Probe { id, level: Level::Must, requirement, check }
}

pub const fn should(id: &'static str, requirement: &'static str, check: Check) -> Probe {
    Probe { id, level: Level::Should, requirement, check }
}

pub const fn may(id: &'static str, requirement: &'static str, check: Check) -> Probe {
    Probe { id, level: Level::May, requirement, check }
}
