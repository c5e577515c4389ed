//! From what was heard of a service to what its witnesses say at one moment.
//!
//! Everything here is a question about a moment, so it can be asked for any `now` and changes
//! nothing.
//!
//! Invariant: after the watch was blind, no witness counts as silent before it had its full time,
//! and no verdict is drawn before each has spoken or had it.

use crate::judge::{Beats, Counts, Evidence, Observer, Path, Probes, Telemetry, Values};
use crate::probe::Way;
use crate::tally::Signal;
use crate::tick::Tick;
use crate::verdict::BeatState;
use crate::watch::WatchConfig;
use crate::watch::collector::Backend;
use crate::watch::dating::Dated;
use crate::watch::instance::InstanceWatch;
use crate::watch::kernel::KERNEL_HOLDS_MS;
use crate::watch::probes::{Asked, Probing, worse, worst};
use crate::watch::readback::{States, behind_the_tap};
use crate::watch::service::{ServiceWatch, Sight};
use crate::watch::share::{Comparison, is_bad, pool};
use crate::watch::stream::{Moment, Reading, Stream, is_blind};

/// What is true for all services at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct World<'a> {
    pub now: Tick,
    pub sight: Sight,
    pub probe_states: [Probes; 3],
    /// The signals whose way is probed.
    pub probed: Asked,
    pub probes: &'a Probing,
    pub collector_sick: bool,
    pub backend: Backend,
    pub mass_silence: bool,
    /// What the backend says of either way.
    pub readback: States,
    pub config: &'a WatchConfig,
}

impl ServiceWatch {
    pub fn evidence(&self, world: &World<'_>, moment: &Moment) -> Evidence {
        let readings = self.readings(moment);
        let telemetry = self.telemetry(readings, world, moment);
        let standing = self.is_standing(world);
        let compared = self.comparison(world);
        let refusing = match telemetry {
            Telemetry::Fresh | Telemetry::Stale | Telemetry::Skewed => {
                compared.is_some_and(|compared| self.is_refused_in(&compared))
            }
            Telemetry::BlindInstance
            | Telemetry::Never
            | Telemetry::Missing
            | Telemetry::Quiet
            | Telemetry::Due
            | Telemetry::PartlySilent
            | Telemetry::Silent
            | Telemetry::PartlyMute
            | Telemetry::Mute => self.is_refused_of_late(readings, telemetry, moment),
        };
        let own = match refusing {
            true => Some(Path::Refusing),
            false => self.is_ruled_out(readings, moment).then_some(Path::Filtered),
        };
        Evidence {
            observer: self.observer(world, moment),
            beats: self.beats(world),
            telemetry,
            counts: compared.map_or(Counts::Unproven, |compared| compared.counts),
            values: if standing { Values::Standing } else { Values::Moving },
            probes: self.probes(world),
            path: self.path(world, own),
        }
    }

    /// Whether the collector refused records in the time that was compared.
    fn is_refused_in(&self, compared: &Comparison) -> bool {
        let (Some(refused), Some(since)) = (self.refused, compared.since) else { return false };
        matches!(compared.counts, Counts::Short | Counts::Doubtful) && refused >= since
    }

    /// Whether a signal that is silent was, or may have been, refused within its time.
    fn is_refused_of_late(&self, r: [Reading; 3], telemetry: Telemetry, m: &Moment) -> bool {
        let Some(refused) = self.refused else { return false };
        let age_ms = m.now.since_ms(refused);
        self.streams.iter().zip(r).any(|(stream, reading)| {
            let silent = matches!(reading, Reading::Silent | Reading::Mute);
            let blind = telemetry == Telemetry::BlindInstance && stream.expected;
            (silent || blind) && age_ms <= stream.limit_ms(m)
        })
    }

    /// Whether a signal that is silent was sent, and emptied by rules of the collector.
    fn is_ruled_out(&self, readings: [Reading; 3], m: &Moment) -> bool {
        let silent = |reading: Reading| matches!(reading, Reading::Silent | Reading::Mute);
        self.streams.iter().zip(readings).zip(self.ruled_out).any(|((stream, reading), at)| {
            let recent = at.is_some_and(|at| m.now.since_ms(at) <= stream.limit_ms(m));
            stream.expected && silent(reading) && recent
        })
    }

    /// Whether the metrics of the service, or of one of its instances, stand still.
    fn is_standing(&self, world: &World<'_>) -> bool {
        let mut streams = self.streams.iter().filter(|stream| stream.expected);
        streams.any(|stream| {
            let is_of_metrics = stream.signal == Signal::Metrics;
            let mut fresh = self.fresh(world).filter(|_| is_of_metrics);
            stream.is_standing() || fresh.any(|instance| stream.is_standing_in(&instance.standing))
        })
    }

