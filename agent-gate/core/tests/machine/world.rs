//! A gate with a clock, a policy and a memory of all that it ever did.

use std::rc::Rc;

use agent_gate_core::Gate;
use agent_gate_core::gate::decision::DecisionRecord;
use agent_gate_core::gate::effect::{Answer, Effect, Record, Refusal, RevertOrder, RolloutAnswer};
use agent_gate_core::gate::event::{
    Caller, EffectResult, Entry, Event, Outcome, Role, RolloutRequest, Settlement,
};
use agent_gate_core::gate::freeze::Freeze;
use agent_gate_core::gate::ledger::Ledger;
use agent_gate_core::gate::rollout::{Rollout, StateName};
use agent_gate_core::ids::{Epoch, FreezeId, RolloutId};
use agent_gate_core::policy::{
    ApprovalRule, Policy, PolicySet, RevertAction, ServicePolicy, Tables,
};
use agent_gate_core::scope::Scope;
use watchdog_core::attestation::Attestation;
use watchdog_core::names::{Boot, Environment, Revision, Service};
use watchdog_core::tick::Tick;
use watchdog_core::verdict::{
    BeatEvidence, BeatState, ObserverEvidence, ProbeEvidence, ProbeState, RevisionEvidence,
    Verdict, VerdictKind,
};

use crate::invariants::{History, check};

pub const TTL_MS: u64 = 1_000;
pub const OLD: &str = "v1";
pub const NEW: &str = "v2";

#[derive(Clone)]
pub struct World {
    pub gate: Gate,
    pub now: Tick,
    pub policy: Rc<PolicySet>,
    pub history: History,
    pub journal: Vec<Entry>,
    pub decisions: Vec<DecisionRecord>,
    pub effects: Vec<Effect>,
    seq: u64,
}

pub fn service(name: &str) -> Service {
    Service::new(name).expect("a valid name")
}

pub fn revision(name: &str) -> Revision {
    Revision::new(name).expect("a valid name")
}

pub fn agent() -> Caller {
    Caller { name: "improver".to_owned(), role: Role::Agent }
}

pub fn operator() -> Caller {
    Caller { name: "ada".to_owned(), role: Role::Operator }
}

/// Short times, so that stories stay readable.
pub fn policy() -> Policy {
    Policy {
        approval: ApprovalRule::Production,
        dwell_ms: 2_000,
        bake_ms: 4_000,
        permit_ttl_ms: 3_000,
        appear_ms: 3_000,
        gap_max_ms: 2_500,
        patience_ms: 6_000,
        revert_deadline_ms: 20_000,
        revert_attempts: 3,
        held_ttl_ms: 30_000,
        ..Policy::default()
    }
}

pub fn policy_set(fleet: &Policy) -> PolicySet {
    let of = |(name, environment): (&str, &str)| ServicePolicy {
        name: service(name),
        environment: Environment::new(environment).expect("a valid name"),
        revert: RevertAction::Configured,
        tables: Tables::default(),
        policy: fleet.clone(),
    };
    let services = [("a", "default"), ("b", "default"), ("paid", "production")].map(of);
    PolicySet::new(fleet.clone(), services, |text| format!("{} bytes", text.len()))
}

pub fn request(change: &str, of: &str) -> RolloutRequest {
    RolloutRequest {
        change_id: change.parse().expect("a valid name"),
        service: service(of),
        from: Some(revision(OLD)),
        to: revision(NEW),
        digest: format!("sha256:{change}").parse().expect("a valid name"),
        agent: "improver".parse().expect("a valid name"),
        summary: "cache more".to_owned(),
        expected_effect: None,
        touches_telemetry: false,
        based_on: None,
        plan: None,
    }
}

/// What one revision has shown, all of it fine, with `records` so far.
pub fn shown(name: &str, instances: u32, records: u64) -> RevisionEvidence {
    RevisionEvidence {
        revision: revision(name),
        instances,
        records: Some(records),
        requests: Some(records / 2),
        errors: Some(0),
        witnessed: Some(records / 2),
        durations: None,
    }
}

