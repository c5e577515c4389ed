//! Stories: what happens to one rollout, told from the protocol.

use agent_gate_core::gate::decision::{Code, DecisionKind};
use agent_gate_core::gate::effect::{Answer, Effect, Refusal, RolloutAnswer};
use agent_gate_core::gate::event::{Claim, EffectResult, Event, Outcome, Settlement};
use agent_gate_core::gate::freeze::{FreezeCause, Stage};
use agent_gate_core::gate::rollout::{Inconclusive, State, StateName};
use agent_gate_core::policy::{OnInconclusive, Policy};
use agent_gate_core::scope::Scope;
use watchdog_core::verdict::VerdictKind;

use crate::world::{
    NEW, OLD, World, agent, expect_refusal, expect_rollout, operator, policy, request, service,
    shown, verdict,
};

fn codes(answer: &RolloutAnswer) -> Vec<&'static str> {
    answer.decision.reasons.iter().map(|reason| reason.code.as_str()).collect()
}

fn inconclusive(world: &World, change: &str) -> Option<Inconclusive> {
    match &world.rollout(change).state {
        State::Inconclusive { why } => Some(*why),
        _ => None,
    }
}

fn calls(world: &World) -> usize {
    world.effects.iter().filter(|effect| matches!(effect, Effect::CallPerson(_))).count()
}

/// Ends the revert that was ordered last.
fn revert_done(world: &mut World, result: EffectResult) {
    let order = world.ordered_revert().expect("a revert was ordered");
    let (effect, generation) = (order.effect, order.generation);
    world.step(Event::RevertDone { effect, generation, result });
}

#[test]
fn a_gate_that_starts_knows_nothing_and_holds() {
    let mut world = World::new();
    let answer = world.request("c1", "a");
    assert_eq!(answer.decision.kind, DecisionKind::Hold);
    assert_eq!(codes(&answer), ["unknown", "revert_untested"]);
    world.settle_dry_runs(&EffectResult::Done);
    world.watch(1_900, VerdictKind::Live, OLD);
    assert_eq!(codes(&world.request("c1", "a")), ["unknown"]);
    world.watch(100, VerdictKind::Live, OLD);
    let answer = world.request("c1", "a");
    assert_eq!((answer.state, answer.decision.kind), (StateName::Allowed, DecisionKind::Allow));
    assert!(answer.decision.permit.is_some());
}

#[test]
fn a_good_change_is_confirmed_after_a_whole_bake_in_live_sight() {
    let mut world = World::ready();
    world.bake("c1", "a");
    let answer = world.renew("c1");
    assert_eq!((answer.decision.kind, codes(&answer)), (DecisionKind::Hold, vec!["baking"]));
    world.watch(3_900, VerdictKind::Live, NEW);
    assert_eq!(world.state("c1"), StateName::Baking);
    world.watch(100, VerdictKind::Live, NEW);
    assert_eq!(world.state("c1"), StateName::Confirmed);
    assert_eq!(world.gate.ledger.budget(&world.policy.fleet), 2, "success doubles the budget");
    assert_eq!(codes(&world.request("c1", "a")), ["confirmed"]);
    world.check_journal();
    world.check_decisions();
}

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
fn silence_of_the_watchdog_stops_the_clock_and_then_calls_a_person() {
    let mut world = World::ready();
    world.bake("c1", "a");
    world.watch(1_000, VerdictKind::Live, NEW);
    world.pass(1_000 + 2_500);
    assert_eq!(world.state("c1"), StateName::Baking, "a gap of the limit is survived");
    world.pass(1);
    assert_eq!(inconclusive(&world, "c1"), Some(Inconclusive::Gap));
    assert_eq!(calls(&world), 1);
    assert!(world.in_force().is_empty(), "silence is no reason to freeze");
    world.watch(60_000, VerdictKind::Live, NEW);
    assert_eq!(world.state("c1"), StateName::Inconclusive, "never confirmed by itself");
    let refusal = expect_refusal(world.settle("c1", Settlement::Confirmed, agent()));
    assert_eq!(refusal, Refusal::Role { needs: "operator" });
    expect_rollout(world.settle("c1", Settlement::Confirmed, operator()));
    assert_eq!(world.state("c1"), StateName::Confirmed);
    assert_eq!(world.gate.ledger.budget(&world.policy.fleet), 1, "a word raises no budget");
}

