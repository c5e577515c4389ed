//! What others ask of the driver, and how it answers.
//!
//! API calls never touch gate or store: they send a command and wait. A caller that goes away
//! leaves its command behind, which is carried out all the same and answered to nobody.
//!
//! Invariant: a reply is sent only after the commit of the step it answers.

use agent_gate_core::gate::Gate;
use agent_gate_core::gate::effect::{Refusal, RolloutAnswer};
use agent_gate_core::gate::event::Event;
use agent_gate_core::gate::freeze::Freeze;
use agent_gate_core::gate::rollout::Rollout;
use agent_gate_core::gate::waiver::Waiver;
use agent_gate_core::policy::PolicySet;
use tokio::sync::oneshot;
use watchdog_core::tick::Tick;

use crate::attest::AttestError;
use crate::store::{AuditEntry, TokenRow};

/// A question about what the gate holds in memory.
pub type Look = Box<dyn FnOnce(&Gate, &PolicySet, Tick) + Send>;

/// One thing to do.
pub enum Command {
    /// A call's event.
    Step { event: Box<Event>, reply: oneshot::Sender<Reply> },
    /// Keep a token as `row` says.
    Token { row: TokenRow, audit: Box<AuditEntry>, reply: oneshot::Sender<()> },
    /// A target confirmed a newer epoch: see what is fenced now.
    Held,
    /// Answer from memory, between two steps.
    Look(Look),
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Step { event, .. } => f.debug_tuple("Step").field(event).finish(),
            Self::Token { row, .. } => f.debug_tuple("Token").field(&row.name).finish(),
            Self::Held => f.write_str("Held"),
            Self::Look(_) => f.write_str("Look"),
        }
    }
}

/// What a step came to.
#[derive(Debug)]
pub enum Reply {
    /// Boxed: it carries the whole rollout.
    Rollout(Box<RolloutReply>),
    Freeze {
        freeze: Box<Freeze>,
        created: bool,
    },
    Waiver {
        waiver: Box<Waiver>,
        created: bool,
    },
    Attested,
    Refused(Refusal),
    /// The attestation is not newer than what was seen.
    NotNew(AttestError),
}

/// Where a rollout stands after a call.
#[derive(Debug)]
pub struct RolloutReply {
    pub rollout: Rollout,
    pub answer: RolloutAnswer,
    /// When it was decided, on the boot clock: a permit's time runs from here.
    pub decided_at: Tick,
}
