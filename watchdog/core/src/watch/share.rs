//! Telemetry counts against the witness: do as many of the requests that beats count become records
//! as did when all was well?
//!
//! The same question is asked of the service as a whole and of each instance by itself, because
//! half of one of four is an eighth of all. Every window that begins at a mark is tested at every
//! arrival ([`odds`](super::odds)), so that a loss is found as soon as its own window shows it:
//!
//! ```text
//! share of what was learnt   0        1 − loss_max        1 − tolerance     1 − doubt        1
//!                            ├── must not be confirmed ───┤                 │                │
//!   Short     evidence of 10⁹ against "at least 1 − tolerance"       ◄──────┤                │
//!   Doubtful  evidence of 10⁶ against "at least 1 − doubt"           ◄──────────────┤        │
//!   Agree     evidence of 10⁶ against "at most 1 − loss_max", in the shortest window that can
//!   Excess    evidence of 10⁶ against "at most 1 + surplus"
//! ```
//!
//! The windows of a loss are skewed against a false alarm: their requests are the least that can
//! have been.
//!
//! Invariant: without counters, without a learnt share or with too little work the answer is
//! `Unproven`; it is never "agrees" by default.

use crate::judge::Counts;
use crate::tick::Tick;
use crate::watch::balance::{Balance, Ends, Mark, Span, Totals, float};
use crate::watch::habit::{Habit, Learnt, Lengths};
use crate::watch::odds::{Law, evidence, scatter};

/// ln 10⁹: with windows that begin every two seconds at most, a healthy service at the border of
/// the tolerance is called lossy once in 60 years.
const SHORT_NATS: f64 = 20.723;
/// ln 10⁶.
const DOUBT_NATS: f64 = 13.816;
const AGREE_NATS: f64 = 13.816;
/// A loss of this part must be excluded.
const LOSS_MAX: f64 = 0.25;
/// Where there is too little work to exclude that in `PROOF_MS`, a loss of half must be.
const LOSS_MAX_THIN: f64 = 0.5;
/// Enough requests to exclude [`LOSS_MAX`] where all is well.
const PROOF_REQUESTS: f64 = 150.0;
const PROOF_MS: u64 = 120_000;
/// So many more records than the work makes are no chance and no retry.
const SURPLUS: f64 = 0.3;
/// Parts of the share that a loss may leave, as alternatives to the hypothesis.
const LESS: [f64; 4] = [0.3, 0.6, 0.85, 0.95];
const MORE: [f64; 3] = [1.1, 1.2, 1.3];
const MUCH_MORE: [f64; 2] = [1.3, 2.0];

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
    /// There was enough work to prove what there is to be proven.
    pub ready: bool,
}

/// The bounds that come from the configuration and from the stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct ShareBounds {
    pub work_min: u64,
    pub tolerance: f64,
    pub doubt: f64,
    pub window_ms: u64,
    pub learn_ms: u64,
    /// Records have this long to arrive.
    pub due_ms: u64,
    /// An arrival holds the records of work up to so long before it; a beat tells so late.
    pub lag_ms: u64,
    pub lead_ms: u64,
}

impl ShareBounds {
    const fn ends(&self) -> Ends {
        Ends { lag_ms: self.lag_ms, lead_ms: self.lead_ms, step_ms: self.window_ms / 10 }
    }

    /// One export that is late or tried again must weigh little in a window.
    fn window_min_ms(&self) -> u64 {
        self.window_ms.max(8 * self.due_ms) / 2
    }

