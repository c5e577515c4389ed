//! The collector itself: its own beat, the long poll, and when it is convicted.
//!
//! A collector that hangs makes everything behind it silent, so it is judged by what does not
//! pass through its pipeline: its beat comes from a plain thread, and two witnesses must agree
//! before it is restarted.
//!
//! | its beat | its token | probes | the tally | conviction |
//! |---|---|---|---|---|
//! | lost | | late or lost | any | `silent` |
//! | lost | | any | fails | `silent` |
//! | fresh | stands still | lost | any | `hung` |
//! | fresh | moves | lost for 5 s | tells of no trouble at the backend | `drops` |
//! | fresh | moves | lost | tells that a rule drops records | `rules` |
//!
//! Invariant: one start of the collector is convicted at most once.

use crate::detector::BeatBounds;
use crate::judge::Probes;
use crate::names::Boot;
use crate::tally::Flow;
use crate::tick::Tick;
use crate::verdict::BeatState;
use crate::watch::instance::{Beat, InstanceWatch};
use crate::watch::probes::{Asked, Probing, worst};
use crate::watch::{Conviction, Reason, WatchConfig};

/// So many polls in a row without an answer are a failing tally.
const FAILURES: u32 = 2;

/// What the collector tells of the way to the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Backend {
    /// Nothing is known, or nothing is wrong.
    Quiet,
    /// Records have begun to wait and probes are overdue: it may be the backend or who sends to it.
    Waits,
    /// Records wait and the backend takes none.
    Stalled,
    /// Records come in and are neither forwarded nor queued; or they wait, and the backend has
    /// taken and given others meanwhile.
    ExporterStalled,
    /// A rule of the configuration drops records, and probes are overdue.
    Filtered,
    /// The backend refuses records for good, and probes of some signal are overdue.
    Refuses,
}

/// What is known of the collector itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CollectorView {
    pub beats: BeatState,
    pub age_ms: Option<u64>,
    /// Whether this start was convicted already.
    pub convicted: bool,
}

#[derive(Debug, Clone)]
pub(super) struct CollectorWatch {
    started: Option<(Boot, Tick)>,
    convicted: bool,
    /// It was told that rules drop the probes, and no probe has come back since.
    rules_told: bool,
    beats: Option<InstanceWatch>,
    tally_failures: u32,
    flow: Option<Flow>,
    /// When the newest probe was sent that went straight to the backend and was read back.
    pub backend_proven: Option<Tick>,
    /// Since when records wait without any being taken; `None` while none wait.
    stalled_since: Option<Tick>,
    /// Since when records come in and nothing goes on; `None` while it does.
    swallowed_since: Option<Tick>,
    /// When a rule was last seen to drop records.
    ruled: Option<Tick>,
    /// When records were last dropped because the backend refused them, or never took them.
    dropped: Option<Tick>,
}

impl CollectorWatch {
    pub const fn new() -> Self {
        Self {
            started: None,
            convicted: false,
            rules_told: false,
            beats: None,
            tally_failures: 0,
            flow: None,
            backend_proven: None,
            stalled_since: None,
            swallowed_since: None,
            ruled: None,
            dropped: None,
        }
    }

    pub fn start(&mut self, boot: Boot, now: Tick) {
        // Its first beat may have been faster than the news of its start.
        if self.beats.as_ref().is_some_and(|beats| beats.boot != boot) {
            self.beats = None;
        }
        self.started = Some((boot, now));
        self.convicted = false;
        self.rules_told = false;
        self.tally_failures = 0;
        self.flow = None;
        self.stalled_since = None;
        self.swallowed_since = None;
        self.ruled = None;
        self.dropped = None;
    }

    pub fn hear(&mut self, beat: Beat, now: Tick, config: &WatchConfig) {
        let bounds = Self::bounds(config);
        match &mut self.beats {
            Some(beats) => {
                beats.hear(beat, now, &bounds, now);
            }
            None => self.beats = Some(InstanceWatch::new(beat, now)),
        }
    }

    pub fn bounds(config: &WatchConfig) -> BeatBounds {
        BeatBounds::new(config.collector_interval_ms, config)
    }

    pub fn read_flow(&mut self, flow: Flow, now: Tick) {
        self.tally_failures = 0;
        let before = self.flow.replace(flow);
        let (Some(before), Some(flow)) = (before, &self.flow) else { return };
        let grew = |count: fn(&Flow) -> u64| count(flow) > count(&before);
        let forwarded = grew(|flow| flow.forwarded);
        // A backend that refuses for good shows as drops, one that is away as a queue.
        let dropped = grew(|flow| flow.dropped.saturating_sub(flow.dropped_by_rule));
        let ruled = grew(|flow| flow.dropped_by_rule);
        if ruled {
            self.ruled = Some(now);
        }
        if dropped {
            self.dropped = Some(now);
        }
        let waits = flow.backend && (flow.queued > 0 || dropped);
        self.stalled_since = match self.stalled_since {
            _ if forwarded => None,
            None if waits => Some(now),
            since => since,
        };
        let kept = !forwarded && !dropped && !ruled;
        let swallows = flow.backend && flow.queued == 0 && kept;
        self.swallowed_since = match self.swallowed_since {
            Some(since) if swallows => Some(since),
            None if swallows && grew(|flow| flow.received) => Some(now),
            Some(_) | None => None,
        };
    }

    pub const fn fail_tally(&mut self) {
        self.tally_failures = self.tally_failures.saturating_add(1);
    }

