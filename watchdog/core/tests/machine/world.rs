//! One service and one collector, small enough that every sequence of events can be walked, with
//! an oracle beside the watch that knows only what was told.

use watchdog_core::beat::{BeatBody, Token};
use watchdog_core::names::{Boot, Environment, Instance, Revision, Service};
use watchdog_core::tally::{Flow, Signal, SignalTally, TallyPage, TallyRow};
use watchdog_core::tick::Tick;
use watchdog_core::verdict::{Stage, Verdict, VerdictKind};
use watchdog_core::watch::{COLLECTOR_SERVICE, Effect, Event, ExpectedService, Watch, WatchConfig};

/// One symbol of the alphabet. Half a second passes before each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Symbol {
    WorkingBeat,
    StillBeat,
    HungBeat,
    NewBoot,
    Leaving,
    Traces,
    ChangedMetrics,
    StandingMetrics,
    ProbeRight,
    ProbeSent,
    ProbeWrong,
    TallyFailed,
    CollectorBeat,
    CollectorStarted,
    ObserverLate,
    ClockStepped,
    Wait,
}

impl Symbol {
    pub const fn words(self) -> &'static str {
        match self {
            Self::WorkingBeat => "a beat that witnesses work",
            Self::StillBeat => "a beat without work",
            Self::HungBeat => "a beat whose token stands still",
            Self::NewBoot => "a beat of a new boot",
            Self::Leaving => "a beat that announces a stop",
            Self::Traces => "traces arrive",
            Self::ChangedMetrics => "metrics arrive, changed",
            Self::StandingMetrics => "metrics arrive, standing still",
            Self::ProbeRight => "a probe returns right",
            Self::ProbeSent => "a probe is sent and does not return",
            Self::ProbeWrong => "a probe returns wrong",
            Self::TallyFailed => "the tally cannot be read",
            Self::CollectorBeat => "the collector beats",
            Self::CollectorStarted => "a collector was started",
            Self::ObserverLate => "the observer was late",
            Self::ClockStepped => "the clock stepped",
            Self::Wait => "2.2 s pass",
        }
    }
}

/// What was told so far, and nothing else.
#[derive(Debug, Clone, Default)]
pub struct Told {
    pub blind_until: u64,
    pub beats: u32,
    pub last_beat: Option<u64>,
    pub arrivals: u32,
    pub last_arrival: Option<u64>,
    /// Work was witnessed after the last arrival.
    pub owes: bool,
    pub last_right: Option<u64>,
    pub convictions: u32,
}

#[derive(Debug, Clone)]
pub struct World {
    pub watch: Watch,
    pub now: u64,
    pub told: Told,
    pub published: (VerdictKind, Option<Stage>),
    boot: u64,
    collector_boot: u64,
    seq: u64,
    token: u64,
    requests: u64,
    traces: SignalTally,
    metrics: SignalTally,
    probe: u64,
}

pub const STEP_MS: u64 = 500;
pub const WAIT_MS: u64 = 2_200;

fn service() -> Service {
    Service::new("a").expect("valid")
}

fn tally() -> SignalTally {
    SignalTally { arrivals: 0, records: 0, changes: 0, last_age_ms: 0, late_ms: None }
}

impl World {
    pub fn fresh() -> Self {
        let mut expected =
            ExpectedService::named(service(), Environment::new("test").expect("valid"));
        expected.expect = Some(vec![Signal::Traces, Signal::Metrics]);
        let start = 10_000;
        let mut watch = Watch::new(WatchConfig::default(), vec![expected], Tick(start));
        let boot = Boot::new("1-c").expect("valid");
        watch.step(Event::CollectorStarted { boot }, Tick(start));
        Self {
            watch,
            now: start,
            told: Told { blind_until: start, ..Told::default() },
            published: (VerdictKind::Unknown, Some(Stage::Observer)),
            boot: 1,
            collector_boot: 1,
            seq: 0,
            token: 0,
            requests: 0,
            traces: tally(),
            metrics: tally(),
            probe: 0,
        }
    }

    /// The service has been live for a while, and its pace is learnt.
    pub fn live() -> Self {
        let mut world = Self::fresh();
        let turn = [
            Symbol::WorkingBeat,
            Symbol::Traces,
            Symbol::ChangedMetrics,
            Symbol::ProbeRight,
            Symbol::CollectorBeat,
        ];
        for _ in 0..40 {
            for symbol in turn {
                world.tell_after(symbol, 200);
            }
        }
        assert_eq!(world.published.0, VerdictKind::Live);
        world
    }

    pub fn verdict(&self) -> Verdict {
        self.watch.verdict(&service(), Tick(self.now)).expect("it is configured")
    }

    pub fn tell(&mut self, symbol: Symbol) {
        let after = if symbol == Symbol::Wait { WAIT_MS } else { STEP_MS };
        self.tell_after(symbol, after);
    }

