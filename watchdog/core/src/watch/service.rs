//! One service: what was heard of it, and what it owes.
//!
//! This file takes facts in; [`super::evidence`] reads them.
//!
//! Invariant: facts only accumulate here. Whether something is silent is a question about a
//! moment, and is asked with `now` in hand.

use crate::detector::BeatBounds;
use crate::judge::Opinion;
use crate::liveness::{LivenessContract, plan};
use crate::names::{Environment, Instance, Service};
use crate::roster::Roster;
use crate::tally::{Signal, TallyRow};
use crate::tick::Tick;
use crate::verdict::{BeatState, VerdictKind};
use crate::watch::balance::Totals;
use crate::watch::habit::Learnt;
use crate::watch::instance::{Beat, Heard, InstanceWatch, TRANSIT_MS, Work};
use crate::watch::kernel::KERNEL_SAMPLE_MS;
use crate::watch::quality::Quality;
use crate::watch::revisions::{Revisions, grow, lengthen};
use crate::watch::rows::{Growth, PageContext, RowGrowth, Rows};
use crate::watch::share::{Share, ShareBounds};
use crate::watch::stream::{Arrival, Lesson, Reading, Stream};
use crate::watch::{ExpectedService, Strain, WatchConfig};

/// The first live dwell may take this many times `learn_ms`, for exporters that are slow.
const DWELLS: u64 = 10;

/// What is expected of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Contract {
    pub bounds: BeatBounds,
    pub instances_min: usize,
    pub restart_grace_ms: u64,
    pub liveness: Option<LivenessContract>,
    /// The configuration names the signals, so that none is learnt.
    pub signals_named: bool,
}

/// Since when the watch can see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sight {
    /// Silence before this does not count.
    pub blind_until: Tick,
    /// Signs of life before this do not count.
    pub known_since: Tick,
    /// Whether it is a start and not a gap.
    pub started: bool,
    /// How late the watch itself runs.
    pub strain: Strain,
}

impl Sight {
    /// That of a watch which starts at `now`.
    pub const fn from_start(now: Tick) -> Self {
        Self { blind_until: now, known_since: now, started: true, strain: Strain::NONE }
    }
}

#[derive(Debug, Clone)]
pub(super) struct ServiceWatch {
    pub service: Service,
    pub environment: Environment,
    pub contract: Contract,
    pub instances: Roster<Instance, InstanceWatch>,
    pub streams: [Stream; 3],
    pub rows: Rows,
    pub revisions: Revisions,
    pub share: Share,
    /// Requests by beats, of all instances.
    pub worked: u64,
    /// Traces came that name no instance that beats.
    pub is_unnamed: bool,
    /// When the collector last refused records of it for want of room.
    pub refused: Option<Tick>,
    /// When its rules last emptied a request of each signal.
    pub ruled_out: [Option<Tick>; 3],
    /// When the kernel last said whether bytes came in on its port.
    pub kernel: Option<Tick>,
    /// When the work counter last grew.
    pub last_work: Option<Tick>,
    /// When the only process was last replaced: its debts went with it.
    pub restarted: Option<Tick>,
    pub first_live: Option<Tick>,
    /// An earlier watch has seen it live.
    pub recalled: bool,
    pub quality: Quality,
    pub opinion: Opinion,
    pub since: Tick,
    /// When it fell from `live`, until it is well or `unknown`.
    pub fell: Option<Tick>,
    /// When its verdict may change by time alone, as of its last judgement.
    pub due: Option<Tick>,
    /// Its entry in the queue of deadlines: never later than that.
    pub queued: Option<Tick>,
}

