//! One atomic word: when something was last seen, and who checked in since the last look.
//!
//! A beat that a timer sends proves only that the timer runs. So the workers of a process check in
//! here as they turn, and the beat's token moves only when all of them did. A check-in costs one
//! compare-and-set and no allocation.
//!
//! ```text
//!  63                      16 15            0
//! ┌──────────────────────────┬───────────────┐
//! │ last seen, ms since start│ who checked in│
//! └──────────────────────────┴───────────────┘
//! ```
//!
//! Invariant: `seen` never goes backwards, and a check-in is reported by exactly one look: one
//! that lands between read and clear is kept for the next.

use crate::sync::{AtomicU64, Ordering};
use crate::tick::Tick;

const WHO_BITS: u32 = 16;
const WHO_MASK: u64 = (1 << WHO_BITS) - 1;

/// The most workers that one pulse tells apart.
pub const WORKERS_MAX: u8 = 16;

/// Last seen and check-in bitmap.
#[derive(Debug)]
pub struct Pulse {
    origin: Tick,
    word: AtomicU64,
}

/// What a look at the pulse found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// The latest check-in so far; the pulse's start if there was none.
    pub seen: Tick,
    /// Bit `n` is set if worker `n` checked in since the look before.
    pub checked_in: u16,
}

impl Look {
    /// Whether each of the first `workers` workers checked in.
    #[must_use]
    pub const fn all_of(self, workers: u8) -> bool {
        let wanted = if workers >= WORKERS_MAX { u16::MAX } else { (1 << workers) - 1 };
        self.checked_in & wanted == wanted
    }
}

impl Pulse {
    /// A pulse that was last seen at `start`, with nobody checked in.
    #[must_use]
    pub fn new(start: Tick) -> Self {
        Self { origin: start, word: AtomicU64::new(0) }
    }

    /// Worker `who` turned at `now`. A worker beyond [`WORKERS_MAX`] shares the last bit.
    pub fn check_in(&self, who: u8, now: Tick) {
        let bit = 1u64 << who.min(WORKERS_MAX - 1);
        let at = now.since_ms(self.origin).min(u64::MAX >> WHO_BITS);
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let seen = (word >> WHO_BITS).max(at);
            let next = (seen << WHO_BITS) | (word & WHO_MASK) | bit;
            // Release: what the worker did before it checked in is visible to who sees the bit.
            match self.word.compare_exchange_weak(word, next, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now_there) => word = now_there,
            }
        }
    }

    /// Reads and clears the bitmap in one step.
    pub fn look(&self) -> Look {
        // One read-modify-write: a load followed by a store would wipe out a check-in between.
        let word = self.word.fetch_and(!WHO_MASK, Ordering::Acquire);
        let checked_in = u16::try_from(word & WHO_MASK).expect("the mask leaves 16 bits");
        Look { seen: self.origin.plus_ms(word >> WHO_BITS), checked_in }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_look_reports_each_check_in_once() {
        let pulse = Pulse::new(Tick(1_000));
        assert_eq!(pulse.look(), Look { seen: Tick(1_000), checked_in: 0 });
        pulse.check_in(0, Tick(1_010));
        pulse.check_in(3, Tick(1_020));
        assert_eq!(pulse.look(), Look { seen: Tick(1_020), checked_in: 0b1001 });
        assert_eq!(pulse.look(), Look { seen: Tick(1_020), checked_in: 0 });
    }

    #[test]
    fn last_seen_never_goes_backwards() {
        let pulse = Pulse::new(Tick(5));
        pulse.check_in(0, Tick(90));
        pulse.check_in(1, Tick(30));
        pulse.check_in(1, Tick(0));
        assert_eq!(pulse.look().seen, Tick(90));
    }

    #[test]
    fn all_of_asks_for_every_worker_up_to_the_last() {
        assert!(Look { seen: Tick(0), checked_in: 0b11 }.all_of(2));
        assert!(!Look { seen: Tick(0), checked_in: 0b10 }.all_of(2));
        assert!(Look { seen: Tick(0), checked_in: u16::MAX }.all_of(16));
        assert!(!Look { seen: Tick(0), checked_in: u16::MAX >> 1 }.all_of(16));
        assert!(Look { seen: Tick(0), checked_in: 0 }.all_of(0));
    }
}
