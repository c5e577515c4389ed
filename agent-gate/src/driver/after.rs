//! What waits for a commit, and how it is done then.
//!
//! Invariant: nothing here happens before the batch it came from is kept.

use std::collections::BTreeSet;

use agent_gate_core::gate::effect::{Call, DryRunOrder, RevertOrder};
use tokio::sync::oneshot;
use watchdog_core::tick::Tick;

use super::command::{Look, Reply};
use super::{Batch, Driver};
use crate::metrics::ReasonLabels;
use crate::store::{EffectRow, TokenRow};

/// What waits for the commit.
pub(super) enum After {
    Reply { reply: oneshot::Sender<Reply>, with: Reply },
    Token { row: TokenRow, reply: oneshot::Sender<()> },
    Look(Look),
    Revert(RevertOrder),
    DryRun(DryRunOrder),
    Person(Call),
}

impl std::fmt::Debug for After {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Reply { .. } => "Reply",
            Self::Token { .. } => "Token",
            Self::Look(_) => "Look",
            Self::Revert(_) => "Revert",
            Self::DryRun(_) => "DryRun",
            Self::Person(_) => "Person",
        })
    }
}

impl Driver {
    pub(super) fn carry_out(&mut self, after: After, now: Tick) {
        // Whoever asked may have gone; what was asked is done all the same.
        match after {
            After::Reply { reply, with } => drop(reply.send(with)),
            After::Token { row, reply } => {
                self.shared.tokens.put([row]);
                let _gone = reply.send(());
            }
            After::Look(look) => look(&self.gate, &self.shared.policy, now),
            After::Revert(order) => self.actor.revert(order),
            After::DryRun(order) => self.actor.dry_run(order),
            After::Person(call) => {
                tracing::error!(
                    why = call.why.as_str(),
                    rollout = call.rollout.map(|id| id.to_string()),
                    service = call.service.as_ref().map(ToString::to_string),
                    "{}",
                    call.message
                );
                let labels = ReasonLabels { reason: call.why.as_str() };
                self.shared.metrics.persons.get_or_create(&labels).inc();
            }
        }
    }

    /// Settles orders on disk that the gate, started again, does not give again.
    pub(super) fn forget_overtaken(&self, effects: &[EffectRow], now: Tick, batch: &mut Batch) {
        let given: BTreeSet<String> = batch
            .after
            .iter()
            .filter_map(|after| match after {
                After::Revert(order) => Some(order.effect.to_string()),
                After::DryRun(order) => Some(order.effect.to_string()),
                After::Reply { .. } | After::Token { .. } | After::Look(_) | After::Person(_) => {
                    None
                }
            })
            .collect();
        for effect in effects.iter().filter(|effect| !given.contains(&effect.id)) {
            batch.rows.settled(effect.id.clone(), "overtaken".to_owned(), now);
        }
    }
}
