//! How long a turn of the verdict loop takes: `cargo bench -p watchdog --bench turn`.
//!
//! 100, 1 000 and 10 000 services beat once a second and export once a second, spread evenly;
//! probes return. The loop turns a hundred times a second, as it does under load, and publishes
//! four times a second. What is timed is one turn: the facts of ten milliseconds are told, judged
//! and, where it is time, shown. `TURN_SECONDS` (30) is how long it runs, in simulated time.
//!
//! Invariant: only turns in which all services are `live` are counted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use watchdog_core::beat::{BeatBody, Token};
use watchdog_core::names::{Boot, Instance, Revision, Service};
use watchdog_core::tally::{Flow, Red, Signal, SignalTally, TallyPage, TallyRow};
use watchdog_core::tick::Tick;
use watchdog_core::verdict::VerdictKind;
use watchdog_core::watch::{COLLECTOR_SERVICE, Event, Shown, Watch, WatchConfig};

const STEP_MS: u64 = 10;
const PAGE_MS: u64 = 50;
const PUBLISH_MS: u64 = 250;
/// Requests a second of each service.
const WORK: u64 = 20;

fn main() {
    let seconds = std::env::var("TURN_SECONDS").ok().and_then(|text| text.parse().ok());
    let seconds: u64 = seconds.unwrap_or(30);
    println!("services      p50       p99       max   processor");
    for services in [100, 1_000, 10_000] {
        let mut fleet = Fleet::new(services);
        for _ in 0..20_000 / STEP_MS {
            fleet.turn();
        }
        fleet.must_be_live();
        let mut times: Vec<Duration> =
            (0..seconds * 1_000 / STEP_MS).map(|_| fleet.turn()).collect();
        fleet.must_be_live();
        let sum: Duration = times.iter().sum();
        times.sort_unstable();
        let at = |percent: usize| times[(times.len() - 1) * percent / 100];
        let cpu = sum.as_secs_f64() / Duration::from_secs(seconds).as_secs_f64() * 100.0;
        println!(
            "{services:8} {:6} us {:6} us {:6} us {cpu:7.2} %",
            at(50).as_micros(),
            at(99).as_micros(),
            at(100).as_micros()
        );
    }
}

struct Fleet {
    watch: Watch,
    names: Vec<Service>,
    instance: Instance,
    revision: Revision,
    boot: Boot,
    now: u64,
    probes: u64,
    shown: Vec<Arc<Shown>>,
}

impl Fleet {
    fn new(services: u64) -> Self {
        let config = WatchConfig { beat_interval_ms: 1_000, ..WatchConfig::default() };
        let name = |n| Service::new(format!("service-{n:05}")).expect("a valid name");
        Self {
            watch: Watch::new(config, Vec::new(), Tick(0)),
            names: (0..services).map(name).collect(),
            instance: Instance::new("i").expect("a valid name"),
            revision: Revision::new("r1").expect("a valid name"),
            boot: Boot::new("1700000000000-b").expect("a valid name"),
            now: 1_000_000,
            probes: 0,
            shown: Vec::new(),
        }
    }

    /// One turn; says how long it took, without the making of the facts.
    fn turn(&mut self) -> Duration {
        self.now += STEP_MS;
        let (facts, now) = (self.facts(), Tick(self.now));
        let began = Instant::now();
        for fact in facts {
            self.watch.step(fact, now);
        }
        self.watch.step(Event::Turn, now);
        let publishes = self.now.is_multiple_of(PUBLISH_MS);
        if publishes {
            // What was shown before is dropped here, as a reader would.
            self.shown = self.watch.show();
            std::hint::black_box(self.watch.backdrop(now));
        }
        let took = began.elapsed();
        if publishes {
            std::hint::black_box(self.shown.len());
        }
        took
    }

    fn facts(&mut self) -> Vec<Event> {
        let second = self.now / 1_000;
        let mut facts: Vec<Event> = due(&self.names, self.now, STEP_MS)
            .map(|name| Event::BeatHeard {
                service: name.clone(),
                body: self.beat(second, second * WORK),
                authenticated: false,
                told: 1,
            })
            .collect();
        if self.now.is_multiple_of(100) {
            let service = Service::new(COLLECTOR_SERVICE).expect("a valid name");
            let body = self.beat(self.now / 100, 0);
            facts.push(Event::BeatHeard { service, body, authenticated: false, told: 1 });
        }
        if self.now.is_multiple_of(PUBLISH_MS) {
            self.probes += 1;
            for signal in Signal::ALL {
                facts.push(Event::ProbeSent { signal, seq: self.probes });
                let seq = self.probes;
                facts.push(Event::ProbeReturned { signal, seq, right: true });
            }
        }
        if self.now.is_multiple_of(PAGE_MS) {
            facts.push(Event::TallyRead { page: self.page(second) });
        }
        facts
    }

    fn beat(&self, seq: u64, requests: u64) -> BeatBody {
        BeatBody {
            instance: self.instance.clone(),
            boot: self.boot.clone(),
            seq,
            token: Token::Number(seq),
            requests: Some(requests),
            errors: None,
            revision: Some(self.revision.clone()),
            leaving: false,
        }
    }

    /// The exports of the last page's time, half a second after the beats.
    fn page(&self, second: u64) -> TallyPage {
        let row = |name: &Service| TallyRow {
            service: name.clone(),
            instance: Some(self.instance.clone()),
            revision: Some(self.revision.clone()),
            traces: Some(SignalTally {
                arrivals: second,
                records: second * WORK,
                changes: second,
                last_age_ms: 0,
                late_ms: None,
            }),
            metrics: None,
            logs: None,
            red: Some(Red { requests: second * WORK, errors: 0, durations: [0; 16] }),
            particulars: None,
        };
        TallyPage {
            boot: self.boot.clone(),
            cursor: self.now,
            rows: due(&self.names, self.now + 500, PAGE_MS).map(row).collect(),
            echoes: Vec::new(),
            flow: Flow {
                received: 0,
                forwarded: 0,
                refused: 0,
                dropped: 0,
                dropped_by_rule: 0,
                queued: 0,
                backend: false,
                last_forward_age_ms: None,
            },
        }
    }

    fn must_be_live(&self) {
        let live = self.shown.iter().filter(|shown| shown.kind() == VerdictKind::Live).count();
        let first = self.shown.first().map(|shown| shown.reason().to_owned());
        assert_eq!(live, self.names.len(), "{first:?}");
    }
}

/// Those whose turn in the second comes within the `step_ms` until `now`.
fn due(names: &[Service], now: u64, step_ms: u64) -> impl Iterator<Item = &Service> {
    let steps = 1_000 / step_ms;
    let place = now / step_ms % steps;
    let of = move |n: &usize| u64::try_from(*n).is_ok_and(|n| n % steps == place);
    names.iter().enumerate().filter(move |(n, _)| of(n)).map(|(_, name)| name)
}
