//! The state as gauges, set after each commit.
//!
//! Invariant: a gauge shows what is committed, never what could still be lost.

use agent_gate_core::gate::Gate;
use agent_gate_core::gate::rollout::StateName;
use watchdog_core::tick::Tick;

use super::Shared;
use crate::api::view::{cause_word, scope_word};
use crate::metrics::{FreezeLabels, StateLabels};

/// Rollouts are counted this seldom, because all of them are walked.
const COUNT_EVERY_MS: u64 = 1_000;

/// When what was last shown.
#[derive(Debug, Default)]
pub struct Gauges {
    counted: Option<Tick>,
}

impl Gauges {
    /// Sets all gauges to the state of `gate`.
    pub fn show(&mut self, gate: &Gate, shared: &Shared, now: Tick) {
        let metrics = &shared.metrics;
        metrics.latch_shut.set(i64::from(shared.latch.is_shut()));
        metrics.epoch.set(gate.ledger.epoch().0.cast_signed());
        let drifted = gate.ledger.head().drifted.len();
        metrics.drifted.set(i64::try_from(drifted).unwrap_or(i64::MAX));
        metrics.freezes.clear();
        for freeze in gate.ledger.in_force() {
            let (scope, cause) = (scope_word(&freeze.scope), cause_word(&freeze.cause));
            metrics.freezes.get_or_create(&FreezeLabels { scope, cause }).inc();
        }
        let (mut done, mut waiting, mut never) = (0, 0, 0);
        for fenced in gate.ledger.in_force().filter_map(|freeze| freeze.fenced) {
            done += i64::from(fenced.done);
            never += i64::from(fenced.unfenceable);
            waiting += i64::from(fenced.total) - i64::from(fenced.done + fenced.unfenceable);
        }
        for (state, count) in [("fenced", done), ("waiting", waiting), ("unfenceable", never)] {
            metrics.fences.get_or_create(&StateLabels { state }).set(count);
        }
        if self.counted.is_some_and(|at| now.since_ms(at) < COUNT_EVERY_MS) {
            return;
        }
        self.counted = Some(now);
        for state in StateName::ALL {
            metrics.rollouts.get_or_create(&StateLabels { state: state.as_str() }).set(0);
        }
        for rollout in gate.ledger.rollouts() {
            let state = rollout.state.name().as_str();
            metrics.rollouts.get_or_create(&StateLabels { state }).inc();
        }
        let stuck = StateLabels { state: StateName::Stuck.as_str() };
        let stuck = metrics.rollouts.get_or_create(&stuck).get();
        metrics.reverts_stuck.set(stuck);
    }
}
