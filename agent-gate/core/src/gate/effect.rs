//! What the gate wants done: orders that leave nothing to decide.
//!
//! The shell carries them out in order: `ShutLatch` at once, all `Record`s in one transaction,
//! and only after that commit the rest (`ClearLatch`, `Answer`, `Revert`, ...). That order is
//! "shut before you write, write before you act, open only after you wrote".
//!
//! Invariant: every event that a caller waits for yields exactly one [`Effect::Answer`].

use std::fmt;

use serde::{Deserialize, Serialize};
use watchdog_core::names::{Revision, Service};

use crate::gate::decision::{Block, Decision, DecisionRecord, Readiness};
use crate::gate::event::Entry;
use crate::gate::freeze::Freeze;
use crate::gate::ledger::Head;
use crate::gate::rollout::{Rollout, StateName};
use crate::gate::waiver::Waiver;
use crate::ids::{DecisionId, Digest, EffectId, Epoch, FreezeId, Generation, RolloutId, WaiverId};

/// One order to the shell.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Shut the latch before anything is written.
    ShutLatch,
    /// Write; all records of one step in one transaction.
    Record(Box<Record>),
    /// Let decisions of this epoch pass, once the records are written.
    ClearLatch { epoch: Epoch },
    /// Answer the caller of the event, once the records are written.
    Answer(Box<Answer>),
    /// Run the revert action.
    Revert(RevertOrder),
    /// Run the revert action with `HOLDPOINT_DRY_RUN=1`.
    DryRun(DryRunOrder),
    /// Tell a person; it is best effort and never waited for.
    CallPerson(Call),
}

/// What the store keeps.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "records only live boxed, in an effect")]
pub enum Record {
    /// Append to the journal.
    Journal(Entry),
    /// Append to the decisions.
    Decision(DecisionRecord),
    /// Insert or replace by id.
    Rollout(Rollout),
    /// Insert or replace by id.
    Freeze(Freeze),
    /// Insert or replace by digest.
    Blocked(Digest, Block),
    /// Insert or replace by service.
    Readiness(Service, Readiness),
    /// Insert or replace by id.
    Waiver(Waiver),
    /// Replace the one row of counters, epoch and budget.
    Head(Head),
}

/// Take a service back. Repeated with the same `effect` until it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevertOrder {
    pub rollout: RolloutId,
    pub service: Service,
    /// The revision to leave.
    pub from: Revision,
    /// The revision to go back to.
    pub to: Revision,
    pub generation: Generation,
    pub effect: EffectId,
    /// 1 for the first attempt.
    pub attempt: u32,
}

/// Try whether the way back would work, changing nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DryRunOrder {
    pub service: Service,
    pub rollout: RolloutId,
    pub from: Revision,
    pub to: Option<Revision>,
    pub effect: EffectId,
}

/// Why a person is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    pub why: CallReason,
    pub rollout: Option<RolloutId>,
    pub service: Option<Service>,
    /// One sentence that says what to do.
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallReason {
    Stuck,
    Inconclusive,
    Suspicion,
    MassSilence,
    Drift,
    Dissent,
}

impl CallReason {
    /// The word in API and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stuck => "stuck",
            Self::Inconclusive => "inconclusive",
            Self::Suspicion => "suspicion",
            Self::MassSilence => "mass_silence",
            Self::Drift => "drift",
            Self::Dissent => "dissent",
        }
    }
}

/// The answer to one call.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// 200.
    Rollout(RolloutAnswer),
    /// 201 if created, else 200.
    Freeze { freeze: Freeze, created: bool },
    /// 201 if created, else 200.
    Waiver { waiver: Waiver, created: bool },
    /// 202.
    Attested,
    /// 403, 404 or 409.
    Refused(Refusal),
}

/// Where a rollout stands and what its agent may do.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutAnswer {
    pub rollout: RolloutId,
    pub state: StateName,
    pub decision: Decision,
    /// The last recorded decision about the rollout.
    pub evidence: Option<DecisionId>,
}

/// Why a call was refused. Nothing was changed by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// 404.
    NoRollout(RolloutId),
    /// 404.
    NoFreeze(FreezeId),
    /// 404.
    NoWaiver(WaiverId),
    /// 403: the role may not do this.
    Role { needs: &'static str },
    /// 403: the rollout is another credential's.
    NotYours { rollout: RolloutId },
    /// 403: who asked for a rollout does not approve it.
    OwnChange { rollout: RolloutId },
    /// 409: the permit was fenced off.
    OldEpoch { given: Epoch, now: Epoch },
    /// 409: the state does not allow the call.
    Illegal { state: StateName, call: &'static str },
    /// 409: the change id is known with another body.
    DifferentBody { rollout: RolloutId },
    /// 409: too many rollouts are open.
    TooManyOpen { open: usize },
    /// 409: the digest is not the one that was shown.
    DifferentDigest { rollout: RolloutId },
    /// 409: it cannot be waived.
    NotWaivable { why: String },
    /// 409: what the freeze is for still holds.
    CauseHolds { freeze: FreezeId, why: String },
    /// 409: an attestation that was overtaken or replayed.
    OldSequence { last: u64 },
    /// 409: an attestation that goes on from one that is not held.
    UnknownBase,
}

/// The HTTP status a refusal has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalStatus {
    NotFound,
    Forbidden,
    Conflict,
}

