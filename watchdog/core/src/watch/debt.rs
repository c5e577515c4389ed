//! Work that the beats witnessed and no arrival has answered yet.
//!
//! A beat says "12 requests in the second before this". Their telemetry may have left before the
//! beat came, so an arrival *within* that second may have carried them; only work that was
//! certainly done after the last arrival makes silence a fault. It is certain when
//!
//! * a whole interval that grew lies after the last arrival: certain at the end of the interval;
//! * work is steady and, spread evenly, [`CERTAIN`] requests fall after the last arrival: certain
//!   at the moment of the last of these (the chance of none is e⁻⁵ < 1 % for random arrivals, and
//!   a second period must pass in silence before anything follows from it). Traffic that stops at
//!   once may have stopped before the last arrival, so a beat without growth takes this back.
//!
//! Invariant: an arrival answers everything before it and nothing after it.

use crate::tick::Tick;
use crate::watch::instance::Work;

/// So many requests cannot all have been done before the last arrival.
const CERTAIN: u64 = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Debt {
    /// Since when unanswered work is certain, by a whole interval and by work spread evenly.
    since: Option<Tick>,
    spread: Option<Tick>,
    /// The growth that no arrival has answered, as one stretch without a beat that stood still.
    stretch: Option<Stretch>,
    /// Requests after the last arrival, work spread evenly.
    pending: u64,
    last: Option<Work>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stretch {
    from: Tick,
    to: Tick,
    /// Beats stood still between two growths.
    is_broken: bool,
}

impl Debt {
    pub const NONE: Self =
        Self { since: None, spread: None, stretch: None, pending: 0, last: None };

    /// Adds work; `arrived` is the last arrival. Where the watch was blind until `blind_until`,
    /// nothing counts from before.
    pub fn add(&mut self, work: Work, arrived: Option<Tick>, blind_until: Tick) {
        self.last = Some(work);
        let answered = arrived.map_or(blind_until, |arrived| arrived.max(blind_until));
        if work.to <= answered {
            return;
        }
        let start = work.from.max(answered);
        self.stretch = Some(match self.stretch {
            None => Stretch { from: start, to: work.to, is_broken: false },
            Some(Stretch { from, to, is_broken }) => Stretch {
                from: from.min(start),
                to: to.max(work.to),
                is_broken: is_broken || work.from > to,
            },
        });
        if arrived.is_none_or(|arrived| work.from >= arrived) {
            self.since = Some(self.since.map_or(work.to, |since| since.min(work.to)));
        }
        if work.steady {
            let span = work.to.since_ms(work.from).max(1);
            let share = work.amount.saturating_mul(work.to.since_ms(start)) / span;
            if self.pending < CERTAIN && self.pending + share >= CERTAIN {
                let missing = CERTAIN - self.pending;
                let at = start.plus_ms(missing.saturating_mul(span) / work.amount.max(1));
                self.spread = Some(self.spread.map_or(at, |spread| spread.min(at)));
            }
            self.pending = self.pending.saturating_add(share);
        }
    }

    /// A beat told no work: what was spread evenly until the beat before may have ended sooner.
    pub const fn stand(&mut self) {
        self.spread = None;
        self.pending = 0;
        self.last = None;
    }

    /// An arrival at `at` answers the work before it.
    pub fn answer(&mut self, at: Tick) {
        let last = self.last.take();
        *self = Self::NONE;
        // The beat may have been heard before news of an arrival that is older than it.
        if let Some(work) = last
            && work.to > at
        {
            self.add(work, Some(at), at);
        }
    }

    /// Since when unanswered work is certain; `None` if it is not.
    pub fn since(&self) -> Option<Tick> {
        self.since.into_iter().chain(self.spread).min()
    }

    /// Whether beats witnessed work without a pause from `from` to about `to`.
    pub fn is_unbroken(&self, from: Tick, to: Tick, play_ms: u64) -> bool {
        self.stretch.is_some_and(|stretch| {
            !stretch.is_broken && stretch.from <= from && to.since_ms(stretch.to) <= play_ms
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(from: u64, to: u64, amount: u64, steady: bool) -> Work {
        Work { from: Tick(from), to: Tick(to), amount, steady }
    }

    #[test]
    fn work_that_an_arrival_may_have_carried_is_no_debt() {
        let mut debt = Debt::NONE;
        debt.answer(Tick(900));
        debt.add(work(0, 1_000, 1, false), Some(Tick(900)), Tick(0));
        assert_eq!(debt.since(), None);
        debt.add(work(1_000, 2_000, 1, false), Some(Tick(900)), Tick(0));
        assert_eq!(debt.since(), Some(Tick(2_000)));
    }

    #[test]
    fn steady_work_is_certain_before_its_beat_is_heard() {
        let mut debt = Debt::NONE;
        debt.add(work(0, 1_000, 100, true), Some(Tick(200)), Tick(0));
        assert_eq!(debt.since(), Some(Tick(250)));
    }

    #[test]
    fn traffic_that_stops_at_once_may_have_stopped_before_the_arrival() {
        let mut debt = Debt::NONE;
        debt.add(work(0, 1_000, 100, true), Some(Tick(500)), Tick(0));
        debt.stand();
        assert_eq!(debt.since(), None);
        debt.add(work(2_000, 3_000, 1, false), Some(Tick(500)), Tick(0));
        debt.stand();
        assert_eq!(debt.since(), Some(Tick(3_000)), "a whole interval is no guess");
    }

    #[test]
    fn a_burst_is_not_spread_evenly() {
        let mut debt = Debt::NONE;
        debt.add(work(0, 1_000, 100, false), Some(Tick(200)), Tick(0));
        assert_eq!(debt.since(), None);
    }

    #[test]
    fn an_arrival_answers_what_was_before_it_and_nothing_after_it() {
        let mut debt = Debt::NONE;
        debt.add(work(1_000, 2_000, 100, true), None, Tick(0));
        debt.answer(Tick(2_000));
        assert_eq!(debt.since(), None);
        debt.add(work(2_000, 3_000, 100, true), Some(Tick(2_000)), Tick(0));
        debt.answer(Tick(2_500));
        assert_eq!(debt.since(), Some(Tick(2_550)), "half of the work is after the arrival");
    }

    #[test]
    fn work_before_which_nothing_ever_arrived_is_certain_at_its_beat() {
        let mut debt = Debt::NONE;
        debt.add(work(950, 2_000, 1, false), None, Tick(1_000));
        assert_eq!(debt.since(), Some(Tick(2_000)));
    }

    #[test]
    fn a_pause_breaks_the_stretch() {
        let mut debt = Debt::NONE;
        debt.add(work(950, 2_000, 1, false), None, Tick(0));
        debt.add(work(1_950, 3_000, 1, false), None, Tick(0));
        assert!(debt.is_unbroken(Tick(1_000), Tick(3_500), 1_000));
        assert!(!debt.is_unbroken(Tick(900), Tick(3_500), 1_000), "it began later");
        assert!(!debt.is_unbroken(Tick(1_000), Tick(4_500), 1_000), "it ended earlier");
        debt.add(work(3_950, 5_000, 1, false), None, Tick(0));
        assert!(!debt.is_unbroken(Tick(1_000), Tick(5_500), 1_000), "it paused");
    }
}
