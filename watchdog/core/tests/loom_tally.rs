//! Every interleaving of threads that add and one that drains.
//!
//! Each property is run on [`Counts`] and on twins with one deliberate fault each, which the model
//! must catch. One fault is out of its reach: loom runs read-modify-writes in one order for all
//! words, so additions that are merely `Relaxed` look ordered to it. The orderings of `Counts` are
//! argued in its comments instead.
//!
//! Run: `RUSTFLAGS="--cfg loom" cargo test --release -p watchdog-core --test 'loom_*'`
#![cfg(loom)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use watchdog_core::tally::Counts;

/// What the properties need of the counters: requests first, then errors.
trait Counting: Send + Sync + 'static {
    fn empty() -> Self;
    fn add(&self, amounts: [u64; 2]);
    fn drain(&self) -> [u64; 2];
}

impl Counting for Counts<2> {
    fn empty() -> Self {
        Self::new()
    }
    fn add(&self, amounts: [u64; 2]) {
        Self::add(self, amounts);
    }
    fn drain(&self) -> [u64; 2] {
        Self::drain(self)
    }
}

type Words = [AtomicU64; 2];

fn words() -> Words {
    [AtomicU64::new(0), AtomicU64::new(0)]
}

fn add(words: &Words, amounts: [u64; 2]) {
    for (word, amount) in words.iter().zip(amounts) {
        word.fetch_add(amount, Ordering::AcqRel);
    }
}

/// Drains with a load and then a store: an addition between the two is lost.
struct LosingDrain(Words);

impl Counting for LosingDrain {
    fn empty() -> Self {
        Self(words())
    }
    fn add(&self, amounts: [u64; 2]) {
        add(&self.0, amounts);
    }
    fn drain(&self) -> [u64; 2] {
        let mut taken = [0; 2];
        for (slot, word) in taken.iter_mut().zip(&self.0).rev() {
            *slot = word.load(Ordering::Acquire);
            word.store(0, Ordering::Release);
        }
        taken
    }
}

/// Reads, and takes away what it read later: two drains may both report it.
struct DoublingDrain(Words);

impl Counting for DoublingDrain {
    fn empty() -> Self {
        Self(words())
    }
    fn add(&self, amounts: [u64; 2]) {
        add(&self.0, amounts);
    }
    fn drain(&self) -> [u64; 2] {
        let mut taken = [0; 2];
        for (slot, word) in taken.iter_mut().zip(&self.0).rev() {
            *slot = word.load(Ordering::Acquire);
            word.fetch_sub(*slot, Ordering::AcqRel);
        }
        taken
    }
}

/// Drains first to last: an error is taken whose request was added after requests were taken.
struct ErrorsBeforeRequests(Words);

impl Counting for ErrorsBeforeRequests {
    fn empty() -> Self {
        Self(words())
    }
    fn add(&self, amounts: [u64; 2]) {
        add(&self.0, amounts);
    }
    fn drain(&self) -> [u64; 2] {
        let mut taken = [0; 2];
        for (slot, word) in taken.iter_mut().zip(&self.0) {
            *slot = word.swap(0, Ordering::AcqRel);
        }
        taken
    }
}

fn add_in_a_thread<C: Counting>(counts: &Arc<C>, amounts: [u64; 2]) -> thread::JoinHandle<()> {
    let counts = Arc::clone(counts);
    thread::spawn(move || counts.add(amounts))
}

fn nothing_is_lost_or_taken_twice<C: Counting>() {
    loom::model(|| {
        let counts = Arc::new(C::empty());
        let adders = [add_in_a_thread(&counts, [1, 1]), add_in_a_thread(&counts, [2, 0])];
        let first = counts.drain();
        adders.into_iter().for_each(|adder| adder.join().expect("an adder does not panic"));
        let last = counts.drain();
        assert_eq!([first[0] + last[0], first[1] + last[1]], [3, 1]);
    });
}

fn two_drains_never_take_the_same<C: Counting>() {
    loom::model(|| {
        let counts = Arc::new(C::empty());
        counts.add([1, 0]);
        let other = {
            let counts = Arc::clone(&counts);
            thread::spawn(move || counts.drain())
        };
        let mine = counts.drain();
        let theirs = other.join().expect("a drain does not panic");
        assert_eq!(mine[0] + theirs[0], 1);
    });
}

fn no_error_is_seen_before_its_request<C: Counting>() {
    loom::model(|| {
        let counts = Arc::new(C::empty());
        let adder = add_in_a_thread(&counts, [1, 1]);
        let mut sum = [0, 0];
        for _ in 0..2 {
            let taken = counts.drain();
            sum = [sum[0] + taken[0], sum[1] + taken[1]];
            assert!(sum[1] <= sum[0], "{sum:?}");
        }
        adder.join().expect("an adder does not panic");
    });
}

fn is_caught(model: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(model)).is_err()
}

#[test]
fn counts_lose_nothing_and_take_nothing_twice() {
    nothing_is_lost_or_taken_twice::<Counts<2>>();
    two_drains_never_take_the_same::<Counts<2>>();
}

#[test]
fn counts_show_no_error_before_its_request() {
    no_error_is_seen_before_its_request::<Counts<2>>();
}

#[test]
fn a_drain_that_loses_is_caught() {
    assert!(is_caught(nothing_is_lost_or_taken_twice::<LosingDrain>));
}

#[test]
fn a_drain_that_doubles_is_caught() {
    assert!(is_caught(two_drains_never_take_the_same::<DoublingDrain>));
}

#[test]
fn a_drain_in_the_wrong_order_is_caught() {
    assert!(is_caught(no_error_is_seen_before_its_request::<ErrorsBeforeRequests>));
}
