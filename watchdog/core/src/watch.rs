//! The one state machine over all services: events in, orders out.
//!
//! The shell drains its sockets and tells every fact it found ([`Event`]); the watch takes each in
//! and judges nothing yet. Then comes [`Event::Turn`], and only then
//!
//! 1. the services are found whose verdict may have changed: those that facts are about, those
//!    whose time has come, or all of them if the world changed (probes, collector, observer);
//! 2. each goes through the verdict table ([`crate::judge`]), and what changed is ordered to be
//!    published ([`Effect`]);
//! 3. the collector and mass silence are judged.
//!
//! Facts before judgement: a beat that waits in the socket behind another one is never missed.
//!
//! A beat costs O(log n): one look-up, and one judgement in the turn that follows. Time costs
//! nothing until a deadline is due: every service stands in a queue with the first moment at which
//! its verdict may change by time alone, and beats only ever push that moment out.
//!
//! Invariant: a fresh watch knows nothing and says `unknown` of everything; no verdict is drawn
//! across a time in which the watch could not see.
#![doc = "\n# The transition table\n"]
#![doc = include_str!("watch/transitions.md")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::judge::{Opinion, Probes, judge};
use crate::names::{Boot, Environment, Service};
use crate::probe::{PROBE_SERVICE, Way};
use crate::tally::{Signal, TallyPage};
use crate::tick::Tick;
use crate::verdict::{ProbeEvidence, Verdict, VerdictKind};

mod balance;
mod collector;
mod config;
mod dating;
mod debt;
mod event;
mod evidence;
mod habit;
mod instance;
mod kernel;
mod mass;
mod memory;
mod odds;
mod pace;
mod probes;
mod promise;
mod quality;
mod readback;
mod revisions;
mod rows;
mod service;
mod share;
mod shown;
mod standing;
mod strain;
mod stream;
mod wire;

pub use collector::CollectorView;
pub use config::{COLLECTOR_SERVICE, ExpectedService, WatchConfig};
pub use event::{Conviction, Effect, Event, Reason, Remark};
pub use memory::Remembered;
pub use promise::Liveness;
pub use quality::Achieved;
pub use readback::{ReadBack, ReadbackBounds};
pub use shown::{Backdrop, Shown};
pub use strain::Strain;

use collector::{Backend, CollectorWatch};
use evidence::World;
use instance::Beat;
use mass::{MassWatch, PathReport};
use probes::{Asked, Probing, worst};
use readback::{Readbacks, States};
use rows::PageContext;
use service::{ServiceWatch, Sight};
use strain::StrainMeter;

/// What concerns all services; a change of it puts all of them through the table again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Weather {
    probes: [Probes; 3],
    collector_sick: bool,
    backend: Backend,
    readback: States,
    mass_silence: bool,
    strain: Strain,
}

/// All that the watchdog knows.
#[derive(Debug, Clone)]
pub struct Watch {
    config: WatchConfig,
    /// The configuration as the strain stretches it, for probes and collector.
    lens: WatchConfig,
    services: Vec<ServiceWatch>,
    /// What is shown of each, until it is judged again.
    shown: Vec<Option<Arc<Shown>>>,
    index: BTreeMap<Service, usize>,
    /// When the verdict about a service may change by time alone.
    queue: BTreeSet<(Tick, usize)>,
    /// Services with a fault whose stage may still be located by the next probe.
    ailing: BTreeSet<usize>,
    live: usize,
    collector: CollectorWatch,
    /// What was done about it, for a person to see.
    remarks: BTreeSet<Remark>,
    /// The signals whose way is probed.
    probed: Asked,
    probes: Probing,
    readbacks: Readbacks,
    mass: MassWatch,
    weather: Weather,
    sight: Sight,
    /// When the last turn was: all that was due by then is judged.
    judged: Tick,
    /// What facts since the last turn are about.
    touched: Touched,
    /// The worst lateness of late, and when it was.
    late: Option<(Tick, u64)>,
    meter: StrainMeter,
    collector_boot: Option<Boot>,
    collector_epoch: u64,
    /// More is remembered than the shell was last told.
    memory_grew: bool,
    /// No poll failed since the last page.
    is_tally_seamless: bool,
}

/// Which services an event may concern.
#[derive(Debug, Clone, Default)]
struct Touched {
    /// There were facts at all.
    any: bool,
    services: BTreeSet<usize>,
    all: bool,
    ailing: bool,
}

