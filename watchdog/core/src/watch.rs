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
//! its verdict may change by time alone, and beats only ever push that moment out (`turn.rs`).
//!
//! Invariant: a fresh watch knows nothing and says `unknown` of everything; no verdict is drawn
//! across a time in which the watch could not see.
#![doc = "\n# The transition table\n"]
#![doc = include_str!("watch/transitions.md")]

use std::collections::BTreeSet;

use crate::directory::Directory;
use crate::judge::{Opinion, Probes};
use crate::names::{Boot, Environment, Service};
use crate::probe::{PROBE_SERVICE, Way};
use crate::tally::{Signal, TallyPage};
use crate::tick::Tick;
use crate::verdict::{ProbeEvidence, Verdict};

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
mod turn;
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
use mass::MassWatch;
use probes::{Asked, Probing};
use readback::{Readbacks, States};
use rows::PageContext;
use service::{ServiceWatch, Sight};
use shown::Faces;
use strain::StrainMeter;
use turn::Touched;

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
    /// What is shown of each.
    faces: Faces,
    places: Directory<usize>,
    /// The same in the order of names.
    order: Vec<usize>,
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
            faces: Faces::default(),
            places: Directory::new(),
            order: Vec::new(),
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
            watch.enqueue(index, now);
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
        let Some(index) = self.find_or_add(&service, now) else { return };
        self.services[index].hear(beat, now, self.sight, &self.config);
        touched.services.push(index);
    }

    fn read(&mut self, page: TallyPage, now: Tick, touched: &mut Touched) {
        let is_base = self.collector_boot.is_none();
        if self.collector_boot.as_ref() != Some(&page.boot) {
            self.collector_boot = Some(page.boot);
            self.collector_epoch += 1;
            self.is_tally_seamless = false;
            // Records that the one before had counted and not told went with it.
            self.services.iter_mut().for_each(ServiceWatch::reopen_shares);
            touched.all = true;
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
            let Some(index) = self.find_or_add(&row.service, now) else { continue };
            self.services[index].count(&row, context, &self.config);
            touched.services.push(index);
        }
    }

    fn find_or_add(&mut self, service: &Service, now: Tick) -> Option<usize> {
        if let Some(index) = self.places.get(service) {
            return Some(*index);
        }
        if self.services.len() >= self.config.services_max {
            return None;
        }
        let environment = Environment::new("default").expect("the word is a valid name");
        Some(self.add(ExpectedService::named(service.clone(), environment), now))
    }

    fn add(&mut self, expected: ExpectedService, now: Tick) -> usize {
        let index = self.services.len();
        let first = Opinion::AT_START;
        self.places.entry(&expected.service, || index);
        let name = |other: &usize| self.services[*other].service.cmp(&expected.service);
        let place = self.order.binary_search_by(name).unwrap_or_else(|place| place);
        self.order.insert(place, index);
        self.services.push(ServiceWatch::new(expected, first, now, &self.config));
        self.faces.add();
        index
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
        self.order.iter().map(|index| self.judged_at(&self.services[*index], now)).collect()
    }

    /// The verdict about one service as of `now`; `None` if it is not known.
    #[must_use]
    pub fn verdict(&self, service: &Service, now: Tick) -> Option<Verdict> {
        self.places.get(service).map(|index| self.judged_at(&self.services[*index], now))
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