impl ServiceWatch {
    pub fn new(expected: ExpectedService, opinion: Opinion, now: Tick, c: &WatchConfig) -> Self {
        let liveness = expected.liveness;
        let interval_ms = expected.beat_interval_ms.or_else(|| {
            let plan = plan(&liveness?, None, c.presumed_way(), c);
            plan.ok().map(|plan| plan.interval_ms)
        });
        let interval_ms = interval_ms.unwrap_or(c.beat_interval_ms);
        let bounds = match &liveness {
            Some(contract) => BeatBounds::for_contract(contract, interval_ms, c),
            None => BeatBounds::new(interval_ms, c),
        };
        let expects =
            |signal| expected.expect.as_ref().is_some_and(|signals| signals.contains(&signal));
        let instances_min = expected.instances_min.map_or(1, |n| n.max(1));
        let contract = Contract {
            bounds,
            instances_min: usize::try_from(instances_min).unwrap_or(usize::MAX),
            restart_grace_ms: expected.restart_grace_ms.unwrap_or(c.restart_grace_ms),
            liveness,
            signals_named: expected.expect.as_ref().is_some_and(|signals| !signals.is_empty()),
        };
        Self {
            streams: Signal::ALL.map(|signal| Stream::new(signal, expects(signal))),
            service: expected.service,
            environment: expected.environment,
            contract,
            instances: Roster::new(),
            rows: Rows::default(),
            revisions: Revisions::default(),
            share: Share::default(),
            worked: 0,
            is_unnamed: false,
            refused: None,
            ruled_out: [None; 3],
            kernel: None,
            last_work: None,
            restarted: None,
            first_live: None,
            recalled: false,
            quality: Quality::default(),
            opinion,
            since: now,
            fell: None,
            due: None,
            queued: None,
        }
    }

    /// Takes in a beat that was admitted.
    pub fn hear(&mut self, beat: Beat, now: Tick, s: Sight, c: &WatchConfig) {
        let bounds = self.bounds(s);
        let revision = beat.body.revision.clone();
        let requests = beat.body.requests;
        let counted = requests.map(|requests| (beat.body.instance.clone(), requests));
        let blind_until = self.blind_until(s);
        let heard = match self.instances.get_mut(&beat.body.instance) {
            Some(instance) => instance.hear(beat, now, &bounds, blind_until),
            None => {
                self.make_room(now, c);
                if self.instances.len() >= c.instances_max {
                    return;
                }
                let name = beat.body.instance.clone();
                self.instances.insert(name, InstanceWatch::new(beat, now));
                Heard::NewBoot { suspected: false }
            }
        };
        let witnessed = match heard {
            Heard::NewBoot { suspected } => {
                if suspected {
                    self.quality.replace();
                }
                self.take_over(now, s, c);
                requests
            }
            Heard::SameBoot { work, passage } => {
                self.quality.pass(passage, bounds.interval_ms);
                match work {
                    Some(work) => self.work(work, now, blind_until),
                    None => self.stand(),
                }
                work.map(|work| work.amount)
            }
        };
        if let (Some(revision), Some(witnessed)) = (revision, witnessed) {
            grow(&mut self.revisions.touch(&revision, now).witnessed, witnessed);
        }
        if let Some((instance, requests)) = counted {
            self.weigh(&instance, requests, now, c);
        }
    }

    /// Compares the work that a beat told with the records, of the instance and of the service.
    fn weigh(&mut self, instance: &Instance, requests: u64, now: Tick, c: &WatchConfig) {
        let live = self.opinion.kind == VerdictKind::Live && self.is_pace_held();
        let whole = self.share_bounds(c);
        self.share.beat(now, self.worked, live, None, &whole);
        let own = ShareBounds { lag_ms: c.slack_ms + TRANSIT_MS, lead_ms: TRANSIT_MS, ..whole };
        let lent = self.lent();
        if let Some(instance) = self.instances.get_mut(instance) {
            instance.share.beat(now, requests, live, lent, &own);
        }
    }

    /// The habit of the service, for an instance that has none yet; `None` if its instances differ.
    fn lent(&self) -> Option<Learnt> {
        let whole = self.share.learnt()?;
        let mut own = self.instances.values().filter_map(|instance| instance.share.learnt());
        own.all(|own| whole.agrees(&own)).then_some(whole)
    }

    /// What was lost while nobody could count is not counted as lost.
    pub fn reopen_shares(&mut self) {
        self.share.reopen();
        self.instances.values_mut().for_each(|instance| instance.share.reopen());
    }

    /// A process came up. If it is the only one, what the one before owed went with it.
    fn take_over(&mut self, now: Tick, sight: Sight, config: &WatchConfig) {
        self.share.reopen();
        let bounds = self.bounds(sight);
        let beating = self.instances.values().filter(|instance| {
            let state = instance.beat_state(now, sight.blind_until, &bounds, config.stuck_beats);
            state == BeatState::Fresh && instance.leaving.is_none()
        });
        if beating.count() <= 1 {
            self.streams.iter_mut().for_each(Stream::forgive);
            self.restarted = Some(now);
        }
    }

