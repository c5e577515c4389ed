//! Random long histories: the journal folds back, decisions replay, and no invariant breaks.

use agent_gate_core::gate::event::{Claim, EffectResult, Event, Outcome, Settlement};
use agent_gate_core::gate::rollout::State;
use agent_gate_core::policy::{ApprovalRule, FreezeScope, OnInconclusive, Policy};
use agent_gate_core::scope::Scope;
use proptest::prelude::*;
use watchdog_core::verdict::VerdictKind;

use crate::world::{NEW, OLD, World, agent, operator, policy, request, service};

const SERVICES: [&str; 3] = ["a", "b", "paid"];

#[derive(Debug, Clone)]
enum Move {
    Request { change: u8, of: usize, based_on: Option<u8>, telemetry: bool },
    Renew(u8),
    Applied(u8),
    Report(u8, bool),
    Conclude(u8, Outcome),
    Approve(u8),
    Reject(u8),
    Settle(u8, Settlement),
    Freeze(usize),
    Thaw { override_cause: bool },
    Watch { ms: u64, kind: VerdictKind, new: bool },
    One { of: usize, kind: VerdictKind },
    Pass(u64),
    Jump(u64),
    DryRuns(bool),
    Revert(bool),
    Restart(u64),
    ClockJumps,
    Committed,
}

fn kind() -> impl Strategy<Value = VerdictKind> {
    prop_oneof![
        8 => Just(VerdictKind::Live),
        3 => proptest::sample::select(VerdictKind::ALL.to_vec()),
    ]
}

fn moves() -> impl Strategy<Value = Move> {
    let change = 0_u8..6;
    let of = 0_usize..SERVICES.len();
    prop_oneof![
        6 => (change.clone(), of.clone(), proptest::option::weighted(0.2, 0_u8..6), any::<bool>())
            .prop_map(|(change, of, based_on, telemetry)| Move::Request {
                change, of, based_on, telemetry
            }),
        5 => change.clone().prop_map(Move::Renew),
        5 => change.clone().prop_map(Move::Applied),
        1 => (change.clone(), any::<bool>()).prop_map(|(change, fine)| Move::Report(change, fine)),
        1 => change.clone().prop_map(|change| Move::Conclude(change, Outcome::Abandoned)),
        1 => change.clone().prop_map(|change| Move::Conclude(change, Outcome::Succeeded)),
        2 => change.clone().prop_map(Move::Approve),
        1 => change.clone().prop_map(Move::Reject),
        1 => change.clone().prop_map(|change| Move::Settle(change, Settlement::Confirmed)),
        1 => change.prop_map(|change| Move::Settle(change, Settlement::Reverting)),
        1 => (0_usize..4).prop_map(Move::Freeze),
        3 => any::<bool>().prop_map(|override_cause| Move::Thaw { override_cause }),
        10 => (1_u64..6_000, kind(), any::<bool>())
            .prop_map(|(ms, kind, new)| Move::Watch { ms, kind, new }),
        2 => (of, kind()).prop_map(|(of, kind)| Move::One { of, kind }),
        2 => (0_u64..8_000).prop_map(Move::Pass),
        1 => (0_u64..8_000).prop_map(Move::Jump),
        3 => any::<bool>().prop_map(Move::DryRuns),
        3 => any::<bool>().prop_map(Move::Revert),
        1 => (0_u64..5_000).prop_map(Move::Restart),
        1 => Just(Move::ClockJumps),
        1 => Just(Move::Committed),
    ]
}

fn policies() -> impl Strategy<Value = Policy> {
    let rules = [ApprovalRule::Never, ApprovalRule::Production, ApprovalRule::Always];
    let scopes = [FreezeScope::Fleet, FreezeScope::Environment, FreezeScope::Service];
    (
        proptest::sample::select(rules.to_vec()),
        proptest::sample::select(scopes.to_vec()),
        any::<bool>(),
        1_u32..4,
    )
        .prop_map(|(approval, freeze_scope, revert, budget_start)| Policy {
            approval,
            freeze_scope: freeze_scope.into(),
            on_inconclusive: if revert { OnInconclusive::Revert } else { OnInconclusive::Person },
            budget_start,
            ..policy()
        })
}