impl Watch {
    /// A watch that starts at `now` and knows nothing yet.
    #[must_use]
    pub fn new(config: WatchConfig, services: Vec<ExpectedService>, now: Tick) -> Self {
        let weather = Weather {
            probes: [Probes::Unknown; 3],
            collector_sick: false,
            backend: Backend::Quiet,
            readback: [None; 2],
            mass_silence: false,
            strain: Strain::NONE,
        };
        let mut watch = Self {
            probed: Asked::of(config.probe_signals.iter().copied()),
            readbacks: Readbacks::new(config.readback, now),
            lens: config.clone(),
            config,
            services: Vec::new(),
            shown: Vec::new(),
            index: BTreeMap::new(),
            queue: BTreeSet::new(),
            ailing: BTreeSet::new(),
            live: 0,
            collector: CollectorWatch::new(),
            remarks: BTreeSet::new(),
            probes: Probing::default(),
            mass: MassWatch::default(),
            weather,
            sight: Sight::from_start(now),
            judged: now,
            touched: Touched::default(),
            late: None,
            meter: StrainMeter::default(),
            collector_boot: None,
            collector_epoch: 0,
            memory_grew: true,
            is_tally_seamless: false,
        };
        for service in services {
            let index = watch.add(service, now);
            watch.requeue(index, now);
        }
        watch
    }

    /// Takes one event in. Orders come from [`Event::Turn`] alone: all facts that wait are told
    /// first.
    pub fn step(&mut self, event: Event, now: Tick) -> Vec<Effect> {
        let mut touched = std::mem::take(&mut self.touched);
        touched.any = true;
        match event {
            Event::BeatHeard { service, body, authenticated, told } => {
                self.hear(service, Beat { body, authenticated, told }, now, &mut touched);
            }
            Event::TallyRead { page } => self.read(page, now, &mut touched),
            Event::TallyFailed => {
                self.collector.fail_tally();
                self.is_tally_seamless = false;
            }
            Event::ProbeSent { signal, seq } => self.probes.send(signal, seq, now),
            Event::ProbeReturned { signal, seq, right } => {
                self.probes.receive(signal, seq, right, now);
                touched.ailing = true;
            }
            // It proves nothing, and so it changes nothing: an unanswered probe stays unanswered.
            Event::ProbeUnverifiable => {}
            Event::KernelAsked { service, moved, span_ms } => {
                touched.services.extend(self.ask_kernel(&service, moved, span_ms, now));
            }
            Event::ReadBack { way, found } => self.readbacks.tell(way, found, now),
            Event::ObserverLate { gap_ms } => self.note_lateness(gap_ms, now, &mut touched),
            Event::EchoLate { late_ms } => self.strain_by(late_ms, now),
            Event::ClockStepped => {
                self.go_blind(now, &mut touched);
                self.sight.known_since = now;
            }
            Event::CollectorStarted { boot } => {
                self.collector.start(boot, now);
                self.probes.reset();
                touched.ailing = true;
            }
            Event::CollectorTended { remark, on } => touched.all |= self.remark(remark, on),
            Event::Turn => {
                self.judged = now;
                return self.settle(touched, now);
            }
        }
        self.touched = touched;
        Vec::new()
    }

    fn hear(&mut self, service: Service, beat: Beat, now: Tick, touched: &mut Touched) {
        if service.as_str() == COLLECTOR_SERVICE {
            self.collector.hear(beat, now, &self.lens);
            return;
        }
        let Some(index) = self.find_or_add(service, now) else { return };
        self.services[index].hear(beat, now, self.sight, &self.config);
        touched.services.insert(index);
    }

    fn read(&mut self, page: TallyPage, now: Tick, touched: &mut Touched) {
        let is_base = self.collector_boot.is_none();
        if self.collector_boot.as_ref() != Some(&page.boot) {
            self.collector_boot = Some(page.boot);
            self.collector_epoch += 1;
            self.is_tally_seamless = false;
            // Records that the one before had counted and not told went with it.
            self.services.iter_mut().for_each(ServiceWatch::reopen_shares);
        }
        let context = PageContext {
            now,
            epoch: self.collector_epoch,
            is_base,
            is_seamless: self.is_tally_seamless,
        };
        self.is_tally_seamless = true;
        self.collector.read_flow(page.flow, now);
        for row in page.rows {
            if matches!(row.service.as_str(), PROBE_SERVICE | COLLECTOR_SERVICE) {
                continue;
            }
            let Some(index) = self.find_or_add(row.service.clone(), now) else { continue };
            self.services[index].count(&row, context, &self.config);
            touched.services.insert(index);
        }
    }

