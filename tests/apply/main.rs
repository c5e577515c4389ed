//! The fence at the target, as processes: a gate, agents with good, late and stolen permits, and
//! deploy commands that are raced, frozen, cut off and killed.
//!
//! ```text
//!  test ─► holdpoint gate (permits, freezes)
//!    └───► holdpoint apply ─► ward ─► sh -c '… >> effects'
//! ```
//!
//! Invariant: what counts is what stands in `effects`, never what a process said it did.

#![allow(clippy::unwrap_used, reason = "in a test a panic with its place is the message")]

#[path = "../e2e/http.rs"]
#[allow(dead_code, reason = "the end-to-end stories use the rest")]
mod http;
#[path = "../gates/process.rs"]
#[allow(dead_code, reason = "the gates' own stories use the rest")]
mod process;
#[path = "../gates/world.rs"]
#[allow(dead_code, reason = "the gates' own stories use the rest")]
mod world;

mod cut_off;
mod fences;
mod freezes;
mod once;
mod refusals;
mod site;

use std::time::{Duration, Instant};

/// Waits until `seen` gives something; panics with `what` when the time is over.
fn wait<T>(what: &str, limit: Duration, mut seen: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = seen() {
            return value;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
