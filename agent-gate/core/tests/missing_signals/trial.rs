//! One trial: services, collector, watchdog and gate in one simulated world, from start to end.
//!
//! Both cores are the real ones. The world jumps from event to event; every delay, request and
//! fault follows from the plan's seed.
//!
//! Invariant: one plan run twice gives one outcome.

use std::collections::BTreeMap;

use agent_gate_core::gate::decision::DecisionKind;
use agent_gate_core::gate::effect::RolloutAnswer;
use agent_gate_core::gate::event::{EffectResult, Event as GateEvent};
use agent_gate_core::gate::rollout::StateName;
use watchdog_core::admission::{Admission, Bounds, Origin, Seal};
use watchdog_core::attestation::Attestation;
use watchdog_core::beat::BeatBody;
use watchdog_core::names::{Boot, Environment, Instance, Revision, Service};
use watchdog_core::tally::Signal;
use watchdog_core::tick::Tick;
use watchdog_core::watch::{COLLECTOR_SERVICE, Effect, Event, ExpectedService, Watch, WatchConfig};

use crate::chance::Chance;
use crate::collector::Collector;
use crate::fault::{Export, Fault, Phase, Probes};
use crate::gated::{Gated, service};
use crate::plan::{Plan, START};
use crate::service::{Batch, NEW, OLD, Process};

/// How long a trial goes on after its fault began.
const HORIZON_MS: u64 = 150_000;

#[derive(Debug)]
enum What {
    Beat(usize),
    Heard(Service, BeatBody),
    Export(usize),
    Arrive(Instance, Revision, Batch),
    Poll,
    Probe,
    ProbeBack(u64),
    CollectorBeat,
    Attest,
    Agent,
    /// Stalls, clock steps and restarts, again and again.
    Trouble,
    DryRunDone,
    Break,
}

/// What the agent is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Agent {
    Asks,
    Applies { until: u64 },
    Done,
}

/// How a trial ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub state: Option<StateName>,
    /// A permit was given or prolonged while the fault was there to be seen.
    pub allowed: bool,
    pub froze: bool,
    /// From the onset until the gate no longer saw the service live, in milliseconds.
    pub shut_ms: Option<u64>,
}

impl Outcome {
    pub fn is_waved_through(&self) -> bool {
        self.allowed || self.state == Some(StateName::Confirmed)
    }
}

pub struct Trial {
    plan: Plan,
    chance: Chance,
    now: u64,
    queue: BTreeMap<(u64, u64), What>,
    order: u64,
    processes: Vec<Process>,
    collector: Collector,
    admission: Admission,
    watch: Watch,
    gated: Gated,
    agent: Agent,
    attested: u64,
    poll_failed_at: u64,
    /// When the fault began.
    broke: Option<u64>,
    shut: Option<u64>,
    allowed: bool,
    ends: u64,
}

impl Trial {
    pub fn new(plan: Plan) -> Self {
        let mut expected =
            ExpectedService::named(service(), Environment::new("default").expect("valid"));
        expected.instances_min = u32::try_from(plan.instances()).ok();
        let watch = Watch::new(WatchConfig::default(), vec![expected], Tick(START));
        let processes = (0..plan.instances())
            .map(|index| Process::new(index, OLD, START, plan.rate, plan.error_share))
            .collect();
        let mut trial = Self {
            chance: Chance::new(plan.seed ^ 0x5EED),
            now: START,
            queue: BTreeMap::new(),
            order: 0,
            processes,
            collector: Collector::new(service(), START),
            admission: Admission::new(Bounds { services: 10, instances: 10 }),
            watch,
            gated: Gated::new(START),
            agent: Agent::Asks,
            attested: 0,
            poll_failed_at: 0,
            broke: None,
            shut: None,
            allowed: false,
            ends: START + 600_000,
            plan,
        };
        trial.begin();
        trial
    }

    fn begin(&mut self) {
        self.tell(Event::CollectorStarted { boot: self.collector.boot() });
        self.plan_the_break();
        for index in 0..self.processes.len() {
            let phase = self.chance.between(0, 1_000);
            self.after(phase, What::Beat(index));
            let phase = self.chance.between(0, self.plan.export_ms);
            self.after(phase, What::Export(index));
        }
        for what in [What::Poll, What::Probe, What::CollectorBeat, What::Attest] {
            self.after(1, what);
        }
        self.after(self.plan.request_at - START, What::Agent);
    }

    /// First of all that happens at its moment.
    fn plan_the_break(&mut self) {
        if let (Phase::AtRequest, Some(fault)) = (self.plan.phase, self.plan.fault) {
            let early = fault.settles_ms() + self.chance.between(0, 5_000);
            let is_from_the_start = fault == Fault::NeverMeasured;
            let at = if is_from_the_start { START } else { self.plan.request_at - early };
            self.after(self.plan.onset_at(at) - START, What::Break);
            self.ends = self.plan.request_at + 40_000;
        }
    }

    fn after(&mut self, ms: u64, what: What) {
        self.order += 1;
        self.queue.insert((self.now + ms, self.order), what);
    }

