//! Telling a person once that something fails, and once that it works again.
//!
//! Invariant: a failure shorter than `FAILURES` tries is never told, and no state is told twice.

/// So many failures in a row are worth a line.
const FAILURES: u32 = 3;

/// The tries of one thing, seen from a log.
#[derive(Debug, Default)]
pub struct Streak {
    failures: u32,
}

/// What is worth a line now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    ToFailing,
    ToWorking,
}

impl Streak {
    /// Takes note of one try.
    pub const fn note(&mut self, worked: bool) -> Option<Turn> {
        if worked {
            let told = self.failures >= FAILURES;
            self.failures = 0;
            return if told { Some(Turn::ToWorking) } else { None };
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures == FAILURES { Some(Turn::ToFailing) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_failures_are_not_told_and_the_third_is_told_once() {
        let mut streak = Streak::default();
        let mut told = |worked| streak.note(worked);
        assert_eq!([told(false), told(false), told(true)], [None; 3]);
        assert_eq!([told(false), told(false)], [None; 2]);
        assert_eq!([told(false), told(false)], [Some(Turn::ToFailing), None]);
        assert_eq!([told(true), told(true)], [Some(Turn::ToWorking), None]);
    }
}