pub fn verdict(of: &str, kind: VerdictKind, revisions: Vec<RevisionEvidence>) -> Verdict {
    Verdict {
        service: service(of),
        environment: Environment::new("default").expect("a valid name"),
        verdict: kind,
        since_ms: 0,
        stage: None,
        reason: format!("the test says {}", kind.as_str()).into(),
        revisions,
        signals: watchdog_core::roster::Roster::new(),
        beats: BeatEvidence {
            state: BeatState::Fresh,
            age_ms: Some(10),
            interval_ms: Some(100),
            authenticated: true,
        },
        witness: None,
        probes: ProbeEvidence {
            state: ProbeState::Returning,
            coverage: Some(1.0),
            age_ms: Some(10),
        },
        observer: ObserverEvidence { late_ms: 0, healthy: true, strain: 0 },
        instances: Vec::new(),
    }
}

impl World {
    /// A gate that has just started on an empty ledger.
    pub fn new() -> Self {
        Self::with(&policy())
    }

    pub fn with(fleet: &Policy) -> Self {
        let mut world = Self {
            gate: Gate::new(Ledger::default()),
            now: Tick(1_000_000),
            policy: Rc::new(policy_set(fleet)),
            history: History::default(),
            journal: Vec::new(),
            decisions: Vec::new(),
            effects: Vec::new(),
            seq: 0,
        };
        world.step(Event::GateStarted { last_alive: None });
        world
    }

    /// A gate that has seen `a`, `b` and `paid` live on the old revision for long enough and whose
    /// ways back are tried.
    pub fn ready() -> Self {
        Self::ready_with(&policy())
    }

    pub fn ready_with(fleet: &Policy) -> Self {
        let mut world = Self::with(fleet);
        world.watch(world.policy.fleet.dwell_ms + 500, VerdictKind::Live, OLD);
        for name in ["a", "b", "paid"] {
            world.request(&format!("try-{name}"), name);
            world.settle_dry_runs(&EffectResult::Done);
            let id = world.rollout(&format!("try-{name}")).id;
            world.step(Event::Abort { rollout: id, reason: "tried".to_owned(), by: agent() });
        }
        world
    }

    /// Steps the gate, remembers what it did and checks every invariant.
    pub fn step(&mut self, event: Event) -> Option<Answer> {
        let before = self.gate.ledger.clone();
        let effects = self.gate.step(event.clone(), self.now, &self.policy);
        let mut answer = None;
        for effect in &effects {
            match effect {
                Effect::Record(record) => match record.as_ref() {
                    Record::Journal(entry) => self.journal.push(entry.clone()),
                    Record::Decision(decision) => self.decisions.push(decision.clone()),
                    Record::Rollout(_)
                    | Record::Freeze(_)
                    | Record::Blocked(..)
                    | Record::Readiness(..)
                    | Record::Waiver(_)
                    | Record::Head(_) => {}
                },
                Effect::Answer(given) => {
                    assert!(answer.is_none(), "two answers to {event:?}");
                    answer = Some(given.as_ref().clone());
                }
                Effect::ShutLatch
                | Effect::ClearLatch { .. }
                | Effect::Revert(_)
                | Effect::DryRun(_)
                | Effect::CallPerson(_) => {}
            }
        }
        check(&before, &event, &effects, &self.gate, self.now, &self.policy, &mut self.history);
        self.effects = effects;
        answer
    }

    /// One attestation about all services, `kind` on `running`, at the present time.
    pub fn attest(&mut self, kind: VerdictKind, running: &str) {
        self.attest_each(|_| (kind, running.to_owned()));
    }

