//! Policy: who may roll out, how far a freeze reaches, and what several watchdogs say together.

use agent_gate_core::gate::decision::DecisionKind;
use agent_gate_core::gate::effect::Refusal;
use agent_gate_core::gate::event::Event;
use agent_gate_core::gate::sight::Sight;
use agent_gate_core::policy::{Agents, Policy};
use agent_gate_core::scope::Scope;
use watchdog_core::attestation::Attestation;
use watchdog_core::names::Boot;
use watchdog_core::tick::Tick;
use watchdog_core::verdict::VerdictKind;

use super::{calls, codes};
use crate::world::{
    NEW, OLD, World, agent, expect_refusal, operator, policy, policy_set, request, service, shown,
    verdict,
};

#[test]
fn an_agent_that_policy_does_not_name_is_denied_and_the_rule_is_named() {
    let mut world = World::ready();
    let agents = Agents::only(&["ci-*"]);
    world.policy = policy_set(&Policy { agents, ..policy() }).into();
    let answer = world.request("c1", "a");
    assert_eq!(
        (answer.decision.kind, codes(&answer)[0]),
        (DecisionKind::Deny, "agent_not_allowed")
    );
    let rule = answer.decision.reasons[0].rule.as_ref().expect("a rule");
    assert_eq!((rule.table.as_str(), rule.key.as_str()), ("[policy]", "agents"));
    world.check_decisions();
}

#[test]
fn a_freeze_reaches_as_far_as_policy_says_for_its_cause() {
    let scopes = r#"{"telemetry_lost": "service", "down": "environment"}"#;
    for (kind, scope) in [
        (VerdictKind::TelemetryLost, Scope::Service(service("a"))),
        (VerdictKind::Down, Scope::Environment("default".parse().expect("a name"))),
        (VerdictKind::Lossy, Scope::Fleet),
    ] {
        let freeze_scope = serde_json::from_str(scopes).expect("a table");
        let mut world = World::ready_with(&Policy { freeze_scope, ..policy() });
        world.bake("c1", "a");
        world.attest(kind, NEW);
        assert_eq!(world.in_force()[0].scope, scope, "{kind:?}");
    }
}

#[test]
fn whoever_asked_for_a_rollout_does_not_approve_it() {
    let mut world = World::ready();
    let asked = request("c1", "paid");
    let digest = asked.digest.clone();
    world.step(Event::Request { request: asked, by: operator() });
    let rollout = world.rollout("c1").id;
    let reason = "mine".to_owned();
    let approve = Event::Approve { rollout, digest, reason, expires_in_ms: None, by: operator() };
    assert_eq!(expect_refusal(world.step(approve)), Refusal::OwnChange { rollout });
    assert!(world.rollout("c1").approvals.is_empty() && agent() != operator());
}

#[test]
fn a_watchdog_that_stands_alone_calls_a_person_once_and_a_quorum_overrules_it() {
    let terms = Policy { quorum: 2, ..policy() };
    let set = policy_set(&terms);
    let mut sight = Sight::default();
    for seq in 1..=20 {
        for (name, kind) in [
            ("w1", VerdictKind::Live),
            ("w2", VerdictKind::Live),
            ("w3", VerdictKind::TelemetryLost),
        ] {
            let attestation = Attestation {
                watchdog: name.to_owned(),
                boot: Boot::new("1000-x").expect("a name"),
                seq,
                ttl_ms: 1_000,
                mass_silence: false,
                base: None,
                items: vec![verdict("a", kind, vec![shown(OLD, 1, seq)])],
            };
            sight.attest(attestation, Tick(seq * 250), 5_000).expect("it is new");
        }
    }
    let now = Tick(5_000);
    let seen = sight.look(&service("a"), now, &set, &[]);
    assert_eq!((seen.verdict, seen.suspect.as_deref()), (VerdictKind::Live, Some("w3")));
    assert_eq!((seen.attested.len(), seen.live_ms), (3, Some(4_750)));
    let worst = sight.look(&service("a"), now, &policy_set(&policy()), &[]);
    assert_eq!((worst.verdict, worst.suspect.as_deref()), (VerdictKind::TelemetryLost, Some("w3")));
}

#[test]
fn a_person_is_told_once_of_a_watchdog_that_stands_alone() {
    let mut world = World::ready();
    let said = |kind| vec![verdict("a", kind, vec![shown(OLD, 1, 1)])];
    let mut told = 0;
    // Longer than the dwell: before it, a new watchdog knows nothing.
    for _ in 0..12 {
        world.now = world.now.plus_ms(250);
        world.attest(VerdictKind::Live, OLD);
        told += calls(&world);
        for name in ["w2", "w3"] {
            world.attest_as(name, said(VerdictKind::Live), false);
            told += calls(&world);
        }
        world.attest_as("w4", said(VerdictKind::TelemetryLost), false);
        told += calls(&world);
    }
    assert_eq!(told, 1, "{:?}", world.gate.ledger.dissent(&service("a")));
    assert_eq!(world.gate.ledger.dissent(&service("a")), Some("w4"));
    assert!(world.step(Event::Turn).is_none());
}
