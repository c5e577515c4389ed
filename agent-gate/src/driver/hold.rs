//! For how long this gate may act on what it committed.
//!
//! Where gates take turns, a lease stands behind every commit. It runs on the clock that goes on
//! through a suspend, from before the commit was sent, and a tenth is taken off for clocks that go
//! at different rates: it is over here before another gate can begin. What this cannot see is a
//! pause between the look and the wire; for that, permits carry an epoch.
//!
//! Invariant: a hold that is over is not extended but by a commit.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use watchdog_core::tick::Tick;

/// See the module's head.
#[derive(Debug, Default)]
pub struct Hold {
    /// When the commit began that it rests on, and when it is over; 0 before the first.
    began_ms: AtomicU64,
    until_ms: AtomicU64,
}

impl Hold {
    /// Whether what was committed may leave at `now`.
    #[must_use]
    pub fn stands(&self, now: Tick) -> bool {
        now.0 < self.until_ms.load(Ordering::Acquire)
    }

    /// Whether a third of `lease` is over, so that the next commit may not wait for something to
    /// write.
    #[must_use]
    pub fn is_due(&self, now: Tick, lease: Option<Duration>) -> bool {
        let began = Tick(self.began_ms.load(Ordering::Acquire));
        lease.is_some_and(|lease| now.since_ms(began) >= ms(lease) / 3)
    }

    /// A commit that began at `began` holds.
    pub fn extend(&self, began: Tick, lease: Option<Duration>) {
        let until = lease.map_or(u64::MAX, |lease| began.plus_ms(ms(lease) / 10 * 9).0);
        self.began_ms.store(began.0, Ordering::Release);
        self.until_ms.store(until, Ordering::Release);
    }

    /// Nothing may leave any more.
    pub fn end(&self) {
        self.until_ms.store(0, Ordering::Release);
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_is_over_before_the_lease_is_and_stands_for_ever_without_one() {
        let hold = Hold::default();
        let lease = Some(Duration::from_secs(10));
        assert!(!hold.stands(Tick(1)), "nothing was committed");
        hold.extend(Tick(1_000), lease);
        assert!(hold.stands(Tick(9_999)) && !hold.stands(Tick(10_000)));
        assert!(!hold.is_due(Tick(4_000), lease) && hold.is_due(Tick(4_333), lease));
        hold.end();
        assert!(!hold.stands(Tick(1_001)));
        hold.extend(Tick(1_000), None);
        assert!(hold.stands(Tick(u64::MAX - 1)) && !hold.is_due(Tick(u64::MAX), None));
    }
}
