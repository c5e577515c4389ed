//! Planned silence: it freezes nothing, and nothing rolls out on it.

use std::collections::BTreeSet;

use agent_gate_core::gate::effect::{Answer, Refusal};
use agent_gate_core::gate::event::{Caller, Event, Role};
use agent_gate_core::gate::rollout::StateName;
use agent_gate_core::gate::waiver::{WAIVABLE, WaiverRequest};
use agent_gate_core::ids::WaiverId;
use agent_gate_core::scope::Scope;
use watchdog_core::verdict::VerdictKind;

use super::codes;
use crate::world::{NEW, OLD, World, agent, expect_refusal, operator, service};

fn waive(world: &mut World, span_ms: u64, by: Caller) -> Option<Answer> {
    let waiver = WaiverRequest {
        scope: Scope::Service(service("a")),
        verdicts: BTreeSet::from(WAIVABLE),
        reason: "moving house".to_owned(),
        from: None,
        span_ms,
    };
    world.step(Event::Waive { waiver, by })
}

/// A gate that has confirmed a rollout of `a`, whose silence would be suspicious.
fn confirmed() -> World {
    let mut world = World::ready();
    world.bake("c1", "a");
    world.watch(5_000, VerdictKind::Live, NEW);
    assert_eq!(world.state("c1"), StateName::Confirmed);
    world
}

#[test]
fn planned_silence_freezes_nothing_and_holds_rollouts_until_it_ends_by_itself() {
    let mut world = confirmed();
    waive(&mut world, 4_000, operator());
    world.watch(2_000, VerdictKind::TelemetryLost, NEW);
    assert!(world.in_force().is_empty(), "it is planned");
    let answer = world.request("c2", "a");
    assert!(codes(&answer).contains(&"waived") && answer.decision.permit.is_none());
    world.restart(100);
    world.watch(1_000, VerdictKind::TelemetryLost, NEW);
    assert!(world.in_force().is_empty(), "a restart keeps it");
    world.watch(3_000, VerdictKind::TelemetryLost, NEW);
    assert_eq!(world.in_force().len(), 1, "silence that outlasts its plan is suspicious");
    world.check_journal();
    world.check_decisions();
}

#[test]
fn a_live_service_gets_no_permit_while_its_silence_is_planned() {
    let mut world = World::ready();
    waive(&mut world, 4_000, operator());
    world.watch(500, VerdictKind::Live, OLD);
    assert_eq!(codes(&world.request("c1", "a")), ["waived"]);
    let end = |by| Event::EndWaiver { waiver: WaiverId(1), reason: "moved".to_owned(), by };
    let refusal = expect_refusal(world.step(end(agent())));
    assert_eq!(refusal, Refusal::Role { needs: "operator" });
    world.step(end(operator()));
    assert_eq!(world.request("c1", "a").state, StateName::Allowed, "live all the while");
}

#[test]
fn a_rollout_in_flight_is_judged_as_if_there_were_no_waiver() {
    let mut world = World::ready();
    world.bake("c1", "a");
    waive(&mut world, 60_000, operator());
    world.attest(VerdictKind::TelemetryLost, NEW);
    assert_eq!(world.state("c1"), StateName::Reverting);
    assert_eq!(world.in_force().len(), 1);
}

#[test]
fn what_is_forged_is_not_hidden_by_planned_silence() {
    let mut world = confirmed();
    waive(&mut world, 60_000, operator());
    world.attest(VerdictKind::Forged, NEW);
    assert_eq!(world.in_force().len(), 1);
}

#[test]
fn only_a_person_waives_and_only_what_ends_in_time() {
    let mut world = World::ready();
    let bystanders = [Role::Agent, Role::Watchdog, Role::Viewer];
    for role in bystanders {
        let by = Caller { name: "x".to_owned(), role };
        let refusal = expect_refusal(waive(&mut world, 1_000, by));
        assert_eq!(refusal, Refusal::Role { needs: "operator" });
    }
    let max_ms = world.policy.fleet.waiver_max_ms;
    for span_ms in [0, max_ms + 1, u64::MAX] {
        let refusal = expect_refusal(waive(&mut world, span_ms, operator()));
        assert!(matches!(refusal, Refusal::NotWaivable { .. }), "{span_ms}");
    }
    assert!(matches!(waive(&mut world, max_ms, operator()), Some(Answer::Waiver { .. })));
}
