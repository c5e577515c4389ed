//! One signal of one service: when it last arrived, how often it should, and what it owes.
//!
//! ```text
//!  last arrival ──────── one period ──────── two periods + slack ──────────► time
//!       fresh                  late             silent, if work is unanswered
//!                                               quiet, if there was no work
//! ```
//!
//! Invariant: silence is a fault only when work was certainly done after the last arrival, its
//! own period has passed, and the process that did it is proven to run.

use crate::tally::Signal;
use crate::tick::Tick;
use crate::watch::dating::{DateBounds, Dating};
use crate::watch::debt::Debt;
use crate::watch::instance::Work;
use crate::watch::pace::{Pace, Sample};
use crate::watch::standing::Standing;
use crate::watch::{Strain, WatchConfig};

/// Metrics that changed so often in the first live dwell are expected to move with work.
const CHANGES_MIN: u32 = 2;

/// What one signal says at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Reading {
    /// It never arrived.
    Never,
    Fresh,
    /// More than one period without an arrival, not yet two.
    Late,
    /// No arrival, and no work that would ask for one.
    Quiet,
    /// After a quiet time there was work; its arrival is not due yet.
    Due,
    /// Work is unanswered past its time.
    Silent,
    /// Silent past its time, and no witness can say whether there was work.
    Mute,
}

/// The moment, and what else is known at it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub now: Tick,
    /// Silence before this does not count: the watch could not see.
    pub blind_until: Tick,
    /// An arrival before this does not count: the watch did not run, or its clock jumped.
    pub known_since: Tick,
    pub contract_ms: u64,
    pub slack_ms: u64,
    pub strain: Strain,
    pub idle_after_ms: u64,
    /// Every instance that beats tells a work counter, so that no work is unseen.
    pub counted: bool,
    /// A process that works is proven to run at this moment.
    pub punctual: bool,
}

impl Moment {
    /// After so long without an arrival it is late.
    pub fn late_after_ms(&self, period_ms: u64) -> u64 {
        self.strain.stretch(period_ms + self.slack_ms)
    }

    /// After so long without an arrival it is silent, if work is unanswered.
    pub fn silent_after_ms(&self, period_ms: u64) -> u64 {
        self.strain.stretch(2 * period_ms + self.slack_ms)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Stream {
    pub signal: Signal,
    pub pace: Pace,
    pub last_arrival: Option<Tick>,
    /// Records since the watch first heard of the service; `None` if none ever arrived.
    pub records: Option<u64>,
    /// Whether it must arrive: by contract, or because it did in the first live dwell.
    pub expected: bool,
    pub debt: Debt,
    /// Silence once found stays until something arrives, even if the beats stop meanwhile.
    silent: bool,
    changes_expected: bool,
    /// Whether the values of all instances together stand still.
    standing: Standing,
    /// Whether records are as new as their arrivals, of rows that name no instance that beats.
    pub dating: Dating,
}

/// Arrivals of one tally row since the page before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub at: Tick,
    pub changed: bool,
    /// Gap to the row's arrival before, if it is known.
    pub gap_ms: Option<u64>,
    /// What the instance it came from owed before it; `None` if it named none that beats.
    pub owed: Option<Debt>,
    /// Its sender, and who sends beside it, was not suspected in the gap before it.
    pub steady: bool,
    pub contract_ms: u64,
}

/// What may be learnt from an arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lesson {
    /// Nothing: the service is not live.
    Skip,
    /// Beats witness the work, at least every so many milliseconds.
    Counted { contract_ms: u64 },
    /// Beats carry no counter.
    Uncounted,
}

impl Stream {
    pub const fn new(signal: Signal, expected: bool) -> Self {
        Self {
            signal,
            pace: Pace::new(),
            last_arrival: None,
            records: None,
            expected,
            debt: Debt::NONE,
            silent: false,
            changes_expected: false,
            standing: Standing::NEW,
            dating: Dating::NEW,
        }
    }

    /// Something arrived. Says whether this ended a silence.
    pub fn arrive(&mut self, arrival: Arrival, lesson: Lesson, slack_ms: u64) -> bool {
        let was_silent = self.silent;
        let Arrival { at, changed, gap_ms, owed, .. } = arrival;
        // Arrivals of other instances answer what the service owes, and not what this one does.
        let owed = owed.unwrap_or(self.debt);
        if let Some(sample) = gap_ms.and_then(|gap_ms| self.sample(at, gap_ms, &owed, lesson)) {
            self.pace.note(sample);
        }
        if was_silent && let Some(gap_ms) = gap_ms {
            // A gap that a beat's own silence shares is nobody's habit.
            if arrival.steady && owed.is_unbroken(at.minus_ms(gap_ms), at, 2 * arrival.contract_ms)
            {
                self.pace.note_silence(gap_ms);
            } else {
                self.pace.forget_silence();
            }
        }
        if self.last_arrival.is_none_or(|last| at > last) {
            self.last_arrival = Some(at);
            self.debt.answer(at);
            self.silent = false;
        }
        self.standing.arrive(at, changed, slack_ms);
        was_silent && !self.silent
    }

    /// It arrived at `at`, before the watch could count: a base that nothing is learnt from.
    pub fn recall(&mut self, at: Tick) {
        if self.last_arrival.is_none_or(|last| at > last) {
            self.last_arrival = Some(at);
            self.debt.answer(at);
        }
    }