    /// Notes which instances are suspected as of `now`, for the figures of the detector.
    pub fn note_silence(&mut self, now: Tick, sight: Sight, config: &WatchConfig) {
        let (horizon, bounds) = (sight.blind_until, &self.bounds(sight));
        for instance in self.instances.values_mut() {
            match instance.beat_state(now, horizon, bounds, config.stuck_beats) {
                BeatState::Suspect | BeatState::Lost => {
                    if instance.leaving.is_none() && instance.suspected.is_none() {
                        instance.suspected = Some(now);
                        self.quality.suspect(now.since_ms(instance.detector.last().max(horizon)));
                    }
                }
                BeatState::Fresh | BeatState::Stuck | BeatState::Never => instance.suspected = None,
            }
        }
    }

    fn work(&mut self, work: Work, now: Tick, blind_until: Tick) {
        self.worked = self.worked.saturating_add(work.amount);
        self.last_work = Some(now);
        for stream in &mut self.streams {
            stream.work(work, blind_until);
        }
    }

    /// A beat told no work. If none did, work spread evenly may have ended before the last arrival.
    fn stand(&mut self) {
        if self.instances.values().all(InstanceWatch::stands) {
            self.streams.iter_mut().for_each(|stream| stream.debt.stand());
        }
    }

    /// When silence of its beats counts, by how well the watch sees.
    pub fn bounds(&self, sight: Sight) -> BeatBounds {
        self.contract.bounds.stretched(sight.strain)
    }

    /// Silence before this does not count for this service.
    pub fn blind_until(&self, sight: Sight) -> Tick {
        self.restarted.map_or(sight.blind_until, |at| at.max(sight.blind_until))
    }

    /// Takes in what the collector counted.
    pub fn count(&mut self, row: &TallyRow, page: PageContext, c: &WatchConfig) {
        let growth = self.rows.take(row, page);
        let lesson = self.lesson(page.now);
        let mut records = None;
        for (index, grown) in growth.signals.iter().enumerate() {
            let Some(grown) = grown else { continue };
            grow(&mut records, grown.records);
            grow(&mut self.streams[index].records, grown.records);
            self.arrive(index, grown, row, page, lesson, c);
        }
        self.count_records(row, &growth);
        if growth.refused > 0 {
            self.refused = Some(page.now);
        }
        for (at, grew) in self.ruled_out.iter_mut().zip(growth.ruled_out) {
            *at = if grew { Some(page.now) } else { *at };
        }
        if let Some(revision) = &row.revision {
            let counts = self.revisions.touch(revision, page.now);
            if let Some(records) = records {
                grow(&mut counts.records, records);
            }
            if let Some((requests, errors)) = growth.red {
                grow(&mut counts.requests, requests);
                grow(&mut counts.errors, errors);
            }
            if let Some(durations) = &growth.durations {
                lengthen(&mut counts.durations, durations);
            }
        }
    }

    /// Takes in what is compared with the work.
    fn count_records(&mut self, row: &TallyRow, growth: &RowGrowth) {
        let Some(traces) = growth.signals[0].filter(|traces| traces.records > 0) else { return };
        let mut more = Totals { spans: traces.records, ..Totals::default() };
        if let Some((requests, _)) = growth.red {
            more.requests = requests;
            // A collector that does not look at sampling counts each span for itself.
            let milli = growth.adjusted_milli.unwrap_or(requests.saturating_mul(1_000));
            more.adjusted_milli = milli;
        }
        self.share.arrive(traces.at, more);
        match row.instance.as_ref().and_then(|name| self.instances.get_mut(name)) {
            Some(instance) => instance.share.arrive(traces.at, more),
            None => self.is_unnamed = true,
        }
    }

    fn lesson(&self, now: Tick) -> Lesson {
        // Until it was live once, it is in its first dwell.
        if self.opinion.kind != VerdictKind::Live && self.first_live.is_some() {
            Lesson::Skip
        } else if self.tells_work() {
            Lesson::Counted { contract_ms: self.contract.bounds.interval_ms }
        } else if self.kernel_tells(now) {
            Lesson::Counted { contract_ms: self.contract.bounds.interval_ms.max(KERNEL_SAMPLE_MS) }
        } else {
            Lesson::Uncounted
        }
    }

