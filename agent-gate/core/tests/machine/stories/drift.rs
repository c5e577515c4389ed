//! Drift: a revision runs that no permit led to.

use agent_gate_core::gate::decision::DecisionKind;
use agent_gate_core::gate::event::Event;
use agent_gate_core::gate::freeze::FreezeCause;
use agent_gate_core::gate::rollout::StateName;
use agent_gate_core::policy::{OnDrift, Policy};
use watchdog_core::verdict::VerdictKind;

use super::{calls, codes};
use crate::world::{NEW, OLD, World, operator, policy, request, service, shown, verdict};

const GRACE_MS: u64 = 2_000;

fn drifting() -> Policy {
    Policy { drift_grace_ms: GRACE_MS, ..policy() }
}

/// Lets `ms` pass while `a` runs `revision`, and the rest what it ran.
fn runs(world: &mut World, ms: u64, revision: &str) {
    let end = world.now.plus_ms(ms);
    loop {
        let records = world.now.0 / 10;
        let of = |name: &str, runs: &str| {
            verdict(name, VerdictKind::Live, vec![shown(runs, 1, records)])
        };
        world.attest_items(vec![of("a", revision), of("b", OLD), of("paid", OLD)], false);
        if world.now >= end {
            return;
        }
        world.now = world.now.plus_ms(250).min(end);
    }
}

/// A world in which `a` was taken to `v2` and confirmed, and then runs `v9`.
fn drifted(policy: &Policy) -> World {
    let mut world = World::ready_with(policy);
    world.bake("c1", "a");
    world.watch(4_500, VerdictKind::Live, NEW);
    assert_eq!(world.state("c1"), StateName::Confirmed);
    runs(&mut world, GRACE_MS, "v9");
    world
}

#[test]
fn a_revision_that_no_permit_led_to_holds_its_service_and_calls_a_person_once() {
    let mut world = drifted(&Policy { drift_grace_ms: GRACE_MS + 500, ..drifting() });
    let mut called = 0;
    for _ in 0..8 {
        runs(&mut world, 0, "v9");
        called += calls(&world);
        world.now = world.now.plus_ms(250);
    }
    assert_eq!(
        world.gate.ledger.drifted(&service("a")).map(ToString::to_string),
        Some("v9".into())
    );
    assert_eq!((called, world.in_force().len()), (1, 0));
    let held = world.request("c2", "a");
    assert_eq!(held.decision.kind, DecisionKind::Hold);
    assert!(codes(&held).contains(&"drift") && held.decision.needs_approval, "{held:?}");

    runs(&mut world, 500, NEW);
    assert_eq!(world.gate.ledger.drifted(&service("a")), None, "it came back");
}

#[test]
fn an_agent_cannot_have_its_own_change_granted_and_a_person_can() {
    let mut world = drifted(&drifting());
    runs(&mut world, 1_000, "v9");
    let mut onward = request("c2", "a");
    onward.from = Some("v9".parse().expect("a name"));
    onward.to = "v10".parse().expect("a name");
    let held = world.ask(onward.clone());
    assert!(codes(&held).contains(&"drift"), "{held:?}");
    world.step(Event::Approve {
        rollout: held.rollout,
        digest: onward.digest.clone(),
        reason: "the hot fix is ours".to_owned(),
        expires_in_ms: None,
        by: operator(),
    });
    let allowed = world.ask(onward);
    assert_eq!(allowed.decision.kind, DecisionKind::Allow, "{allowed:?}");
    runs(&mut world, 0, "v9");
    assert_eq!(world.gate.ledger.drifted(&service("a")), None, "a permit leads away from it");
}

#[test]
fn policy_may_freeze_what_drifts_and_the_freeze_stays_while_it_does() {
    let mut world = drifted(&Policy { on_drift: OnDrift::Freeze, ..drifting() });
    runs(&mut world, 1_000, "v9");
    let freezes = world.in_force();
    assert!(matches!(freezes[0].cause, FreezeCause::Drift { .. }), "{freezes:?}");
    assert_eq!(freezes.len(), 1);
    world.thaw(freezes[0].id, false, operator());
    assert_eq!(world.in_force().len(), 1, "its cause holds");
    world.watch(500, VerdictKind::Live, NEW);
    world.thaw(freezes[0].id, false, operator());
    assert!(world.in_force().is_empty());
}

#[test]
fn what_was_granted_is_no_drift_and_neither_is_what_nobody_ever_granted_anything_for() {
    let mut world = World::ready_with(&drifting());
    runs(&mut world, 5_000, "v9");
    assert_eq!(world.gate.ledger.drifted(&service("a")), None, "there is nothing to compare with");

    let mut world = drifted(&drifting());
    runs(&mut world, 500, OLD);
    assert_eq!(world.gate.ledger.drifted(&service("a")), None, "a permit led away from it");
}
