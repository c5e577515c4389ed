//! One rollout: what was asked, who approved, and the state it is in.
//!
//! ```text
//! held ⇄ allowed → applying → baking → confirmed
//!                      └─────────┴──→ inconclusive → confirmed (a person)
//!                      └─────────┴──────────┴──────→ reverting → reverted | stuck
//! held → denied | expired | aborted
//! ```
//!
//! Invariant: what a state needs stands in its variant, so no field is ever stale. A terminal
//! state stays, but for two facts that words cannot undo: a change that was applied all the same,
//! and a person who takes back what was confirmed.

use std::fmt;

use serde::{Deserialize, Serialize};
use watchdog_core::names::Revision;
use watchdog_core::tick::Tick;
use watchdog_core::verdict::{RevisionEvidence, VerdictKind};

use crate::gate::approvals::one_or_many;
use crate::gate::bake::Bake;
use crate::gate::clock::Clock;
use crate::gate::decision::Code;
use crate::gate::event::{Claim, RolloutRequest};
use crate::gate::revert::{Revert, StuckReason};
use crate::ids::{DecisionId, Epoch, Generation, PermitId, RolloutId};

/// The longest timeline kept; older moments stay in the journal.
pub const TIMELINE_MAX: usize = 64;

/// One rollout of the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    pub id: RolloutId,
    pub request: RolloutRequest,
    /// The name of the credential that asked.
    pub requested_by: String,
    pub requested_at: Tick,
    /// When its agent last asked for a decision.
    pub asked_at: Tick,
    /// The revision to go back to, as asked or as seen; `None` while nobody knows.
    pub from: Option<Revision>,
    /// The approvals of its digest, the newest of each person.
    #[serde(default, alias = "approval", deserialize_with = "one_or_many")]
    pub approvals: Vec<Approval>,
    /// What `from` had shown when the last permit was granted: the baseline that remains when the
    /// old revision is gone.
    pub baseline: Option<RevisionEvidence>,
    /// The epoch of the last permit; `None` if none was ever granted.
    pub last_epoch: Option<Epoch>,
    /// The epoch at which a permit of it was last fenced off; older ones are dead.
    pub fenced: Option<Epoch>,
    /// When its agent said that it is applied.
    pub applied_at: Option<Tick>,
    /// Why it was last taken back.
    #[serde(default)]
    pub taken_back: Option<TakenBack>,
    /// The last generation of its reverts.
    pub generation: Option<Generation>,
    pub last_decision: Option<DecisionId>,
    /// What the agent claimed last.
    pub claim: Option<Claim>,
    /// How many of the agent's claims the evidence contradicted.
    pub contradictions: u32,
    /// Whether a freeze was made for the verdict that stands; a thawed one is not made again.
    pub alarmed: bool,
    pub state: State,
    pub since: Tick,
    /// The last [`TIMELINE_MAX`] changes of state.
    pub timeline: Vec<Moment>,
}

/// One line of a rollout's timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    pub at: Tick,
    pub state: StateName,
    pub why: String,
}

/// Why a rollout is or was taken back, or is stuck on the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenBack {
    pub code: Code,
    /// One sentence for a person.
    pub why: String,
}

/// A person's approval, bound to the digest of the rollout it stands in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    pub by: String,
    pub at: Tick,
    pub until: Tick,
    pub reason: String,
}

/// The lease that `allow` grants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permit {
    pub id: PermitId,
    pub epoch: Epoch,
    pub granted: Tick,
    /// From this tick on it is dead.
    pub expires: Tick,
}

impl Permit {
    #[must_use]
    pub fn is_live(&self, now: Tick) -> bool {
        now < self.expires
    }
}

/// Where a rollout stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "name")]
pub enum State {
    /// No permit; judged again when its agent asks.
    Held {
        code: Code,
    },
    /// A permit is out that was not used yet.
    Allowed {
        permit: Permit,
    },
    /// The agent began. The permit is `None` once it was fenced or ran out.
    Applying {
        permit: Option<Permit>,
        clock: Clock,
    },
    /// Applied; the gate judges alone.
    Baking(Box<Bake>),
    Inconclusive {
        why: Inconclusive,
    },
    Confirmed {
        proof: Proof,
        suspected: bool,
    },
    Reverting(Revert),
    Reverted {
        generation: Generation,
    },
    Stuck {
        why: StuckReason,
    },
    Denied {
        code: Code,
        message: String,
    },
    Expired,
    Aborted {
        reason: String,
    },
}

