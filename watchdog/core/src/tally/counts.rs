//! Hot counters: many threads add, one drains, and nothing is lost or counted twice.
//!
//! The collector adds to such a cell for every export request it carries; its tally page is made
//! from what was drained. An add is `N` or fewer atomic additions, without a lock and without an
//! allocation.
//!
//! Invariant: the sum of all drains and what is still in the cell equals the sum of all adds, per
//! word; and whoever drained the addition to a word has also drained what the same `add` put into
//! the words before it. Put the denominator first (requests, then errors): no drain ever shows an
//! error whose request is still to come.

use crate::sync::{AtomicU64, Ordering};

/// `N` counters that are added to together.
#[derive(Debug)]
pub struct Counts<const N: usize> {
    words: [AtomicU64; N],
}

impl<const N: usize> Default for Counts<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Counts<N> {
    #[must_use]
    pub fn new() -> Self {
        Self { words: std::array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// Adds to all words, first to last. Words to which nothing is added are not touched.
    pub fn add(&self, amounts: [u64; N]) {
        for (word, amount) in self.words.iter().zip(amounts) {
            if amount > 0 {
                // AcqRel: the addition publishes those to the words before it.
                word.fetch_add(amount, Ordering::AcqRel);
            }
        }
    }

    /// Takes what was added since the last drain.
    pub fn drain(&self) -> [u64; N] {
        let mut taken = [0; N];
        // Last to first: who sees a late word sees the words that were added before it.
        for (slot, word) in taken.iter_mut().zip(&self.words).rev() {
            *slot = word.swap(0, Ordering::AcqRel);
        }
        taken
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_drain_takes_what_was_added_since_the_last_one() {
        let counts = Counts::new();
        counts.add([3, 1]);
        counts.add([2, 0]);
        assert_eq!(counts.drain(), [5, 1]);
        assert_eq!(counts.drain(), [0, 0]);
    }
}
