//! The one place of this crate where the clock and chance are read.
//!
//! Invariant: the clock is `CLOCK_BOOTTIME`, which runs on through a suspend, so that an age never
//! claims a telemetry stream is younger than it is.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use watchdog_core::tick::Tick;

/// The moment, in milliseconds since the machine booted.
pub(crate) fn now() -> Tick {
    let now = clock_gettime(ClockId::Boottime);
    let ms = now.tv_sec.saturating_mul(1_000).saturating_add(now.tv_nsec / 1_000_000);
    Tick(u64::try_from(ms).expect("CLOCK_BOOTTIME counts up from 0"))
}

/// Seconds since 1970, to read an HTTP date as a delay.
pub(crate) fn unix_time() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the system clock is after 1970")
}

/// Milliseconds since 1970, for people and other programs to read.
pub(crate) fn unix_ms() -> u64 {
    u64::try_from(unix_time().as_millis()).expect("the year is before 584 000 000")
}

/// A number that other processes do not draw at the same time, in `0..=below`.
///
/// Retries spread by it; nothing secret does. Without entropy the middle is as good as any.
pub(crate) fn jitter(below: u64) -> u64 {
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u64::from_le_bytes(bytes) % below.saturating_add(1),
        Err(_) => below / 2,
    }
}
