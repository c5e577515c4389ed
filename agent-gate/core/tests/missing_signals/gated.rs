//! The gate in the simulation, with the policy of a fresh installation, and the memory of what it
//! allowed.
//!
//! Invariant: the gate is asked and told through its own events; nothing looks into it but to read.

use std::rc::Rc;

use agent_gate_core::Gate;
use agent_gate_core::gate::effect::{Answer, DryRunOrder, Effect, RolloutAnswer};
use agent_gate_core::gate::event::{Caller, Event, Outcome, Role, RolloutRequest};
use agent_gate_core::gate::ledger::Ledger;
use agent_gate_core::gate::rollout::{Rollout, StateName};
use agent_gate_core::policy::{Policy, PolicySet, RevertAction, ServicePolicy, Tables};
use watchdog_core::names::{Environment, Revision, Service};
use watchdog_core::tick::Tick;

use crate::service::{NEW, OLD};

pub const SERVICE: &str = "checkout";
const CHANGE: &str = "change-1";

#[derive(Debug)]
pub struct Gated {
    pub gate: Gate,
    pub policy: Rc<PolicySet>,
    /// Dry runs that were ordered and not answered.
    pub dry_runs: Vec<DryRunOrder>,
}

pub fn service() -> Service {
    Service::new(SERVICE).expect("valid")
}

fn by() -> Caller {
    Caller { name: "improver".to_owned(), role: Role::Agent }
}

thread_local! {
    /// One policy for all trials of a thread: its hash is costly.
    static POLICY: Rc<PolicySet> = Rc::new(PolicySet::new(
        Policy::default(),
        [ServicePolicy {
            name: service(),
            environment: Environment::new("default").expect("valid"),
            revert: RevertAction::Configured,
            tables: Tables::default(),
            policy: Policy::default(),
        }],
        |text| format!("{} bytes", text.len()),
    ));
}

impl Gated {
    pub fn new(now: u64) -> Self {
        let policy = POLICY.with(Rc::clone);
        let mut gated = Self { gate: Gate::new(Ledger::default()), policy, dry_runs: Vec::new() };
        gated.step(Event::GateStarted { last_alive: None }, now);
        gated
    }

    pub fn step(&mut self, event: Event, now: u64) -> Option<Answer> {
        let mut answer = None;
        for effect in self.gate.step(event, Tick(now), &self.policy) {
            match effect {
                Effect::Answer(given) => answer = Some(*given),
                Effect::DryRun(order) => self.dry_runs.push(order),
                Effect::ShutLatch
                | Effect::Record(_)
                | Effect::ClearLatch { .. }
                | Effect::Revert(_)
                | Effect::CallPerson(_) => {}
            }
        }
        answer
    }

    /// Dies and starts again on what it stored.
    pub fn restart(&mut self, now: u64) {
        let stored = serde_json::to_string(&self.gate.ledger).expect("a ledger is plain text");
        let ledger = serde_json::from_str(&stored).expect("a stored ledger is read back");
        self.gate = Gate::new(ledger);
        self.step(Event::GateStarted { last_alive: Some(Tick(now)) }, now);
    }

    pub fn rollout(&self) -> Option<&Rollout> {
        self.gate.ledger.by_change(&CHANGE.parse().expect("valid"))
    }

    pub fn state(&self) -> Option<StateName> {
        self.rollout().map(|rollout| rollout.state.name())
    }

    pub fn sees_live(&self, now: u64) -> bool {
        self.gate.look(&service(), Tick(now), &self.policy).is_live()
    }

    pub fn request(&mut self, now: u64) -> Option<RolloutAnswer> {
        let revision = |name| Revision::new(name).expect("valid");
        let request = RolloutRequest {
            change_id: CHANGE.parse().expect("valid"),
            service: service(),
            from: Some(revision(OLD)),
            to: revision(NEW),
            digest: "sha256:abc".parse().expect("valid"),
            agent: "improver".parse().expect("valid"),
            summary: "cache more".to_owned(),
            expected_effect: None,
            touches_telemetry: false,
            based_on: None,
            plan: None,
        };
        about_a_rollout(self.step(Event::Request { request, by: by() }, now))
    }

    pub fn renew(&mut self, now: u64) -> Option<RolloutAnswer> {
        let rollout = self.rollout()?;
        let (rollout, epoch) = (rollout.id, rollout.last_epoch?);
        about_a_rollout(self.step(Event::Renew { rollout, epoch, step: None, by: by() }, now))
    }

    /// The agent says it applied, and that all is well.
    pub fn applied(&mut self, now: u64) {
        let Some((rollout, epoch)) =
            self.rollout().and_then(|rollout| Some((rollout.id, rollout.last_epoch?)))
        else {
            return;
        };
        self.step(Event::Applied { rollout, epoch, revision: None, by: by() }, now);
        let outcome = Outcome::Succeeded;
        self.step(Event::Conclude { rollout, outcome, by: by() }, now);
    }
}

fn about_a_rollout(answer: Option<Answer>) -> Option<RolloutAnswer> {
    match answer? {
        Answer::Rollout(answer) => Some(answer),
        Answer::Freeze { .. } | Answer::Waiver { .. } | Answer::Attested | Answer::Refused(_) => {
            None
        }
    }
}