impl World {
    fn play(&mut self, chosen: &Move) {
        let name = |change: u8| format!("c{change}");
        let id = |world: &Self, change: u8| {
            let change = name(change).parse().expect("a valid name");
            world.gate.ledger.by_change(&change).map(|rollout| rollout.id)
        };
        match chosen {
            Move::Request { change, of, based_on, telemetry } => {
                let mut asked = request(&name(*change), SERVICES[*of]);
                asked.based_on = based_on.map(name);
                asked.touches_telemetry = *telemetry;
                // Some agents ship the same artifact everywhere, and some do not say from where.
                if change % 2 == 0 {
                    asked.digest = "sha256:same".parse().expect("a valid name");
                    asked.from = None;
                }
                self.step(Event::Request { request: asked, by: agent() });
            }
            Move::Renew(change) if id(self, *change).is_some() => {
                drop(self.call_renew(&name(*change)));
            }
            Move::Applied(change) if id(self, *change).is_some() => {
                drop(self.call_applied(&name(*change)));
            }
            Move::DryRuns(fine) => self.end_dry_runs(*fine),
            Move::Revert(fine) => self.end_reverts(*fine),
            Move::Watch { ms, kind, new } => self.watch(*ms, *kind, if *new { NEW } else { OLD }),
            Move::One { of, kind } => self.attest_each(|each| {
                let live = (VerdictKind::Live, NEW.to_owned());
                if each == SERVICES[*of] { (*kind, NEW.to_owned()) } else { live }
            }),
            Move::Pass(ms) => self.pass(*ms),
            // The driver was stopped: no turn at any deadline.
            Move::Jump(ms) => self.now = self.now.plus_ms(*ms),
            Move::Restart(ms) => self.restart(*ms),
            Move::ClockJumps => drop(self.step(Event::ClockJumped)),
            Move::Committed => {
                let freezes = self.in_force().iter().map(|freeze| freeze.id).collect();
                self.step(Event::Committed { freezes });
            }
            Move::Freeze(scope) => {
                let scopes = ["fleet", "service=a", "environment=production", "agent=improver"];
                self.freeze(&scopes[*scope].parse::<Scope>().expect("a valid scope"), agent());
            }
            Move::Thaw { override_cause } => {
                if let Some(freeze) = self.in_force().first() {
                    self.thaw(freeze.id, *override_cause, operator());
                }
            }
            Move::Report(change, _)
            | Move::Conclude(change, _)
            | Move::Approve(change)
            | Move::Reject(change)
            | Move::Settle(change, _) => {
                if let Some(rollout) = id(self, *change) {
                    self.play_about(rollout, chosen);
                }
            }
            Move::Renew(_) | Move::Applied(_) => {}
        }
    }

    fn play_about(&mut self, rollout: agent_gate_core::ids::RolloutId, chosen: &Move) {
        let known = self.gate.ledger.rollout(rollout).expect("it was found by its change");
        let digest = known.request.digest.clone();
        let reason = "because".to_owned();
        let event = match chosen {
            Move::Report(_, fine) => {
                let errors = Some(u64::from(!*fine));
                let text = "{}".to_owned();
                let claim = Claim { healthy: Some(*fine), requests: None, errors, text };
                Event::Report { rollout, epoch: None, claim, by: agent() }
            }
            Move::Conclude(_, outcome) => {
                Event::Conclude { rollout, outcome: *outcome, by: agent() }
            }
            Move::Approve(_) => {
                Event::Approve { rollout, digest, reason, expires_in_ms: None, by: operator() }
            }
            Move::Reject(_) => Event::Reject { rollout, digest, reason, by: operator() },
            Move::Settle(_, to) => Event::Settle { rollout, to: *to, reason, by: operator() },
            other => panic!("{other:?} is not about a rollout"),
        };
        self.step(event);
    }

    fn end_dry_runs(&mut self, fine: bool) {
        use agent_gate_core::gate::decision::Readiness;
        for name in SERVICES {
            let service = service(name);
            if let Readiness::Running { order } = self.gate.ledger.readiness(&service).clone() {
                let effect = order.effect;
                self.step(Event::DryRunDone { service, effect, result: result(fine) });
            }
        }
    }

    fn end_reverts(&mut self, fine: bool) {
        let running = |rollout: &agent_gate_core::gate::rollout::Rollout| match &rollout.state {
            State::Reverting(revert) => Some((revert.effect, revert.generation)),
            _ => None,
        };
        for (effect, generation) in self.gate.ledger.open().filter_map(running).collect::<Vec<_>>()
        {
            self.step(Event::RevertDone { effect, generation, result: result(fine) });
        }
    }
}

fn result(fine: bool) -> EffectResult {
    if fine { EffectResult::Done } else { EffectResult::Failed("no".to_owned()) }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_journal_folds_back_and_every_decision_replays(
        policy in policies(),
        played in proptest::collection::vec(moves(), 1..60),
    ) {
        let mut world = World::with(&policy);
        for chosen in &played {
            world.play(chosen);
        }
        world.check_journal();
        world.check_decisions();
    }

    #[test]
    fn a_journal_survives_its_text(played in proptest::collection::vec(moves(), 1..30)) {
        let mut world = World::ready();
        for chosen in &played {
            world.play(chosen);
        }
        for entry in &world.journal {
            let text = serde_json::to_string(entry).expect("an entry is plain text");
            let read: agent_gate_core::gate::event::Entry =
                serde_json::from_str(&text).expect("an entry is read back");
            prop_assert_eq!(&read, entry);
        }
    }
}

#[test]
fn random_histories_reach_every_state() {
    // The properties above say little if the moves never get anywhere.
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut reached = std::collections::BTreeSet::new();
    for _ in 0..300 {
        let long = proptest::collection::vec(moves(), 40..60);
        let played = long.new_tree(&mut runner).expect("a tree of moves").current();
        let mut world = World::ready_with(&Policy { budget_start: 3, ..policy() });
        for chosen in &played {
            world.play(chosen);
            reached.extend(world.gate.ledger.rollouts().map(|rollout| rollout.state.name()));
        }
    }
    let all = agent_gate_core::gate::rollout::StateName::ALL;
    let missing: Vec<_> = all.iter().filter(|name| !reached.contains(name)).collect();
    assert!(missing.is_empty(), "never reached: {missing:?}");
}