    fn delay(&mut self) -> u64 {
        self.chance.between(1, self.plan.delay_ms + 1)
    }

    pub fn run(mut self) -> Outcome {
        while let Some((&(at, order), _)) = self.queue.first_key_value() {
            let due = [
                self.watch.deadline().map(|(at, _)| at.0),
                self.gated.gate.deadline().map(|(at, _)| at.0),
            ];
            let due = due.into_iter().flatten().min().filter(|due| *due < at);
            if let Some(due) = due {
                self.now = self.now.max(due);
                self.turn_watch();
                self.gated.step(GateEvent::Turn, self.now);
            } else {
                self.now = at;
                let what = self.queue.remove(&(at, order)).expect("it is the first one");
                self.happen(what);
            }
            self.look();
            if self.is_over() {
                break;
            }
        }
        Outcome {
            state: self.gated.state(),
            allowed: self.allowed,
            froze: self.gated.gate.ledger.in_force().next().is_some(),
            shut_ms: self.shut.zip(self.broke).map(|(shut, broke)| shut - broke),
        }
    }

    fn is_over(&self) -> bool {
        let settled = self.gated.state().is_some_and(|state| match state {
            StateName::Confirmed
            | StateName::Reverting
            | StateName::Reverted
            | StateName::Stuck
            | StateName::Inconclusive
            | StateName::Denied
            | StateName::Expired
            | StateName::Aborted => true,
            StateName::Held | StateName::Allowed | StateName::Applying | StateName::Baking => false,
        });
        settled || self.now >= self.ends
    }

    fn look(&mut self) {
        if self.broke.is_some() && self.shut.is_none() && !self.gated.sees_live(self.now) {
            self.shut = Some(self.now);
        }
    }

    fn tell(&mut self, event: Event) {
        assert!(self.watch.step(event, Tick(self.now)).is_empty(), "facts before judgement");
        self.turn_watch();
    }

    fn turn_watch(&mut self) {
        let effects = self.watch.step(Event::Turn, Tick(self.now));
        if effects.iter().any(|effect| !matches!(effect, Effect::ConvictCollector { .. })) {
            self.attest();
        }
    }

