//! What the roles say of themselves, between real processes: a collector that tells, and another
//! that takes it down.
//!
//! Invariant: every figure is compared with what the telling process shows of itself elsewhere.

#![allow(clippy::unwrap_used, reason = "in a test a panic with its place is the message")]

#[path = "../e2e/http.rs"]
#[allow(dead_code, reason = "the end-to-end stories use the rest")]
mod http;

mod harm;
mod process;
mod taken;
mod told;

use std::time::{Duration, Instant};

/// Nothing here takes longer, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `seen` gives something; panics with `what` when the time is over.
fn wait<T>(what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = seen() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