    fn arrive(
        &mut self,
        index: usize,
        grown: &Growth,
        row: &TallyRow,
        page: PageContext,
        lesson: Lesson,
        c: &WatchConfig,
    ) {
        let from = grown.gap_ms.map(|gap_ms| grown.at.minus_ms(gap_ms));
        let steady = self.is_steady_since(from.unwrap_or(grown.at));
        let mut instance = row.instance.as_ref().and_then(|i| self.instances.get_mut(i));
        let stream = &mut self.streams[index];
        let changed = grown.changes > 0;
        if page.is_base {
            stream.recall(grown.at);
        } else if grown.arrivals > 0 {
            // What the kernel witnessed is owed by the service and by no instance.
            let tells = instance.as_ref().filter(|instance| instance.requests().is_some());
            let owed = tells.map(|instance| instance.debts[index]);
            let (at, gap_ms) = (grown.at, grown.gap_ms);
            let contract_ms = self.contract.bounds.interval_ms;
            let arrival = Arrival { at, changed, gap_ms, owed, steady, contract_ms };
            if stream.arrive(arrival, lesson, c.slack_ms) {
                // What was lost in the silence was judged as silence; it is not counted again.
                self.share.resume(page.now);
                if let Some(instance) = &mut instance {
                    instance.share.resume(page.now);
                }
            }
        } else {
            return;
        }
        let bounds = stream.date_bounds(self.contract.bounds.interval_ms, c);
        let named = instance.as_mut().map(|instance| &mut instance.dating[index]);
        named.unwrap_or(&mut stream.dating).arrive(grown.at, grown.late_ms, bounds);
        if let Some(instance) = instance {
            instance.arrivals[index] = instance.arrivals[index].max(Some(grown.at));
            instance.debts[index].answer(grown.at);
            if grown.signal == Signal::Metrics && !page.is_base {
                instance.standing.arrive(grown.at, changed, c.slack_ms);
            }
        }
    }

    /// Whether no instance was suspected, and none came up, since `from`.
    fn is_steady_since(&self, from: Tick) -> bool {
        self.restarted.is_none_or(|at| at < from)
            && self.instances.values().all(|instance| {
                instance.suspected.is_none() && instance.resumed.is_none_or(|at| at < from)
            })
    }

    /// Instances that are long lost, or gone as they announced, make room for a new one.
    fn make_room(&mut self, now: Tick, config: &WatchConfig) {
        let grace_ms = self.contract.restart_grace_ms;
        self.instances.retain(|_, instance| {
            let silent_ms = now.since_ms(instance.detector.last());
            let gone = instance.leaving.is_some() && silent_ms > grace_ms;
            !gone && silent_ms <= config.forget_ms
        });
    }

    /// The watch was blind: beats and debts from before prove nothing.
    pub fn forgive(&mut self) {
        for instance in self.instances.values_mut() {
            instance.beats = 0;
            instance.debts = [super::debt::Debt::NONE; 3];
            instance.standing.forgive();
        }
        self.streams.iter_mut().for_each(Stream::forgive);
        self.reopen_shares();
    }

    /// Learns from being live, within the first dwell. Says whether more is to be remembered.
    pub fn learn(&mut self, now: Tick, readings: [Reading; 3], config: &WatchConfig) -> bool {
        if self.opinion.kind != VerdictKind::Live {
            return false;
        }
        let mut grew = self.first_live.is_none();
        let first_live = *self.first_live.get_or_insert(now);
        if now.since_ms(self.since) < config.learn_ms {
            return grew;
        }
        let open = now.since_ms(first_live) <= config.learn_ms.saturating_mul(DWELLS);
        for (stream, reading) in self.streams.iter_mut().zip(readings) {
            let was_held = stream.pace.learnt_ms().is_some();
            let arrives = matches!(reading, Reading::Fresh | Reading::Late);
            if was_held || !arrives || !stream.pace.hold() {
                continue;
            }
            stream.hold_changes();
            let expected = open && !self.contract.signals_named;
            grew |= expected && !stream.expected;
            stream.expected |= expected;
        }
        grew
    }

    fn is_pace_held(&self) -> bool {
        self.streams[0].pace.learnt_ms().is_some()
    }

    pub fn share_bounds(&self, config: &WatchConfig) -> ShareBounds {
        let interval_ms = self.contract.bounds.interval_ms;
        let due_ms = self.streams[0].period_ms(interval_ms) + config.slack_ms;
        ShareBounds {
            work_min: config.witness_min,
            tolerance: config.loss_tolerance,
            doubt: config.loss_doubt,
            window_ms: config.witness_window_ms,
            learn_ms: config.learn_ms,
            due_ms,
            // Arrivals of one instance say nothing of what the others still owe, and their beats
            // may be one interval behind.
            lag_ms: due_ms,
            lead_ms: interval_ms,
        }
    }
}
