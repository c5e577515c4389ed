//! Telemetry counts against the witness: how many of the requests that beats count become records.
//!
//! The share is learnt once, while the service is live, and held: a share that shrinks is a loss,
//! not a new habit. Then every window asks whether fewer records came than the share allows, by a
//! four-sigma bound on top of a tolerance:
//!
//! ```text
//! short  ⇔  k < n·p − 4·√(n·v + 1)      n requests, k records, p = share · (1 − tolerance)
//!           v = p·(w − p) for sampled requests, p·(1 + p) where a request makes several records
//! ```
//!
//! A sampler that says its probability (`ot=th`) makes each span stand for w requests. Then k is
//! what the spans stand for, so that a sampler which is turned down on purpose is no loss, and the
//! play is as wide as spans that stand for w each may scatter. Where the play is as wide as what is
//! asked for, nothing is proven.
//!
//! The window is skewed against a false alarm: its requests are counted from later than its
//! records, and only up to where records have had their time.
//!
//! Invariant: without counters, without a learnt share or with too little work the answer is
//! `Unproven`; it is never "agrees" by default.

use std::collections::VecDeque;

use crate::judge::Counts;
use crate::tick::Tick;

/// Standard deviations that are put down to chance: once in 30 000 windows.
const SIGMAS: f64 = 4.0;
/// Marks of the work counter that are kept, to know it as of one period ago.
const MARKS: usize = 16;

/// What is counted as the record of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Server and consumer spans.
    Requests,
    /// All spans, for services that make no server spans.
    Spans,
}

/// Cumulative counts at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Totals {
    /// Requests by beats.
    pub work: u64,
    /// Server and consumer spans.
    pub requests: u64,
    pub spans: u64,
    /// Thousandths of requests that the server and consumer spans stand for.
    pub adjusted_milli: u64,
}

impl Totals {
    fn since(&self, before: &Self) -> Self {
        Self {
            work: self.work.saturating_sub(before.work),
            requests: self.requests.saturating_sub(before.requests),
            spans: self.spans.saturating_sub(before.spans),
            adjusted_milli: self.adjusted_milli.saturating_sub(before.adjusted_milli),
        }
    }

    fn records(&self, source: Source) -> f64 {
        match source {
            Source::Requests => as_f64(self.adjusted_milli) / 1_000.0,
            Source::Spans => as_f64(self.spans),
        }
    }

    /// The same as a whole number, for show.
    const fn records_shown(&self, source: Source) -> u64 {
        match source {
            Source::Requests => self.adjusted_milli.div_ceil(1_000),
            Source::Spans => self.spans,
        }
    }

