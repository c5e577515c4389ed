//! The table of transitions: every state against everything that can happen, as the machine does
//! it. It is checked in, shown in the documentation of `gate`, and kept true by this test.

use std::fmt::Write as _;

use agent_gate_core::gate::effect::Answer;
use agent_gate_core::gate::event::{EffectResult, Event, Outcome, Settlement};
use agent_gate_core::gate::rollout::{State, StateName};
use agent_gate_core::policy::Policy;
use agent_gate_core::scope::Scope;
use watchdog_core::verdict::VerdictKind;

use crate::world::{NEW, OLD, World, agent, operator, policy};

const CHANGE: &str = "c1";

/// A world whose rollout `c1` of service `a` is in the state.
fn in_state(name: StateName) -> World {
    let mut world = World::ready_with(&Policy { gap_max_ms: 10_000, ..policy() });
    match name {
        StateName::Held => {
            world.attest(VerdictKind::Idle, OLD);
            world.request(CHANGE, "a");
        }
        StateName::Allowed => drop(world.request(CHANGE, "a")),
        StateName::Applying => {
            world.request(CHANGE, "a");
            world.renew(CHANGE);
        }
        StateName::Baking => {
            world.bake(CHANGE, "a");
            world.attest(VerdictKind::Live, NEW);
        }
        StateName::Inconclusive => {
            world.bake(CHANGE, "a");
            world.watch(3_000, VerdictKind::Live, OLD);
        }
        StateName::Confirmed => {
            world.bake(CHANGE, "a");
            world.watch(4_250, VerdictKind::Live, NEW);
        }
        StateName::Reverting => {
            world.bake(CHANGE, "a");
            world.conclude(CHANGE, Outcome::Abandoned);
        }
        StateName::Reverted => {
            world.bake(CHANGE, "a");
            world.conclude(CHANGE, Outcome::Abandoned);
            end_revert(&mut world, EffectResult::Done);
            world.watch(2_250, VerdictKind::Live, OLD);
        }
        StateName::Stuck => {
            world.bake(CHANGE, "a");
            world.conclude(CHANGE, Outcome::Abandoned);
            world.pass(20_000);
            world.watch(2_250, VerdictKind::Live, OLD);
        }
        StateName::Denied => {
            let freeze = world.freeze(&Scope::Fleet, agent());
            world.request(CHANGE, "a");
            world.thaw(freeze.id, false, operator());
        }
        StateName::Expired => {
            world.attest(VerdictKind::Idle, OLD);
            world.request(CHANGE, "a");
            world.watch(30_000, VerdictKind::Live, OLD);
        }
        StateName::Aborted => {
            world.request(CHANGE, "a");
            world.conclude(CHANGE, Outcome::Abandoned);
        }
    }
    assert_eq!(world.state(CHANGE), name, "the world is made for the state");
    world
}

fn end_revert(world: &mut World, result: EffectResult) {
    if let State::Reverting(revert) = world.rollout(CHANGE).state.clone() {
        let (effect, generation) = (revert.effect, revert.generation);
        world.step(Event::RevertDone { effect, generation, result });
    }
}

/// One column of the table.
struct Happening {
    name: &'static str,
    happens: fn(&mut World) -> Option<Answer>,
}