/// Why a rollout could not be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Inconclusive {
    /// The new revision was never seen.
    NotAppeared,
    /// Sight was gone for longer than `gap_max_ms`.
    Gap,
    /// All gaps and waits together used up `patience_ms`.
    Patience,
    /// Bake and patience passed with too little evidence.
    Thin,
    /// The agent let its permit run out while applying.
    AgentSilent,
    /// The same digest silenced another service meanwhile.
    Blocked,
}

impl Inconclusive {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotAppeared => "not_appeared",
            Self::Gap => "gap",
            Self::Patience => "patience",
            Self::Thin => "thin",
            Self::AgentSilent => "agent_silent",
            Self::Blocked => "blocked_digest",
        }
    }

    /// One sentence for a person.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::NotAppeared => "the new revision was not seen in time",
            Self::Gap => "sight of the service was lost for too long",
            Self::Patience => "gaps in sight used up the patience",
            Self::Thin => "there is too little evidence to judge",
            Self::AgentSilent => "the agent fell silent while applying",
            Self::Blocked => "the same digest silenced another service",
        }
    }
}

/// What a confirmation rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// A whole bake in live sight.
    Live,
    /// A person's word. It does not raise the budget, and nothing may be based on it.
    Person,
}

/// The name of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateName {
    Held,
    Allowed,
    Applying,
    Baking,
    Inconclusive,
    Confirmed,
    Reverting,
    Reverted,
    Stuck,
    Denied,
    Expired,
    Aborted,
}

impl StateName {
    pub const ALL: [Self; 12] = [
        Self::Held,
        Self::Allowed,
        Self::Applying,
        Self::Baking,
        Self::Inconclusive,
        Self::Confirmed,
        Self::Reverting,
        Self::Reverted,
        Self::Stuck,
        Self::Denied,
        Self::Expired,
        Self::Aborted,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Allowed => "allowed",
            Self::Applying => "applying",
            Self::Baking => "baking",
            Self::Inconclusive => "inconclusive",
            Self::Confirmed => "confirmed",
            Self::Reverting => "reverting",
            Self::Reverted => "reverted",
            Self::Stuck => "stuck",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Aborted => "aborted",
        }
    }

    /// Whether the rollout is over and gives its share of the budget back.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Confirmed | Self::Reverted | Self::Denied | Self::Expired | Self::Aborted => true,
            Self::Held
            | Self::Allowed
            | Self::Applying
            | Self::Baking
            | Self::Inconclusive
            | Self::Reverting
            | Self::Stuck => false,
        }
    }
}

impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl State {
    #[must_use]
    pub const fn name(&self) -> StateName {
        match self {
            Self::Held { .. } => StateName::Held,
            Self::Allowed { .. } => StateName::Allowed,
            Self::Applying { .. } => StateName::Applying,
            Self::Baking(_) => StateName::Baking,
            Self::Inconclusive { .. } => StateName::Inconclusive,
            Self::Confirmed { .. } => StateName::Confirmed,
            Self::Reverting(_) => StateName::Reverting,
            Self::Reverted { .. } => StateName::Reverted,
            Self::Stuck { .. } => StateName::Stuck,
            Self::Denied { .. } => StateName::Denied,
            Self::Expired => StateName::Expired,
            Self::Aborted { .. } => StateName::Aborted,
        }
    }
}

impl Rollout {
    /// The permit that is out, live or not.
    #[must_use]
    pub const fn permit(&self) -> Option<&Permit> {
        match &self.state {
            State::Allowed { permit } => Some(permit),
            State::Applying { permit, .. } => permit.as_ref(),
            State::Held { .. }
            | State::Baking(_)
            | State::Inconclusive { .. }
            | State::Confirmed { .. }
            | State::Reverting(_)
            | State::Reverted { .. }
            | State::Stuck { .. }
            | State::Denied { .. }
            | State::Expired
            | State::Aborted { .. } => None,
        }
    }
}

/// Whether a verdict takes back what is in flight: sight is lost or the signal is wrong.
#[must_use]
pub const fn reverts(verdict: VerdictKind) -> bool {
    match verdict {
        VerdictKind::Lossy
        | VerdictKind::Frozen
        | VerdictKind::Forged
        | VerdictKind::TelemetryLost
        | VerdictKind::Down => true,
        VerdictKind::Live
        | VerdictKind::Idle
        | VerdictKind::Unknown
        | VerdictKind::HeartbeatLost => false,
    }
}