    /// For how many requests a span stands, on average; at least itself.
    fn weight(&self) -> f64 {
        let requests = as_f64(self.requests.max(1));
        (as_f64(self.adjusted_milli) / 1_000.0 / requests).max(1.0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Learnt {
    ratio: f64,
    weight: f64,
    source: Source,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    opened: Tick,
    start: Totals,
    /// The work counter one beat interval later; `None` until then.
    work: Option<u64>,
}

/// What the comparison came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Comparison {
    pub counts: Counts,
    /// Since when; `None` if no window is long enough.
    pub since: Option<Tick>,
    pub requests: u64,
    /// The requests that the records stand for.
    pub records: u64,
    pub ratio: f64,
    /// The share in this window, four sigmas down and up; `None` without work.
    pub interval: Option<[f64; 2]>,
}

/// The bounds that come from the configuration and from the stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct ShareBounds {
    pub work_min: u64,
    pub tolerance: f64,
    pub window_ms: u64,
    pub learn_ms: u64,
    pub interval_ms: u64,
    /// Records have this long to arrive.
    pub due_ms: u64,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Share {
    learnt: Option<Learnt>,
    learning: Option<(Tick, Totals)>,
    /// Two windows, the second opened when the first is half through.
    windows: VecDeque<Window>,
    marks: VecDeque<(Tick, u64)>,
    /// The last beat: the witness has spoken up to there.
    noted: Option<Tick>,
}

impl Share {
    /// A beat was heard: `totals` now. `live`: the share may be learnt.
    pub fn note(&mut self, now: Tick, totals: Totals, live: bool, bounds: &ShareBounds) {
        self.noted = Some(now);
        self.learn(now, totals, live, bounds);
        if self.learnt.is_none() {
            return;
        }
        self.mark(now, totals.work, bounds);
        for window in &mut self.windows {
            // Beats of other instances may be one interval behind what they did already.
            if window.work.is_none() && now.since_ms(window.opened) >= bounds.interval_ms {
                window.work = Some(totals.work);
            }
        }
        let length_ms = bounds.window_ms.max(8 * bounds.due_ms);
        let newest_ms = self.windows.back().map(|window| now.since_ms(window.opened));
        if newest_ms.is_none_or(|age_ms| age_ms >= length_ms / 2) {
            if self.windows.len() >= 2 {
                self.windows.pop_front();
            }
            self.windows.push_back(Window { opened: now, start: totals, work: None });
        }
    }

    fn mark(&mut self, now: Tick, work: u64, bounds: &ShareBounds) {
        let apart_ms = bounds.due_ms / 8;
        if self.marks.back().is_none_or(|(at, _)| now.since_ms(*at) >= apart_ms) {
            if self.marks.len() >= MARKS {
                self.marks.pop_front();
            }
            self.marks.push_back((now, work));
        }
    }

    fn learn(&mut self, now: Tick, totals: Totals, live: bool, bounds: &ShareBounds) {
        if self.learnt.is_some() {
            return;
        }
        if !live {
            self.learning = None;
            return;
        }
        let Some((since, start)) = self.learning else {
            self.learning = Some((now, totals));
            return;
        };
        let grown = totals.since(&start);
        // Long against the time that records take, so that its two ends weigh little.
        let long_enough = now.since_ms(since) >= bounds.learn_ms.max(5 * bounds.due_ms);
        if grown.work < 2 * bounds.work_min || !long_enough {
            return;
        }
        let source = if grown.requests > 0 { Source::Requests } else { Source::Spans };
        let records = grown.records(source);
        if records > 0.0 {
            let ratio = records / as_f64(grown.work);
            self.learnt = Some(Learnt { ratio, weight: grown.weight(), source });
        } else {
            self.learning = Some((now, totals));
        }
    }

    /// Opens the windows anew: the watch was blind, or a process took its records with it.
    pub fn reopen(&mut self) {
        self.windows.clear();
        self.marks.clear();
        self.learning = None;
    }

    /// Compares the windows with the witness as of the last beat; `None` if no share is learnt.
    pub fn compare(&self, totals: Totals, bounds: &ShareBounds) -> Option<Comparison> {
        let learnt = self.learnt?;
        let unproven = Comparison {
            counts: Counts::Unproven,
            since: None,
            requests: 0,
            records: 0,
            ratio: learnt.ratio,
            interval: None,
        };
        let due = self.noted?.minus_ms(bounds.due_ms);
        let marked = self.marks.iter().rev().find(|(at, _)| *at <= due);
        let mut thin = None;
        // The younger window shows a fresh loss undiluted, the older one has more work.
        for window in self.windows.iter().rev() {
            let (Some((_, work)), Some(before)) = (marked, window.work) else { continue };
            let grown = totals.since(&window.start);
            let compared = weigh(&learnt, work.saturating_sub(before), &grown, bounds);
            let compared = Comparison { since: Some(window.opened), ..compared };
            match compared.counts {
                Counts::Short => return Some(compared),
                Counts::Agree | Counts::Unproven => thin = Some(compared),
            }
        }
        Some(thin.unwrap_or(unproven))
    }
}

fn weigh(learnt: &Learnt, requests: u64, grown: &Totals, bounds: &ShareBounds) -> Comparison {
    let n = as_f64(requests);
    let k = grown.records(learnt.source);
    let allowed = learnt.ratio * (1.0 - bounds.tolerance);
    // Of the weights then and now, the one that leaves more to chance.
    let weight = learnt.weight.max(grown.weight());
    let variance = match learnt.source {
        Source::Requests if allowed <= weight => allowed * (weight - allowed),
        Source::Requests | Source::Spans => allowed * (1.0 + allowed),
    };
    let play = SIGMAS * (n * variance + 1.0).sqrt();
    let counts = if requests < bounds.work_min || n * allowed <= play {
        Counts::Unproven
    } else if k < n * allowed - play {
        Counts::Short
    } else {
        Counts::Agree
    };
    // Without work there is no share, not a share of zero.
    let interval = (requests > 0).then(|| [((k - play) / n).max(0.0), (k + play) / n]);
    let records = grown.records_shown(learnt.source);
    Comparison { counts, since: None, requests, records, ratio: learnt.ratio, interval }
}

/// Counts are far below 2⁵³, where the conversion is exact.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
const fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