const HAPPENINGS: [Happening; 19] = [
    Happening {
        name: "request again",
        happens: |world| {
            let request = world.rollout(CHANGE).request.clone();
            world.step(Event::Request { request, by: agent() })
        },
    },
    Happening { name: "renew", happens: |world| world.call_renew(CHANGE) },
    Happening { name: "applied", happens: |world| world.call_applied(CHANGE) },
    Happening {
        name: "conclude succeeded",
        happens: |world| {
            let rollout = world.rollout(CHANGE).id;
            world.step(Event::Conclude { rollout, outcome: Outcome::Succeeded, by: agent() })
        },
    },
    Happening {
        name: "conclude abandoned, abort",
        happens: |world| {
            let rollout = world.rollout(CHANGE).id;
            world.step(Event::Conclude { rollout, outcome: Outcome::Abandoned, by: agent() })
        },
    },
    Happening {
        name: "approve",
        happens: |world| {
            let (rollout, digest) = shown(world);
            let reason = "read".to_owned();
            let by = operator();
            world.step(Event::Approve { rollout, digest, reason, expires_in_ms: None, by })
        },
    },
    Happening {
        name: "reject",
        happens: |world| {
            let (rollout, digest) = shown(world);
            world.step(Event::Reject { rollout, digest, reason: "no".to_owned(), by: operator() })
        },
    },
    Happening {
        name: "settle confirmed",
        happens: |world| world.settle(CHANGE, Settlement::Confirmed, operator()),
    },
    Happening {
        name: "settle reverting",
        happens: |world| world.settle(CHANGE, Settlement::Reverting, operator()),
    },
    Happening {
        name: "fleet frozen",
        happens: |world| {
            world.freeze(&Scope::Fleet, operator());
            None
        },
    },
    Happening {
        name: "blind (lost, lossy, frozen, forged, down)",
        happens: |world| {
            world.attest(VerdictKind::TelemetryLost, NEW);
            None
        },
    },
    Happening {
        name: "idle, heartbeat lost, unknown",
        happens: |world| {
            world.attest(VerdictKind::Idle, NEW);
            None
        },
    },
    Happening {
        name: "live on the new revision for a bake",
        happens: |world| {
            world.watch(4_250, VerdictKind::Live, NEW);
            None
        },
    },
    Happening {
        name: "watchdog silent for longer than a gap may last",
        happens: |world| {
            world.pass(11_001);
            None
        },
    },
    Happening {
        name: "silence of the agent, in live sight",
        happens: |world| {
            let applied = world.rollout(CHANGE).applied_at.is_some();
            world.watch(30_000, VerdictKind::Live, if applied { NEW } else { OLD });
            None
        },
    },
    Happening {
        name: "revert done, live on the old revision for a dwell",
        happens: |world| {
            end_revert(world, EffectResult::Done);
            world.watch(2_250, VerdictKind::Live, OLD);
            None
        },
    },
    Happening {
        name: "revert not verified by its deadline",
        happens: |world| {
            let end = world.now.plus_ms(20_000);
            while world.now < end {
                world.now = world.now.plus_ms(900);
                world.attest(VerdictKind::HeartbeatLost, NEW);
            }
            None
        },
    },
    Happening {
        name: "gate restarts",
        happens: |world| {
            world.restart(100);
            None
        },
    },
    Happening {
        name: "clock jumps",
        happens: |world| {
            world.step(Event::ClockJumped);
            None
        },
    },
];

fn shown(world: &World) -> (agent_gate_core::ids::RolloutId, agent_gate_core::ids::Digest) {
    let rollout = world.rollout(CHANGE);
    (rollout.id, rollout.request.digest.clone())
}

fn generate() -> String {
    let mut text = String::from(
        "Generated by `tests/machine/transitions.rs` from what the machine does. `·` stays, \
         `409` is refused;\n`+f` freezes. A rollout of one service, default policy.\n\n",
    );
    let mut line = |cells: &mut dyn Iterator<Item = String>| {
        let cells: Vec<_> = cells.collect();
        writeln!(text, "| {} |", cells.join(" | ")).expect("writing to a String does not fail");
    };
    line(
        &mut std::iter::once("what happens".to_owned())
            .chain(StateName::ALL.map(|n| n.to_string())),
    );
    line(&mut std::iter::repeat_n("---".to_owned(), StateName::ALL.len() + 1));
    for happening in &HAPPENINGS {
        let cells = StateName::ALL.map(|name| {
            let mut world = in_state(name);
            let freezes =
                world.gate.ledger.freezes().filter(|f| f.cause.service().is_some()).count();
            let answer = (happening.happens)(&mut world);
            let after = world.state(CHANGE);
            let more = world.gate.ledger.freezes().filter(|f| f.cause.service().is_some()).count();
            let mut cell = match answer {
                Some(Answer::Refused(_)) => "409".to_owned(),
                Some(
                    Answer::Rollout(_)
                    | Answer::Freeze { .. }
                    | Answer::Waiver { .. }
                    | Answer::Attested,
                )
                | None
                    if after == name =>
                {
                    "·".to_owned()
                }
                Some(
                    Answer::Rollout(_)
                    | Answer::Freeze { .. }
                    | Answer::Waiver { .. }
                    | Answer::Attested,
                )
                | None => after.to_string(),
            };
            if more > freezes {
                cell.push_str(" +f");
            }
            cell
        });
        line(&mut std::iter::once(happening.name.to_owned()).chain(cells));
    }
    text
}

#[test]
fn the_table_of_transitions_is_what_the_machine_does() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/gate/transitions.md");
    let generated = generate();
    if std::env::var_os("HOLDPOINT_BLESS").is_some() {
        std::fs::write(path, &generated).expect("the table is writable");
    }
    let stored = std::fs::read_to_string(path).expect("the table is checked in");
    assert!(
        stored == generated,
        "the machine differs from {path}; run the test with HOLDPOINT_BLESS=1 and read the diff:\n\
         {generated}"
    );
}