#[test]
fn a_short_gap_lengthens_the_bake_by_the_gap_and_the_dwell() {
    let mut world = World::ready_with(&Policy { dwell_ms: 1_000, ..policy() });
    world.bake("c1", "a");
    world.watch(2_000, VerdictKind::Live, NEW);
    world.attest(VerdictKind::Idle, NEW);
    world.watch(2_000, VerdictKind::Idle, NEW);
    world.watch(1_750, VerdictKind::Live, NEW);
    assert_eq!(world.state("c1"), StateName::Baking);
    world.watch(500, VerdictKind::Live, NEW);
    assert_eq!(world.state("c1"), StateName::Confirmed);
}

#[test]
fn policy_may_take_back_what_could_not_be_judged() {
    let revert = Policy { on_inconclusive: OnInconclusive::Revert, ..policy() };
    let mut world = World::ready_with(&revert);
    world.bake("c1", "a");
    world.pass(3_000);
    assert_eq!(world.state("c1"), StateName::Reverting, "the new revision did not appear");
    assert!(world.in_force().is_empty());
    // The agent's silence alone never takes back what was applied.
    let mut world = World::ready_with(&revert);
    world.request("c1", "a");
    world.renew("c1");
    world.watch(3_000 + 2_750, VerdictKind::Live, OLD);
    assert_eq!(inconclusive(&world, "c1"), Some(Inconclusive::AgentSilent));
}

