//! Stories: what happens to a rollout, told from the protocol. The stories stand in the folder by
//! what they are about.

mod admission;
mod bakes;
mod drift;
mod freezes;
mod reverts;
mod rules;
mod waivers;

use agent_gate_core::gate::effect::{Effect, RolloutAnswer};
use agent_gate_core::gate::event::{EffectResult, Event};
use agent_gate_core::gate::rollout::{Inconclusive, State};

use crate::world::World;

pub fn codes(answer: &RolloutAnswer) -> Vec<&'static str> {
    answer.decision.reasons.iter().map(|reason| reason.code.as_str()).collect()
}

pub fn inconclusive(world: &World, change: &str) -> Option<Inconclusive> {
    match &world.rollout(change).state {
        State::Inconclusive { why } => Some(*why),
        _ => None,
    }
}

pub fn calls(world: &World) -> usize {
    world.effects.iter().filter(|effect| matches!(effect, Effect::CallPerson(_))).count()
}

/// Ends the revert that was ordered last.
pub fn revert_done(world: &mut World, result: EffectResult) {
    let order = world.ordered_revert().expect("a revert was ordered");
    let (effect, generation) = (order.effect, order.generation);
    world.step(Event::RevertDone { effect, generation, result });
}
