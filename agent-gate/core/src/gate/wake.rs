//! When the gate must be turned again, and why.
//!
//! Invariant: after a turn at some time, every deadline lies later; a driver that sleeps until
//! the deadline never spins and never misses one.

use std::collections::BTreeMap;

use watchdog_core::tick::Tick;

use crate::gate::effect::{Effect, Record};
use crate::gate::ledger::Ledger;
use crate::gate::revert::Phase;
use crate::gate::rollout::{Rollout, State};
use crate::ids::RolloutId;
use crate::policy::{Policy, PolicySet};

/// Why the gate is to be turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wake {
    /// An attestation runs out.
    SightLapses,
    /// A waiver begins or ends.
    WaiverTurns,
    HeldExpires,
    PermitExpires,
    /// A gap, or all of them, grows too long.
    GapTooLong,
    /// The new revision should have appeared.
    AppearDue,
    BakeDone,
    /// No more waiting for evidence.
    PatienceEnds,
    RevertRetry,
    RevertVerified,
    RevertDue,
}

/// When time does something to which rollout; kept, because it is asked for at every step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Due(BTreeMap<RolloutId, [Option<(Tick, Wake)>; 2]>);

impl Due {
    /// What is due by `ledger`.
    #[must_use]
    pub fn of(ledger: &Ledger, policy: &PolicySet) -> Self {
        let due =
            |rollout: &Rollout| (rollout.id, due(rollout, policy.of(&rollout.request.service)));
        Self(ledger.open().map(due).collect())
    }

    /// Takes in what a step changed.
    pub fn follow(&mut self, effects: &[Effect], policy: &PolicySet) {
        for effect in effects {
            let Effect::Record(record) = effect else { continue };
            let Record::Rollout(rollout) = record.as_ref() else { continue };
            if rollout.state.name().is_terminal() {
                self.0.remove(&rollout.id);
            } else {
                self.0.insert(rollout.id, due(rollout, policy.of(&rollout.request.service)));
            }
        }
    }

    /// The earliest moment after `turned` at which time alone changes something.
    #[must_use]
    pub fn after(&self, turned: Tick) -> Option<(Tick, Wake)> {
        self.0.values().flatten().flatten().copied().filter(|(at, _)| *at > turned).min()
    }
}

/// The moments at which time does something to the rollout, in no order, past ones too.
fn due(rollout: &Rollout, policy: &Policy) -> [Option<(Tick, Wake)>; 2] {
    match &rollout.state {
        State::Held { .. } => {
            [Some((rollout.asked_at.plus_ms(policy.held_ttl_ms), Wake::HeldExpires)), None]
        }
        State::Allowed { permit } => [Some((permit.expires, Wake::PermitExpires)), None],
        State::Applying { permit, clock } => {
            let gap = clock.overdue(policy.gap_max_ms, policy.patience_ms);
            [
                permit.as_ref().map(|permit| (permit.expires, Wake::PermitExpires)),
                gap.map(|at| (at, Wake::GapTooLong)),
            ]
        }
        State::Baking(bake) => match &bake.clock {
            None => [Some((bake.appear_by, Wake::AppearDue)), None],
            Some(clock) if !clock.is_running() => {
                let gap = clock.overdue(policy.gap_max_ms, policy.patience_ms);
                [gap.map(|at| (at, Wake::GapTooLong)), None]
            }
            Some(clock) => {
                let waited_ms = policy.patience_ms.saturating_sub(clock.stood_ms(rollout.since));
                let patience = clock.due(policy.bake_ms.saturating_add(waited_ms));
                [
                    clock.due(policy.bake_ms).map(|at| (at, Wake::BakeDone)),
                    patience.map(|at| (at, Wake::PatienceEnds)),
                ]
            }
        },
        State::Reverting(revert) => {
            let sooner = match &revert.phase {
                Phase::Running => None,
                Phase::Waiting { until, .. } => Some((*until, Wake::RevertRetry)),
                Phase::Verifying { good_since, .. } => {
                    good_since.map(|since| (since.plus_ms(policy.dwell_ms), Wake::RevertVerified))
                }
            };
            [sooner, Some((revert.due, Wake::RevertDue))]
        }
        State::Inconclusive { .. }
        | State::Stuck { .. }
        | State::Confirmed { .. }
        | State::Reverted { .. }
        | State::Denied { .. }
        | State::Expired
        | State::Aborted { .. } => [None, None],
    }
}