    pub fn attest_each(&mut self, of: impl Fn(&str) -> (VerdictKind, String)) {
        // Counts grow with time, as those of a service under load do.
        let records = self.now.0 / 10;
        let items = ["a", "b", "paid"].map(|name| {
            let (kind, running) = of(name);
            let old = shown(OLD, u32::from(running == OLD), records);
            let new = shown(NEW, u32::from(running == NEW), records);
            let seen = if running == NEW { vec![old, new] } else { vec![old] };
            verdict(name, kind, seen)
        });
        self.attest_items(items.to_vec(), false);
    }

    pub fn attest_items(&mut self, items: Vec<Verdict>, mass_silence: bool) {
        self.attest_as("dog", items, mass_silence);
    }

    pub fn attest_as(&mut self, watchdog: &str, items: Vec<Verdict>, mass_silence: bool) {
        self.seq += 1;
        let attestation = Attestation {
            watchdog: watchdog.to_owned(),
            boot: Boot::new("1000-x").expect("a valid name"),
            seq: self.seq,
            ttl_ms: TTL_MS,
            mass_silence,
            base: None,
            items,
        };
        assert_eq!(self.step(Event::Attested(attestation)), Some(Answer::Attested));
    }

    /// Lets `ms` pass with an attestation of `kind` every 250 ms, the first one now.
    pub fn watch(&mut self, ms: u64, kind: VerdictKind, running: &str) {
        let end = self.now.plus_ms(ms);
        self.attest(kind, running);
        while self.now < end {
            self.now = self.now.plus_ms(250).min(end);
            self.attest(kind, running);
        }
    }

    /// Lets `ms` pass in silence; the driver wakes at every deadline.
    pub fn pass(&mut self, ms: u64) {
        let end = self.now.plus_ms(ms);
        let mut effects = Vec::new();
        while let Some((at, _)) = self.gate.deadline().filter(|(at, _)| *at <= end) {
            // A driver that was stopped comes late.
            self.now = at.max(self.now);
            self.step(Event::Turn);
            effects.append(&mut self.effects);
        }
        self.now = end;
        self.step(Event::Turn);
        effects.append(&mut self.effects);
        self.effects = effects;
    }

    /// Ends all dry runs that run.
    pub fn settle_dry_runs(&mut self, result: &EffectResult) {
        for effect in self.effects.clone() {
            if let Effect::DryRun(order) = effect {
                let (service, effect, result) = (order.service, order.effect, result.clone());
                self.step(Event::DryRunDone { service, effect, result });
            }
        }
    }

    /// The last revert ordered by the last step.
    pub fn ordered_revert(&self) -> Option<RevertOrder> {
        self.effects.iter().rev().find_map(|effect| match effect {
            Effect::Revert(order) => Some(order.clone()),
            Effect::ShutLatch
            | Effect::Record(_)
            | Effect::ClearLatch { .. }
            | Effect::Answer(_)
            | Effect::DryRun(_)
            | Effect::CallPerson(_) => None,
        })
    }

    pub fn request(&mut self, change: &str, of: &str) -> RolloutAnswer {
        self.ask(request(change, of))
    }

    pub fn ask(&mut self, request: RolloutRequest) -> RolloutAnswer {
        expect_rollout(self.step(Event::Request { request, by: agent() }))
    }

    pub fn rollout(&self, change: &str) -> &Rollout {
        let change = change.parse().expect("a valid name");
        self.gate.ledger.by_change(&change).expect("the change was requested")
    }

    pub fn state(&self, change: &str) -> StateName {
        self.rollout(change).state.name()
    }

    pub fn epoch(&self, change: &str) -> Epoch {
        self.rollout(change).last_epoch.unwrap_or(Epoch(0))
    }

    pub fn call_renew(&mut self, change: &str) -> Option<Answer> {
        let (rollout, epoch) = (self.rollout(change).id, self.epoch(change));
        self.step(Event::Renew { rollout, epoch, step: None, by: agent() })
    }

    pub fn renew(&mut self, change: &str) -> RolloutAnswer {
        expect_rollout(self.call_renew(change))
    }

