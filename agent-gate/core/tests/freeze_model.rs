//! When may a freeze be called `fenced`? All interleavings of three agents, one gate and the fence
//! at their target, explored without a gap, and the rules that look right and are not.
//!
//! ```text
//! freeze ─► requested ─► durable ─► target told ─► target holds the epoch ─► fenced
//!            no permit    stored     any delay      refuses what is older      promised
//! ```
//!
//! An agent looks at its permit, and then its order is on the way: it may be stopped in between for
//! as long as it likes, so no time that the gate waits is long enough. Only the target can refuse.
//!
//! Invariant: between `fenced` and the thaw nothing is applied; and the target never takes an
//! order of an epoch older than one it holds.

#![cfg(not(loom))]

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model, Property};

const AGENTS: usize = 3;
/// The life of a permit, in ticks.
const TTL: u8 = 3;

/// How the gate and the target keep the promise. One is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// The freeze is durable before the target is told, and fenced when the target has it.
    Fenced,
    /// Called fenced as soon as it is durable.
    AtOnce,
    /// Called fenced when every permit must have run out by the gate's clock.
    AfterTtl,
    /// The target is told, and nothing is stored at the gate.
    NotDurable,
    /// The freeze is stored, and epochs are counted in memory from nothing.
    EpochReused,
    /// The fence at the target forgets its epoch when it restarts.
    TargetForgets,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Agent {
    Idle,
    /// Holds a permit, with so many ticks to live.
    Holds {
        epoch: u8,
        left: u8,
    },
    /// It looked, the permit was live, and the order is on the way.
    Sent {
        epoch: u8,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Freeze {
    None,
    Requested,
    Durable,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Stored {
    epoch: u8,
    is_frozen: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    agents: [Agent; AGENTS],
    epoch: u8,
    freeze: Freeze,
    /// Ticks since the freeze was requested, up to the TTL.
    waited: u8,
    stored: Stored,
    /// The highest epoch that the target holds.
    target: u8,
    /// A person was told `fenced`, and has not thawed.
    is_promised: bool,
    crashes_left: u8,
    freezes_left: u8,
    applied_under_promise: bool,
    applied_old: bool,
    /// The highest epoch that the target ever held, whether it remembers or not.
    ever: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Grant(usize),
    Send(usize),
    Arrive(usize),
    Tick,
    Freeze,
    Store,
    TellTarget,
    Promise,
    Thaw,
    CrashGate,
    CrashTarget,
}

impl Model for Rule {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            agents: [Agent::Idle; AGENTS],
            epoch: 0,
            freeze: Freeze::None,
            waited: 0,
            stored: Stored { epoch: 0, is_frozen: false },
            target: 0,
            is_promised: false,
            crashes_left: 2,
            freezes_left: 3,
            applied_under_promise: false,
            applied_old: false,
            ever: 0,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        for (index, agent) in world.agents.iter().enumerate() {
            match agent {
                // An order on the way goes on whatever the gate says; its agent has no second one.
                Agent::Sent { .. } => actions.push(Action::Arrive(index)),
                Agent::Holds { left, .. } => {
                    actions.extend([Action::Grant(index)].iter().filter(|_| world.is_clear()));
                    actions.extend([Action::Send(index)].iter().filter(|_| *left > 0));
                }
                Agent::Idle => {
                    actions.extend([Action::Grant(index)].iter().filter(|_| world.is_clear()));
                }
            }
        }
        actions.push(Action::Tick);
        match world.freeze {
            Freeze::None if world.freezes_left > 0 => actions.push(Action::Freeze),
            Freeze::None => {}
            Freeze::Requested => actions.push(Action::Store),
            Freeze::Durable => {
                actions.push(Action::TellTarget);
                if self.may_promise(world) {
                    actions.push(Action::Promise);
                }
            }
        }
        if world.is_promised && world.freeze != Freeze::None {
            actions.push(Action::Thaw);
        }
        if world.crashes_left > 0 {
            actions.extend([Action::CrashGate, Action::CrashTarget]);
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut world = last.clone();
        match action {
            Action::Grant(index) => {
                world.agents[index] = Agent::Holds { epoch: world.epoch, left: TTL };
            }
            Action::Send(index) => {
                let Agent::Holds { epoch, .. } = world.agents[index] else { return None };
                world.agents[index] = Agent::Sent { epoch };
            }
            Action::Arrive(index) => world.arrive(index),
            Action::Tick => world.tick(),
            Action::Freeze => {
                world.freezes_left -= 1;
                world.epoch += 1;
                world.waited = 0;
                world.freeze = Freeze::Requested;
            }
            Action::Store => {
                self.store(&mut world, true);
                world.freeze = Freeze::Durable;
            }
            Action::TellTarget => {
                world.target = world.target.max(world.epoch);
                world.ever = world.ever.max(world.target);
            }
            Action::Promise => world.is_promised = true,
            Action::Thaw => {
                world.freeze = Freeze::None;
                world.is_promised = false;
                self.store(&mut world, false);
            }
            Action::CrashGate => self.restart_gate(&mut world),
            Action::CrashTarget => {
                world.crashes_left -= 1;
                world.target = if *self == Self::TargetForgets { 0 } else { world.target };
            }
        }
        (world != *last).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nothing is applied after `fenced`", |_, world: &World| {
                !world.applied_under_promise
            }),
            Property::always("no order of a fenced epoch is taken", |_, world: &World| {
                !world.applied_old
            }),
            Property::sometimes("a freeze comes to be fenced", |_, world: &World| {
                world.is_promised
            }),
            Property::sometimes(
                "the last freeze is fenced after all crashes",
                |_, world: &World| {
                    world.is_promised && world.freezes_left == 0 && world.crashes_left == 0
                },
            ),
        ]
    }
}

