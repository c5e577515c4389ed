//! Admission: what holds, what denies, and what a permit is good for.

use agent_gate_core::gate::decision::{Code, DecisionKind};
use agent_gate_core::gate::effect::{Effect, Refusal};
use agent_gate_core::gate::event::{EffectResult, Event, Outcome, Settlement};
use agent_gate_core::gate::rollout::StateName;
use agent_gate_core::policy::Policy;
use watchdog_core::verdict::VerdictKind;

use super::codes;
use crate::world::{
    NEW, OLD, World, agent, expect_refusal, expect_rollout, operator, policy, request, shown,
    verdict,
};

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

#[test]
fn a_runaway_agent_fills_no_memory() {
    let mut world = World::ready_with(&Policy { open_max: 3, ..policy() });
    for change in ["c1", "c2", "c3"] {
        world.request(change, "a");
    }
    let request = request("c4", "a");
    let refusal = expect_refusal(world.step(Event::Request { request, by: agent() }));
    assert_eq!(refusal, Refusal::TooManyOpen { open: 3 });
    assert_eq!(
        world.request("c3", "a").state,
        StateName::Held,
        "open ones are asked for as before"
    );
}

#[test]
fn asking_again_does_not_prolong_a_permit() {
    let mut world = World::ready();
    let first = world.request("c1", "a").decision.permit.expect("all is well");
    world.watch(1_000, VerdictKind::Live, OLD);
    let again = world.request("c1", "a").decision.permit.expect("all is well");
    assert_eq!((again.id, again.expires), (first.id, first.expires));
    assert_eq!(again.expires_in_ms, first.expires_in_ms - 1_000);
    world.renew("c1");
    world.watch(1_000, VerdictKind::Live, OLD);
    let renewed = world.renew("c1").decision.permit.expect("all is well");
    assert!(renewed.expires > first.expires, "only a renewal does");
}

#[test]
fn a_passed_dry_run_grows_old() {
    let mut world = World::ready_with(&Policy { dry_run_ttl_ms: 10_000, ..policy() });
    world.watch(9_000, VerdictKind::Live, OLD);
    assert_eq!(world.request("c1", "a").state, StateName::Allowed);
    world.conclude("c1", Outcome::Abandoned);
    world.watch(1_000, VerdictKind::Live, OLD);
    assert_eq!(codes(&world.request("c2", "a")), ["revert_untested"]);
}

#[test]
fn one_change_that_touches_telemetry_is_in_flight_at_a_time() {
    let mut world = World::ready_with(&Policy { budget_start: 4, ..policy() });
    let touching = |change: &str, of: &str| agent_gate_core::gate::event::RolloutRequest {
        touches_telemetry: true,
        ..request(change, of)
    };
    assert_eq!(world.ask(touching("c1", "a")).state, StateName::Allowed);
    assert_eq!(codes(&world.ask(touching("c2", "b"))), ["telemetry_change_in_flight"]);
    assert_eq!(world.request("c3", "b").state, StateName::Allowed);
}

#[test]
fn what_a_person_confirmed_by_word_is_no_evidence_for_others() {
    let mut world = World::ready();
    world.bake("c1", "a");
    world.pass(3_000);
    expect_rollout(world.settle("c1", Settlement::Confirmed, operator()));
    world.watch(2_500, VerdictKind::Live, OLD);
    let based = agent_gate_core::gate::event::RolloutRequest {
        based_on: Some("c1".to_owned()),
        ..request("c2", "b")
    };
    assert_eq!(codes(&world.ask(based)), ["based_on_unproven"]);
}