    pub fn tell_after(&mut self, symbol: Symbol, ms: u64) {
        self.pass(ms);
        match symbol {
            Symbol::WorkingBeat | Symbol::StillBeat | Symbol::HungBeat => self.beat(symbol, false),
            Symbol::Leaving => self.beat(symbol, true),
            Symbol::NewBoot => {
                (self.boot, self.seq, self.requests) = (self.boot + 1, 0, 0);
                self.beat(symbol, false);
            }
            Symbol::Traces => self.arrive(Signal::Traces, true),
            Symbol::ChangedMetrics => self.arrive(Signal::Metrics, true),
            Symbol::StandingMetrics => self.arrive(Signal::Metrics, false),
            Symbol::ProbeRight | Symbol::ProbeSent | Symbol::ProbeWrong => self.probe(symbol),
            Symbol::TallyFailed => self.step(Event::TallyFailed),
            Symbol::CollectorBeat => self.collector_beat(),
            Symbol::CollectorStarted => {
                self.collector_boot += 1;
                self.told.convictions = 0;
                self.told.last_right = None;
                (self.traces, self.metrics) = (tally(), tally());
                let boot = Boot::new(format!("{}-c", self.collector_boot)).expect("valid");
                self.step(Event::CollectorStarted { boot });
            }
            Symbol::ObserverLate | Symbol::ClockStepped => {
                self.told.blind_until = self.now;
                self.told.beats = 0;
                self.told.last_right = None;
                self.told.owes = false;
                self.step(if symbol == Symbol::ClockStepped {
                    Event::ClockStepped
                } else {
                    Event::ObserverLate { gap_ms: 600 }
                });
            }
            Symbol::Wait => {}
        }
    }

    /// Lets time pass, with a turn at every deadline. Just before each deadline nothing may have
    /// changed, or the watch would have shown an old verdict.
    pub fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        loop {
            let due = self.watch.deadline().map_or(end, |(at, _)| at.0).min(end);
            if due > self.now + 1 {
                self.now = due - 1;
                let seen = self.verdict();
                assert_eq!((seen.verdict, seen.stage), self.published, "changed between turns");
                self.look_at_what_is_shown(&seen);
            }
            self.now = due;
            self.step(Event::Turn);
            if due == end {
                return;
            }
        }
    }

    /// What was made at the last judgement is still true to the millisecond.
    fn look_at_what_is_shown(&mut self, seen: &Verdict) {
        let shown = self.watch.show();
        let backdrop = self.watch.backdrop(Tick(self.now));
        assert_eq!(&shown[0].as_of(&backdrop), seen, "what is shown is not what is judged");
    }

    fn step(&mut self, event: Event) {
        if event != Event::Turn {
            assert!(self.watch.step(event, Tick(self.now)).is_empty(), "facts before judgement");
        }
        for effect in self.watch.step(Event::Turn, Tick(self.now)) {
            match effect {
                Effect::VerdictChanged { .. } => {
                    let seen = self.verdict();
                    assert_ne!((seen.verdict, seen.stage), self.published, "nothing changed");
                    self.published = (seen.verdict, seen.stage);
                }
                Effect::ConvictCollector { .. } => self.told.convictions += 1,
                Effect::MassSilence { .. } => panic!("one service is no mass"),
            }
        }
    }

    fn beat(&mut self, symbol: Symbol, leaving: bool) {
        self.seq += 1;
        self.token += u64::from(symbol != Symbol::HungBeat);
        if symbol == Symbol::WorkingBeat {
            self.requests += 20;
            // The first beat of a boot is a base and witnesses nothing.
            self.told.owes |= self.seq > 1;
        }
        if symbol == Symbol::NewBoot {
            (self.told.beats, self.told.owes) = (0, false);
        }
        self.told.beats += 1;
        self.told.last_beat = Some(self.now);
        let body = BeatBody {
            instance: Instance::new("i").expect("valid"),
            boot: Boot::new(format!("{}-a", self.boot)).expect("valid"),
            seq: self.seq,
            token: Token::Number(self.token),
            requests: Some(self.requests),
            errors: None,
            revision: Some(Revision::new("r").expect("valid")),
            leaving,
        };
        self.step(Event::BeatHeard { service: service(), body, authenticated: false, told: 1 });
    }

    fn arrive(&mut self, signal: Signal, changed: bool) {
        let tally = match signal {
            Signal::Traces => &mut self.traces,
            Signal::Metrics | Signal::Logs => &mut self.metrics,
        };
        tally.arrivals += 1;
        tally.records += 20;
        tally.changes += u64::from(changed);
        self.told.arrivals += 1;
        self.told.last_arrival = Some(self.now);
        self.told.owes &= signal != Signal::Traces;
        let arrived = |tally: &SignalTally, this| {
            // Only the signal that arrived is new; the other is as old as it is.
            (tally.arrivals > 0).then(|| SignalTally {
                last_age_ms: if this { 0 } else { STEP_MS },
                ..tally.clone()
            })
        };
        let row = TallyRow {
            service: service(),
            instance: None,
            revision: None,
            traces: arrived(&self.traces, signal == Signal::Traces),
            metrics: arrived(&self.metrics, signal == Signal::Metrics),
            logs: None,
            red: None,
            particulars: None,
        };
        let page = TallyPage {
            boot: Boot::new(format!("{}-c", self.collector_boot)).expect("valid"),
            cursor: self.now,
            rows: vec![row],
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
        };
        self.step(Event::TallyRead { page });
    }

    fn probe(&mut self, symbol: Symbol) {
        self.probe += 1;
        let seq = self.probe;
        for signal in Signal::ALL {
            self.step(Event::ProbeSent { signal, seq });
        }
        if symbol == Symbol::ProbeSent {
            return;
        }
        let right = symbol == Symbol::ProbeRight;
        if right {
            self.told.last_right = Some(self.now);
        }
        for signal in Signal::ALL {
            self.step(Event::ProbeReturned { signal, seq, right });
        }
    }

    fn collector_beat(&mut self) {
        let body = BeatBody {
            instance: Instance::new("c").expect("valid"),
            boot: Boot::new(format!("{}-c", self.collector_boot)).expect("valid"),
            seq: self.now,
            token: Token::Number(self.now),
            requests: None,
            errors: None,
            revision: None,
            leaving: false,
        };
        let service = Service::new(COLLECTOR_SERVICE).expect("valid");
        self.step(Event::BeatHeard { service, body, authenticated: true, told: 1 });
    }
}