    fn lengths(&self) -> Lengths {
        Lengths {
            first_ms: self.learn_ms.max(5 * self.due_ms),
            further_ms: self.window_min_ms(),
            requests_min: float(self.work_min),
        }
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Share {
    habit: Habit,
    balance: Balance,
    totals: Totals,
    compared: Option<Comparison>,
    /// A loss that was found before a silence, and when that ended: it is over when the records
    /// say so, and not because the windows began anew.
    carried: Option<(Counts, Tick)>,
}

impl Share {
    /// Records arrived at `at`.
    pub fn arrive(&mut self, at: Tick, more: Totals) {
        self.totals.add(more);
        self.balance.arrive(at, self.totals);
    }

    /// A beat was heard that tells `work` since its boot. `live`: the share may be learnt. `lent`:
    /// what holds for its likes, as long as it has no habit of its own.
    pub fn beat(
        &mut self,
        now: Tick,
        work: u64,
        live: bool,
        lent: Option<Learnt>,
        bounds: &ShareBounds,
    ) {
        let Some(mark) = self.balance.beat(now, work, bounds.ends()) else { return };
        self.habit.note(mark, live, bounds.lengths());
        let Some(learnt) = self.habit.learnt.or(lent) else { return };
        let compared = self.weigh_all(&learnt, mark, bounds);
        let compared = self.carry(compared, now);
        let was_bad = self.compared.is_some_and(|before| is_bad(before.counts));
        if let Some(since) = compared.since.filter(|_| was_bad && compared.counts == Counts::Agree)
        {
            // It has recovered: what was lost was judged, and is not counted again.
            self.balance.forget(since);
        }
        self.compared = Some(compared);
        self.balance.keep(mark, bounds.ends());
    }

    /// What was learnt of it.
    pub const fn learnt(&self) -> Option<Learnt> {
        self.habit.learnt
    }

    /// Opens the windows anew after a silence, which was judged as such. What was lost before it is
    /// still lost, until the records agree or have had their time to.
    pub fn resume(&mut self, at: Tick) {
        let before = self.compared.map(|before| before.counts);
        self.reopen();
        self.carried = before.filter(|counts| *counts == Counts::Short).map(|short| (short, at));
        self.compared = self.compared.map(|compared| self.carry(compared, at));
    }

    /// `compared` as of `now`, or worse by what is carried over a silence.
    fn carry(&mut self, compared: Comparison, now: Tick) -> Comparison {
        let carried = self.carried.filter(|(_, at)| now.since_ms(*at) <= PROOF_MS);
        self.carried = carried.filter(|_| compared.counts == Counts::Unproven);
        let counts = self.carried.map_or(compared.counts, |(counts, _)| counts);
        Comparison { counts, ..compared }
    }

    /// Opens the windows anew: the watch was blind, or a process took its records with it.
    pub fn reopen(&mut self) {
        self.carried = None;
        self.balance.clear();
        self.habit.pause();
        self.compared = self.compared.map(|before| Comparison {
            counts: Counts::Unproven,
            since: None,
            requests: 0,
            records: 0,
            interval: None,
            ready: false,
            ..before
        });
    }

    /// The comparison as of the last beat; `None` if no share is learnt.
    pub const fn compared(&self) -> Option<Comparison> {
        self.compared
    }

    fn weigh_all(&self, learnt: &Learnt, mark: Mark, bounds: &ShareBounds) -> Comparison {
        let long_ms = bounds.window_min_ms();
        let mut bad: Option<Comparison> = None;
        for span in self.balance.windows(mark).filter(|span| span.ms >= long_ms) {
            let counts = suspect(learnt, &span, bounds);
            let is_worse = |counts: &Counts| bad.is_none_or(|bad| *counts > bad.counts);
            if let Some(counts) = counts.filter(is_worse) {
                bad = Some(told(learnt, &span, counts, true));
            }
        }
        let proven = self.prove(learnt, mark, bounds);
        match bad {
            // The youngest window is clean by itself: what is bad is older than it.
            Some(_) if proven.counts == Counts::Agree && self.was_bad_before(&proven) => proven,
            Some(bad) => bad,
            None => proven,
        }
    }

    /// Whether something was wrong until after `proven` began.
    fn was_bad_before(&self, proven: &Comparison) -> bool {
        self.compared.is_some_and(|before| is_bad(before.counts) && before.since < proven.since)
    }

    /// Tries the shortest window that can show that little is lost.
    fn prove(&self, learnt: &Learnt, mark: Mark, bounds: &ShareBounds) -> Comparison {
        let short_ms = bounds.learn_ms.max(4 * bounds.due_ms);
        let work_min = float(bounds.work_min);
        let enough = |span: &Span| span.likely >= PROOF_REQUESTS && span.ms >= short_ms;
        let thin = |span: &Span| span.likely >= work_min && span.ms >= PROOF_MS;
        let mut longest = None;
        for span in self.balance.windows(mark) {
            if enough(&span) || thin(&span) {
                let agrees =
                    excludes_loss(learnt, &span) && suspect(learnt, &span, bounds).is_none();
                let counts = if agrees { Counts::Agree } else { Counts::Unproven };
                return told(learnt, &span, counts, true);
            }
            longest = Some(span);
        }
        let none = mark.since(&mark);
        told(learnt, &longest.unwrap_or(none), Counts::Unproven, false)
    }
}

/// Several instances together, as if each alone had too little work to prove anything.
/// `known`: what they come to, if that is known already.
pub(super) fn pool(
    each: impl Iterator<Item = Comparison>,
    known: Option<Counts>,
) -> Option<Comparison> {
    let mut all: Option<Comparison> = None;
    let (mut n, mut k) = (0.0, 0.0);
    for one in each {
        n += float(one.requests);
        // In requests: each by the share that was learnt of it.
        k += float(one.records) / one.ratio.max(f64::MIN_POSITIVE);
        all = Some(all.map_or(one, |before| Comparison {
            since: before.since.min(one.since),
            requests: before.requests + one.requests,
            records: before.records + one.records,
            ratio: before.ratio,
            interval: None,
            ..before
        }));
    }
    let ready = n >= PROOF_REQUESTS;
    let proven = || evidence(n, k, 1.0 - LOSS_MAX, MORE, Law::Kept { weight: 1.0 }) >= AGREE_NATS;
    let tried = || if ready && proven() { Counts::Agree } else { Counts::Unproven };
    let counts = known.unwrap_or_else(tried);
    all.map(|all| Comparison { counts, ready, ..all })
}

pub(super) const fn is_bad(counts: Counts) -> bool {
    match counts {
        Counts::Short | Counts::Doubtful | Counts::Excess => true,
        Counts::Unproven | Counts::Agree => false,
    }
}

/// What speaks against the records of one window.
fn suspect(learnt: &Learnt, span: &Span, bounds: &ShareBounds) -> Option<Counts> {
    let law = learnt.law(&span.totals);
    let k = learnt.source.records(&span.totals);
    let least = learnt.ratio * (1.0 - learnt.error);
    let (short, doubt) = (least * (1.0 - bounds.tolerance), least * (1.0 - bounds.doubt));
    if span.least >= float(bounds.work_min) && k < span.least * doubt {
        if evidence(span.least, k, short, LESS, law) >= SHORT_NATS {
            return Some(Counts::Short);
        }
        if evidence(span.least, k, doubt, LESS, law) >= DOUBT_NATS {
            return Some(Counts::Doubtful);
        }
    }
    let most = learnt.ratio * (1.0 + learnt.error) * (1.0 + SURPLUS);
    let is_more = k > span.most * most;
    (is_more && evidence(span.most, k, most, MUCH_MORE, law) >= DOUBT_NATS)
        .then_some(Counts::Excess)
}

/// Whether a loss that matters can be excluded by one window.
fn excludes_loss(learnt: &Learnt, span: &Span) -> bool {
    let loss = if span.likely >= PROOF_REQUESTS { LOSS_MAX } else { LOSS_MAX_THIN };
    let law = learnt.law(&span.totals);
    let k = learnt.source.records(&span.totals);
    // A guess is not proof: a part of what it rests on counts as work without a record.
    let n = span.likely + span.guessed / 8.0;
    evidence(n, k, learnt.ratio * (1.0 - loss), MORE, law) >= AGREE_NATS
}

fn told(learnt: &Learnt, span: &Span, counts: Counts, ready: bool) -> Comparison {
    let records = learnt.source.records(&span.totals);
    let n = span.likely;
    let play = 4.0 * scatter(n, learnt.ratio, learnt.law(&span.totals)) * learnt.ratio;
    // Without work there is no share, not a share of zero.
    let interval = (n >= 1.0).then(|| [(records / n - play).max(0.0), records / n + play]);
    Comparison {
        counts,
        since: (span.ms > 0).then_some(span.since),
        requests: rounded(n),
        records: learnt.source.records_shown(&span.totals),
        ratio: learnt.ratio,
        interval,
        ready,
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count, below 2^53")]
const fn rounded(count: f64) -> u64 {
    count as u64
}

#[cfg(test)]
mod tests;
