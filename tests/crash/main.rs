//! What an acknowledgement is worth: real collectors that are killed, cut off and run out of disk.
//!
//! ```text
//!  load (numbers every request) ─► holdpoint collector ─► sink (audits every number)
//!     acknowledged, refused,            kill -9,             taken how often
//!     unknown                           full disk            hangs, refuses
//! ```
//!
//! The load never sends a number twice, so a record that the sink has twice was sent twice by the
//! collector. Long variants are asked for by the environment: `HOLDPOINT_KILLS=200`,
//! `HOLDPOINT_HOLE_MS=180000`; `HOLDPOINT_SEED` repeats the moments of the kills.
//!
//! Invariant: stories run one after the other, because some measure processor time.

#![allow(clippy::unwrap_used, reason = "in a test a panic with its place is the message")]

#[path = "../e2e/http.rs"]
#[allow(dead_code, reason = "the end-to-end stories use the rest")]
mod http;

mod child;
mod filesystem;
mod load;
mod sink;
mod wire;

mod disk;
mod holes;
mod kills;
mod lives;
mod power;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Stories take turns.
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
struct Chance(u64);

impl Chance {
    /// Seeded by `HOLDPOINT_SEED`, or anew; the seed is told, to repeat a failure.
    fn seeded() -> Self {
        let drawn = std::process::id().into();
        let seed = from_env("HOLDPOINT_SEED", drawn);
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
