//! Decisions: from the full inputs to `allow`, `hold` or `deny`, with every reason.
//!
//! Invariant: [`decide`] is a pure function of [`Inputs`], and the inputs are recorded whole. So
//! `replay(record) == record.decision` byte for byte, on any machine, at any later time.

use std::fmt;

use serde::{Deserialize, Serialize};
use watchdog_core::names::{Environment, Revision, Service};
use watchdog_core::tick::Tick;
use watchdog_core::verdict::VerdictKind;

use crate::comparison::Comparison;
use crate::gate::admission;
use crate::gate::approvals::one_or_many;
use crate::gate::bake::{self, BakeSeen, Ruling};
use crate::gate::event::RolloutRequest;
use crate::gate::freeze::{FreezeCause, Stage};
use crate::gate::rollout::{Approval, Permit, StateName};
use crate::gate::rule::{self, Rule};
use crate::gate::sight::Evidence;
use crate::gate::waiver::WaiverSeen;
use crate::ids::{DecisionId, Digest, Epoch, FreezeId, PermitId, RolloutId};
use crate::policy::{Policy, RevertAction, Tables};
use crate::scope::Scope;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionKind {
    /// Go on while the permit lives. Without a permit: nothing is left to do.
    Allow,
    /// Not now; ask again.
    Hold,
    /// No; a new request is needed.
    Deny,
}

impl DecisionKind {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Hold => "hold",
            Self::Deny => "deny",
        }
    }
}

/// What was decided, and all reasons for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    pub kind: DecisionKind,
    pub reasons: Vec<Reason>,
    /// Present exactly when an agent may act.
    pub permit: Option<PermitTerms>,
    /// How soon asking again can give another answer, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// Whether a person's approval is missing.
    pub needs_approval: bool,
    /// What a bake comes to; only for [`Question::Bake`].
    pub ruling: Option<Ruling>,
    pub comparison: Option<Box<Comparison>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    pub code: Code,
    /// One sentence for a person.
    pub message: String,
    pub service: Option<Service>,
    /// The rule it comes from; records of earlier versions name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Rule>,
}