    pub const fn is_tally_failing(&self) -> bool {
        self.tally_failures >= FAILURES
    }

    /// `overdue`: probes are late or lost. A rule that lets them pass is no trouble.
    pub fn backend(&self, now: Tick, overdue: bool, config: &WatchConfig) -> Backend {
        let recent = |at: Option<Tick>| {
            overdue && at.is_some_and(|at| now.since_ms(at) <= config.backend_stall_ms)
        };
        let past = |since: Option<Tick>| {
            since.is_some_and(|since| now.since_ms(since) > config.backend_stall_ms)
        };
        // What it said before it fell silent is no excuse for its silence.
        if self.is_tally_failing() {
            Backend::Quiet
        } else if past(self.stalled_since) {
            if self.is_backend_fine() { Backend::ExporterStalled } else { Backend::Stalled }
        } else if recent(self.ruled) {
            Backend::Filtered
        } else if recent(self.dropped) {
            Backend::Refuses
        } else if past(self.swallowed_since) {
            Backend::ExporterStalled
        } else if overdue && self.stalled_since.is_some() {
            Backend::Waits
        } else {
            Backend::Quiet
        }
    }

    /// Whether the backend is proven to take others while records wait for it.
    fn is_backend_fine(&self) -> bool {
        self.backend_proven > self.stalled_since
    }

    pub fn beat_state(&self, now: Tick, horizon: Tick, config: &WatchConfig) -> BeatState {
        let bounds = Self::bounds(config);
        match (&self.beats, &self.started) {
            (Some(beats), started)
                if started.as_ref().is_none_or(|(boot, _)| *boot == beats.boot) =>
            {
                beats.beat_state(now, horizon, &bounds, config.stuck_beats)
            }
            (_, Some((_, at))) if now.since_ms((*at).max(horizon)) > config.collector_start_ms => {
                BeatState::Lost
            }
            (Some(_) | None, Some(_) | None) => BeatState::Never,
        }
    }

    /// Whether its own beat or the poll say that it does not work.
    pub fn is_sick(&self, now: Tick, horizon: Tick, config: &WatchConfig) -> bool {
        match self.beat_state(now, horizon, config) {
            BeatState::Suspect | BeatState::Lost | BeatState::Stuck => true,
            BeatState::Fresh | BeatState::Never => self.is_tally_failing(),
        }
    }

    pub fn view(&self, now: Tick, horizon: Tick, config: &WatchConfig) -> CollectorView {
        let age_ms = self.beats.as_ref().map(|beats| now.since_ms(beats.detector.last()));
        let beats = self.beat_state(now, horizon, config);
        CollectorView { beats, age_ms, convicted: self.convicted }
    }

    /// The order to restart it, if two witnesses agree and it was not given for this start.
    pub fn convict(
        &mut self,
        now: Tick,
        horizon: Tick,
        probes: (&Probing, Asked),
        config: &WatchConfig,
    ) -> Option<(Boot, Conviction)> {
        let (boot, _) = self.started.clone()?;
        if self.convicted {
            return None;
        }
        let state = worst(probes.0.states(now, config), probes.1);
        let overdue = matches!(state, Probes::Late | Probes::Lost);
        let lost = state == Probes::Lost;
        self.rules_told &= state != Probes::Returning;
        let filtered = lost && self.backend(now, true, config) == Backend::Filtered;
        let reason = match self.beat_state(now, horizon, config) {
            BeatState::Lost if overdue || self.is_tally_failing() => Conviction::Silent,
            BeatState::Stuck if lost => Conviction::Hung,
            BeatState::Fresh if filtered && !self.rules_told => {
                self.rules_told = true;
                return Some((boot, Conviction::Rules));
            }
            BeatState::Fresh if lost && self.swallows_probes(now, probes, config) => {
                Conviction::Drops
            }
            BeatState::Fresh
            | BeatState::Suspect
            | BeatState::Lost
            | BeatState::Stuck
            | BeatState::Never => return None,
        };
        self.convicted = true;
        Some((boot, reason))
    }

    fn swallows_probes(&self, now: Tick, p: (&Probing, Asked), config: &WatchConfig) -> bool {
        p.0.waiting_ms(p.1, now).is_some_and(|ms| ms > config.drops_ms)
            // Records that wait are the backend's fault, unless it is proven to take others.
            && (self.is_tally_failing() || self.stalled_since.is_none() || self.is_backend_fine())
            // The same rules would drop the same records after a restart.
            && !matches!(self.backend(now, true, config), Backend::Filtered | Backend::Refuses)
    }

    /// When what is known of it may change by time alone.
    pub fn next_changes(
        &self,
        horizon: Tick,
        config: &WatchConfig,
    ) -> impl Iterator<Item = (Tick, Reason)> {
        let beats = self.beats.as_ref().map(|b| b.next_changes(horizon, &Self::bounds(config)));
        let start = self
            .started
            .as_ref()
            .map(|(_, at)| (*at).max(horizon).plus_ms(config.collector_start_ms + 1));
        let stall = |since: Option<Tick>| since.map(|at| at.plus_ms(config.backend_stall_ms + 1));
        beats
            .into_iter()
            .flatten()
            .chain(start)
            .chain(stall(self.stalled_since))
            .chain(stall(self.swallowed_since))
            .chain(stall(self.ruled))
            .chain(stall(self.dropped))
            .map(|at| (at, Reason::Collector))
    }
}