impl Refusal {
    #[must_use]
    pub const fn status(&self) -> RefusalStatus {
        match self {
            Self::NoRollout(_) | Self::NoFreeze(_) | Self::NoWaiver(_) => RefusalStatus::NotFound,
            Self::Role { .. } | Self::NotYours { .. } | Self::OwnChange { .. } => {
                RefusalStatus::Forbidden
            }
            Self::OldEpoch { .. }
            | Self::Illegal { .. }
            | Self::DifferentBody { .. }
            | Self::DifferentDigest { .. }
            | Self::TooManyOpen { .. }
            | Self::NotWaivable { .. }
            | Self::CauseHolds { .. }
            | Self::OldSequence { .. }
            | Self::UnknownBase => RefusalStatus::Conflict,
        }
    }

    /// The machine-readable word.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoRollout(_) => "no_such_rollout",
            Self::NoFreeze(_) => "no_such_freeze",
            Self::NoWaiver(_) => "no_such_waiver",
            Self::NotWaivable { .. } => "not_waivable",
            Self::Role { .. } => "role_forbids",
            Self::NotYours { .. } => "not_your_rollout",
            Self::OwnChange { .. } => "own_change",
            Self::OldEpoch { .. } => "old_epoch",
            Self::Illegal { .. } => "illegal_transition",
            Self::DifferentBody { .. } => "different_body",
            Self::DifferentDigest { .. } => "different_digest",
            Self::TooManyOpen { .. } => "too_many_open",
            Self::CauseHolds { .. } => "cause_holds",
            Self::OldSequence { .. } => "old_sequence",
            Self::UnknownBase => "unknown_base",
        }
    }

    /// What the caller can do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::NoRollout(_) => "list rollouts with GET /v1/rollouts",
            Self::NoWaiver(_) => "list waivers with GET /v1/waivers",
            Self::NotWaivable { .. } => "ask for less; unplanned silence is meant to freeze",
            Self::NoFreeze(_) => "list freezes with GET /v1/freezes",
            Self::Role { .. } => "use a credential of that role",
            Self::NotYours { .. } => "use the credential that requested the rollout",
            Self::OwnChange { .. } => "let another person decide",
            Self::OldEpoch { .. } => {
                "stop; then ask again with POST /v1/rollouts and the same change_id"
            }
            Self::Illegal { .. } => "read the rollout with GET /v1/rollouts/{id}",
            Self::DifferentBody { .. } => "use a new change_id for another change",
            Self::DifferentDigest { .. } => "read the rollout again and decide about its digest",
            Self::TooManyOpen { .. } => "abort or finish open rollouts first",
            Self::CauseHolds { .. } => "remove the cause, or thaw with override and a reason",
            Self::OldSequence { .. } => "send the newest attestation",
            Self::UnknownBase => "send an attestation without a base",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRollout(id) => write!(f, "there is no rollout {id}"),
            Self::NoWaiver(id) => write!(f, "there is no waiver {id}"),
            Self::NotWaivable { why } => f.write_str(why),
            Self::NoFreeze(id) => write!(f, "there is no freeze {id}"),
            Self::Role { needs } => write!(f, "only {needs} may do this"),
            Self::NotYours { rollout } => {
                write!(f, "rollout {rollout} was requested with another credential")
            }
            Self::OwnChange { rollout } => {
                write!(f, "{rollout} was asked for with this credential")
            }
            Self::OldEpoch { given, now } => {
                write!(f, "epoch {given} is fenced off; the gate is at epoch {now}")
            }
            Self::Illegal { state, call } => {
                write!(f, "a rollout that is {} cannot be {call}", state.as_str())
            }
            Self::DifferentBody { rollout } => {
                write!(f, "the change_id belongs to {rollout}, whose request differs")
            }
            Self::DifferentDigest { rollout } => {
                write!(f, "the digest is not the one of rollout {rollout}")
            }
            Self::TooManyOpen { open } => write!(f, "{open} rollouts are open already"),
            Self::CauseHolds { freeze, why } => write!(f, "freeze {freeze} stays: {why}"),
            Self::OldSequence { last } => {
                write!(f, "the attestation is not newer than sequence {last} of its boot")
            }
            Self::UnknownBase => f.write_str(
                "the attestation goes on from one that is not the last, or that has run out",
            ),
        }
    }
}
