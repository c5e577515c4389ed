//! Healthy services under chance: requests at random times, late exporters, lost and jittered
//! beats, an observer that stalls. None of it may be taken for a fault.
//!
//! The simulation jumps from event to event, so that hours take seconds. Its figures stand in the
//! test names; `HOLDPOINT_SIM_MINUTES=600` runs it for ten hours each.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use watchdog_core::beat::{BeatBody, Token};
use watchdog_core::names::{Boot, Environment, Instance, Service};
use watchdog_core::tally::{Flow, Red, Signal, SignalTally, TallyPage, TallyRow};
use watchdog_core::tick::Tick;
use watchdog_core::verdict::VerdictKind;
use watchdog_core::watch::{COLLECTOR_SERVICE, Effect, Event, ExpectedService, Watch, WatchConfig};

/// How an exporter waits.
#[derive(Debug, Clone, Copy)]
pub enum Exporter {
    /// A timer that runs whether there is something to send or not.
    Timer,
    /// The batch waits from its first record on.
    Batch,
}

#[derive(Debug, Clone, Copy)]
pub struct Weather {
    pub work_ms: f64,
    pub export_ms: u64,
    pub exporter: Exporter,
    pub beat_ms: u64,
    /// Part of the beats that is lost, one by one.
    pub beat_loss: f64,
    /// Mean of the exponential delay of everything, in milliseconds.
    pub delay_ms: f64,
    /// Beats are lost in bursts (Gilbert-Elliott): five beats on average, 90 % of them lost.
    pub bursts: bool,
    /// The observer stalls this often an hour, for 0.3 to 30 s.
    pub observer_stalls: f64,
    pub seed: u64,
}

pub const CALM: Weather = Weather {
    work_ms: 50.0,
    export_ms: 1_000,
    exporter: Exporter::Timer,
    beat_ms: 1_000,
    beat_loss: 0.0,
    delay_ms: 3.0,
    bursts: false,
    observer_stalls: 0.0,
    seed: 1,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Request,
    Beat,
    BeatHeard(u64, u64),
    Timer,
    Export,
    Arrival(u64),
    Poll,
    Probe,
    ProbeBack(u64),
    CollectorBeat,
    CollectorHeard(u64),
    Stall,
    StallEnd(u64),
}

impl What {
    const fn is_the_observers(self) -> bool {
        match self {
            Self::BeatHeard(..)
            | Self::Poll
            | Self::Probe
            | Self::ProbeBack(_)
            | Self::CollectorHeard(_) => true,
            Self::Request
            | Self::Beat
            | Self::Timer
            | Self::Export
            | Self::Arrival(_)
            | Self::CollectorBeat
            | Self::Stall
            | Self::StallEnd(_) => false,
        }
    }
}

pub struct Sim {
    weather: Weather,
    watch: Watch,
    now: u64,
    random: u64,
    queue: BinaryHeap<Reverse<(u64, u64, What)>>,
    order: u64,
    seq: u64,
    requests: u64,
    unexported: u64,
    traces: SignalTally,
    last_arrival: Option<u64>,
    is_dirty: bool,
    blind_until: u64,
    pub found: BTreeMap<&'static str, u32>,
    live_ms: u64,
    is_live: bool,
    is_bad: bool,
    last_beat: u64,
    /// Live gaps between beats that reached the socket, longer than suspicion takes at the least.
    pub gaps: u32,
}