    fn find_or_add(&mut self, service: Service, now: Tick) -> Option<usize> {
        if let Some(index) = self.index.get(&service) {
            return Some(*index);
        }
        if self.services.len() >= self.config.services_max {
            return None;
        }
        let environment = Environment::new("default").expect("the word is a valid name");
        Some(self.add(ExpectedService::named(service, environment), now))
    }

    fn add(&mut self, expected: ExpectedService, now: Tick) -> usize {
        let index = self.services.len();
        let first = Opinion::AT_START;
        self.index.insert(expected.service.clone(), index);
        self.services.push(ServiceWatch::new(expected, first, now, &self.config));
        self.shown.push(None);
        index
    }

    /// Puts through the table what the event or the time has touched.
    fn settle(&mut self, mut touched: Touched, now: Tick) -> Vec<Effect> {
        let mut effects = Vec::new();
        while let Some((at, index)) = self.queue.first().copied()
            && at <= now
        {
            self.queue.pop_first();
            self.services[index].queued = None;
            touched.services.insert(index);
        }
        touched.all |= self.look_out(now);
        self.judge_touched(&touched, now, &mut effects);
        if let Some(on) = self.mass.turn(now, self.live, self.path_report(), &self.config) {
            self.weather.mass_silence = on;
            effects.push(Effect::MassSilence { on });
            let all = Touched { all: true, ..Touched::default() };
            self.judge_touched(&all, now, &mut effects);
        }
        if !self.mass.is_on() {
            let horizon = self.sight.blind_until;
            let probes = (&self.probes, self.probed);
            let convicted = self.collector.convict(now, horizon, probes, &self.lens);
            if let Some((boot, reason)) = convicted {
                effects.push(Effect::ConvictCollector { boot, reason });
            }
        }
        effects
    }

    /// Looks at what concerns all services; says whether it changed.
    fn look_out(&mut self, now: Tick) -> bool {
        self.collector.backend_proven = self.readbacks.proven(Way::Direct, now);
        let strain = self.adopt_strain(now);
        let probes = self.probes.states(now, &self.lens);
        let overdue = matches!(worst(probes, self.probed), Probes::Late | Probes::Lost);
        let weather = Weather {
            probes,
            collector_sick: self.collector.is_sick(now, self.sight.blind_until, &self.lens),
            backend: self.collector.backend(now, overdue, &self.lens),
            readback: self.readbacks.states(now),
            mass_silence: self.mass.is_on(),
            strain,
        };
        std::mem::replace(&mut self.weather, weather) != weather
    }

    fn path_report(&self) -> PathReport {
        let returning = worst(self.weather.probes, self.probed) == Probes::Returning;
        let fine = returning && !self.weather.collector_sick;
        PathReport { fine, proven: self.probes.proven(self.probed) }
    }

    fn judge_touched(&mut self, touched: &Touched, now: Tick, effects: &mut Vec<Effect>) {
        if touched.all {
            for index in 0..self.services.len() {
                self.judge_one(index, now, effects);
            }
            return;
        }
        let ailing = if touched.ailing { self.ailing.clone() } else { BTreeSet::new() };
        for index in touched.services.union(&ailing) {
            self.judge_one(*index, now, effects);
        }
    }

    fn judge_one(&mut self, index: usize, now: Tick, effects: &mut Vec<Effect>) {
        self.shown[index] = None;
        let world = self.world(now);
        let service = &self.services[index];
        let moment = service.moment(&world);
        let readings = service.readings(&moment);
        let opinion = judge(&service.evidence(&world));
        let before = service.opinion;
        let service = &mut self.services[index];
        for stream in &mut service.streams {
            stream.keep_silence(&moment);
        }
        service.note_silence(now, self.sight, &self.config);
        service.opinion = opinion;
        if opinion.kind != before.kind {
            service.since = now;
            self.recount(index, before.kind, opinion.kind, now);
        }
        if (opinion.kind, opinion.stage) != (before.kind, before.stage) {
            let service = self.services[index].service.clone();
            effects.push(Effect::VerdictChanged { service });
        }
        self.memory_grew |= self.services[index].learn(now, readings, &self.config);
        self.requeue(index, now);
    }

