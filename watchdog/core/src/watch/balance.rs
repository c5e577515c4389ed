//! Work against records, as of the same moments.
//!
//! Beats tell the work, arrivals bring the records, and the two come at different times. A mark is
//! an arrival with what is certain of the work it answers: at least what a beat told before it, at
//! most what the next beat tells. Between two marks the records are known exactly, and the work
//! within a beat's growth at either end.
//!
//! Invariant: the least is never more than the work was, and the most never less, as long as
//! records arrive within `lag_ms` and beats within `lead_ms`.

use std::collections::VecDeque;

use crate::tick::Tick;

/// Beats that are kept, to know the work as of a while ago.
const BEATS: usize = 16;
/// Marks that are kept; those that lie close together for their age make room.
const MARKS: usize = 24;
/// No window is longer.
const KEPT_MS: u64 = 600_000;

/// Cumulative counts of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Totals {
    /// Server and consumer spans.
    pub requests: u64,
    pub spans: u64,
    /// Thousandths of requests that the server and consumer spans stand for.
    pub adjusted_milli: u64,
}

impl Totals {
    pub fn since(&self, before: &Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(before.requests),
            spans: self.spans.saturating_sub(before.spans),
            adjusted_milli: self.adjusted_milli.saturating_sub(before.adjusted_milli),
        }
    }

    pub const fn add(&mut self, more: Self) {
        self.requests = self.requests.saturating_add(more.requests);
        self.spans = self.spans.saturating_add(more.spans);
        self.adjusted_milli = self.adjusted_milli.saturating_add(more.adjusted_milli);
    }
}

/// How far apart beats and arrivals of the same work may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    /// An arrival holds the records of all work up to so long before it.
    pub lag_ms: u64,
    /// A beat tells all work up to so long before it.
    pub lead_ms: u64,
    /// Marks that begin a window are at least so far apart.
    pub step_ms: u64,
}

/// An arrival, and the work up to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Mark {
    pub at: Tick,
    least: u64,
    most: u64,
    /// Work spread evenly between the beats.
    likely: f64,
    totals: Totals,
}

/// What happened from one mark to another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Span {
    pub since: Tick,
    pub ms: u64,
    pub least: f64,
    pub most: f64,
    pub likely: f64,
    /// How much of `likely` rests on a guess where within a beat's growth the arrivals were.
    pub guessed: f64,
    pub totals: Totals,
}

impl Mark {
    pub fn since(&self, before: &Self) -> Span {
        Span {
            since: before.at,
            ms: self.at.since_ms(before.at),
            least: float(self.least.saturating_sub(before.most)),
            most: float(self.most.saturating_sub(before.least)),
            likely: (self.likely - before.likely).max(0.0),
            guessed: float(self.most - self.least) + float(before.most - before.least),
            totals: self.totals.since(&before.totals),
        }
    }
}

/// An arrival that waits for the next beat.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Waiting {
    at: Tick,
    totals: Totals,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Balance {
    beats: VecDeque<(Tick, u64)>,
    /// The oldest arrival that no beat has followed, and the youngest.
    waiting: [Option<Waiting>; 2],
    marks: VecDeque<Mark>,
}

impl Balance {
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Forgets the marks before `since`.
    pub fn forget(&mut self, since: Tick) {
        self.marks.retain(|mark| mark.at >= since);
    }

    /// Records arrived at `at`; `totals` with them.
    pub fn arrive(&mut self, at: Tick, totals: Totals) {
        let waiting = Some(Waiting { at, totals });
        let place = usize::from(self.waiting[0].is_some());
        self.waiting[place] = waiting;
    }

    /// A beat told `work`. Gives the mark that it completes, if any.
    pub fn beat(&mut self, now: Tick, work: u64, ends: Ends) -> Option<Mark> {
        let ready = |waiting: &Waiting| now >= waiting.at.plus_ms(ends.lead_ms);
        let [older, younger] = self.waiting;
        let (taken, left) = match (older, younger) {
            (_, Some(younger)) if ready(&younger) => (Some(younger), [None, None]),
            (Some(older), younger) if ready(&older) => (Some(older), [younger, None]),
            both => (None, [both.0, both.1]),
        };
        self.waiting = left;
        let mark = taken.and_then(|taken| self.mark(taken, now, work, ends));
        self.keep_beat(now, work, ends);
        mark
    }