impl Sim {
    pub fn new(weather: Weather) -> Self {
        let mut service = ExpectedService::named(
            Service::new("a").expect("valid"),
            Environment::new("test").expect("valid"),
        );
        service.beat_interval_ms = Some(weather.beat_ms);
        let mut watch = Watch::new(WatchConfig::default(), vec![service], Tick(0));
        let boot = Boot::new("1-c").expect("valid");
        watch.step(Event::CollectorStarted { boot }, Tick(0));
        let mut sim = Self {
            weather,
            watch,
            now: 0,
            random: weather.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            queue: BinaryHeap::new(),
            order: 0,
            seq: 0,
            requests: 0,
            unexported: 0,
            traces: SignalTally {
                arrivals: 0,
                records: 0,
                changes: 0,
                last_age_ms: 0,
                late_ms: None,
            },
            last_arrival: None,
            is_dirty: false,
            blind_until: 0,
            found: BTreeMap::new(),
            live_ms: 0,
            is_live: false,
            is_bad: false,
            last_beat: 0,
            gaps: 0,
        };
        for what in
            [What::Request, What::Beat, What::Timer, What::Poll, What::Probe, What::CollectorBeat]
        {
            sim.after(1, what);
        }
        if weather.observer_stalls > 0.0 {
            let after = sim.exponential(3_600_000.0 / weather.observer_stalls);
            sim.after(after, What::Stall);
        }
        sim
    }

    /// A number in `[0, 1)`: xorshift64*.
    fn chance(&mut self) -> f64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let top = u32::try_from(self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32);
        f64::from(top.expect("32 bits are left")) / 4_294_967_296.0
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small, positive")]
    fn exponential(&mut self, mean_ms: f64) -> u64 {
        (-(1.0 - self.chance()).ln() * mean_ms) as u64
    }

    fn after(&mut self, ms: u64, what: What) {
        self.order += 1;
        self.queue.push(Reverse((self.now + ms, self.order, what)));
    }

    fn tell(&mut self, event: Event) {
        assert!(self.watch.step(event, Tick(self.now)).is_empty(), "facts before judgement");
    }

    fn turn(&mut self) {
        for effect in self.watch.step(Event::Turn, Tick(self.now)) {
            match effect {
                Effect::VerdictChanged { service } => {
                    let verdict = self.watch.verdict(&service, Tick(self.now)).expect("known");
                    self.is_live = verdict.verdict == VerdictKind::Live;
                    if verdict.verdict > VerdictKind::Unknown {
                        *self.found.entry(verdict.verdict.as_str()).or_default() += 1;
                    }
                }
                Effect::ConvictCollector { .. } => {
                    *self.found.entry("conviction").or_default() += 1;
                }
                Effect::MassSilence { .. } => panic!("one service is no mass"),
            }
        }
    }

    pub fn run(mut self, minutes: u64) -> Self {
        let end = minutes * 60_000;
        while let Some(Reverse((at, _, what))) = self.queue.pop() {
            while let Some((due, _)) = self.watch.deadline()
                && due.0.max(self.blind_until) < at
            {
                self.pass(due.0.max(self.blind_until));
                self.turn();
            }
            self.pass(at);
            if self.now > end {
                break;
            }
            self.happen(what);
        }
        self
    }

    /// Suspicions of the one service, all of them false: it lives.
    pub fn suspicions(&self) -> u32 {
        let all = self.watch.liveness(Tick(self.now));
        all.iter().map(|(_, liveness)| liveness.achieved.suspicions).sum()
    }

    fn pass(&mut self, at: u64) {
        if at > self.now {
            self.live_ms += if self.is_live { at - self.now } else { 0 };
            self.now = at;
        }
    }

    fn probes_leave(&mut self, seq: u64) {
        for signal in Signal::ALL {
            self.tell(Event::ProbeSent { signal, seq });
        }
    }

    fn probes_return(&mut self, seq: u64) {
        for signal in Signal::ALL {
            self.tell(Event::ProbeReturned { signal, seq, right: true });
        }
    }