    pub fn state_of(&self, instance: &InstanceWatch, world: &World<'_>) -> BeatState {
        let stuck = world.config.stuck_beats;
        instance.beat_state(world.now, world.sight.blind_until, &self.bounds(world.sight), stuck)
    }

    /// Instances whose beats are fresh.
    fn fresh<'a>(&'a self, world: &'a World<'_>) -> impl Iterator<Item = &'a InstanceWatch> {
        self.instances.values().filter(|i| self.state_of(i, world) == BeatState::Fresh)
    }

    pub fn moment(&self, world: &World<'_>) -> Moment {
        let config = world.config;
        let bounds = &self.bounds(world.sight);
        let (mut counted, mut punctual, mut any) = (true, false, false);
        for instance in self.fresh(world) {
            any = true;
            counted &= instance.requests().is_some();
            punctual |= instance.is_punctual(world.now, bounds, config.slack_ms);
        }
        Moment {
            now: world.now,
            blind_until: self.blind_until(world.sight),
            known_since: world.sight.known_since,
            contract_ms: bounds.interval_ms,
            slack_ms: config.slack_ms,
            strain: world.sight.strain,
            idle_after_ms: config.idle_after_ms,
            counted: any && (counted || self.kernel_tells(world.now)),
            punctual,
        }
    }

    pub fn readings(&self, moment: &Moment) -> [Reading; 3] {
        self.streams.each_ref().map(|stream| stream.reading(moment))
    }

    fn observer(&self, world: &World<'_>, moment: &Moment) -> Observer {
        if self.is_settled(world, moment) {
            Observer::Steady
        } else if world.sight.started {
            Observer::Started
        } else {
            Observer::Blind
        }
    }

    /// Whether, since the watch could see, each witness has spoken or had its full time.
    fn is_settled(&self, world: &World<'_>, moment: &Moment) -> bool {
        let from = world.sight.blind_until;
        let seen_ms = world.now.since_ms(from);
        let beats = self.instances.values().any(|i| i.beats > 0 && i.detector.last() >= from)
            || seen_ms > self.bounds(world.sight).suspect_max_ms();
        let arrived = |at: Option<Tick>| at.is_some_and(|at| at >= from);
        let telemetry = self.streams.iter().any(|stream| arrived(stream.last_arrival))
            || self.shortest_limit_ms(moment).is_none_or(|limit| seen_ms > limit);
        beats && telemetry && seen_ms >= self.contract.bounds.interval_ms
    }

    /// The time after which the fastest of its signals is silent; `None` if none ever arrived.
    fn shortest_limit_ms(&self, moment: &Moment) -> Option<u64> {
        let heard = self.streams.iter().filter(|stream| stream.last_arrival.is_some());
        heard.map(|stream| stream.limit_ms(moment)).min()
    }

    fn beats(&self, world: &World<'_>) -> Beats {
        if self.instances.is_empty() {
            return Beats::Never;
        }
        let wanted = self.contract.instances_min;
        let fresh = self.fresh(world).count();
        let progressing = self.fresh(world).filter(|instance| instance.beats >= 2).count();
        if progressing >= wanted {
            return Beats::Fresh;
        }
        if fresh >= wanted {
            return Beats::TooFew;
        }
        if fresh > 0 {
            return Beats::Short;
        }
        if self.instances.values().any(|instance| self.is_in_grace(instance, world.now)) {
            return Beats::Leaving;
        }
        let stuck = |instance| self.state_of(instance, world) == BeatState::Stuck;
        if self.instances.values().any(stuck) { Beats::Hung } else { Beats::Lost }
    }

    fn is_in_grace(&self, instance: &InstanceWatch, now: Tick) -> bool {
        instance.leaving.is_some_and(|at| now.since_ms(at) <= self.contract.restart_grace_ms)
    }

    /// The best beat state of its instances, for show.
    pub fn beat_state(&self, world: &World<'_>) -> BeatState {
        let states = self.instances.values().map(|instance| self.state_of(instance, world));
        let rank = |state: &BeatState| match state {
            BeatState::Fresh => 0,
            BeatState::Suspect => 1,
            BeatState::Stuck => 2,
            BeatState::Lost => 3,
            BeatState::Never => 4,
        };
        states.min_by_key(rank).unwrap_or(BeatState::Never)
    }

    fn telemetry(&self, readings: [Reading; 3], world: &World<'_>, moment: &Moment) -> Telemetry {
        let named = self.streams.iter().any(|stream| stream.expected);
        let mut seen = Seen::default();
        for (stream, reading) in self.streams.iter().zip(readings) {
            // Until it is known what must arrive, what has arrived speaks for the service.
            let speaks = if named { stream.expected } else { reading != Reading::Never };
            if speaks {
                seen.add(reading, stream.debt.since().is_some());
            }
        }
        let together = seen.together(named);
        if together != Telemetry::Fresh {
            return together;
        }
        if self.has_blind_instance(world, moment) {
            return Telemetry::BlindInstance;
        }
        let speaks = |stream: &&Stream| stream.expected || !named;
        let dated = self.streams.iter().filter(speaks).map(|s| self.dated(s, world, moment));
        match dated.max() {
            Some(Dated::Late) => Telemetry::Stale,
            Some(Dated::Ahead) => Telemetry::Skewed,
            Some(Dated::Timely) | None => Telemetry::Fresh,
        }
    }

    /// What the times in the records of one signal say, over all instances that beat.
    pub fn dated(&self, stream: &Stream, world: &World<'_>, moment: &Moment) -> Dated {
        let limit_ms = stream.limit_ms(moment);
        let own = self.fresh(world).map(|instance| &instance.dating[stream.signal as usize]);
        let all = own.chain([&stream.dating]).map(|dating| dating.reading(world.now, limit_ms));
        all.max().unwrap_or(Dated::Timely)
    }

    fn has_blind_instance(&self, world: &World<'_>, moment: &Moment) -> bool {
        if self.instances.len() < 2 {
            return false;
        }
        let bounds = &self.bounds(world.sight);
        self.fresh(world).any(|instance| {
            let punctual = instance.is_punctual(world.now, bounds, world.config.slack_ms);
            let moment = Moment { punctual, ..*moment };
            let own = instance.debts.iter().zip(instance.arrivals);
            self.streams
                .iter()
                .zip(own)
                .any(|(s, (debt, last))| s.expected && is_blind(s, debt, last, &moment))
        })
    }

    pub fn comparison(&self, world: &World<'_>) -> Option<Comparison> {
        let counted = || self.fresh(world).filter(|instance| instance.requests().is_some());
        counted().next()?;
        let whole = self.share.compared();
        let each = || counted().filter_map(|instance| instance.share.compared());
        let worst = each().chain(whole).filter(|one| is_bad(one.counts));
        if let Some(worst) = worst.max_by_key(|one| one.counts) {
            return Some(worst);
        }
        if self.is_unnamed {
            return whole;
        }
        let known = if each().all(|one| one.counts == Counts::Agree) {
            Some(Counts::Agree)
        } else if each().any(|one| one.ready && one.counts == Counts::Unproven) {
            Some(Counts::Unproven)
        } else {
            None
        };
        pool(each(), known)
    }

    /// The signals whose way matters to it: those that it must send, or has sent.
    pub fn asked(&self, world: &World<'_>) -> Asked {
        let named = self.streams.iter().any(|stream| stream.expected);
        let sends = self
            .streams
            .iter()
            .filter(|stream| stream.expected || (!named && stream.last_arrival.is_some()));
        Asked::of(sends.map(|stream| stream.signal)).within(world.probed)
    }

    /// What the probes say of the way of its signals, to the far tap and, for metrics, into the
    /// backend.
    fn probes(&self, world: &World<'_>) -> Probes {
        let asked = self.asked(world);
        let at_tap = worst(world.probe_states, asked);
        match world.readback[Way::Path as usize] {
            Some(behind) if asked.has(Signal::Metrics) => worse(at_tap, behind),
            Some(_) | None => at_tap,
        }
    }

    /// `own`: what the collector does to this very service, if it says so.
    fn path(&self, world: &World<'_>, own: Option<Path>) -> Path {
        let last = self.streams.iter().filter_map(|stream| stream.last_arrival).max();
        let asked = self.asked(world);
        let state = worst(world.probe_states, asked);
        let overdue = matches!(state, Probes::Late | Probes::Lost);
        if let Some(own) = own.filter(|_| !world.mass_silence && !world.collector_sick) {
            return own;
        }
        match world.backend {
            _ if world.mass_silence => Path::MassSilence,
            _ if world.collector_sick => Path::CollectorSick,
            Backend::Stalled | Backend::Refuses if overdue => Path::BackendStalled,
            Backend::ExporterStalled if overdue => Path::ExporterStalled,
            Backend::Filtered if overdue => Path::Filtered,
            Backend::Quiet if overdue => Path::Swallowed,
            Backend::Quiet
            | Backend::Waits
            | Backend::Stalled
            | Backend::ExporterStalled
            | Backend::Filtered
            | Backend::Refuses => {
                let behind = behind_the_tap(world.readback);
                if let Some(fault) = behind.filter(|_| asked.has(Signal::Metrics)) {
                    return fault;
                }
                match last {
                    // A probe that was sent after its last arrival came back.
                    Some(last) if world.probes.proven(asked) > Some(last) => Path::Proven,
                    Some(_) | None => Path::Unproven,
                }
            }
        }
    }

    /// The first time after `now` at which the verdict may change by time alone.
    pub fn next_check(&self, world: &World<'_>, moment: &Moment) -> Option<Tick> {
        let now = world.now;
        let horizon = world.sight.blind_until;
        let bounds = &self.bounds(world.sight);
        let mut next: Option<Tick> = None;
        let mut consider = |at: Tick| {
            if at > now {
                next = Some(next.map_or(at, |first| first.min(at)));
            }
        };
        for instance in self.instances.values() {
            instance.next_changes(horizon, bounds).into_iter().for_each(&mut consider);
            if let Some(at) = instance.leaving {
                consider(at.plus_ms(self.contract.restart_grace_ms + 1));
            }
        }
        for stream in &self.streams {
            stream.next_changes(moment).into_iter().flatten().for_each(&mut consider);
            let ruled_out = self.ruled_out[stream.signal as usize];
            for refused in self.refused.into_iter().chain(ruled_out) {
                consider(refused.plus_ms(stream.limit_ms(moment) + 1));
            }
            let own = self.instances.values().map(|i| &i.dating[stream.signal as usize]);
            let datings = own.chain([&stream.dating]);
            let limit_ms = stream.limit_ms(moment);
            datings.filter_map(|dating| dating.next_change(limit_ms)).for_each(&mut consider);
        }
        if let Some(at) = self.last_work {
            // The witness stands still from then on, whatever the verdict makes of it.
            consider(at.plus_ms(world.config.idle_after_ms + 1));
        }
        self.next_blind(moment).for_each(&mut consider);
        if let Some(asked) = self.kernel {
            consider(asked.plus_ms(KERNEL_HOLDS_MS + 1));
        }
        consider(horizon.plus_ms(bounds.interval_ms));
        consider(horizon.plus_ms(bounds.suspect_max_ms() + 1));
        if let Some(limit_ms) = self.shortest_limit_ms(moment) {
            consider(horizon.plus_ms(limit_ms + 1));
        }
        next
    }

    /// When an instance may turn out to be blind.
    fn next_blind<'a>(&'a self, moment: &'a Moment) -> impl Iterator<Item = Tick> + 'a {
        let many = self.instances.len() >= 2;
        self.instances.values().filter(move |_| many).flat_map(move |instance| {
            let own = instance.debts.iter().zip(instance.arrivals);
            self.streams.iter().zip(own).filter_map(move |(stream, (debt, last))| {
                let period_ms = stream.period_ms(moment.contract_ms);
                let from = last?.max(moment.blind_until);
                let quiet = from.plus_ms(moment.silent_after_ms(period_ms) + 1);
                let late_ms = moment.late_after_ms(period_ms);
                let due = debt.since()?.max(from).plus_ms(late_ms + 1);
                Some(quiet.max(due))
            })
        })
    }
}

