//! What the work loop tells: turns, requests, errors. One relaxed addition each.
//!
//! Relaxed is enough: the counters are read by one thread, each by itself, and none guards memory.
//! An error counts as a request too.
//!
//! Invariant: counters only grow, so a beat that is lost loses nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The service's end. Clones count into the same counters.
#[derive(Debug, Clone, Default)]
pub struct Work(Arc<Counters>);

/// On a cache line of their own, so that the service's neighbours in memory do not slow them.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counters {
    turns: AtomicU64,
    requests: AtomicU64,
    errors: AtomicU64,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    pub turns: u64,
    pub requests: u64,
    pub errors: u64,
}

impl Work {
    /// The work loop turned, with work or without.
    #[inline]
    pub fn turn(&self) {
        self.0.turns.fetch_add(1, Relaxed);
    }

    /// A request was served.
    #[inline]
    pub fn request(&self) {
        self.0.requests.fetch_add(1, Relaxed);
    }

    /// A request failed.
    #[inline]
    pub fn error(&self) {
        self.0.errors.fetch_add(1, Relaxed);
        self.0.requests.fetch_add(1, Relaxed);
    }

    pub(crate) fn told(&self) -> Told {
        Told {
            turns: self.0.turns.load(Relaxed),
            requests: self.0.requests.load(Relaxed),
            errors: self.0.errors.load(Relaxed),
        }
    }
}
