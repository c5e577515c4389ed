//! The atomics of `std`, or those of loom when the models are run.
//!
//! Invariant: the lock-free structures of this crate take their atomics from here and nowhere
//! else, so that what loom explores is what runs.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
