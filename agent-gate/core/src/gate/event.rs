//! What can happen to the gate: calls of agents and persons, attestations, ends of effects, time.
//!
//! Every event is authenticated before it gets here: the caller's role is a fact, not a claim.
//!
//! Invariant: an event and the evidence of its moment ([`Entry`]) are all that the ledger ever
//! sees, so the journal of entries folds back to the same ledger.

use serde::{Deserialize, Serialize};
use watchdog_core::attestation::Attestation;
use watchdog_core::names::{Revision, Service};
use watchdog_core::tick::Tick;

use crate::gate::sight::Snapshot;
use crate::gate::waiver::WaiverRequest;
use crate::ids::{
    AgentName, ChangeId, Digest, EffectId, Epoch, FreezeId, Generation, RolloutId, WaiverId,
};
use crate::scope::Scope;

/// The role a credential has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Agent,
    Operator,
    Watchdog,
    Viewer,
}

/// Who calls: the name of the credential and its role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    pub name: String,
    pub role: Role,
}

/// Body of `POST /v1/rollouts`: one change to one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutRequest {
    /// The idempotency key.
    pub change_id: ChangeId,
    pub service: Service,
    /// The revision to go back to; without it, the one the watchdog sees running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Revision>,
    pub to: Revision,
    pub digest: Digest,
    pub agent: AgentName,
    pub summary: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_effect: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub touches_telemetry: bool,
    /// The change id or rollout id of the rollout that this one repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub based_on: Option<String>,
    /// The agent's plan, for persons to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
}

/// The agent's own reading, put beside the gate's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Whether the agent takes the service for healthy.
    pub healthy: Option<bool>,
    /// Requests the agent counted on the new revision.
    pub requests: Option<u64>,
    /// Errors the agent counted on the new revision.
    pub errors: Option<u64>,
    /// The claim as it was sent.
    pub text: String,
}

/// How the agent ends its part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Succeeded,
    Abandoned,
}

/// How a person settles what the gate could not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settlement {
    Confirmed,
    Reverting,
}

/// How an effect outside the gate ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectResult {
    Done,
    Failed(String),
}

/// How many of the targets hold the epoch of a freeze.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fenced {
    pub done: u32,
    pub total: u32,
    pub unfenceable: u32,
}

/// One event. The fields follow the calls of the protocol.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    Request {
        request: RolloutRequest,
        by: Caller,
    },
    Renew {
        rollout: RolloutId,
        epoch: Epoch,
        step: Option<String>,
        by: Caller,
    },
    Applied {
        rollout: RolloutId,
        epoch: Epoch,
        revision: Option<Revision>,
        by: Caller,
    },
    Report {
        rollout: RolloutId,
        epoch: Option<Epoch>,
        claim: Claim,
        by: Caller,
    },
    Conclude {
        rollout: RolloutId,
        outcome: Outcome,
        by: Caller,
    },
    Abort {
        rollout: RolloutId,
        reason: String,
        by: Caller,
    },
    Approve {
        rollout: RolloutId,
        digest: Digest,
        reason: String,
        expires_in_ms: Option<u64>,
        by: Caller,
    },
    Reject {
        rollout: RolloutId,
        digest: Digest,
        reason: String,
        by: Caller,
    },
    Settle {
        rollout: RolloutId,
        to: Settlement,
        reason: String,
        by: Caller,
    },
    Freeze {
        scope: Scope,
        reason: String,
        by: Caller,
    },
    Thaw {
        freeze: FreezeId,
        reason: String,
        override_cause: bool,
        by: Caller,
    },
    Waive {
        waiver: WaiverRequest,
        by: Caller,
    },
    EndWaiver {
        waiver: WaiverId,
        reason: String,
        by: Caller,
    },
    /// The store has made these freezes survive a power cut.
    Committed {
        freezes: Vec<FreezeId>,
    },
    /// Targets hold the epoch of the freeze.
    Fenced {
        freeze: FreezeId,
        fenced: Fenced,
    },
    /// A watchdog's statement, its signature verified.
    Attested(Attestation),
    DryRunDone {
        service: Service,
        effect: EffectId,
        result: EffectResult,
    },
    RevertDone {
        effect: EffectId,
        generation: Generation,
        result: EffectResult,
    },
    /// Time passed.
    Turn,
    /// The gate starts on a stored ledger. `last_alive` is when it last turned; without it, the
    /// last journaled entry counts.
    GateStarted {
        last_alive: Option<Tick>,
    },
    /// The clocks disagree about how much time passed: every lease is void.
    ClockJumped,
}

impl Event {
    /// Whether it concerns one rollout and, beside that one, nothing that time or sight does. Where
    /// such a call makes a freeze, the commit of the freeze is an event about all.
    #[must_use]
    pub const fn is_about_one(&self) -> bool {
        match self {
            Self::Request { .. }
            | Self::Renew { .. }
            | Self::Report { .. }
            | Self::Abort { .. }
            | Self::Approve { .. }
            | Self::Reject { .. } => true,
            Self::Applied { .. }
            | Self::Conclude { .. }
            | Self::Settle { .. }
            | Self::Freeze { .. }
            | Self::Thaw { .. }
            | Self::Waive { .. }
            | Self::EndWaiver { .. }
            | Self::Committed { .. }
            | Self::Fenced { .. }
            | Self::Attested(_)
            | Self::DryRunDone { .. }
            | Self::RevertDone { .. }
            | Self::Turn
            | Self::GateStarted { .. }
            | Self::ClockJumped => false,
        }
    }
}

/// One line of the journal: an event, its time and what was in sight then.
///
/// An attestation stands here as [`Event::Turn`]: what it changed in sight is in `sight`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub at: Tick,
    pub event: Event,
    pub sight: Snapshot,
}
