//! What one place knows of the freezes: a join semilattice, so that two places that were cut off
//! from each other merge without losing a freeze.
//!
//! ```text
//!  gate ── f-1 fleet, f-2 service=a ──►  { seen 2, in force f-1 f-2, floors fleet 4, service=a 5 }
//!  cut off: knows f-1                    { seen 1, in force f-1,     floors fleet 4 }
//!  gate, f-1 thawed                      { seen 2, in force f-2,     floors fleet 4, service=a 5 }
//! ```
//!
//! An origin numbers its freezes without gaps, and a freeze is thawed once and for good. So "all up
//! to `seen` are known" and "these of them are in force" say which are thawed, and no list of the
//! dead grows (the optimised observed-remove set of Bieniusa et al., 2012, with one writer an
//! origin). The floors stay when a freeze is thawed: an epoch that was fenced off is dead for ever.
//!
//! Invariant: [`FreezeSet::join`] is commutative, associative and idempotent, and only a thaw of
//! its own origin takes a freeze out of the set.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use watchdog_core::names::{Environment, Service};

use crate::gate::ledger::Ledger;
use crate::ids::{AgentName, Epoch, FreezeId};
use crate::scope::Scope;

/// Who numbers the freezes: one installation's gate, by the fingerprint of its key.
pub type Origin = String;

/// See the module's head.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct FreezeSet {
    origins: BTreeMap<Origin, Made>,
    /// Below which epoch permits are dead, in each scope.
    floors: BTreeMap<Scope, Epoch>,
}

/// The freezes of one origin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Made {
    /// All freezes up to this number are known.
    seen: u64,
    in_force: BTreeMap<FreezeId, Stop>,
}

/// What a freeze in force stops.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    pub scope: Scope,
    /// The epoch the freeze raised its gate to.
    pub epoch: Epoch,
}

/// A set as it is read; what contradicts itself does not become a [`FreezeSet`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    origins: BTreeMap<Origin, Made>,
    floors: BTreeMap<Scope, Epoch>,
}

impl TryFrom<Written> for FreezeSet {
    type Error = String;

    fn try_from(Written { origins, floors }: Written) -> Result<Self, String> {
        for (origin, made) in &origins {
            for (id, stop) in &made.in_force {
                let floor = floors.get(&stop.scope);
                if id.0 > made.seen || floor.is_none_or(|floor| *floor < stop.epoch) {
                    return Err(format!("freeze {id} of {origin} contradicts the rest of the set"));
                }
            }
        }
        Ok(Self { origins, floors })
    }
}

/// Why a permit is no good where the set is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Barred {
    /// A freeze in force covers it.
    Frozen { id: FreezeId, scope: Scope },
    /// A freeze that covered it has fenced its epoch off, for ever.
    OldEpoch { scope: Scope, floor: Epoch },
}

impl fmt::Display for Barred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frozen { id, scope } => write!(f, "freeze {id} over {scope} is in force"),
            Self::OldEpoch { scope, floor } => {
                write!(f, "a freeze over {scope} has fenced off every epoch below {floor}")
            }
        }
    }
}

impl FreezeSet {
    /// What a gate knows: all that its ledger holds.
    #[must_use]
    pub fn of(origin: &str, ledger: &Ledger) -> Self {
        let mut set = Self::default();
        let made = set.origins.entry(origin.to_owned()).or_default();
        made.seen = ledger.head().freezes;
        for freeze in ledger.freezes() {
            let floor = set.floors.entry(freeze.scope.clone()).or_default();
            *floor = freeze.epoch.max(*floor);
            if freeze.thawed.is_none() {
                let stop = Stop { scope: freeze.scope.clone(), epoch: freeze.epoch };
                made.in_force.insert(freeze.id, stop);
            }
        }
        set
    }

    /// Adds the next freeze of `origin`, and says its number.
    pub fn freeze(&mut self, origin: &str, scope: Scope, epoch: Epoch) -> FreezeId {
        let made = self.origins.entry(origin.to_owned()).or_default();
        made.seen += 1;
        let id = FreezeId(made.seen);
        let floor = self.floors.entry(scope.clone()).or_default();
        *floor = epoch.max(*floor);
        made.in_force.insert(id, Stop { scope, epoch });
        id
    }

    /// Takes out a freeze of `origin`; only the origin itself may do that.
    pub fn thaw(&mut self, origin: &str, id: FreezeId) {
        if let Some(made) = self.origins.get_mut(origin) {
            made.in_force.remove(&id);
        }
    }

    /// Takes in all that `other` knows.
    pub fn join(&mut self, other: &Self) {
        for (origin, theirs) in &other.origins {
            self.origins.entry(origin.clone()).or_default().join(theirs);
        }
        for (scope, floor) in &other.floors {
            let known = self.floors.entry(scope.clone()).or_default();
            *known = (*known).max(*floor);
        }
    }

    /// Whether it knows all that `other` does.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let mut joined = self.clone();
        joined.join(other);
        joined == *self
    }

    /// How many freezes of `origin` are known. One that tells of fewer than it did before has
    /// forgotten some: a restored backup, which may number new ones like old ones.
    #[must_use]
    pub fn seen(&self, origin: &str) -> Option<u64> {
        self.origins.get(origin).map(|made| made.seen)
    }

    /// The freezes in force.
    pub fn in_force(&self) -> impl Iterator<Item = (&str, FreezeId, &Stop)> {
        self.origins.iter().flat_map(|(origin, made)| {
            made.in_force.iter().map(move |(id, stop)| (origin.as_str(), *id, stop))
        })
    }

    /// Why a permit of `epoch` for this service, environment and agent is no good; `None` if
    /// nothing known speaks against it.
    #[must_use]
    pub fn bars(
        &self,
        service: &Service,
        environment: &Environment,
        agent: &AgentName,
        epoch: Epoch,
    ) -> Option<Barred> {
        let is_over = |scope: &Scope| scope.covers(service, environment, agent);
        let frozen = self.in_force().find(|(_, _, stop)| is_over(&stop.scope));
        if let Some((_, id, stop)) = frozen {
            return Some(Barred::Frozen { id, scope: stop.scope.clone() });
        }
        self.fences_off(service, environment, agent, epoch)
    }

    /// Why such a permit is no good whatever is thawed; `None` if a thaw can still mend it.
    #[must_use]
    pub fn fences_off(
        &self,
        service: &Service,
        environment: &Environment,
        agent: &AgentName,
        epoch: Epoch,
    ) -> Option<Barred> {
        let is_over = |scope: &Scope| scope.covers(service, environment, agent);
        let mut floors = self.floors.iter();
        let (scope, floor) = floors.find(|(scope, floor)| is_over(scope) && epoch < **floor)?;
        Some(Barred::OldEpoch { scope: scope.clone(), floor: *floor })
    }
}

impl Made {
    fn join(&mut self, theirs: &Self) {
        // What they know of and do not hold in force was thawed; what is beyond their sight was
        // not.
        self.in_force.retain(|id, _| id.0 > theirs.seen || theirs.in_force.contains_key(id));
        for (id, stop) in &theirs.in_force {
            match self.in_force.get_mut(id) {
                // Two stops under one number never come from one origin; take the larger, so that
                // the result does not depend on the order.
                Some(known) => *known = stop.max(known).clone(),
                None if id.0 > self.seen => drop(self.in_force.insert(*id, stop.clone())),
                None => {}
            }
        }
        self.seen = self.seen.max(theirs.seen);
    }
}