    pub fn call_applied(&mut self, change: &str) -> Option<Answer> {
        let (rollout, epoch) = (self.rollout(change).id, self.epoch(change));
        self.step(Event::Applied { rollout, epoch, revision: None, by: agent() })
    }

    pub fn applied(&mut self, change: &str) -> RolloutAnswer {
        expect_rollout(self.call_applied(change))
    }

    pub fn conclude(&mut self, change: &str, outcome: Outcome) -> RolloutAnswer {
        let rollout = self.rollout(change).id;
        expect_rollout(self.step(Event::Conclude { rollout, outcome, by: agent() }))
    }

    pub fn settle(&mut self, change: &str, to: Settlement, by: Caller) -> Option<Answer> {
        let rollout = self.rollout(change).id;
        self.step(Event::Settle { rollout, to, reason: "I looked".to_owned(), by })
    }

    /// Requests, begins and applies a change; it bakes on return.
    pub fn bake(&mut self, change: &str, of: &str) -> RolloutId {
        let answer = self.request(change, of);
        assert_eq!(answer.state, StateName::Allowed, "{:?}", answer.decision.reasons);
        assert_eq!(self.renew(change).state, StateName::Applying);
        assert_eq!(self.applied(change).state, StateName::Baking);
        answer.rollout
    }

    pub fn freeze(&mut self, scope: &Scope, by: Caller) -> Freeze {
        let reason = "stop".to_owned();
        match self.step(Event::Freeze { scope: scope.clone(), reason, by }) {
            Some(Answer::Freeze { freeze, .. }) => freeze,
            other => panic!("not a freeze: {other:?}"),
        }
    }

    pub fn thaw(&mut self, freeze: FreezeId, override_cause: bool, by: Caller) -> Option<Answer> {
        self.step(Event::Thaw { freeze, reason: "looked at".to_owned(), override_cause, by })
    }

    /// Stops the gate and starts it on what it stored, `outage_ms` later.
    pub fn restart(&mut self, outage_ms: u64) {
        let stored = serde_json::to_string(&self.gate.ledger).expect("a ledger is plain text");
        let ledger = serde_json::from_str(&stored).expect("a stored ledger is read back");
        assert_eq!(ledger, self.gate.ledger, "the store gives back what it was given");
        let last_alive = Some(self.now);
        self.now = self.now.plus_ms(outage_ms);
        self.gate = Gate::new(ledger);
        self.history.restarted();
        self.step(Event::GateStarted { last_alive });
    }

    pub fn in_force(&self) -> Vec<Freeze> {
        self.gate.ledger.in_force().cloned().collect()
    }

    /// Folds the journal from nothing and compares.
    pub fn check_journal(&self) {
        let mut folded = Ledger::default();
        for entry in &self.journal {
            folded.apply(entry.clone(), &self.policy);
        }
        assert_eq!(folded, self.gate.ledger, "the journal folds to the ledger");
    }

    /// Replays all decisions from their stored text.
    pub fn check_decisions(&self) {
        for record in &self.decisions {
            let text = serde_json::to_string(record).expect("a record is plain text");
            let read: DecisionRecord = serde_json::from_str(&text).expect("a record is read back");
            let again = serde_json::to_string(&read.replay()).expect("a decision is plain text");
            let first = serde_json::to_string(&record.decision).expect("a decision is plain text");
            assert_eq!(again, first, "decision {} replays byte for byte", record.id);
        }
    }
}

pub fn expect_rollout(answer: Option<Answer>) -> RolloutAnswer {
    match answer {
        Some(Answer::Rollout(answer)) => answer,
        other => panic!("not an answer about a rollout: {other:?}"),
    }
}

pub fn expect_refusal(answer: Option<Answer>) -> Refusal {
    match answer {
        Some(Answer::Refused(refusal)) => refusal,
        other => panic!("not a refusal: {other:?}"),
    }
}