    /// What the gap before the arrival at `at` says of the exporter's period; `None` if nothing.
    fn sample(&self, at: Tick, gap_ms: u64, owed: &Debt, lesson: Lesson) -> Option<Sample> {
        match (lesson, self.signal) {
            (Lesson::Skip, _) => None,
            // Metrics come with or without work.
            (Lesson::Uncounted, _) | (Lesson::Counted { .. }, Signal::Metrics) => {
                Some(Sample::Period(gap_ms))
            }
            (Lesson::Counted { contract_ms }, Signal::Traces | Signal::Logs) => {
                let before = at.minus_ms(gap_ms);
                // Within one beat interval nobody can say more, and nobody needs to.
                let is_short = gap_ms <= contract_ms;
                if is_short || owed.is_unbroken(before, at, 2 * contract_ms) {
                    return Some(Sample::Period(gap_ms));
                }
                owed.since().map(|since| Sample::Wait(at.since_ms(since)))
            }
        }
    }

    /// A beat witnessed work.
    pub fn work(&mut self, work: Work, blind_until: Tick) {
        self.debt.add(work, self.last_arrival, blind_until);
        if matches!(self.signal, Signal::Metrics) {
            self.standing.work(work, blind_until);
        }
    }

    /// Forgives what is owed: the watch was blind, or the process that owed it is gone.
    pub fn forgive(&mut self) {
        self.debt = Debt::NONE;
        self.standing.forgive();
        self.silent = false;
    }

    /// The first live dwell ends: what moved in it is expected to move.
    pub const fn hold_changes(&mut self) {
        self.changes_expected = self.standing.changes >= CHANGES_MIN;
    }

    pub fn period_ms(&self, contract_ms: u64) -> u64 {
        self.pace.period_ms(self.signal, contract_ms)
    }

    /// How its records may be dated. A span waits for the export after its end; a data point is
    /// dated when it is exported.
    pub fn date_bounds(&self, contract_ms: u64, config: &WatchConfig) -> DateBounds {
        let waits_ms = match self.signal {
            Signal::Traces | Signal::Logs => self.period_ms(contract_ms),
            Signal::Metrics => 0,
        };
        let late_ms = config.record_late_ms.saturating_add(waits_ms);
        DateBounds { late_ms, ahead_ms: config.record_ahead_ms }
    }

    /// Whether values stand still while work moves.
    pub const fn is_standing(&self) -> bool {
        self.is_standing_in(&self.standing)
    }

    /// The same of one instance, by the habit of its service.
    pub const fn is_standing_in(&self, standing: &Standing) -> bool {
        self.changes_expected && standing.is_found()
    }

    /// Silence that is found at `moment` is kept until the next arrival.
    pub fn keep_silence(&mut self, moment: &Moment) {
        self.silent = self.reading(moment) == Reading::Silent;
    }

    /// After so long without an arrival it is silent, if work is unanswered.
    pub fn limit_ms(&self, moment: &Moment) -> u64 {
        moment.silent_after_ms(self.period_ms(moment.contract_ms))
    }

    pub fn reading(&self, moment: &Moment) -> Reading {
        let Some(last) = self.last_arrival else { return Reading::Never };
        let now = moment.now;
        let period_ms = self.period_ms(moment.contract_ms);
        let from = last.max(moment.blind_until);
        let limit_ms = self.limit_ms(moment);
        let within_limit = now.since_ms(from) <= limit_ms;
        if !within_limit && (self.silent || self.is_overdue(moment, period_ms)) {
            return Reading::Silent;
        }
        // An arrival from before the watch could know of it is no sign of life.
        let age_ms = now.since_ms(last);
        let seen = last >= moment.known_since;
        if seen && age_ms <= moment.late_after_ms(period_ms) {
            return Reading::Fresh;
        }
        if seen && age_ms <= limit_ms {
            return Reading::Late;
        }
        if !moment.counted {
            return if within_limit { Reading::Due } else { Reading::Mute };
        }
        let recent = now.since_ms(last.max(moment.known_since)) <= moment.idle_after_ms;
        match (self.debt.since(), recent) {
            (None, true) if seen => Reading::Fresh,
            (Some(_), true) if seen => Reading::Late,
            (None, false) => Reading::Quiet,
            (None, true) | (Some(_), true | false) => Reading::Due,
        }
    }

    /// Whether work is unanswered past its time, and who did it certainly still runs.
    fn is_overdue(&self, moment: &Moment, period_ms: u64) -> bool {
        self.debt.since().is_some_and(|since| {
            let due = since.max(moment.blind_until).plus_ms(moment.late_after_ms(period_ms));
            moment.punctual && moment.now > due
        })
    }

    /// When its reading may change by time alone.
    pub fn next_changes(&self, moment: &Moment) -> [Option<Tick>; 6] {
        let Some(last) = self.last_arrival else { return [None; 6] };
        let period_ms = self.period_ms(moment.contract_ms);
        let (late_ms, limit_ms) =
            (moment.late_after_ms(period_ms), moment.silent_after_ms(period_ms));
        let after = |from: Tick, ms: u64| Some(from.plus_ms(ms + 1));
        [
            after(last.max(moment.blind_until), limit_ms),
            after(last, late_ms),
            after(last, limit_ms),
            after(last.max(moment.known_since), moment.idle_after_ms),
            after(last.max(moment.known_since), limit_ms.max(moment.idle_after_ms)),
            self.debt.since().and_then(|since| after(since.max(moment.blind_until), late_ms)),
        ]
    }
}

/// Whether `debt` of one instance is overdue, measured by the period of the service's stream.
pub(super) fn is_blind(stream: &Stream, debt: &Debt, last: Option<Tick>, moment: &Moment) -> bool {
    let (Some(last), Some(since)) = (last, debt.since()) else { return false };
    let period_ms = stream.period_ms(moment.contract_ms);
    let from = last.max(moment.blind_until);
    moment.punctual
        && moment.now.since_ms(from) > moment.silent_after_ms(period_ms)
        && moment.now.since_ms(since.max(from)) > moment.late_after_ms(period_ms)
}
