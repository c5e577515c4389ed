//! Gates as processes that are killed, paused and cut off: nothing answered is lost, and nothing
//! is granted that a freeze forbids.
//!
//! ```text
//!  agents, an operator, a watchdog ─► holdpoint gate ─► SQLite, or PostgreSQL through a proxy
//!      (what was answered, and when)   kill -9, STOP        that loses or delays everything
//! ```
//!
//! Long variants are asked for by the environment: `HOLDPOINT_GATE_KILLS=500`,
//! `HOLDPOINT_GATE_TERMS=50`, `HOLDPOINT_GATE_CUTS=100`; `HOLDPOINT_SEED` repeats the moments.
//!
//! Invariant: what counts is what a client was told, compared with what the store holds at the end.

#![allow(clippy::unwrap_used, reason = "in a test a panic with its place is the message")]

#[path = "../e2e/http.rs"]
#[allow(dead_code, reason = "the end-to-end stories use the rest")]
mod http;
#[path = "../../agent-gate/tests/gate/server.rs"]
mod server;

mod agents;
mod books;
#[path = "../crash/filesystem.rs"]
mod filesystem;
mod kills;
mod power;
mod process;
mod proxy;
mod terms;
mod world;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Stories take turns: each keeps both cores busy.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

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

/// A number from the environment.
fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Says that `part` is missing and what for; panics where every part is required.
fn skip(part: &str, what: &str) {
    assert!(
        std::env::var("HOLDPOINT_REQUIRE").as_deref() != Ok("all"),
        "{part} is required here and missing; it is needed to {what}"
    );
    eprintln!("skipped: no {part}, so nothing is shown of this: {what}");
}

/// Numbers that look random and repeat with their seed (SplitMix64).
#[derive(Debug, Clone)]
struct Chance(u64);

impl Chance {
    /// Seeded by `HOLDPOINT_SEED`, or anew; the seed is told, to repeat a failure.
    fn seeded() -> Self {
        let seed = from_env("HOLDPOINT_SEED", std::process::id().into());
        eprintln!("HOLDPOINT_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % limit
    }
}
