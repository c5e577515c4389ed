//! Every sequence of a small alphabet, from several starting points, with all invariants checked
//! after every step.
//!
//! A letter that changes nothing is not gone on from: what follows it follows without it too, and
//! is walked there with more depth left.

use agent_gate_core::gate::effect::Effect;
use agent_gate_core::gate::event::{EffectResult, Event, Settlement};
use agent_gate_core::gate::rollout::State;
use agent_gate_core::policy::Policy;
use agent_gate_core::scope::Scope;
use watchdog_core::verdict::VerdictKind;

use crate::world::{NEW, OLD, World, agent, operator, policy};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Letter {
    RequestA,
    RequestB,
    Renew,
    Applied,
    Abandon,
    Abort,
    /// Live on the old revision for a dwell.
    LiveOld,
    /// Live on the new revision for a dwell.
    LiveNew,
    Lost,
    Idle,
    /// Nothing is heard for longer than a permit lives and a gap may last.
    Silence,
    AgentFreezes,
    AgentThaws,
    PersonThaws,
    PersonOverrides,
    RevertDone,
    RevertFails,
    PersonConfirms,
    PersonReverts,
    Restart,
    ClockJumps,
}

impl World {
    fn spell(&mut self, letter: Letter) {
        let dwell_ms = self.policy.fleet.dwell_ms;
        match letter {
            Letter::RequestA => drop(self.request("c1", "a")),
            Letter::RequestB => drop(self.request("c2", "b")),
            Letter::Renew if self.knows("c1") => drop(self.call_renew("c1")),
            Letter::Applied if self.knows("c1") => drop(self.call_applied("c1")),
            Letter::Abandon if self.knows("c1") => {
                self.conclude("c1", agent_gate_core::gate::event::Outcome::Abandoned);
            }
            Letter::Abort if self.knows("c1") => {
                let rollout = self.rollout("c1").id;
                let reason = "changed my mind".to_owned();
                self.step(Event::Abort { rollout, reason, by: agent() });
            }
            Letter::LiveOld => self.watch_slowly(dwell_ms, OLD),
            Letter::LiveNew => self.watch_slowly(dwell_ms, NEW),
            Letter::Lost => self.attest(VerdictKind::TelemetryLost, NEW),
            Letter::Idle => self.attest(VerdictKind::Idle, NEW),
            Letter::Silence => self.pass(4_000),
            Letter::AgentFreezes => drop(self.freeze(&Scope::Fleet, agent())),
            Letter::AgentThaws => self.thaw_first(false, false),
            Letter::PersonThaws => self.thaw_first(false, true),
            Letter::PersonOverrides => self.thaw_first(true, true),
            Letter::RevertDone => self.end_revert(EffectResult::Done),
            Letter::RevertFails => self.end_revert(EffectResult::Failed("no".to_owned())),
            Letter::PersonConfirms if self.knows("c1") => {
                drop(self.settle("c1", Settlement::Confirmed, operator()));
            }
            Letter::PersonReverts if self.knows("c1") => {
                drop(self.settle("c1", Settlement::Reverting, operator()));
            }
            Letter::Restart => self.restart(500),
            Letter::ClockJumps => drop(self.step(Event::ClockJumped)),
            Letter::Renew
            | Letter::Applied
            | Letter::Abandon
            | Letter::Abort
            | Letter::PersonConfirms
            | Letter::PersonReverts => {}
        }
    }

    /// As [`World::watch`], with as few attestations as keep sight unbroken.
    fn watch_slowly(&mut self, ms: u64, running: &str) {
        let end = self.now.plus_ms(ms);
        self.attest(VerdictKind::Live, running);
        while self.now < end {
            self.now = self.now.plus_ms(900).min(end);
            self.attest(VerdictKind::Live, running);
        }
    }

    fn knows(&self, change: &str) -> bool {
        self.gate.ledger.by_change(&change.parse().expect("a valid name")).is_some()
    }