impl Rule {
    fn may_promise(self, world: &World) -> bool {
        match self {
            Self::AtOnce => true,
            Self::AfterTtl => world.waited == TTL,
            Self::Fenced | Self::NotDurable | Self::EpochReused | Self::TargetForgets => {
                world.target >= world.epoch
            }
        }
    }

    fn store(self, world: &mut World, is_frozen: bool) {
        match self {
            Self::NotDurable => {}
            Self::EpochReused => world.stored.is_frozen = is_frozen,
            Self::Fenced | Self::AtOnce | Self::AfterTtl | Self::TargetForgets => {
                world.stored = Stored { epoch: world.epoch, is_frozen };
            }
        }
    }

    /// The gate dies and starts on what it stored, in an epoch of its own.
    fn restart_gate(self, world: &mut World) {
        world.crashes_left -= 1;
        let Stored { epoch, is_frozen } = world.stored;
        world.epoch = if self == Self::EpochReused { 0 } else { epoch + 1 };
        world.freeze = if is_frozen { Freeze::Durable } else { Freeze::None };
        self.store(world, is_frozen);
    }
}

impl World {
    fn is_clear(&self) -> bool {
        self.freeze == Freeze::None
    }

    fn arrive(&mut self, index: usize) {
        let Agent::Sent { epoch } = self.agents[index] else { return };
        self.agents[index] = Agent::Idle;
        if epoch >= self.target {
            self.target = epoch;
            self.applied_under_promise |= self.is_promised;
            self.applied_old |= epoch < self.ever;
            self.ever = self.ever.max(epoch);
        }
    }

    fn tick(&mut self) {
        if self.freeze != Freeze::None {
            self.waited = TTL.min(self.waited + 1);
        }
        for agent in &mut self.agents {
            if let Agent::Holds { epoch, left } = *agent {
                *agent = match left {
                    0 | 1 => Agent::Idle,
                    _ => Agent::Holds { epoch, left: left - 1 },
                };
            }
        }
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

#[test]
fn a_fenced_freeze_keeps_its_promise_in_every_interleaving_of_three_agents() {
    let begin = Instant::now();
    let checker = Rule::Fenced.checker().threads(threads()).spawn_bfs().join();
    checker.assert_properties();
    let (states, took) = (checker.unique_state_count(), begin.elapsed());
    println!("{states} states in {took:?}");
    assert!(checker.is_done() && states > 100_000, "the walk covers the model: {states}");
    // It takes two seconds on two idle cores; a busy machine has its time.
    assert!(took < Duration::from_secs(60), "the walk is meant to take 10 s at most: {took:?}");
}

#[test]
fn every_known_bad_rule_is_found_out() {
    let promise = "nothing is applied after `fenced`";
    let old = "no order of a fenced epoch is taken";
    for (rule, broken) in [
        (Rule::AtOnce, promise),
        (Rule::AfterTtl, promise),
        (Rule::NotDurable, promise),
        (Rule::EpochReused, promise),
        (Rule::TargetForgets, old),
    ] {
        // One thread walks in breadth, so what it finds is a shortest way to break the promise.
        let found = HasDiscoveries::AllOf([broken].into());
        let checker = rule.checker().finish_when(found).spawn_bfs().join();
        let path = checker
            .discovery(broken)
            .unwrap_or_else(|| panic!("{rule:?} breaks “{broken}”, and the walk did not see it"));
        println!("{rule:?}, found out:");
        for action in path.into_actions() {
            println!("  {action:?}");
        }
    }
}