    /// `None` if no beat from before the arrival is known.
    fn mark(&self, taken: Waiting, now: Tick, work: u64, ends: Ends) -> Option<Mark> {
        let Waiting { at, totals } = taken;
        let before = |limit: Tick| self.beats.iter().rev().find(|(at, _)| *at <= limit).copied();
        let (_, least) = before(at.minus_ms(ends.lag_ms))?;
        let (from, told) = before(at)?;
        let part = float(at.since_ms(from)) / float(now.since_ms(from).max(1));
        let likely = float(told) + float(work.saturating_sub(told)) * part;
        Some(Mark { at, least, most: work.max(least), likely, totals })
    }

    fn keep_beat(&mut self, now: Tick, work: u64, ends: Ends) {
        let apart_ms = ends.lag_ms / 8;
        if self.beats.back().is_none_or(|(at, _)| now.since_ms(*at) >= apart_ms) {
            if self.beats.len() >= BEATS {
                self.beats.pop_front();
            }
            self.beats.push_back((now, work));
        }
    }

    /// Keeps `mark` as the beginning of windows to come.
    pub fn keep(&mut self, mark: Mark, ends: Ends) {
        let near = self.marks.back().is_some_and(|m| mark.at.since_ms(m.at) < ends.step_ms);
        if near {
            return;
        }
        self.marks.retain(|kept| mark.at.since_ms(kept.at) <= KEPT_MS);
        if self.marks.len() >= MARKS {
            let gap = |i: usize| {
                let age_ms = mark.at.since_ms(self.marks[i].at).max(1);
                float(self.marks[i + 1].at.since_ms(self.marks[i - 1].at)) / float(age_ms)
            };
            let inner = 1..self.marks.len() - 1;
            let closest = inner.min_by(|a, b| gap(*a).total_cmp(&gap(*b)));
            if let Some(closest) = closest {
                self.marks.remove(closest);
            }
        }
        self.marks.push_back(mark);
    }

    /// The windows that end at `mark`, the shortest first.
    pub fn windows(&self, mark: Mark) -> impl Iterator<Item = Span> + '_ {
        self.marks.iter().rev().map(move |kept| mark.since(kept))
    }
}

/// Counts are far below 2⁵³, where the conversion is exact.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub(super) const fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDS: Ends = Ends { lag_ms: 150, lead_ms: 50, step_ms: 2_000 };

    fn totals(requests: u64) -> Totals {
        Totals { requests, spans: requests, adjusted_milli: 1_000 * requests }
    }

    #[test]
    fn a_mark_knows_the_work_between_the_beats_around_it() {
        let mut balance = Balance::default();
        assert_eq!(balance.beat(Tick(1_000), 10, ENDS), None);
        balance.arrive(Tick(1_500), totals(12));
        let mark = balance.beat(Tick(2_000), 20, ENDS).expect("a beat follows the arrival");
        assert_eq!((mark.least, mark.most, mark.likely), (10, 20, 15.0));
        balance.arrive(Tick(2_980), totals(28));
        assert_eq!(balance.beat(Tick(3_000), 30, ENDS), None, "it may have been sent before");
        let next = balance.beat(Tick(4_000), 40, ENDS).expect("this one was sent later");
        assert_eq!((next.least, next.most), (20, 40));
        let span = next.since(&mark);
        assert_eq!((span.least, span.most, span.totals.requests), (0.0, 30.0, 16));
    }

    #[test]
    fn an_arrival_that_always_precedes_the_beat_by_little_is_marked_at_the_beat_after() {
        let mut balance = Balance::default();
        let mut marks = 0;
        for second in 1..20 {
            balance.arrive(Tick(second * 1_000 - 10), totals(second));
            marks += u64::from(balance.beat(Tick(second * 1_000), second, ENDS).is_some());
        }
        assert!(marks >= 16, "{marks}");
    }

    #[test]
    fn marks_are_bounded_and_the_young_ones_lie_close() {
        let mut balance = Balance::default();
        let mut last = None;
        for second in 0..400_u64 {
            balance.arrive(Tick(second * 1_000 + 500), totals(second));
            if let Some(mark) = balance.beat(Tick(second * 1_000 + 1_000), second, ENDS) {
                balance.keep(mark, ENDS);
                last = Some(mark);
            }
        }
        let windows: Vec<_> = balance.windows(last.expect("marked")).map(|span| span.ms).collect();
        assert!(windows.len() <= MARKS);
        assert!(windows.iter().filter(|ms| **ms <= 30_000).count() >= 8, "{windows:?}");
        assert!(windows.iter().any(|ms| *ms > 300_000), "{windows:?}");
    }
}
