//! Every interleaving of workers that check in and one that looks.
//!
//! Each property is run on [`Pulse`] and on a twin with one deliberate fault, which the model must
//! catch: a model that cannot fail proves nothing.
//!
//! Run: `RUSTFLAGS="--cfg loom" cargo test --release -p watchdog-core --test 'loom_*'`
#![cfg(loom)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use watchdog_core::pulse::{Look, Pulse};
use watchdog_core::tick::Tick;

/// What the properties need of a pulse, so that the twins can stand in for it.
trait Beating: Send + Sync + 'static {
    fn start() -> Self;
    fn check_in(&self, who: u8, now: Tick);
    fn look(&self) -> Look;
}

impl Beating for Pulse {
    fn start() -> Self {
        Self::new(Tick(0))
    }
    fn check_in(&self, who: u8, now: Tick) {
        Self::check_in(self, who, now);
    }
    fn look(&self) -> Look {
        Self::look(self)
    }
}

fn split(word: u64) -> Look {
    let checked_in = u16::try_from(word & 0xFFFF).expect("16 bits");
    Look { seen: Tick(word >> 16), checked_in }
}

fn joined(word: u64, who: u8, now: Tick) -> u64 {
    ((word >> 16).max(now.0) << 16) | (word & 0xFFFF) | (1 << who)
}

fn advance(word: &AtomicU64, who: u8, now: Tick, success: Ordering) {
    let mut there = word.load(Ordering::Relaxed);
    while let Err(other) =
        word.compare_exchange_weak(there, joined(there, who, now), success, Ordering::Relaxed)
    {
        there = other;
    }
}

/// Looks with a load and then a store: a check-in between the two is wiped out.
struct ForgetfulLook(AtomicU64);

impl Beating for ForgetfulLook {
    fn start() -> Self {
        Self(AtomicU64::new(0))
    }
    fn check_in(&self, who: u8, now: Tick) {
        advance(&self.0, who, now, Ordering::Release);
    }
    fn look(&self) -> Look {
        let word = self.0.load(Ordering::Acquire);
        self.0.store(word & !0xFFFF, Ordering::Release);
        split(word)
    }
}

/// Checks in with its own time, even if a later one is there: last seen goes backwards.
struct BackwardsSeen(AtomicU64);

impl Beating for BackwardsSeen {
    fn start() -> Self {
        Self(AtomicU64::new(0))
    }
    fn check_in(&self, who: u8, now: Tick) {
        let mut there = self.0.load(Ordering::Relaxed);
        loop {
            let next = (now.0 << 16) | (there & 0xFFFF) | (1 << who);
            let swapped =
                self.0.compare_exchange_weak(there, next, Ordering::Release, Ordering::Relaxed);
            match swapped {
                Ok(_) => return,
                Err(other) => there = other,
            }
        }
    }
    fn look(&self) -> Look {
        split(self.0.fetch_and(!0xFFFF, Ordering::Acquire))
    }
}

/// Checks in without Release: the bit is seen, and what the worker did before it is not.
struct UnpublishedWork(AtomicU64);

impl Beating for UnpublishedWork {
    fn start() -> Self {
        Self(AtomicU64::new(0))
    }
    fn check_in(&self, who: u8, now: Tick) {
        advance(&self.0, who, now, Ordering::Relaxed);
    }
    fn look(&self) -> Look {
        split(self.0.fetch_and(!0xFFFF, Ordering::Acquire))
    }
}

fn each_check_in_is_reported_by_exactly_one_look<P: Beating>() {
    loom::model(|| {
        let pulse = Arc::new(P::start());
        let workers: Vec<_> = (0..2u8)
            .map(|who| {
                let pulse = Arc::clone(&pulse);
                thread::spawn(move || pulse.check_in(who, Tick(u64::from(who) + 1)))
            })
            .collect();
        let first = pulse.look();
        workers.into_iter().for_each(|worker| worker.join().expect("a worker does not panic"));
        let last = pulse.look();
        assert_eq!(first.checked_in & last.checked_in, 0, "no check-in is reported twice");
        assert_eq!(first.checked_in | last.checked_in, 0b11, "no check-in is lost");
    });
}

fn last_seen_never_goes_backwards<P: Beating>() {
    loom::model(|| {
        let pulse = Arc::new(P::start());
        let workers: Vec<_> = [7, 3]
            .into_iter()
            .map(|at| {
                let pulse = Arc::clone(&pulse);
                thread::spawn(move || pulse.check_in(0, Tick(at)))
            })
            .collect();
        let first = pulse.look();
        workers.into_iter().for_each(|worker| worker.join().expect("a worker does not panic"));
        let last = pulse.look();
        assert!(first.seen <= last.seen);
        assert_eq!(last.seen, Tick(7));
    });
}

fn who_sees_the_check_in_sees_the_work_before_it<P: Beating>() {
    loom::model(|| {
        let pulse = Arc::new(P::start());
        let work = Arc::new(AtomicU64::new(0));
        let worker = {
            let (pulse, work) = (Arc::clone(&pulse), Arc::clone(&work));
            thread::spawn(move || {
                work.store(1, Ordering::Relaxed);
                pulse.check_in(0, Tick(1));
            })
        };
        if pulse.look().checked_in != 0 {
            assert_eq!(work.load(Ordering::Relaxed), 1);
        }
        worker.join().expect("a worker does not panic");
    });
}

fn is_caught(model: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(model)).is_err()
}

#[test]
fn a_pulse_reports_each_check_in_once() {
    each_check_in_is_reported_by_exactly_one_look::<Pulse>();
}

#[test]
fn a_pulse_never_goes_backwards() {
    last_seen_never_goes_backwards::<Pulse>();
}

#[test]
fn a_pulse_publishes_the_work_before_the_check_in() {
    who_sees_the_check_in_sees_the_work_before_it::<Pulse>();
}

#[test]
fn a_look_that_forgets_is_caught() {
    assert!(is_caught(each_check_in_is_reported_by_exactly_one_look::<ForgetfulLook>));
}

#[test]
fn a_last_seen_that_goes_backwards_is_caught() {
    assert!(is_caught(last_seen_never_goes_backwards::<BackwardsSeen>));
}

#[test]
fn work_that_is_not_published_is_caught() {
    assert!(is_caught(who_sees_the_check_in_sees_the_work_before_it::<UnpublishedWork>));
}