#[test]
fn a_permit_that_ran_out_stays_dead() {
    let mut world = World::ready();
    world.request("c1", "a");
    world.watch(2_750, VerdictKind::Live, OLD);
    assert_eq!(world.state("c1"), StateName::Allowed);
    world.watch(250, VerdictKind::Live, OLD);
    assert_eq!(world.state("c1"), StateName::Held);
    let answer = world.renew("c1");
    assert_eq!((answer.decision.kind, codes(&answer)), (DecisionKind::Hold, vec!["permit_ended"]));
    let again = world.request("c1", "a").decision.permit.expect("it asks anew");
    assert_eq!(again.id.to_string(), "p-000002", "another permit, not the dead one");
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
    let mut world = World::ready_with(&Policy { freeze_scope: narrow, ..policy() });
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
fn an_outage_of_the_gate_counts_as_a_gap() {
    let short = Policy { dwell_ms: 1_000, ..policy() };
    let mut world = World::ready_with(&short);
    world.bake("c1", "a");
    world.watch(1_000, VerdictKind::Live, NEW);
    world.restart(1_000);
    world.watch(1_000, VerdictKind::Live, NEW);
    assert_eq!(world.state("c1"), StateName::Baking);
    world.watch(3_000, VerdictKind::Live, NEW);
    assert_eq!(world.state("c1"), StateName::Confirmed);

    let mut world = World::ready_with(&short);
    world.bake("c1", "a");
    world.watch(1_000, VerdictKind::Live, NEW);
    world.restart(2_501);
    assert_eq!(inconclusive(&world, "c1"), Some(Inconclusive::Gap));
}

#[test]
fn a_clock_that_jumped_voids_every_lease() {
    let mut world = World::ready();
    world.request("c1", "a");
    world.step(Event::ClockJumped);
    assert_eq!(world.state("c1"), StateName::Held);
    assert_eq!(codes(&world.request("c1", "a")), ["unknown"]);
}

#[test]
fn production_needs_a_person_and_the_digest_that_was_shown() {
    let mut world = World::ready();
    let answer = world.request("c1", "paid");
    assert_eq!(codes(&answer), ["approval_needed"]);
    assert!(answer.decision.needs_approval);
    let rollout = answer.rollout;
    let approve = |digest: &str, by| Event::Approve {
        rollout,
        digest: digest.parse().expect("a valid name"),
        reason: "read it".to_owned(),
        expires_in_ms: Some(1_000),
        by,
    };
    let refusal = expect_refusal(world.step(approve("sha256:c1", agent())));
    assert_eq!(refusal, Refusal::Role { needs: "operator" });
    let refusal = expect_refusal(world.step(approve("sha256:other", operator())));
    assert_eq!(refusal, Refusal::DifferentDigest { rollout });
    world.step(approve("sha256:c1", operator()));
    world.watch(1_000, VerdictKind::Live, OLD);
    assert_eq!(codes(&world.request("c1", "paid")), ["approval_needed"], "it has ended");
    world.step(approve("sha256:c1", operator()));
    assert_eq!(world.request("c1", "paid").state, StateName::Allowed);
}

#[test]
fn the_budget_opens_by_doubling_and_closes_on_a_failure() {
    let mut world = World::ready();
    assert_eq!(world.request("c1", "a").state, StateName::Allowed);
    let answer = world.request("c2", "b");
    assert_eq!(codes(&answer), ["budget"]);
    world.conclude("c2", Outcome::Abandoned);
    world.renew("c1");
    world.applied("c1");
    world.watch(4_250, VerdictKind::Live, NEW);
    assert_eq!(world.state("c1"), StateName::Confirmed);
    let onward = |change: &str, of: &str| agent_gate_core::gate::event::RolloutRequest {
        from: Some(crate::world::revision(NEW)),
        to: crate::world::revision("v3"),
        ..request(change, of)
    };
    assert_eq!(world.ask(onward("c3", "b")).state, StateName::Allowed);
    assert_eq!(world.ask(onward("c4", "a")).state, StateName::Allowed, "two may be in flight");
    assert_eq!(codes(&world.ask(onward("c5", "a"))), ["service_busy", "budget"]);
    world.renew("c3");
    world.conclude("c3", Outcome::Abandoned);
    assert_eq!(world.state("c3"), StateName::Reverting);
    assert_eq!(world.gate.ledger.budget(&world.policy.fleet), 1, "a failure returns to one");
}

#[test]
fn a_held_rollout_keeps_its_place_for_a_while_and_starves_nobody_for_ever() {
    let mut world = World::ready_with(&Policy { held_share_ms: 5_000, ..policy() });
    assert_eq!(codes(&world.request("c1", "paid")), ["approval_needed"]);
    assert_eq!(codes(&world.request("c2", "a")), ["budget"], "the earlier one comes first");
    world.watch(5_000, VerdictKind::Live, OLD);
    assert_eq!(world.request("c2", "a").state, StateName::Allowed);
    world.watch(25_000, VerdictKind::Live, OLD);
    assert_eq!(world.state("c1"), StateName::Expired, "its agent did not ask again");
}

#[test]
fn a_change_id_stands_for_one_body() {
    let mut world = World::ready();
    let first = world.request("c1", "a");
    let again = world.request("c1", "a");
    assert_eq!(again.rollout, first.rollout);
    assert_eq!(again.decision.permit.map(|p| p.id), first.decision.permit.map(|p| p.id));
    let other = Event::Request { request: request("c1", "b"), by: agent() };
    let refusal = expect_refusal(world.step(other));
    assert_eq!(refusal, Refusal::DifferentBody { rollout: first.rollout });
}

#[test]
fn what_repeats_a_change_needs_it_confirmed_first() {
    let based = |change: &str, on: &str| agent_gate_core::gate::event::RolloutRequest {
        based_on: Some(on.to_owned()),
        ..request(change, "b")
    };
    let mut world = World::ready_with(&Policy { budget_start: 2, ..policy() });
    world.bake("c1", "a");
    assert_eq!(codes(&world.ask(based("c2", "c1"))), ["based_on_unproven"]);
    assert_eq!(codes(&world.ask(based("c3", "nothing")))[0], "based_on_unproven");
    world.watch(4_250, VerdictKind::Live, NEW);
    world.attest_each(|name| (VerdictKind::Live, if name == "a" { NEW } else { OLD }.to_owned()));
    let id = world.rollout("c1").id.to_string();
    assert_eq!(world.ask(based("c4", &id)).state, StateName::Allowed);

    let mut world = World::ready();
    world.bake("c1", "a");
    world.conclude("c1", Outcome::Abandoned);
    assert!(codes(&world.ask(based("c2", "c1"))).contains(&"based_on_failed"));
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
fn more_errors_than_before_are_taken_back() {
    let mut world = World::ready();
    world.bake("c1", "a");
    let mut worse = shown(NEW, 1, 200);
    worse.errors = Some(60);
    let item = verdict("a", VerdictKind::Live, vec![shown(OLD, 0, 100_000), worse]);
    world.attest_items(vec![item], false);
    assert_eq!(world.state("c1"), StateName::Reverting);
    assert!(matches!(world.in_force()[0].cause, FreezeCause::Regressed { .. }));
    world.check_decisions();
}

#[test]
fn too_little_evidence_is_inconclusive_and_not_clean() {
    let mut world = World::ready();
    world.bake("c1", "a");
    let end = world.now.plus_ms(4_000 + 6_000);
    while world.now < end {
        let few = verdict("a", VerdictKind::Live, vec![shown(OLD, 0, 100_000), shown(NEW, 1, 49)]);
        world.attest_items(vec![few], false);
        assert_eq!(world.state("c1"), StateName::Baking);
        world.now = world.now.plus_ms(250);
    }
    world.step(Event::Turn);
    assert_eq!(inconclusive(&world, "c1"), Some(Inconclusive::Thin));
}

#[test]
fn what_is_better_than_possible_stops_the_clock() {
    let mut world = World::ready();
    world.bake("c1", "a");
    let mut before = shown(OLD, 0, 4_000);
    before.errors = Some(400);
    let mut after = shown(NEW, 1, 500);
    (after.requests, after.witnessed) = (Some(500), Some(1_000));
    let end = world.now.plus_ms(2_750);
    while world.now < end {
        let item = verdict("a", VerdictKind::Live, vec![before.clone(), after.clone()]);
        world.attest_items(vec![item], false);
        world.now = world.now.plus_ms(250);
    }
    world.step(Event::Turn);
    assert_eq!(inconclusive(&world, "c1"), Some(Inconclusive::Gap));
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
fn a_service_without_configuration_is_held() {
    let mut world = World::ready();
    let item = verdict("stray", VerdictKind::Live, vec![shown(OLD, 1, 1_000)]);
    for _ in 0..12 {
        world.now = world.now.plus_ms(250);
        world.attest_items(vec![item.clone()], false);
    }
    assert_eq!(codes(&world.request("c1", "stray")), ["no_revert"]);
}

#[test]
fn the_way_back_leads_to_what_runs() {
    let mut world = World::ready();
    let wrong = agent_gate_core::gate::event::RolloutRequest {
        from: Some(crate::world::revision("v0")),
        ..request("c1", "a")
    };
    assert_eq!(codes(&world.ask(wrong)), ["from_not_running"]);
    let unsaid = agent_gate_core::gate::event::RolloutRequest { from: None, ..request("c2", "b") };
    world.now = world.now.plus_ms(250);
    world.attest(VerdictKind::Live, OLD);
    world.ask(unsaid);
    assert_eq!(world.rollout("c2").from, Some(crate::world::revision(OLD)));
    let same = agent_gate_core::gate::event::RolloutRequest {
        from: Some(crate::world::revision(NEW)),
        ..request("c3", "b")
    };
    assert!(codes(&world.ask(same)).contains(&"same_revision"));
}

#[test]
fn a_dry_run_that_fails_holds_and_is_tried_again_later() {
    let mut world = World::new();
    world.watch(2_500, VerdictKind::Live, OLD);
    world.request("c1", "a");
    world.settle_dry_runs(&EffectResult::Failed("no such host".to_owned()));
    assert_eq!(codes(&world.request("c1", "a")), ["revert_dry_run_failed"]);
    assert!(world.effects.iter().all(|effect| !matches!(effect, Effect::DryRun(_))));
    world.watch(29_750, VerdictKind::Live, OLD);
    world.request("c1", "a");
    world.watch(250, VerdictKind::Live, OLD);
    world.request("c1", "a");
    world.settle_dry_runs(&EffectResult::Done);
    assert_eq!(world.request("c1", "a").state, StateName::Allowed);
}

#[test]
fn what_the_agent_claims_stands_beside_what_is_seen() {
    let mut world = World::ready();
    let rollout = world.bake("c1", "a");
    world.attest(VerdictKind::HeartbeatLost, NEW);
    let claim =
        Claim { healthy: Some(true), requests: None, errors: Some(0), text: "{}".to_owned() };
    world.step(Event::Report { rollout, epoch: None, claim, by: agent() });
    assert_eq!(world.rollout("c1").contradictions, 1);
}

#[test]
fn another_agents_rollout_is_not_yours() {
    let mut world = World::ready();
    let rollout = world.request("c1", "a").rollout;
    let mut other = agent();
    other.name = "somebody".to_owned();
    let reason = "mine".to_owned();
    let refusal = expect_refusal(world.step(Event::Abort { rollout, reason, by: other }));
    assert_eq!(refusal, Refusal::NotYours { rollout });
}

#[test]
fn a_code_is_said_by_one_word_only() {
    let mut words: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    words.sort_unstable();
    let count = words.len();
    words.dedup();
    assert_eq!(words.len(), count);
}
