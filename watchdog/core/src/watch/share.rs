//! Telemetry counts against the witness: how many of the requests that beats count become records.
//!
//! The share is learnt once, while the service is live, and held: a share that shrinks is a loss,
//! not a new habit. Then every window asks whether fewer records came than the share allows, by a
//! four-sigma bound on top of a tolerance:
//!
//! ```text
//! short  ⇔  k < n·p − 4·√(n·v + 1)      n requests, k records, p = share · (1 − tolerance)
//!           v = p·(1 − p) for sampled requests, p·(1 + p) where a request makes several records
//! ```
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
}

impl Totals {
    const fn records(&self, source: Source) -> u64 {
        match source {
            Source::Requests => self.requests,
            Source::Spans => self.spans,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Learnt {
    ratio: f64,
    source: Source,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    opened: Tick,
    records: u64,
    /// The work counter one beat interval later; `None` until then.
    work: Option<u64>,
}

/// What the comparison came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Comparison {
    pub counts: Counts,
    pub requests: u64,
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
        let Some(learnt) = self.learnt else { return };
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
            let records = totals.records(learnt.source);
            self.windows.push_back(Window { opened: now, records, work: None });
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
        let work = totals.work.saturating_sub(start.work);
        // Long against the time that records take, so that its two ends weigh little.
        let long_enough = now.since_ms(since) >= bounds.learn_ms.max(5 * bounds.due_ms);
        if work < 2 * bounds.work_min || !long_enough {
            return;
        }
        let requests = totals.requests.saturating_sub(start.requests);
        let spans = totals.spans.saturating_sub(start.spans);
        let (source, records) =
            if requests > 0 { (Source::Requests, requests) } else { (Source::Spans, spans) };
        if records > 0 {
            self.learnt = Some(Learnt { ratio: as_f64(records) / as_f64(work), source });
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
            let compared = weigh(
                &learnt,
                work.saturating_sub(before),
                totals.records(learnt.source).saturating_sub(window.records),
                bounds,
            );
            match compared.counts {
                Counts::Short => return Some(compared),
                Counts::Agree | Counts::Unproven => thin = Some(compared),
            }
        }
        Some(thin.unwrap_or(unproven))
    }
}

fn weigh(learnt: &Learnt, requests: u64, records: u64, bounds: &ShareBounds) -> Comparison {
    let n = as_f64(requests);
    let k = as_f64(records);
    let allowed = learnt.ratio * (1.0 - bounds.tolerance);
    let variance = match learnt.source {
        Source::Requests if allowed <= 1.0 => allowed * (1.0 - allowed),
        Source::Requests | Source::Spans => allowed * (1.0 + allowed),
    };
    let play = SIGMAS * (n * variance + 1.0).sqrt();
    let counts = if requests < bounds.work_min {
        Counts::Unproven
    } else if k < n * allowed - play {
        Counts::Short
    } else {
        Counts::Agree
    };
    // Without work there is no share, not a share of zero.
    let interval = (requests > 0).then(|| [((k - play) / n).max(0.0), (k + play) / n]);
    Comparison { counts, requests, records, ratio: learnt.ratio, interval }
}

/// Counts are far below 2⁵³, where the conversion is exact.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
const fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
