//! The share of requests that become records, as it is when all is well.
//!
//! It is learnt while the service is live, made exact by further stretches that agree with it, and
//! held for good after the first that does not: a share that shrinks is a loss, not a new habit.
//!
//! Invariant: what was learnt carries how uncertain it is, and is none before that is little.

use crate::watch::balance::{Mark, Span, Totals, float};
use crate::watch::odds::{Law, scatter};

/// A share that may be off by more than this part of itself is not learnt yet.
const ERROR_MAX: f64 = 0.1;
/// A stretch may differ by so much from what was learnt and still be the same habit.
const DRIFT: f64 = 0.05;
/// Stretches that make it exact.
const STRETCHES: u32 = 6;

/// What is counted as the record of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Server and consumer spans.
    Requests,
    /// All spans, for services that make no server spans.
    Spans,
}

impl Source {
    pub fn records(self, totals: &Totals) -> f64 {
        match self {
            Self::Requests => float(totals.adjusted_milli) / 1_000.0,
            Self::Spans => float(totals.spans),
        }
    }

    /// The same as a whole number, for show.
    pub const fn records_shown(self, totals: &Totals) -> u64 {
        match self {
            Self::Requests => totals.adjusted_milli.div_ceil(1_000),
            Self::Spans => totals.spans,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Learnt {
    pub source: Source,
    pub ratio: f64,
    /// By which part of itself the ratio may be off.
    pub error: f64,
    /// For how many requests a span stands; at least itself.
    weight: f64,
    /// Requests that it was learnt from.
    requests: f64,
}

impl Learnt {
    fn of(span: &Span) -> Option<Self> {
        let source = if span.totals.requests > 0 { Source::Requests } else { Source::Spans };
        let records = source.records(&span.totals);
        if records <= 0.0 || span.likely <= 0.0 {
            return None;
        }
        let weight = weight(&span.totals);
        let mut learnt = Self {
            source,
            ratio: records / span.likely,
            error: 0.0,
            weight,
            requests: span.likely,
        };
        let ends = span.guessed / 8.0 / span.likely;
        learnt.error = 2.0 * scatter(span.likely, learnt.ratio, learnt.law(&span.totals)) + ends;
        Some(learnt)
    }

    /// How records scatter: of the weights then and now, the one that leaves more to chance.
    pub fn law(&self, now: &Totals) -> Law {
        match self.source {
            Source::Requests if self.ratio <= 1.2 * self.weight => {
                Law::Kept { weight: self.weight.max(weight(now)) }
            }
            Source::Requests | Source::Spans => Law::Many { per_request: self.ratio },
        }
    }

    /// Whether `other` may be the same habit.
    pub fn agrees(&self, other: &Self) -> bool {
        let play = DRIFT + self.error.max(other.error);
        self.source == other.source && self.apart(other) <= play
    }

    fn apart(&self, other: &Self) -> f64 {
        (other.ratio / self.ratio - 1.0).abs()
    }

    fn merge(&mut self, more: &Self) {
        let requests = self.requests + more.requests;
        self.ratio = (self.ratio * self.requests + more.ratio * more.requests) / requests;
        self.error = (self.error * self.requests + more.error * more.requests) / requests;
        self.weight = self.weight.max(more.weight);
        self.requests = requests;
    }
}

fn weight(totals: &Totals) -> f64 {
    (float(totals.adjusted_milli) / 1_000.0 / float(totals.requests.max(1))).max(1.0)
}

/// From when on something may be learnt from a stretch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Lengths {
    pub first_ms: u64,
    pub further_ms: u64,
    pub requests_min: f64,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Habit {
    pub learnt: Option<Learnt>,
    start: Option<Mark>,
    stretches: u32,
}

impl Habit {
    /// A mark was made; `live`: something may be learnt from what came before it.
    pub fn note(&mut self, mark: Mark, live: bool, lengths: Lengths) {
        if self.stretches >= STRETCHES {
            return;
        }
        let Some(start) = self.start.filter(|_| live) else {
            self.start = live.then_some(mark);
            return;
        };
        let span = mark.since(&start);
        let wanted_ms = if self.learnt.is_some() { lengths.further_ms } else { lengths.first_ms };
        if span.ms < wanted_ms || span.likely < lengths.requests_min {
            return;
        }
        let Some(seen) = Learnt::of(&span) else {
            self.start = Some(mark);
            return;
        };
        match &mut self.learnt {
            None if seen.error > ERROR_MAX => return,
            None => self.learnt = Some(seen),
            // Chance is no excuse here: a loss must not be learnt bit by bit.
            Some(learnt) if learnt.source == seen.source && learnt.apart(&seen) <= DRIFT => {
                learnt.merge(&seen);
                self.stretches += 1;
            }
            Some(_) => self.stretches = STRETCHES,
        }
        self.start = Some(mark);
    }

    /// What follows is not joined to what came before.
    pub const fn pause(&mut self) {
        self.start = None;
    }
}
