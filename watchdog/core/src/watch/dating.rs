//! Whether records are as new as their arrival: how long after its own time a record came.
//!
//! An exporter behind a queue that never drains sends steadily, and all it tells is old. So the
//! collector says by how much the newest record of the last arrival was late, by its own clock,
//! and an arrival is judged by that too. A clock that is wrong by more than the bounds looks the
//! same as records that are late, and holds as they do; one that is ahead is told apart.
//!
//! Invariant: one arrival of old or wrongly dated records keeps its stream from being fresh for as
//! long as silence would, and what told its times and tells none any more is no fresher for it.

use crate::tick::Tick;

/// How late and how early records may be dated, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DateBounds {
    pub late_ms: u64,
    pub ahead_ms: u64,
}

/// What the times in the records say of their arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Dated {
    /// They are as new as it is, or never told any time.
    Timely,
    /// They are from the future.
    Ahead,
    /// They are old, or no longer tell their time.
    Late,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dating {
    /// By how much the last arrival that told a time was late.
    pub late_ms: Option<i64>,
    last: Dated,
    /// The last arrival that was not timely.
    wrong: Option<(Tick, Dated)>,
}

impl Dating {
    pub const NEW: Self = Self { late_ms: None, last: Dated::Timely, wrong: None };

    pub fn arrive(&mut self, at: Tick, late_ms: Option<i64>, bounds: DateBounds) {
        self.last = match late_ms {
            None if self.late_ms.is_none() => Dated::Timely,
            None => Dated::Late,
            Some(late_ms) if late_ms < 0 && late_ms.unsigned_abs() > bounds.ahead_ms => {
                Dated::Ahead
            }
            Some(late_ms) if late_ms > 0 && late_ms.unsigned_abs() > bounds.late_ms => Dated::Late,
            Some(_) => Dated::Timely,
        };
        self.late_ms = late_ms.or(self.late_ms);
        if self.last != Dated::Timely {
            self.wrong = Some((at, self.last));
        }
    }

    /// What is to be thought of it at `now`; `limit_ms` is the time after which it would be silent.
    pub fn reading(&self, now: Tick, limit_ms: u64) -> Dated {
        match self.wrong {
            Some((_, dated)) if self.last != Dated::Timely => dated,
            Some((at, dated)) if now.since_ms(at) <= limit_ms => dated,
            Some(_) | None => Dated::Timely,
        }
    }

    /// When its reading may change by time alone.
    pub fn next_change(&self, limit_ms: u64) -> Option<Tick> {
        self.wrong.map(|(at, _)| at.plus_ms(limit_ms + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: DateBounds = DateBounds { late_ms: 5_000, ahead_ms: 2_000 };

    fn read(dating: &Dating, now: u64) -> Dated {
        dating.reading(Tick(now), 2_100)
    }

    #[test]
    fn records_within_the_bounds_are_timely_and_beyond_them_old_or_from_the_future() {
        for (late_ms, dated) in [
            (0, Dated::Timely),
            (5_000, Dated::Timely),
            (5_001, Dated::Late),
            (i64::MAX, Dated::Late),
            (-2_000, Dated::Timely),
            (-2_001, Dated::Ahead),
            (i64::MIN, Dated::Ahead),
        ] {
            let mut dating = Dating::NEW;
            dating.arrive(Tick(1_000), Some(late_ms), BOUNDS);
            assert_eq!(read(&dating, 1_000), dated, "{late_ms}");
        }
    }

    #[test]
    fn one_late_arrival_is_remembered_for_as_long_as_a_silence_would_take() {
        let mut dating = Dating::NEW;
        dating.arrive(Tick(1_000), Some(30_000), BOUNDS);
        assert_eq!(read(&dating, 9_000), Dated::Late, "nothing better has come");
        dating.arrive(Tick(9_000), Some(100), BOUNDS);
        assert_eq!(read(&dating, 9_000), Dated::Timely);
        dating.arrive(Tick(9_500), Some(30_000), BOUNDS);
        dating.arrive(Tick(9_600), Some(100), BOUNDS);
        assert_eq!(read(&dating, 11_600), Dated::Late, "old ones come between new ones");
        assert_eq!(read(&dating, 11_601), Dated::Timely);
    }

    #[test]
    fn what_never_told_a_time_is_not_judged_by_it_and_what_told_one_must_go_on() {
        let mut dating = Dating::NEW;
        dating.arrive(Tick(1_000), None, BOUNDS);
        assert_eq!(read(&dating, 1_000), Dated::Timely);
        dating.arrive(Tick(2_000), Some(0), BOUNDS);
        dating.arrive(Tick(3_000), None, BOUNDS);
        assert_eq!(read(&dating, 3_000), Dated::Late);
    }
}
