//! A small world around one watch: services that beat, work and export, a collector that counts,
//! probes that return. Time is a number; the rig tells the watch of every deadline on its tick.
//!
//! Invariant: one rig run twice gives one transcript.

use std::collections::BTreeMap;

use watchdog_core::beat::{BeatBody, Token};
use watchdog_core::names::{Boot, Environment, Instance, Revision, Service};
use watchdog_core::tally::{Flow, Particulars, Red, Signal, SignalTally, TallyPage, TallyRow};
use watchdog_core::tick::Tick;
use watchdog_core::verdict::{Stage, Verdict, VerdictKind};
use watchdog_core::watch::{COLLECTOR_SERVICE, Effect, Event, ExpectedService, Watch, WatchConfig};

use crate::slowness::Slowness;

/// How one service behaves. Change it while the rig runs to break things.
#[derive(Debug, Clone)]
pub struct Behaviour {
    pub instance: &'static str,
    pub boot: String,
    pub revision: &'static str,
    pub beats: bool,
    pub beat_ms: u64,
    /// Whether the progress token moves.
    pub turns: bool,
    /// Whether beats carry a work counter.
    pub counts: bool,
    pub leaving: bool,
    /// One request every so many milliseconds; `None`: no work.
    pub work_ms: Option<u64>,
    /// Export period of each signal; `None`: not exported.
    pub traces_ms: Option<u64>,
    pub metrics_ms: Option<u64>,
    /// How long before a beat an export falls, for periods that divide each other.
    pub phase_ms: u64,
    /// Whether metric values change when they are exported.
    pub changes: bool,
    /// Of ten requests, so many become spans.
    pub share: u64,
    /// Of ten spans that were made, so many are sent, and each says that it stands for its part.
    pub sampled: u64,
    /// The collector refuses what is exported.
    pub refused: bool,
    /// A rule of the collector empties its traces.
    pub ruled_out: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            instance: "i1",
            boot: String::from("1000-a"),
            revision: "r1",
            beats: true,
            beat_ms: 1_000,
            turns: true,
            counts: true,
            leaving: false,
            work_ms: Some(50),
            traces_ms: Some(1_000),
            metrics_ms: None,
            phase_ms: 130,
            changes: true,
            share: 10,
            sampled: 10,
            refused: false,
            ruled_out: false,
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Process {
    seq: u64,
    turns: u64,
    requests: u64,
    unexported: u64,
    sampled: u64,
    boot: String,
    phase: u64,
}

#[derive(Debug, Clone)]
struct Row {
    traces: Option<SignalTally>,
    metrics: Option<SignalTally>,
    spans: u64,
    adjusted_milli: u64,
    refused: u64,
    ruled_out: u64,
    last: BTreeMap<Signal, u64>,
    dirty: bool,
}

/// The collector and the probes.
#[derive(Debug, Clone)]
pub struct Path {
    pub beats: bool,
    pub turns: bool,
    pub answers: bool,
    pub probes_pass: bool,
    /// The one signal whose probes do not pass, if there is one.
    pub drops: Option<Signal>,
    pub probes_right: bool,
    pub flow: Flow,
    pub boot: String,
}

#[derive(Clone)]
pub struct Rig {
    pub watch: Watch,
    pub now: u64,
    pub path: Path,
    pub services: BTreeMap<(String, &'static str), Behaviour>,
    processes: BTreeMap<(String, &'static str), Process>,
    rows: BTreeMap<(String, &'static str, &'static str), Row>,
    pub log: Vec<(u64, Effect)>,
    pub kinds: BTreeMap<String, Vec<(u64, VerdictKind)>>,
    collector_seq: u64,
    probe_seq: u64,
    waiting: Vec<(u64, u64)>,
    observer_stops_until: u64,
    /// The watchdog itself is slow.
    pub slow: Option<Slowness>,
}

pub const START: u64 = 100_000;

pub fn service(name: &str) -> Service {
    Service::new(name).expect("a valid name")
}

pub fn expected(name: &str) -> ExpectedService {
    ExpectedService::named(service(name), Environment::new("test").expect("a valid name"))
}

impl Rig {
    pub fn new(config: WatchConfig, expected: Vec<ExpectedService>) -> Self {
        let mut watch = Watch::new(config, expected, Tick(START));
        let boot = String::from("5000-c");
        let started = Event::CollectorStarted { boot: Boot::new(boot.clone()).expect("valid") };
        watch.step(started, Tick(START));
        let flow = Flow {
            received: 0,
            forwarded: 0,
            refused: 0,
            dropped: 0,
            dropped_by_rule: 0,
            queued: 0,
            backend: false,
            last_forward_age_ms: None,
        };
        let path = Path {
            beats: true,
            turns: true,
            answers: true,
            probes_pass: true,
            drops: None,
            probes_right: true,
            flow,
            boot,
        };
        Self {
            watch,
            now: START,
            path,
            services: BTreeMap::new(),
            processes: BTreeMap::new(),
            rows: BTreeMap::new(),
            log: Vec::new(),
            kinds: BTreeMap::new(),
            collector_seq: 0,
            probe_seq: 0,
            waiting: Vec::new(),
            observer_stops_until: 0,
            slow: None,
        }
    }

    /// One service with the defaults of the watch, run until it is live and learnt.
    pub fn live(behaviour: Behaviour) -> Self {
        let mut rig = Self::new(WatchConfig::default(), vec![]);
        rig.add("a", behaviour);
        rig.run(40_000);
        assert_eq!(rig.kind("a"), VerdictKind::Live, "{:?}", rig.verdict("a"));
        rig
    }

    pub fn add(&mut self, name: &str, behaviour: Behaviour) {
        let key = (name.to_owned(), behaviour.instance);
        let phase = 37 * u64::try_from(self.processes.len()).expect("few") % 500;
        let process = Process { phase, boot: behaviour.boot.clone(), ..Process::default() };
        self.processes.insert(key.clone(), process);
        self.services.insert(key, behaviour);
    }

    pub fn of(&mut self, name: &str) -> &mut Behaviour {
        self.services.get_mut(&(name.to_owned(), "i1")).expect("it was added")
    }

    pub fn tell(&mut self, event: Event) {
        if let Some(slow) = &mut self.slow {
            slow.wait(event);
            return;
        }
        assert!(self.watch.step(event, Tick(self.now)).is_empty(), "facts before judgement");
        self.turn();
    }

    pub fn turn(&mut self) {
        let effects = self.watch.step(Event::Turn, Tick(self.now));
        for effect in effects {
            if let Effect::VerdictChanged { service } = &effect {
                let verdict = self.watch.verdict(service, Tick(self.now)).expect("known");
                let name = service.as_str().to_owned();
                self.kinds.entry(name).or_default().push((self.now, verdict.verdict));
            }
            self.log.push((self.now, effect));
        }
    }

    /// Lets `ms` milliseconds pass, one by one.
    pub fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end {
            self.now += 1;
            self.tick();
        }
    }

    /// Runs until the service has the verdict, and says how long it took.
    pub fn until(&mut self, name: &str, kind: VerdictKind, within_ms: u64) -> u64 {
        let begin = self.now;
        while self.kind(name) != kind {
            assert!(
                self.now - begin <= within_ms,
                "{name} is not {kind:?} after {within_ms} ms but {:?}; {:?}",
                self.verdict(name),
                self.kinds
            );
            self.run(1);
        }
        self.now - begin
    }

    pub fn verdict(&self, name: &str) -> Verdict {
        self.watch.verdict(&service(name), Tick(self.now)).expect("the service is known")
    }

    pub fn kind(&self, name: &str) -> VerdictKind {
        self.watch
            .verdict(&service(name), Tick(self.now))
            .map_or(VerdictKind::Unknown, |v| v.verdict)
    }

    pub fn stage(&self, name: &str) -> Option<Stage> {
        self.verdict(name).stage
    }

    /// The watchdog does not run for `ms`; sockets fill up meanwhile.
    pub fn stall_observer(&mut self, ms: u64) {
        self.observer_stops_until = self.now + ms;
    }

    fn tick(&mut self) {
        if self.now < self.observer_stops_until {
            self.advance_services(false);
            return;
        }
        if self.now == self.observer_stops_until && self.now > 0 {
            let gap_ms = 5_000;
            self.tell(Event::ObserverLate { gap_ms });
        }
        self.advance_services(true);
        self.advance_path();
        if let Some(facts) = self.slow.as_mut().map(|slow| slow.facts_at(self.now)) {
            self.turn_with(facts);
            return;
        }
        if self.watch.deadline().is_some_and(|(at, _)| at <= Tick(self.now)) {
            self.turn();
            let next = self.watch.deadline();
            assert!(next.is_none_or(|(at, _)| at > Tick(self.now)), "a turn leaves nothing due");
        }
    }

    fn advance_services(&mut self, told: bool) {
        let keys: Vec<_> = self.services.keys().cloned().collect();
        for key in keys {
            let behaviour = self.services[&key].clone();
            let mut process = self.processes.remove(&key).expect("added with its service");
            if process.boot != behaviour.boot {
                process = Process {
                    boot: behaviour.boot.clone(),
                    phase: process.phase,
                    ..Process::default()
                };
            }
            let at = self.now + process.phase;
            if behaviour.work_ms.is_some_and(|every| at.is_multiple_of(every)) {
                process.requests += 1;
                process.sampled += behaviour.share;
                process.unexported += process.sampled / 10;
                process.sampled %= 10;
            }
            self.export(&key, &behaviour, &mut process, at);
            if behaviour.beats && at.is_multiple_of(behaviour.beat_ms) {
                let event = beat(&key.0, &behaviour, &mut process);
                if told {
                    self.tell(event);
                }
            }
            self.processes.insert(key, process);
        }
    }

    fn export(
        &mut self,
        key: &(String, &'static str),
        behaviour: &Behaviour,
        process: &mut Process,
        at: u64,
    ) {
        let row = (key.0.clone(), key.1, behaviour.revision);
        let now = self.now;
        let due = |every: Option<u64>| {
            every.is_some_and(|every| (at + behaviour.phase_ms).is_multiple_of(every))
        };
        let traces = due(behaviour.traces_ms) && process.unexported > 0;
        let metrics = due(behaviour.metrics_ms);
        if !traces && !metrics {
            return;
        }
        let row = self.rows.entry(row).or_insert_with(|| Row {
            traces: None,
            metrics: None,
            spans: 0,
            adjusted_milli: 0,
            refused: 0,
            ruled_out: 0,
            last: BTreeMap::new(),
            dirty: true,
        });
        row.dirty = true;
        if behaviour.refused {
            row.refused += std::mem::take(&mut process.unexported);
            return;
        }
        if traces && behaviour.ruled_out {
            row.ruled_out += std::mem::take(&mut process.unexported);
        } else if traces {
            let made = std::mem::take(&mut process.unexported);
            let spans = made * behaviour.sampled / 10;
            row.spans += spans;
            row.adjusted_milli += spans * 10_000 / behaviour.sampled;
            arrive(&mut row.traces, spans, true);
            row.last.insert(Signal::Traces, now);
        }
        if metrics {
            arrive(&mut row.metrics, 3, behaviour.changes);
            row.last.insert(Signal::Metrics, now);
        }
    }

    fn advance_path(&mut self) {
        if self.path.beats && self.now.is_multiple_of(100) {
            self.collector_seq += 1;
            let turns = if self.path.turns { self.collector_seq } else { 0 };
            let body = BeatBody {
                instance: Instance::new("c").expect("valid"),
                boot: Boot::new(self.path.boot.clone()).expect("valid"),
                seq: self.collector_seq,
                token: Token::Number(turns),
                requests: None,
                errors: None,
                revision: None,
                leaving: false,
            };
            let service = service(COLLECTOR_SERVICE);
            self.tell(Event::BeatHeard { service, body, authenticated: true, told: 1 });
        }
        if self.now.is_multiple_of(250) {
            self.probe_seq += 1;
            for signal in Signal::ALL {
                self.tell(Event::ProbeSent { signal, seq: self.probe_seq });
            }
            self.waiting.push((self.now + 30, self.probe_seq));
        }
        if self.path.probes_pass && self.path.answers {
            let due: Vec<_> =
                self.waiting.iter().filter(|(at, _)| *at <= self.now).copied().collect();
            self.waiting.retain(|(at, _)| *at > self.now);
            for (_, seq) in due {
                let drops = self.path.drops;
                let passes = |signal: &Signal| drops != Some(*signal);
                let right = self.path.probes_right;
                for signal in Signal::ALL.into_iter().filter(passes) {
                    self.tell(Event::ProbeReturned { signal, seq, right });
                }
            }
        }
        if self.path.answers {
            let dirty = self.now.is_multiple_of(50) && self.rows.values().any(|row| row.dirty);
            let polls = match &self.slow {
                Some(slow) => slow.polls_at(self.now),
                None => dirty || self.now.is_multiple_of(500),
            };
            if polls {
                let page = self.page();
                self.tell(Event::TallyRead { page });
            }
        } else if self.now.is_multiple_of(500) {
            self.tell(Event::TallyFailed);
        }
    }

    fn page(&mut self) -> TallyPage {
        let now = self.now;
        let rows = self.rows.iter_mut().filter(|(_, row)| row.dirty);
        let rows = rows
            .map(|((name, instance, revision), row)| {
                row.dirty = false;
                let age = |signal| row.last.get(&signal).map_or(0, |at| now - at);
                let aged = |tally: &Option<SignalTally>, signal| {
                    tally.clone().map(|tally| SignalTally { last_age_ms: age(signal), ..tally })
                };
                TallyRow {
                    service: service(name),
                    instance: Some(Instance::new(*instance).expect("valid")),
                    revision: Some(Revision::new(*revision).expect("valid")),
                    traces: aged(&row.traces, Signal::Traces),
                    metrics: aged(&row.metrics, Signal::Metrics),
                    logs: None,
                    red: row.traces.is_some().then_some(Red {
                        requests: row.spans,
                        errors: 0,
                        // All of them take up to 10 ms.
                        durations: std::array::from_fn(|i| if i == 3 { row.spans } else { 0 }),
                    }),
                    particulars: Some(Particulars {
                        adjusted_requests_milli: row.adjusted_milli,
                        refused: row.refused,
                        ruled_out: [row.ruled_out, 0, 0],
                        ..Particulars::default()
                    }),
                }
            })
            .collect();
        TallyPage {
            boot: Boot::new(self.path.boot.clone()).expect("valid"),
            cursor: now,
            rows,
            echoes: Vec::new(),
            flow: self.path.flow.clone(),
        }
    }

    /// Another collector runs: its counts begin again.
    pub fn restart_collector(&mut self, boot: &str) {
        self.path.boot = boot.to_owned();
        self.path.beats = true;
        self.path.turns = true;
        self.path.answers = true;
        self.path.probes_pass = true;
        self.rows.clear();
        self.waiting.clear();
        self.tell(Event::CollectorStarted { boot: Boot::new(boot).expect("valid") });
    }
}

fn arrive(tally: &mut Option<SignalTally>, records: u64, changes: bool) {
    let tally = tally.get_or_insert(SignalTally {
        arrivals: 0,
        records: 0,
        changes: 0,
        last_age_ms: 0,
        late_ms: None,
    });
    tally.arrivals += 1;
    tally.records += records;
    tally.changes += u64::from(changes);
}

fn beat(name: &str, behaviour: &Behaviour, process: &mut Process) -> Event {
    process.seq += 1;
    process.turns += u64::from(behaviour.turns);
    let body = BeatBody {
        instance: Instance::new(behaviour.instance).expect("valid"),
        boot: Boot::new(behaviour.boot.clone()).expect("valid"),
        seq: process.seq,
        token: Token::Number(process.turns),
        requests: behaviour.counts.then_some(process.requests),
        errors: None,
        revision: Some(Revision::new(behaviour.revision).expect("valid")),
        leaving: behaviour.leaving,
    };
    Event::BeatHeard { service: service(name), body, authenticated: false, told: 1 }
}
