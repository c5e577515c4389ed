//! A fleet that is idle most of the time: traffic comes in bursts and stops at any moment, in the
//! middle of a beat, of an export, of both. Nothing is wrong with it, so nothing may be found that
//! freezes or reverts.
//!
//! `HOLDPOINT_SIM_MINUTES=600` makes it ten thousand hours of services.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use watchdog_core::beat::{BeatBody, Token};
use watchdog_core::names::{Boot, Environment, Instance, Revision, Service};
use watchdog_core::tally::{Flow, Red, Signal, SignalTally, TallyPage, TallyRow};
use watchdog_core::tick::Tick;
use watchdog_core::verdict::VerdictKind;
use watchdog_core::watch::{COLLECTOR_SERVICE, Effect, Event, ExpectedService, Watch, WatchConfig};

const SERVICES: usize = 1_000;
const START: u64 = 1_000_000;
/// First there is traffic, so that periods and shares are learnt.
const LEARN_MS: u64 = 60_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Beat(usize),
    Heard(usize, u64, u64),
    Export(usize),
    Arrival(usize, u64, bool),
    Burst(usize),
    Path(u64),
}

/// One service: a burst of work at a time.
#[derive(Debug)]
struct Worker {
    name: Service,
    rate: f64,
    works_from: u64,
    works_to: u64,
    unfinished: f64,
    done_until: u64,
    requests: u64,
    unexported: u64,
    export_ms: u64,
    seq: u64,
    traces: SignalTally,
    metrics: SignalTally,
}

impl Worker {
    /// Does what there was to do until `now`.
    fn work(&mut self, now: u64) {
        let from = self.done_until.max(self.works_from);
        let to = now.min(self.works_to);
        self.done_until = now;
        self.unfinished += to.saturating_sub(from) as f64 * self.rate / 1_000.0;
        let done = self.unfinished as u64;
        self.unfinished -= done as f64;
        self.requests += done;
        self.unexported += done;
    }
}

struct Fleet {
    watch: Watch,
    now: u64,
    random: u64,
    order: u64,
    queue: BinaryHeap<Reverse<(u64, u64, What)>>,
    workers: Vec<Worker>,
    idle: u64,
    bad: Vec<(u64, Service, VerdictKind, String)>,
}

fn empty() -> SignalTally {
    SignalTally { arrivals: 0, records: 0, changes: 0, last_age_ms: 0, late_ms: None }
}