/// What the shell signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PermitTerms {
    pub id: PermitId,
    pub rollout: RolloutId,
    pub service: Service,
    pub to: Revision,
    pub digest: Digest,
    pub scope: Scope,
    /// The agent shows it at its next call.
    pub epoch: Epoch,
    pub granted: Tick,
    pub expires: Tick,
    pub expires_in_ms: u64,
    /// The gate's epoch at the decision; the latch admits the permit by it.
    pub decided: Epoch,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// Why. The word is stable; messages may change.
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $word)] $name,)*
        }

        impl Code {
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word in API and metrics.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

codes! {
    /// All that is needed is there.
    Clear = "clear",
    /// The service is seen live, not yet for long enough.
    Dwell = "dwell",
    Idle = "idle",
    /// Nothing is known: never heard, a silent watchdog, or a start.
    Unknown = "unknown",
    HeartbeatLost = "heartbeat_lost",
    Lossy = "lossy",
    TelemetryFrozen = "telemetry_frozen",
    Forged = "forged",
    TelemetryLost = "telemetry_lost",
    Down = "down",
    /// A freeze covers the rollout.
    Frozen = "frozen",
    /// Silence of the service is planned: what a rollout does to it could not be told.
    Waived = "waived",
    /// The blast radius is used up.
    Budget = "budget",
    /// Another rollout of the same service is in flight.
    ServiceBusy = "service_busy",
    /// Another change that touches telemetry is in flight.
    TelemetryChange = "telemetry_change_in_flight",
    /// No revert action is configured.
    NoRevert = "no_revert",
    /// The revert action's dry run has not passed yet.
    RevertUntested = "revert_untested",
    RevertDryRunFailed = "revert_dry_run_failed",
    /// Nobody knows which revision to go back to.
    FromUnknown = "from_unknown",
    /// Other revisions run than the one to go back to.
    FromNotRunning = "from_not_running",
    /// A revision runs that no permit led to.
    Drift = "drift",
    /// The policy does not let this agent roll out.
    AgentNotAllowed = "agent_not_allowed",
    /// The request leads from a revision to itself.
    SameRevision = "same_revision",
    ApprovalNeeded = "approval_needed",
    /// One person approved, and that is not enough.
    SecondPerson = "second_person",
    Approved = "approved",
    Rejected = "rejected",
    /// What the request is based on is not confirmed with live evidence.
    BasedOnUnproven = "based_on_unproven",
    /// What the request is based on failed.
    BasedOnFailed = "based_on_failed",
    /// The digest once silenced a service.
    BlockedDigest = "blocked_digest",
    /// The permit ran out or was fenced off; it stays dead.
    PermitEnded = "permit_ended",
    Baking = "baking",
    /// The new revision has not been seen yet.
    NotAppeared = "not_appeared",
    /// Too few records or requests to judge.
    ThinEvidence = "thin_evidence",
    Regressed = "regressed",
    /// More slow requests than before.
    Slower = "slower",
    /// A smaller part of the witnessed requests is recorded than before.
    RecordsLost = "records_lost",
    /// Errors fell while records fell against requests.
    BetterThanPossible = "better_than_possible",
    Inconclusive = "inconclusive",
    Confirmed = "confirmed",
    Reverting = "reverting",
    Reverted = "reverted",
    Stuck = "stuck",
    /// Applied without a live permit.
    Violation = "violation",
    /// Given up by its agent after it was begun.
    Abandoned = "abandoned",
    /// A person took it back.
    Settled = "settled",
    Expired = "expired",
    Aborted = "aborted",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Code {
    /// The code that says which verdict holds a rollout.
    #[must_use]
    pub const fn of_verdict(verdict: VerdictKind) -> Self {
        match verdict {
            VerdictKind::Live => Self::Clear,
            VerdictKind::Idle => Self::Idle,
            VerdictKind::Unknown => Self::Unknown,
            VerdictKind::HeartbeatLost => Self::HeartbeatLost,
            VerdictKind::Lossy => Self::Lossy,
            VerdictKind::Frozen => Self::TelemetryFrozen,
            VerdictKind::Forged => Self::Forged,
            VerdictKind::TelemetryLost => Self::TelemetryLost,
            VerdictKind::Down => Self::Down,
        }
    }
}

/// What is decided about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// May the agent have a permit?
    Admit,
    /// May the agent begin under the permit that is out?
    Begin,
    /// May the agent go on applying?
    Continue,
    /// What does the bake come to?
    Bake,
}

/// Everything a decision rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inputs {
    pub question: Question,
    pub now: Tick,
    pub epoch: Epoch,
    pub rollout: RolloutId,
    pub request: RolloutRequest,
    /// The credential that asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<String>,
    pub environment: Environment,
    /// The revision to go back to.
    pub from: Option<Revision>,
    pub evidence: Evidence,
    /// Freezes in force that cover the rollout.
    pub freezes: Vec<FreezeSeen>,
    /// The waiver in force that covers the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiver: Option<WaiverSeen>,
    pub budget: BudgetSeen,
    /// Another rollout of the service that is in flight.
    pub busy: Option<RolloutId>,
    /// Another rollout in flight that touches telemetry, if this one does.
    pub telemetry_change: Option<RolloutId>,
    pub needs_approval: bool,
    /// What the service runs that no permit led to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<Revision>,
    #[serde(default, alias = "approval", deserialize_with = "one_or_many")]
    pub approvals: Vec<Approval>,
    pub revert: RevertAction,
    pub readiness: Readiness,
    pub based_on: Option<PredecessorSeen>,
    pub blocked: Option<Block>,
    /// The permit that is out.
    pub permit: Option<Permit>,
    /// The id of the next permit.
    pub next_permit: PermitId,
    pub bake: Option<BakeSeen>,
    pub policy: Policy,
    pub policy_hash: String,
    /// Where the keys of the policy stand; records of earlier versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables: Option<Tables>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreezeSeen {
    pub id: FreezeId,
    pub scope: Scope,
    pub cause: FreezeCause,
    pub reason: String,
    pub stage: Stage,
}

/// The blast radius as the judge sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetSeen {
    pub limit: u32,
    /// Unproven rollouts that come before this one.
    pub in_use: u32,
}

/// The rollout a request is based on, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PredecessorSeen {
    pub named: String,
    pub rollout: Option<RolloutId>,
    pub state: Option<StateName>,
    /// Confirmed by a whole bake in live sight.
    pub proven: bool,
}

/// A digest that is refused everywhere, and what it did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    pub rollout: RolloutId,
    pub service: Service,
    pub verdict: VerdictKind,
    pub at: Tick,
}

/// What is known about the way back of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "dry_run")]
pub enum Readiness {
    NotTried,
    Running { order: crate::gate::effect::DryRunOrder },
    Passed { at: Tick },
    Failed { at: Tick, why: String },
}

/// One decision with all that it rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecisionRecord {
    pub id: DecisionId,
    pub inputs: Inputs,
    pub decision: Decision,
}

impl DecisionRecord {
    /// Decides again from the recorded inputs; equal to `decision` unless the record or this
    /// program was altered.
    #[must_use]
    pub fn replay(&self) -> Decision {
        decide(&self.inputs)
    }
}

/// The judge.
#[must_use]
pub fn decide(inputs: &Inputs) -> Decision {
    let mut decision = match inputs.question {
        Question::Admit | Question::Begin | Question::Continue => admission::decide(inputs),
        Question::Bake => bake::decide(inputs),
    };
    if let Some(tables) = &inputs.tables {
        rule::name(&mut decision, tables);
    }
    decision
}