/// The readings of several signals, put together.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    never: bool,
    fresh: bool,
    /// Late with work unanswered: the next to fall silent if another one is.
    owing: bool,
    quiet: bool,
    due: bool,
    silent: bool,
    mute: bool,
}

impl Seen {
    const fn add(&mut self, reading: Reading, owes: bool) {
        match reading {
            Reading::Never => self.never = true,
            Reading::Late if owes => self.owing = true,
            Reading::Fresh | Reading::Late => self.fresh = true,
            Reading::Quiet => self.quiet = true,
            Reading::Due => self.due = true,
            Reading::Silent => self.silent = true,
            Reading::Mute => self.mute = true,
        }
    }

    /// `named`: it is known what must arrive, so that one silent signal is a loss. Until then one
    /// that is fresh speaks for all.
    const fn together(mut self, named: bool) -> Telemetry {
        // Signals that stop together pass their limits some milliseconds apart; beside a silent
        // one, one that owes and is late is no sign of life.
        self.fresh |= self.owing && !self.silent;
        let counts = named || !self.fresh;
        if self.silent && counts {
            // A quiet signal has answered all work there was: it is not lost.
            if self.fresh || self.quiet { Telemetry::PartlySilent } else { Telemetry::Silent }
        } else if self.mute && counts {
            if self.fresh { Telemetry::PartlyMute } else { Telemetry::Mute }
        } else if self.never {
            if self.fresh || self.quiet || self.due { Telemetry::Missing } else { Telemetry::Never }
        } else if self.due && counts {
            Telemetry::Due
        } else if self.quiet && counts {
            Telemetry::Quiet
        } else if self.fresh {
            Telemetry::Fresh
        } else {
            Telemetry::Never
        }
    }
}