    fn happen(&mut self, what: What) {
        let weather = self.weather;
        if self.now < self.blind_until && what.is_the_observers() {
            // The sockets and timers hold it until the watchdog runs again.
            self.after(self.blind_until - self.now, what);
            return;
        }
        let delay = self.exponential(weather.delay_ms);
        match what {
            What::Request => {
                self.requests += 1;
                self.unexported += 1;
                if matches!(weather.exporter, Exporter::Batch) && self.unexported == 1 {
                    self.after(weather.export_ms + delay, What::Export);
                }
                let next = self.exponential(weather.work_ms);
                self.after(next.max(1), What::Request);
            }
            What::Beat => {
                self.seq += 1;
                if self.is_carried() {
                    self.reach(delay);
                    self.after(delay, What::BeatHeard(self.seq, self.requests));
                }
                self.after(weather.beat_ms, What::Beat);
            }
            What::Timer => {
                if matches!(weather.exporter, Exporter::Timer) {
                    self.after(delay, What::Export);
                }
                self.after(weather.export_ms, What::Timer);
            }
            What::Export if self.unexported > 0 => {
                let spans = std::mem::take(&mut self.unexported);
                self.after(delay, What::Arrival(spans));
            }
            What::Export => {}
            What::Arrival(spans) => {
                self.traces.arrivals += 1;
                self.traces.changes += 1;
                self.traces.records += spans;
                self.last_arrival = Some(self.now);
                self.is_dirty = true;
            }
            What::Stall => self.stall(),
            What::StallEnd(gap_ms) => self.tell(Event::ObserverLate { gap_ms }),
            What::BeatHeard(seq, requests) => self.hear(seq, requests),
            What::Poll => {
                if std::mem::take(&mut self.is_dirty) || self.now % 1_000 < 50 {
                    self.poll();
                }
                self.after(50, What::Poll);
            }
            What::Probe => {
                let seq = self.order;
                self.probes_leave(seq);
                self.after(20 + delay, What::ProbeBack(seq));
                self.after(250, What::Probe);
            }
            What::ProbeBack(seq) => self.probes_return(seq),
            What::CollectorBeat => {
                if self.is_carried() {
                    self.after(delay, What::CollectorHeard(self.order));
                }
                self.after(100, What::CollectorBeat);
            }
            What::CollectorHeard(seq) => {
                let body = body("c", "1-c", seq, None);
                let service = Service::new(COLLECTOR_SERVICE).expect("valid");
                self.tell(Event::BeatHeard { service, body, authenticated: true, told: 1 });
            }
        }
    }

    /// Whether a beat gets through.
    fn is_carried(&mut self) -> bool {
        if !self.weather.bursts {
            return self.chance() >= self.weather.beat_loss;
        }
        let turn = self.chance();
        self.is_bad = if self.is_bad { turn >= 0.2 } else { turn < 0.002 };
        self.chance() >= if self.is_bad { 0.9 } else { self.weather.beat_loss }
    }