    fn thaw_first(&mut self, override_cause: bool, person: bool) {
        if let Some(freeze) = self.in_force().first() {
            let by = if person { operator() } else { agent() };
            self.thaw(freeze.id, override_cause, by);
        }
    }

    /// Ends the revert that is under way.
    fn end_revert(&mut self, result: EffectResult) {
        let reverting = self.gate.ledger.open().find_map(|rollout| match &rollout.state {
            State::Reverting(revert) => Some((revert.effect, revert.generation)),
            _ => None,
        });
        if let Some((effect, generation)) = reverting {
            self.step(Event::RevertDone { effect, generation, result });
        }
    }
}

/// Walks all words of `alphabet` up to `depth` letters from `world`; returns how many there are.
fn walk(world: &World, alphabet: &[Letter], depth: usize) -> u64 {
    let mut words = 1;
    if depth == 0 {
        return words;
    }
    for letter in alphabet {
        let mut next = world.clone();
        next.spell(*letter);
        next.journal.clear();
        next.decisions.clear();
        if next.gate != world.gate {
            words += walk(&next, alphabet, depth - 1);
        }
    }
    words
}

#[test]
fn no_sequence_of_a_rollouts_life_breaks_an_invariant() {
    use Letter::{
        AgentFreezes, Applied, Idle, LiveNew, Lost, PersonThaws, Renew, RequestA, Restart,
        RevertDone, Silence,
    };
    let alphabet = [
        RequestA,
        Renew,
        Applied,
        LiveNew,
        Lost,
        Idle,
        Silence,
        AgentFreezes,
        PersonThaws,
        RevertDone,
        Restart,
    ];
    let words = walk(&World::ready(), &alphabet, 6);
    assert!(words > 100_000, "only {words} words were walked");
}

#[test]
fn no_sequence_after_applying_breaks_an_invariant() {
    use Letter::{
        Abandon, LiveNew, LiveOld, Lost, PersonOverrides, PersonReverts, Restart, RevertDone,
        RevertFails, Silence,
    };
    let alphabet = [
        LiveNew,
        LiveOld,
        Lost,
        Silence,
        Abandon,
        RevertDone,
        RevertFails,
        PersonOverrides,
        PersonReverts,
        Restart,
    ];
    let mut world = World::ready_with(&Policy { dwell_ms: 1_000, ..policy() });
    world.bake("c1", "a");
    let words = walk(&world, &alphabet, 6);
    assert!(words > 50_000, "only {words} words were walked");
}

#[test]
fn no_sequence_of_two_agents_and_two_persons_breaks_an_invariant() {
    use Letter::{
        Abort, AgentFreezes, AgentThaws, Applied, ClockJumps, LiveOld, Lost, PersonConfirms,
        PersonThaws, Renew, RequestA, RequestB, Restart, Silence,
    };
    let alphabet = [
        RequestA,
        RequestB,
        Renew,
        Applied,
        Abort,
        LiveOld,
        Lost,
        Silence,
        AgentFreezes,
        AgentThaws,
        PersonThaws,
        PersonConfirms,
        Restart,
        ClockJumps,
    ];
    let words = walk(&World::ready(), &alphabet, 5);
    assert!(words > 10_000, "only {words} words were walked");
}

#[test]
fn no_sequence_without_a_ready_start_ever_grants_a_permit_blindly() {
    use Letter::{AgentFreezes, Applied, Idle, LiveOld, Lost, Renew, RequestA, Restart, Silence};
    let alphabet = [RequestA, Renew, Applied, LiveOld, Lost, Idle, Silence, AgentFreezes, Restart];
    let mut world = World::new();
    world.request("c1", "a");
    assert!(world.effects.iter().any(|effect| matches!(effect, Effect::DryRun(_))));
    world.settle_dry_runs(&EffectResult::Done);
    let words = walk(&world, &alphabet, 5);
    assert!(words > 10_000, "only {words} words were walked");
}