    /// Keeps the counts over all services in step with one verdict.
    fn recount(&mut self, index: usize, before: VerdictKind, after: VerdictKind, now: Tick) {
        let (was_live, is_live) = (before == VerdictKind::Live, after == VerdictKind::Live);
        match (was_live, is_live) {
            (false, true) => self.live += 1,
            (true, false) => {
                self.live -= 1;
                self.services[index].fell = Some(now);
            }
            (true, true) | (false, false) => {}
        }
        match after {
            VerdictKind::TelemetryLost | VerdictKind::Down => {
                // Beats and telemetry that end together are missed one after the other.
                let recent = |at: Tick| now.since_ms(at) <= self.config.mass_window_ms;
                if self.services[index].fell.is_some_and(recent) {
                    self.mass.fall(index, now);
                }
                self.ailing.insert(index);
            }
            VerdictKind::Lossy
            | VerdictKind::Frozen
            | VerdictKind::Forged
            | VerdictKind::HeartbeatLost => {
                self.ailing.insert(index);
            }
            VerdictKind::Live | VerdictKind::Idle | VerdictKind::Unknown => {
                self.services[index].fell = None;
                self.mass.rise(index);
                self.ailing.remove(&index);
            }
        }
    }

    /// Puts the service into the queue. An entry that is too early stays: it costs one look.
    fn requeue(&mut self, index: usize, now: Tick) {
        let Some(at) = self.services[index].next_check(&self.world(now)) else { return };
        let queued = self.services[index].queued;
        if queued.is_some_and(|queued| queued <= at) {
            return;
        }
        if let Some(queued) = queued {
            self.queue.remove(&(queued, index));
        }
        self.queue.insert((at, index));
        self.services[index].queued = Some(at);
    }

    fn world(&self, now: Tick) -> World<'_> {
        World {
            now,
            sight: self.sight,
            probe_states: self.weather.probes,
            probed: self.probed,
            probes: &self.probes,
            collector_sick: self.weather.collector_sick,
            backend: self.weather.backend,
            readback: self.weather.readback,
            mass_silence: self.weather.mass_silence,
            config: &self.config,
        }
    }

    /// When [`Event::Turn`] must be told at the latest, and why: at once if facts wait to be
    /// judged;
    /// `None`: nothing changes by time alone. It lies in the past if time went on meanwhile.
    #[must_use]
    pub fn deadline(&self) -> Option<(Tick, Reason)> {
        if self.touched.any {
            return Some((self.judged, Reason::Service));
        }
        let service = self.queue.first().map(|(at, _)| (*at, Reason::Service));
        let probes = self.probes.next_changes(&self.lens);
        let collector = self.collector.next_changes(self.sight.blind_until, &self.lens);
        let strain = self.meter.next_change(self.judged).map(|at| (at, Reason::Observer));
        // What is past was judged in its turn and does not come again.
        let ahead = probes.map(|at| (at, Reason::Probe)).chain(collector).chain(strain);
        service.into_iter().chain(ahead.filter(|(at, _)| *at > self.judged)).min()
    }

    /// The verdicts about all services as of `now`, in the order of their names.
    #[must_use]
    pub fn verdicts(&self, now: Tick) -> Vec<Verdict> {
        self.index.values().map(|index| self.judged_at(&self.services[*index], now)).collect()
    }

    /// The verdict about one service as of `now`; `None` if it is not known.
    #[must_use]
    pub fn verdict(&self, service: &Service, now: Tick) -> Option<Verdict> {
        self.index.get(service).map(|index| self.judged_at(&self.services[*index], now))
    }

    /// Whether most services fell silent together.
    #[must_use]
    pub const fn mass_silence(&self) -> bool {
        self.mass.is_on()
    }

    /// What the probes of each signal say that is probed.
    #[must_use]
    pub fn probe_evidence(&self, now: Tick) -> Vec<(Signal, ProbeEvidence)> {
        let signals = self.config.probe_signals.iter().copied();
        let told = |s| (s, self.probes.evidence(Asked::of([s]), now, &self.lens));
        signals.map(told).collect()
    }

    /// What the backend says of either way, where it is asked.
    #[must_use]
    pub fn readback_evidence(&self, now: Tick) -> Vec<(Way, ProbeEvidence)> {
        self.readbacks.evidence(now)
    }

    /// What is known of the collector itself.
    #[must_use]
    pub fn collector(&self, now: Tick) -> CollectorView {
        self.collector.view(now, self.sight.blind_until, &self.lens)
    }
}
