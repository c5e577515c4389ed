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
use crate::watch::debt::Debt;
use crate::watch::instance::Work;
use crate::watch::pace::Pace;

/// Metrics that stood still in so many arrivals after work are frozen.
const STANDING_ARRIVALS: u32 = 2;
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
    pub idle_after_ms: u64,
    /// Every instance that beats tells a work counter, so that no work is unseen.
    pub counted: bool,
    /// A process that works is proven to run at this moment.
    pub punctual: bool,
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
    changes: u32,
    last_change: Option<Tick>,
    changes_expected: bool,
    /// Work since the values last changed.
    standing: Debt,
    /// Arrivals after that work in which no value changed.
    standing_arrivals: u32,
}

/// Arrivals of one tally row since the page before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub at: Tick,
    pub changed: bool,
    /// Gap to the row's arrival before, if it may be learnt from.
    pub gap_ms: Option<u64>,
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
            changes: 0,
            last_change: None,
            changes_expected: false,
            standing: Debt::NONE,
            standing_arrivals: 0,
        }
    }

    /// Something arrived. `learn`: the service is live or in its first dwell. Says whether this
    /// ended a silence.
    pub fn arrive(&mut self, arrival: Arrival, learn: bool, slack_ms: u64) -> bool {
        let was_silent = self.silent;
        let Arrival { at, changed, gap_ms } = arrival;
        if let (true, Some(gap_ms)) = (learn, gap_ms) {
            // Without work there is nothing to export: count from where the work began.
            let waited = match (self.signal, self.debt.from()) {
                (Signal::Metrics, _) | (_, None) => gap_ms,
                (Signal::Traces | Signal::Logs, Some(from)) => gap_ms.min(at.since_ms(from)),
            };
            self.pace.note(waited);
        }
        if self.last_arrival.is_none_or(|last| at > last) {
            self.last_arrival = Some(at);
            self.debt.answer(at);
            self.silent = false;
        }
        if changed {
            self.changes = self.changes.saturating_add(1);
            self.last_change = self.last_change.max(Some(at));
            self.standing.answer(at);
            self.standing_arrivals = 0;
        } else if self.standing.since().is_some_and(|since| at > since.plus_ms(slack_ms)) {
            self.standing_arrivals = self.standing_arrivals.saturating_add(1);
        }
        was_silent && !self.silent
    }

    /// A beat witnessed work.
    pub fn work(&mut self, work: Work, blind_until: Tick) {
        let after = |last: Option<Tick>| last.map_or(blind_until, |last| last.max(blind_until));
        self.debt.add(work, after(self.last_arrival));
        if matches!(self.signal, Signal::Metrics) {
            self.standing.add(work, after(self.last_change));
        }
    }

    /// Forgives what is owed: the watch was blind, or the process that owed it is gone.
    pub fn forgive(&mut self) {
        self.debt = Debt::NONE;
        self.standing = Debt::NONE;
        self.standing_arrivals = 0;
        self.silent = false;
    }

    /// The first live dwell ends: what moved in it is expected to move.
    pub const fn hold_changes(&mut self) {
        self.changes_expected = self.changes >= CHANGES_MIN;
    }

    pub fn period_ms(&self, contract_ms: u64) -> u64 {
        self.pace.period_ms(self.signal, contract_ms)
    }

    /// Whether values stand still while work moves.
    pub const fn is_standing(&self) -> bool {
        self.changes_expected && self.standing_arrivals >= STANDING_ARRIVALS
    }

    /// Silence that is found at `moment` is kept until the next arrival.
    pub fn keep_silence(&mut self, moment: &Moment) {
        self.silent = self.reading(moment) == Reading::Silent;
    }

    pub fn reading(&self, moment: &Moment) -> Reading {
        let Some(last) = self.last_arrival else { return Reading::Never };
        let now = moment.now;
        let period_ms = self.period_ms(moment.contract_ms);
        let from = last.max(moment.blind_until);
        let limit_ms = 2 * period_ms + moment.slack_ms;
        let within_limit = now.since_ms(from) <= limit_ms;
        if !within_limit && (self.silent || self.is_overdue(moment, period_ms)) {
            return Reading::Silent;
        }
        // An arrival from before the watch could know of it is no sign of life.
        let age_ms = now.since_ms(last);
        let seen = last >= moment.known_since;
        if seen && age_ms <= period_ms + moment.slack_ms {
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
            let due = since.max(moment.blind_until).plus_ms(period_ms + moment.slack_ms);
            moment.punctual && moment.now > due
        })
    }

    /// When its reading may change by time alone.
    pub fn next_changes(&self, moment: &Moment) -> [Option<Tick>; 5] {
        let Some(last) = self.last_arrival else { return [None; 5] };
        let period_ms = self.period_ms(moment.contract_ms);
        let limit_ms = 2 * period_ms + moment.slack_ms;
        let after = |from: Tick, ms: u64| Some(from.plus_ms(ms + 1));
        [
            after(last.max(moment.blind_until), limit_ms),
            after(last, limit_ms),
            after(last.max(moment.known_since), moment.idle_after_ms),
            after(last.max(moment.known_since), limit_ms.max(moment.idle_after_ms)),
            self.debt.since().and_then(|since| {
                after(since.max(moment.blind_until), period_ms + moment.slack_ms)
            }),
        ]
    }
}

/// Whether `debt` of one instance is overdue, measured by the period of the service's stream.
pub(super) fn is_blind(stream: &Stream, debt: &Debt, last: Option<Tick>, moment: &Moment) -> bool {
    let (Some(last), Some(since)) = (last, debt.since()) else { return false };
    let period_ms = stream.period_ms(moment.contract_ms);
    let from = last.max(moment.blind_until);
    moment.punctual
        && moment.now.since_ms(from) > 2 * period_ms + moment.slack_ms
        && moment.now.since_ms(since.max(from)) > period_ms + moment.slack_ms
}
