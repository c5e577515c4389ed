//! The locks that [`crate::latch`] is built on: the standard ones, or loom's under its model.
//!
//! It exists so that loom explores the very code that ships, not a copy of it.
//!
//! Invariant: no other module names `std::sync` or `loom::sync` for a lock.

#[cfg(loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard};
#[cfg(not(loom))]
pub(crate) use std::sync::{Mutex, MutexGuard};