    /// A beat reaches the socket after `delay`, whether the watchdog runs or not.
    fn reach(&mut self, delay: u64) {
        let at = self.now + delay;
        let floor = WatchConfig::default().suspect_floor_ms.max(2 * self.weather.beat_ms);
        if at.saturating_sub(self.last_beat) > floor {
            self.gaps += 1;
        }
        self.last_beat = self.last_beat.max(at);
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small, positive")]
    fn stall(&mut self) {
        // As many short ones as long ones: even on a logarithmic scale.
        let ms = (300.0 * 100_f64.powf(self.chance())) as u64;
        self.blind_until = self.now + ms;
        // First of all that waits: it says how late it is, and then drains its sockets.
        self.queue.push(Reverse((self.blind_until, 0, What::StallEnd(ms))));
        let next = self.exponential(3_600_000.0 / self.weather.observer_stalls);
        self.after(ms + next, What::Stall);
    }

    fn hear(&mut self, seq: u64, requests: u64) {
        let service = Service::new("a").expect("valid");
        let body = body("i", "1-a", seq, Some(requests));
        self.tell(Event::BeatHeard { service, body, authenticated: true, told: 1 });
    }

    fn poll(&mut self) {
        let rows = self.last_arrival.map(|at| TallyRow {
            service: Service::new("a").expect("valid"),
            instance: Some(Instance::new("i").expect("valid")),
            revision: None,
            traces: Some(SignalTally { last_age_ms: self.now - at, ..self.traces.clone() }),
            metrics: None,
            logs: None,
            red: Some(Red { requests: self.traces.records, errors: 0, durations: [0; 16] }),
            particulars: None,
        });
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
        let page = TallyPage {
            boot: Boot::new("1-c").expect("valid"),
            cursor: self.now,
            rows: rows.into_iter().collect(),
            echoes: Vec::new(),
            flow,
        };
        self.tell(Event::TallyRead { page });
    }
}

fn body(instance: &str, boot: &str, seq: u64, requests: Option<u64>) -> BeatBody {
    BeatBody {
        instance: Instance::new(instance).expect("valid"),
        boot: Boot::new(boot).expect("valid"),
        seq,
        token: Token::Number(seq),
        requests,
        errors: None,
        revision: None,
        leaving: false,
    }
}

pub fn minutes() -> u64 {
    std::env::var("HOLDPOINT_SIM_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(15)
}

fn faults(weather: Weather) -> (BTreeMap<&'static str, u32>, u64) {
    let sim = Sim::new(weather).run(minutes());
    (sim.found, 1_000 * sim.live_ms / sim.now)
}

/// Lost beats may cost a heartbeat now and then, which holds and reverts nothing. Nothing else.
fn check(all: impl IntoIterator<Item = Weather>) {
    let mut failed = Vec::new();
    for weather in all {
        let (found, live) = faults(weather);
        println!("{weather:?}: {found:?}, live {live} of 1000");
        let allowed = if weather.beat_loss > 0.0 { 1 + minutes() / 30 } else { 0 };
        let beats = found.get("heartbeat_lost").copied().unwrap_or(0);
        let others = found.keys().any(|kind| *kind != "heartbeat_lost");
        if others || u64::from(beats) > allowed {
            failed.push((weather, found));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

const EXPORTERS: [(u64, Exporter); 5] = [
    (200, Exporter::Timer),
    (1_000, Exporter::Timer),
    (5_000, Exporter::Timer),
    (1_000, Exporter::Batch),
    (5_000, Exporter::Batch),
];

fn each(change: impl Fn(Weather, &mut Vec<Weather>)) -> Vec<Weather> {
    let mut all = Vec::new();
    for (export_ms, exporter) in EXPORTERS {
        change(Weather { export_ms, exporter, ..CALM }, &mut all);
    }
    all
}

#[test]
fn busy_services_are_never_faulty() {
    check(each(|weather, all| {
        for (work_ms, beat_ms) in [(2.0, 1_000), (50.0, 1_000), (50.0, 100), (20.0, 200)] {
            for delay_ms in [1.0, 20.0] {
                all.push(Weather { work_ms, beat_ms, delay_ms, ..weather });
            }
        }
    }));
}

#[test]
fn services_with_little_traffic_are_never_faulty() {
    check(each(|weather, all| {
        for work_ms in [200.0, 500.0, 1_000.0, 3_000.0, 20_000.0] {
            for beat_ms in [100, 1_000] {
                for delay_ms in [1.0, 5.0] {
                    all.push(Weather { work_ms, beat_ms, delay_ms, ..weather });
                }
            }
        }
    }));
}

#[test]
fn lost_and_jittered_beats_and_stalls_of_the_observer_are_no_faults() {
    check(each(|weather, all| {
        for (beat_ms, beat_loss, delay_ms) in [(100, 0.05, 10.0), (1_000, 0.001, 30.0)] {
            for observer_stalls in [0.0, 6.0, 60.0] {
                let weather = Weather { beat_ms, beat_loss, delay_ms, ..weather };
                all.push(Weather { observer_stalls, ..weather });
            }
        }
    }));
}