    fn attest(&mut self) {
        if self.broke.is_some() && self.plan.fault == Some(Fault::WatchdogSilent) {
            return;
        }
        self.attested += 1;
        let attestation = Attestation {
            watchdog: "dog".to_owned(),
            boot: Boot::new(format!("{START}-w")).expect("valid"),
            seq: self.attested,
            ttl_ms: 1_000,
            mass_silence: self.watch.mass_silence(),
            base: None,
            items: self.watch.verdicts(Tick(self.now)),
        };
        self.gated.step(GateEvent::Attested(attestation), self.now);
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Beat(index) => {
                if let Some(body) = self.processes[index].beat(self.now, &mut self.chance) {
                    let delay = self.delay();
                    self.after(delay, What::Heard(service(), body));
                }
                self.after(1_000, What::Beat(index));
            }
            What::Heard(service, body) => self.hear(service, body),
            What::Export(index) => self.export(index),
            What::Arrive(instance, revision, batch) => {
                self.collector.arrive(&instance, &revision, batch, self.now);
                let grid = 50 - self.now % 50;
                self.after(grid, What::Poll);
            }
            What::Poll => self.poll(),
            What::Probe => self.probe(),
            What::ProbeBack(seq) => {
                let right = self.probes() != Probes::Wrong;
                for signal in Signal::ALL {
                    self.tell(Event::ProbeReturned { signal, seq, right });
                }
            }
            What::CollectorBeat => {
                if let Some(body) = self.collector.beat() {
                    let service = Service::new(COLLECTOR_SERVICE).expect("valid");
                    self.tell(Event::BeatHeard { service, body, authenticated: true, told: 1 });
                }
                self.after(100, What::CollectorBeat);
            }
            What::Attest => {
                self.attest();
                self.after(250, What::Attest);
            }
            What::Agent => self.act(),
            What::Trouble => self.trouble(),
            What::DryRunDone => self.end_dry_runs(),
            What::Break => self.break_it(),
        }
    }

    fn hear(&mut self, service: Service, body: BeatBody) {
        let admitted = self.admission.admit(&service, &body, Seal::Unsigned, Origin::Loopback);
        if admitted.is_ok() {
            self.tell(Event::BeatHeard { service, body, authenticated: false, told: 1 });
        }
    }

    fn export(&mut self, index: usize) {
        let process = &mut self.processes[index];
        let late_ms = match process.fault.map(Fault::traces) {
            Some(Export::Late) => 30_000,
            Some(Export::Later) => {
                let broke = self.broke.expect("it has begun");
                ((self.now - broke) / 3).min(30_000)
            }
            Some(_) | None => 0,
        };
        let revision = process.revision.clone();
        let instance = process.instance().clone();
        if let Some(batch) = process.export(self.now, &mut self.chance) {
            let delay = self.delay() + late_ms;
            self.after(delay, What::Arrive(instance, revision, batch));
        }
        self.after(self.plan.export_ms, What::Export(index));
    }

    fn poll(&mut self) {
        let on_the_beat = self.now % 500 < 50;
        if self.collector.is_dirty() || on_the_beat {
            if let Some(page) = self.collector.page(self.now) {
                self.tell(Event::TallyRead { page });
            } else if self.now - self.poll_failed_at >= 500 {
                self.poll_failed_at = self.now;
                self.tell(Event::TallyFailed);
            }
        }
        if on_the_beat && !self.queue.values().any(|what| matches!(what, What::Poll)) {
            self.after(500 - self.now % 500, What::Poll);
        }
    }

    fn probes(&self) -> Probes {
        self.plan.fault.filter(|_| self.broke.is_some()).map_or(Probes::Right, Fault::probes)
    }

    fn probe(&mut self) {
        let seq = self.order;
        for signal in Signal::ALL {
            self.tell(Event::ProbeSent { signal, seq });
        }
        if self.probes() != Probes::Gone {
            let delay = 5 + self.delay();
            self.after(delay, What::ProbeBack(seq));
        }
        self.after(250, What::Probe);
    }

    fn end_dry_runs(&mut self) {
        for order in std::mem::take(&mut self.gated.dry_runs) {
            let (service, effect, result) = (order.service, order.effect, EffectResult::Done);
            self.gated.step(GateEvent::DryRunDone { service, effect, result }, self.now);
        }
    }

    fn break_it(&mut self) {
        let fault = self.plan.fault.expect("only a plan with a fault breaks");
        self.broke = Some(self.now);
        for index in 0..self.processes.len() {
            if fault.is_the_services() {
                self.processes[index].fault = self.plan.fault_of(index);
            }
        }
        self.collector.fault = Some(fault);
        self.after(0, What::Trouble);
        if self.plan.phase != Phase::AtRequest {
            self.ends = self.now + HORIZON_MS;
        }
    }

    fn trouble(&mut self) {
        match self.plan.fault {
            Some(Fault::WatchdogStalls) => {
                let gap_ms = self.chance.between(600, 2_000);
                self.tell(Event::ObserverLate { gap_ms });
                self.after(900, What::Trouble);
            }
            Some(Fault::ClockSteps) => {
                self.tell(Event::ClockStepped);
                self.gated.step(GateEvent::ClockJumped, self.now);
                self.after(1_900, What::Trouble);
            }
            Some(Fault::GateRestarts) => {
                self.gated.restart(self.now);
                self.after(3_000, What::Trouble);
            }
            Some(_) | None => {}
        }
    }

    /// Notes a permit that should not have been.
    fn note(&mut self, answer: Option<&RolloutAnswer>) -> bool {
        let is_allowed = answer.is_some_and(|answer| {
            answer.decision.kind == DecisionKind::Allow && answer.decision.permit.is_some()
        });
        let settled = self.broke.zip(self.plan.fault).is_some_and(|(broke, fault)| {
            self.plan.phase == Phase::AtRequest || self.now > broke + fault.settles_ms()
        });
        self.allowed |= is_allowed && (settled || self.shut.is_some());
        is_allowed
    }

    fn act(&mut self) {
        match self.agent {
            Agent::Asks => self.ask(),
            Agent::Applies { until } if self.now >= until => self.apply(),
            Agent::Applies { until } => {
                let answer = self.gated.renew(self.now);
                let goes_on = self.note(answer.as_ref()) || self.plan.is_rogue;
                // A well-behaved agent that is refused stops, and asks again.
                self.agent = if goes_on { self.agent } else { Agent::Asks };
                self.after(until.saturating_sub(self.now).clamp(1, 4_000), What::Agent);
            }
            Agent::Done => {}
        }
    }

    fn ask(&mut self) {
        let answer = self.gated.request(self.now);
        if !self.gated.dry_runs.is_empty() {
            self.after(60, What::DryRunDone);
        }
        if !self.note(answer.as_ref()) {
            self.after(1_000, What::Agent);
            return;
        }
        let answer = self.gated.renew(self.now);
        self.note(answer.as_ref());
        self.agent = Agent::Applies { until: self.now + self.plan.apply_ms };
        self.after(2_000.min(self.plan.apply_ms), What::Agent);
        if self.plan.phase == Phase::Applying && self.plan.fault.is_some() && self.broke.is_none() {
            self.after(self.plan.onset_at(self.now) - self.now, What::Break);
        }
    }

    /// The new revision takes the candidate's place, and the agent calls it a success.
    fn apply(&mut self) {
        let index = self.plan.candidate();
        let Plan { rate, error_share, .. } = self.plan;
        let before = self.processes[index].fault;
        self.processes[index] = Process::new(index, NEW, self.now, rate, error_share);
        self.processes[index].fault = before;
        self.gated.applied(self.now);
        self.agent = Agent::Done;
        if self.plan.phase == Phase::Baking && self.plan.fault.is_some() {
            self.after(self.plan.onset_at(self.now) - self.now, What::Break);
        }
    }
}