impl Fleet {
    fn new() -> Self {
        let name = |index: usize| Service::new(format!("s{index}")).expect("valid");
        let environment = Environment::new("test").expect("valid");
        let expected =
            (0..SERVICES).map(|index| ExpectedService::named(name(index), environment.clone()));
        let watch = Watch::new(WatchConfig::default(), expected.collect(), Tick(START));
        let mut fleet = Self {
            watch,
            now: START,
            random: 0x9E37_79B9_7F4A_7C15,
            order: 0,
            queue: BinaryHeap::new(),
            workers: Vec::new(),
            idle: 0,
            bad: Vec::new(),
        };
        fleet.tell(Event::CollectorStarted { boot: Boot::new("1-c").expect("valid") });
        for index in 0..SERVICES {
            let export_ms = [200, 500, 1_000, 2_000, 5_000][fleet.below(5) as usize];
            let rate = 2.0 + fleet.below(98) as f64;
            fleet.workers.push(Worker {
                name: name(index),
                rate,
                works_from: START,
                works_to: START + LEARN_MS,
                unfinished: 0.0,
                done_until: START,
                requests: 0,
                unexported: 0,
                export_ms,
                seq: 0,
                traces: empty(),
                metrics: empty(),
            });
            let (beat, export) = (fleet.below(1_000), fleet.below(export_ms));
            fleet.after(beat, What::Beat(index));
            fleet.after(export, What::Export(index));
            let burst = LEARN_MS + fleet.below(60_000);
            fleet.after(burst, What::Burst(index));
        }
        fleet.after(1, What::Path(0));
        fleet
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16) % bound.max(1)
    }

    fn after(&mut self, ms: u64, what: What) {
        self.order += 1;
        self.queue.push(Reverse((self.now + ms, self.order, what)));
    }

    fn tell(&mut self, event: Event) {
        self.watch.step(event, Tick(self.now));
    }

    fn turn(&mut self) {
        for effect in self.watch.step(Event::Turn, Tick(self.now)) {
            match effect {
                Effect::VerdictChanged { service } => {
                    let verdict = self.watch.verdict(&service, Tick(self.now)).expect("known");
                    match verdict.verdict {
                        VerdictKind::Live | VerdictKind::Unknown => {}
                        VerdictKind::Idle => self.idle += 1,
                        VerdictKind::HeartbeatLost
                        | VerdictKind::Lossy
                        | VerdictKind::Frozen
                        | VerdictKind::Forged
                        | VerdictKind::TelemetryLost
                        | VerdictKind::Down => {
                            self.bad.push((
                                self.now,
                                service,
                                verdict.verdict,
                                verdict.reason.to_string(),
                            ));
                        }
                    }
                }
                Effect::ConvictCollector { .. } => panic!("nothing is wrong with the collector"),
                Effect::MassSilence { on } => assert!(!on, "nobody fell silent"),
            }
        }
    }

    fn run(mut self, ms: u64) -> Self {
        let end = START + ms;
        while let Some(Reverse((at, _, what))) = self.queue.pop() {
            while let Some((due, _)) = self.watch.deadline()
                && due.0 < at
            {
                self.now = self.now.max(due.0);
                self.turn();
            }
            self.now = at;
            if at > end {
                break;
            }
            self.happen(what);
        }
        self
    }

    fn happen(&mut self, what: What) {
        let delay = 1 + self.below(40);
        match what {
            What::Beat(index) => {
                let worker = &mut self.workers[index];
                worker.work(self.now);
                worker.seq += 1;
                let heard = What::Heard(index, worker.seq, worker.requests);
                self.after(delay, heard);
                self.after(1_000, What::Beat(index));
            }
            What::Heard(index, seq, requests) => {
                let service = self.workers[index].name.clone();
                self.tell(beat(service, "i", "1-a", seq, Some(requests)));
            }
            What::Export(index) => {
                let worker = &mut self.workers[index];
                worker.work(self.now);
                let spans = std::mem::take(&mut worker.unexported);
                let period_ms = worker.export_ms;
                self.after(delay, What::Arrival(index, spans, spans > 0));
                self.after(period_ms, What::Export(index));
            }
            What::Arrival(index, spans, changed) => self.arrive(index, spans, changed),
            What::Burst(index) => {
                let lasts = 50 + self.below(20_000);
                let worker = &mut self.workers[index];
                worker.work(self.now);
                (worker.works_from, worker.works_to) = (self.now, self.now + lasts);
                let next = lasts + self.below(120_000);
                self.after(next, What::Burst(index));
            }
            What::Path(turn) => {
                let service = Service::new(COLLECTOR_SERVICE).expect("valid");
                self.tell(beat(service, "c", "1-c", turn + 1, None));
                if turn % 5 == 0 {
                    for signal in Signal::ALL {
                        self.tell(Event::ProbeSent { signal, seq: turn });
                    }
                    let page = page(self.now, Vec::new());
                    self.tell(Event::TallyRead { page });
                } else if turn % 5 == 1 {
                    for signal in Signal::ALL {
                        self.tell(Event::ProbeReturned { signal, seq: turn - 1, right: true });
                    }
                }
                self.turn();
                self.after(100, What::Path(turn + 1));
            }
        }
    }

    fn arrive(&mut self, index: usize, spans: u64, changed: bool) {
        let worker = &mut self.workers[index];
        worker.metrics.arrivals += 1;
        worker.metrics.records += 3;
        worker.metrics.changes += u64::from(changed);
        if spans > 0 {
            worker.traces.arrivals += 1;
            worker.traces.changes += 1;
            worker.traces.records += spans;
        }
        let has_traces = worker.traces.arrivals > 0;
        let requests = worker.traces.records;
        let row = TallyRow {
            service: worker.name.clone(),
            instance: Some(Instance::new("i").expect("valid")),
            revision: Some(Revision::new("r1").expect("valid")),
            // The age of what did not come now is not looked at.
            traces: has_traces.then(|| worker.traces.clone()),
            metrics: Some(worker.metrics.clone()),
            logs: None,
            red: has_traces.then_some(Red { requests, errors: 0, durations: [0; 16] }),
            particulars: None,
        };
        let page = page(self.now, vec![row]);
        self.tell(Event::TallyRead { page });
    }
}

fn beat(service: Service, instance: &str, boot: &str, seq: u64, requests: Option<u64>) -> Event {
    let body = BeatBody {
        instance: Instance::new(instance).expect("valid"),
        boot: Boot::new(boot).expect("valid"),
        seq,
        token: Token::Number(seq),
        requests,
        errors: None,
        revision: None,
        leaving: false,
    };
    Event::BeatHeard { service, body, authenticated: true, told: 1 }
}

fn page(now: u64, rows: Vec<TallyRow>) -> TallyPage {
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
    TallyPage {
        boot: Boot::new("1-c").expect("valid"),
        cursor: now,
        rows,
        echoes: Vec::new(),
        flow,
    }
}

#[test]
fn a_fleet_that_is_idle_between_bursts_is_never_taken_for_broken() {
    let minutes = std::env::var("HOLDPOINT_SIM_MINUTES").ok().and_then(|text| text.parse().ok());
    let minutes: u64 = minutes.unwrap_or(3);
    let fleet = Fleet::new().run(minutes * 60_000);
    println!("{} hours of services, {} times idle", SERVICES as u64 * minutes / 60, fleet.idle);
    assert!(fleet.idle > 0, "they were idle now and then");
    assert!(
        fleet.bad.is_empty(),
        "{} found: {:?}",
        fleet.bad.len(),
        &fleet.bad[..8.min(fleet.bad.len())]
    );
}
