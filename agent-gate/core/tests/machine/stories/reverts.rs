//! Reverts: what is taken back, how it is tried, and how it is verified.

use agent_gate_core::gate::decision::DecisionKind;
use agent_gate_core::gate::effect::{Answer, Refusal};
use agent_gate_core::gate::event::{EffectResult, Event, Settlement};
use agent_gate_core::gate::freeze::{FreezeCause, Stage};
use agent_gate_core::gate::rollout::{Inconclusive, State, StateName};
use agent_gate_core::policy::Policy;
use agent_gate_core::scope::Scope;
use watchdog_core::verdict::VerdictKind;

use super::{calls, codes, inconclusive, revert_done};
use crate::world::{
    NEW, OLD, World, agent, expect_refusal, expect_rollout, operator, policy, request, service,
    shown, verdict,
};

#[test]
fn the_recursive_crash_is_frozen_reverted_and_verified() {
    let mut world = World::ready();
    world.bake("c1", "a");
    world.watch(1_000, VerdictKind::Live, NEW);
    world.attest(VerdictKind::TelemetryLost, NEW);
    assert_eq!(world.state("c1"), StateName::Reverting);
    let freezes = world.in_force();
    assert_eq!(
        (freezes.len(), &freezes[0].scope, freezes[0].stage),
        (1, &Scope::Fleet, Stage::Requested)
    );
    let answer = world.request("c2", "b");
    assert_eq!((answer.state, answer.decision.kind), (StateName::Denied, DecisionKind::Deny));
    assert!(codes(&answer).contains(&"frozen"));
    let again = world.request("c1", "a");
    assert_eq!(
        (again.decision.kind, codes(&again)),
        (DecisionKind::Deny, vec!["reverting", "telemetry_lost"])
    );
    // The freeze does not block the revert.
    world.attest(VerdictKind::TelemetryLost, NEW);
    let order = world.rollout("c1").clone();
    let State::Reverting(revert) = &order.state else { panic!("it is reverting") };
    let (effect, generation) = (revert.effect, revert.generation);
    world.step(Event::RevertDone { effect, generation, result: EffectResult::Done });
    world.watch(1_900, VerdictKind::Live, OLD);
    assert_eq!(world.state("c1"), StateName::Reverting, "the dwell is not over");
    world.watch(100, VerdictKind::Live, OLD);
    assert_eq!(world.state("c1"), StateName::Reverted);
    // Only a person thaws; the same digest stays refused everywhere.
    let id = freezes[0].id;
    assert_eq!(expect_refusal(world.thaw(id, true, agent())), Refusal::Role { needs: "operator" });
    assert!(matches!(world.thaw(id, false, operator()), Some(Answer::Freeze { .. })));
    assert!(world.in_force().is_empty());
    let same = agent_gate_core::gate::event::RolloutRequest {
        digest: "sha256:c1".parse().expect("a valid name"),
        ..request("c3", "b")
    };
    assert_eq!(codes(&world.ask(same)), ["blocked_digest"]);
    assert_eq!(world.request("c4", "b").state, StateName::Allowed);
    world.check_journal();
    world.check_decisions();
}

#[test]
fn every_verdict_that_reverts_reverts_while_applying_and_while_baking() {
    for kind in VerdictKind::ALL {
        for applied in [false, true] {
            let mut world = World::ready();
            world.request("c1", "a");
            world.renew("c1");
            if applied {
                world.applied("c1");
            }
            world.attest(kind, NEW);
            let expected = match kind {
                VerdictKind::Lossy
                | VerdictKind::Frozen
                | VerdictKind::Forged
                | VerdictKind::TelemetryLost
                | VerdictKind::Down => StateName::Reverting,
                VerdictKind::Live
                | VerdictKind::Idle
                | VerdictKind::Unknown
                | VerdictKind::HeartbeatLost
                    if applied =>
                {
                    StateName::Baking
                }
                VerdictKind::Live
                | VerdictKind::Idle
                | VerdictKind::Unknown
                | VerdictKind::HeartbeatLost => StateName::Applying,
            };
            assert_eq!(world.state("c1"), expected, "{kind:?}, applied: {applied}");
            assert_eq!(world.in_force().len(), usize::from(expected == StateName::Reverting));
        }
    }
}

#[test]
fn applying_without_a_live_permit_is_a_violation() {
    // In every state in which no permit is out, the fact is recorded, frozen and taken back.
    let mut world = World::ready();
    world.request("c1", "a");
    world.watch(3_000, VerdictKind::Live, OLD);
    assert_eq!(world.state("c1"), StateName::Held);
    let answer = world.applied("c1");
    assert_eq!((answer.state, answer.decision.kind), (StateName::Reverting, DecisionKind::Deny));
    let freeze = &world.in_force()[0];
    assert!(matches!(freeze.cause, FreezeCause::Violation { .. }));
    let denied = world.request("c2", "b");
    assert_eq!(denied.state, StateName::Denied);
    assert_eq!(world.applied("c2").state, StateName::Reverting, "a denied one too");
}

