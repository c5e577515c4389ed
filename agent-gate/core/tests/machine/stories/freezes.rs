//! Freezes: what they stop, what makes the gate freeze, and who thaws.

use agent_gate_core::gate::decision::DecisionKind;
use agent_gate_core::gate::effect::Refusal;
use agent_gate_core::gate::event::Settlement;
use agent_gate_core::gate::freeze::FreezeCause;
use agent_gate_core::gate::rollout::StateName;
use agent_gate_core::policy::Policy;
use agent_gate_core::scope::Scope;
use watchdog_core::verdict::VerdictKind;

use super::{calls, codes};
use crate::world::{
    NEW, OLD, World, agent, expect_refusal, expect_rollout, operator, policy, request, service,
    verdict,
};

#[test]
fn a_freeze_fences_permits_of_its_scope_and_no_other() {
    let mut world = World::ready_with(&Policy { budget_start: 4, ..policy() });
    world.request("c1", "a");
    world.request("c2", "b");
    world.renew("c1");
    let scope = Scope::Service(service("a"));
    let freeze = world.freeze(&scope, agent());
    assert_eq!(world.freeze(&scope, agent()).id, freeze.id, "an equal one is found");
    let answer = world.renew("c1");
    assert_eq!((answer.decision.kind, codes(&answer)), (DecisionKind::Deny, vec!["frozen"]));
    assert_eq!(world.state("c1"), StateName::Applying);
    assert!(world.renew("c2").decision.permit.is_some());
    world.thaw(freeze.id, false, operator());
    world.attest(VerdictKind::Live, OLD);
    assert!(matches!(expect_refusal(world.call_renew("c1")), Refusal::OldEpoch { .. }));
    assert!(world.request("c1", "a").decision.permit.is_some(), "asking again gives a new one");
}

#[test]
fn a_thaw_is_refused_while_the_cause_holds() {
    let mut world = World::ready();
    world.bake("c1", "a");
    world.attest(VerdictKind::TelemetryLost, NEW);
    let id = world.in_force()[0].id;
    let refusal = expect_refusal(world.thaw(id, false, operator()));
    assert!(matches!(refusal, Refusal::CauseHolds { .. }), "{refusal:?}");
    world.thaw(id, true, operator());
    assert!(world.in_force().is_empty(), "override lifts it");
    world.watch(1_000, VerdictKind::TelemetryLost, NEW);
    assert!(world.in_force().is_empty(), "and the next turn does not overrule the person");
}

#[test]
fn a_service_that_goes_blind_after_its_confirmation_puts_it_under_suspicion() {
    let mut world = World::ready();
    world.bake("c1", "a");
    world.watch(4_250, VerdictKind::Live, NEW);
    world.watch(60_000, VerdictKind::Live, NEW);
    world.attest(VerdictKind::TelemetryLost, NEW);
    assert!(matches!(world.in_force()[0].cause, FreezeCause::Suspicion { .. }));
    assert_eq!(calls(&world), 1);
    assert_eq!(world.state("c1"), StateName::Confirmed, "taking it back is a person's choice");
    world.attest(VerdictKind::TelemetryLost, NEW);
    assert_eq!(calls(&world), 0, "one call is enough");
    expect_rollout(world.settle("c1", Settlement::Reverting, operator()));
    assert_eq!(world.state("c1"), StateName::Reverting);
}

#[test]
fn mass_silence_freezes_the_fleet_and_calls_a_person_once() {
    let mut world = World::ready();
    let silent = || vec![verdict("a", VerdictKind::TelemetryLost, Vec::new())];
    world.attest_items(silent(), true);
    assert_eq!((world.in_force().len(), calls(&world)), (1, 1));
    world.attest_items(silent(), true);
    assert_eq!((world.in_force().len(), calls(&world)), (1, 0));
}

#[test]
fn a_permit_that_is_out_makes_a_blind_service_stop_the_line() {
    // Nobody said `renew` or `applied`; the change may have been applied all the same.
    let mut world = World::ready();
    world.request("c1", "a");
    world.attest(VerdictKind::TelemetryLost, OLD);
    assert_eq!((world.state("c1"), world.in_force().len()), (StateName::Held, 1));
    assert_eq!(codes(&world.request("c1", "a"))[0], "frozen");

    let mut world = World::ready();
    world.request("c1", "a");
    world.attest(VerdictKind::TelemetryLost, NEW);
    assert_eq!(world.state("c1"), StateName::Reverting, "the new revision is seen to run");
}

#[test]
fn the_rollout_in_flight_is_suspected_before_the_one_that_was_confirmed() {
    let mut world = World::ready();
    world.bake("c1", "a");
    world.watch(4_250, VerdictKind::Live, NEW);
    assert_eq!(world.state("c1"), StateName::Confirmed);
    let next = agent_gate_core::gate::event::RolloutRequest {
        from: Some(crate::world::revision(NEW)),
        to: crate::world::revision("v3"),
        ..request("c2", "a")
    };
    world.ask(next);
    world.renew("c2");
    world.attest(VerdictKind::TelemetryLost, NEW);
    assert_eq!(world.state("c2"), StateName::Reverting);
    assert_eq!(world.in_force().len(), 1, "one freeze, for the one in flight");
    assert_eq!(calls(&world), 0);
}
