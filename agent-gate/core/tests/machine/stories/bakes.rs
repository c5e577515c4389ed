//! Bakes: what is confirmed, what is inconclusive, and what the clock does meanwhile.

use agent_gate_core::gate::decision::DecisionKind;
use agent_gate_core::gate::effect::Refusal;
use agent_gate_core::gate::event::{Claim, Event, Settlement};
use agent_gate_core::gate::freeze::FreezeCause;
use agent_gate_core::gate::rollout::{Inconclusive, StateName};
use agent_gate_core::policy::{OnInconclusive, Policy};
use watchdog_core::tally::Durations;
use watchdog_core::verdict::{RevisionEvidence, VerdictKind};

use super::{calls, codes, inconclusive};
use crate::world::{
    NEW, OLD, World, agent, expect_refusal, expect_rollout, operator, policy, request, shown,
    verdict,
};

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

/// A revision whose requests all took up to the bound of bucket `bucket`.
fn took(bucket: usize, shown: RevisionEvidence) -> RevisionEvidence {
    let mut durations = Durations::default();
    durations[bucket] = shown.requests.expect("it has requests");
    RevisionEvidence { durations: Some(durations), ..shown }
}

#[test]
fn slower_than_before_is_taken_back_once_it_had_time_to_warm_up() {
    let mut world = World::ready();
    world.bake("c1", "a");
    let warm = world.now.plus_ms(policy().bake_ms / 4);
    let slower = |records| {
        let revisions = vec![took(3, shown(OLD, 0, 100_000)), took(6, shown(NEW, 1, records))];
        verdict("a", VerdictKind::Live, revisions)
    };
    let mut records = 200;
    while world.now < warm {
        world.attest_items(vec![slower(records)], false);
        assert_eq!(world.state("c1"), StateName::Baking);
        world.now = world.now.plus_ms(250);
        records += 20;
    }
    for _ in 0..6 {
        world.attest_items(vec![slower(records)], false);
        world.now = world.now.plus_ms(250);
        records += 100;
    }
    assert_eq!(world.state("c1"), StateName::Reverting);
    assert!(matches!(world.in_force()[0].cause, FreezeCause::Regressed { .. }));
    world.check_decisions();
}

#[test]
fn slow_until_it_was_warm_is_forgiven_and_so_is_what_was_slow_before_the_bake() {
    let mut world = World::ready();
    world.bake("c1", "a");
    let mut fast = took(3, shown(NEW, 1, 200));
    fast.durations.as_mut().expect("told")[7] = 50;
    let end = world.now.plus_ms(policy().bake_ms + 2_000);
    while world.now < end {
        let item =
            verdict("a", VerdictKind::Live, vec![took(3, shown(OLD, 0, 100_000)), fast.clone()]);
        world.attest_items(vec![item], false);
        world.now = world.now.plus_ms(250);
        fast.durations.as_mut().expect("told")[3] += 100;
    }
    assert_eq!(world.state("c1"), StateName::Confirmed);
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
fn what_a_late_driver_did_not_watch_is_not_counted() {
    let mut world = World::ready_with(&Policy { dwell_ms: 1_000, ..policy() });
    world.bake("c1", "a");
    world.watch(1_000, VerdictKind::Live, NEW);
    // No turn for two seconds: the last attestation was good for one of them.
    world.now = world.now.plus_ms(2_000);
    world.watch(1_000 + 1_750, VerdictKind::Live, NEW);
    assert_eq!(world.state("c1"), StateName::Baking);
    world.watch(250, VerdictKind::Live, NEW);
    assert_eq!(world.state("c1"), StateName::Confirmed);
}

#[test]
fn counts_that_began_anew_are_counted_from_nothing() {
    // A collector that was restarted counts from zero: what is less than at the start of the bake
    // is all of the bake's.
    let mut world = World::ready();
    world.attest_items(
        vec![verdict("a", VerdictKind::Live, vec![shown(OLD, 1, 9_000), shown(NEW, 0, 1_000)])],
        false,
    );
    world.bake("c1", "a");
    let end = world.now.plus_ms(4_250);
    let mut records = 0;
    while world.now < end {
        world.now = world.now.plus_ms(250);
        // It ends a little above the mark of 1 000; counted from the mark it would be too little.
        records += 60;
        let items = vec![shown(OLD, 0, 9_000), shown(NEW, 1, records)];
        world.attest_items(vec![verdict("a", VerdictKind::Live, items)], false);
    }
    assert_eq!(records, 1_020);
    assert_eq!(world.state("c1"), StateName::Confirmed);
}

#[test]
fn a_bake_of_a_digest_that_silenced_another_service_is_given_to_a_person() {
    let mut world = World::ready_with(&Policy { budget_start: 2, ..policy() });
    let same = |change: &str, of: &str| agent_gate_core::gate::event::RolloutRequest {
        digest: "sha256:same".parse().expect("a valid name"),
        ..request(change, of)
    };
    for (change, of) in [("c1", "a"), ("c2", "b")] {
        world.ask(same(change, of));
        world.renew(change);
        world.applied(change);
    }
    world.attest_each(|name| {
        let kind = if name == "b" { VerdictKind::Frozen } else { VerdictKind::Live };
        (kind, NEW.to_owned())
    });
    assert_eq!(world.state("c2"), StateName::Reverting);
    assert_eq!(inconclusive(&world, "c1"), Some(Inconclusive::Blocked));
}