#[test]
fn applying_another_revision_than_the_permitted_one_is_a_violation() {
    let mut world = World::ready();
    let rollout = world.request("c1", "a").rollout;
    world.renew("c1");
    let epoch = world.epoch("c1");
    let revision = Some("v3".parse().expect("a valid name"));
    world.step(Event::Applied { rollout, epoch, revision, by: agent() });
    assert_eq!(world.state("c1"), StateName::Reverting);
}

#[test]
fn a_revert_that_fails_is_tried_again_and_then_gets_stuck() {
    let mut world = World::ready();
    world.bake("c1", "a");
    world.attest(VerdictKind::Down, NEW);
    let first = world.ordered_revert().expect("a revert was ordered");
    revert_done(&mut world, EffectResult::Failed("no route".to_owned()));
    for attempt in [2, 3] {
        let wait_ms = if attempt == 2 { 1_000 } else { 2_000 };
        world.pass(wait_ms - 1);
        assert_eq!(world.ordered_revert(), None, "the backoff is not over");
        world.pass(1);
        let order = world.ordered_revert().expect("it is tried again");
        assert_eq!((order.attempt, order.effect), (attempt, first.effect));
        revert_done(&mut world, EffectResult::Failed("no route".to_owned()));
    }
    assert_eq!(world.state("c1"), StateName::Stuck);
    assert_eq!(calls(&world), 1);
    // A person repairs the action and starts the next generation; the old effect is refused.
    expect_rollout(world.settle("c1", Settlement::Reverting, operator()));
    let order = world.ordered_revert().expect("the next generation");
    assert_eq!((order.generation.0, order.attempt), (2, 1));
    assert_ne!(order.effect, first.effect);
    let (effect, generation) = (first.effect, first.generation);
    world.step(Event::RevertDone { effect, generation, result: EffectResult::Done });
    assert!(world.effects.is_empty(), "an older generation changes nothing");
}

#[test]
fn a_revert_that_does_not_verify_is_stuck_at_its_deadline_and_freezes_the_fleet() {
    let narrow = agent_gate_core::policy::FreezeScope::Service;
    let mut world = World::ready_with(&Policy { freeze_scope: narrow.into(), ..policy() });
    world.bake("c1", "a");
    world.attest(VerdictKind::TelemetryLost, NEW);
    assert_eq!(world.in_force()[0].scope, Scope::Service(service("a")));
    revert_done(&mut world, EffectResult::Done);
    world.watch(19_750, VerdictKind::Live, NEW);
    assert_eq!(world.state("c1"), StateName::Reverting, "live on the wrong revision");
    world.watch(250, VerdictKind::Live, NEW);
    assert_eq!(world.state("c1"), StateName::Stuck);
    assert!(world.in_force().iter().any(|freeze| freeze.scope == Scope::Fleet));
}

#[test]
fn a_restart_voids_permits_and_issues_unsettled_reverts_again() {
    let mut world = World::ready();
    world.bake("c1", "a");
    world.attest(VerdictKind::TelemetryLost, NEW);
    let order = world.ordered_revert().expect("a revert was ordered");
    let frozen = world.in_force();
    world.restart(500);
    assert_eq!(world.ordered_revert(), Some(order), "the same effect id again");
    assert_eq!(world.in_force().len(), frozen.len(), "what was frozen is frozen");
    assert_eq!(world.in_force()[0].stage, Stage::Durable);

    let mut world = World::ready();
    world.request("c1", "a");
    world.renew("c1");
    let epoch = world.epoch("c1");
    world.restart(500);
    let rollout = world.rollout("c1").id;
    let old = world.step(Event::Renew { rollout, epoch, step: None, by: agent() });
    assert!(matches!(expect_refusal(old), Refusal::OldEpoch { .. }));
    assert_eq!(codes(&world.request("c1", "a")), ["unknown"], "nothing is in sight");
}

#[test]
fn a_revert_is_not_verified_while_the_bad_revision_still_runs() {
    let mut world = World::ready();
    world.bake("c1", "a");
    world.attest(VerdictKind::TelemetryLost, NEW);
    revert_done(&mut world, EffectResult::Done);
    let both = |new: u32| {
        vec![verdict("a", VerdictKind::Live, vec![shown(OLD, 1, 9_000), shown(NEW, new, 9_000)])]
    };
    for _ in 0..16 {
        world.now = world.now.plus_ms(250);
        world.attest_items(both(1), false);
    }
    assert_eq!(world.state("c1"), StateName::Reverting, "one instance still runs it");
    for _ in 0..9 {
        world.now = world.now.plus_ms(250);
        world.attest_items(both(0), false);
    }
    assert_eq!(world.state("c1"), StateName::Reverted);
}

#[test]
fn a_gate_that_was_not_told_how_long_it_was_dead_counts_from_its_journal() {
    let mut world = World::ready();
    world.bake("c1", "a");
    world.attest(VerdictKind::Live, NEW);
    world.gate = agent_gate_core::Gate::new(world.gate.ledger.clone());
    world.history.restarted();
    world.now = world.now.plus_ms(2_501);
    world.step(Event::GateStarted { last_alive: None });
    assert_eq!(inconclusive(&world, "c1"), Some(Inconclusive::Gap));
}
