//! The one place where this package reads a clock or asks for random bytes.
//!
//! Invariant: a secret comes from the operating system's generator. If that fails there is no
//! secret and the start ends, because a guessable key is worse than none.

use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use watchdog_core::names::Boot;

/// Random bytes from the operating system.
///
/// # Errors
/// If the system has no entropy to give.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

/// The name of this start of this process: start time in milliseconds, then the process id.
#[must_use]
pub fn boot() -> Boot {
    Boot::new(format!("{}-{}", wall_ms(), std::process::id())).expect("digits are a valid name")
}

/// Milliseconds since 1970. A clock before 1970 reads 0, which `doctor` reports.
#[must_use]
pub fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Nanoseconds since 1970, as OTLP tells times.
#[must_use]
pub fn wall_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// The three clocks at one moment, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// Since 1970, as somebody set it.
    pub wall_ms: u64,
    /// Since the machine started, through suspends.
    pub boot_ms: u64,
    /// Since the machine started, suspends left out.
    pub mono_ms: u64,
}

/// Reads all clocks.
#[must_use]
pub fn clocks() -> Clocks {
    let read = |clock| {
        let time = clock_gettime(clock);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(u64::MIN);
        let ms = u64::try_from(time.tv_nsec / 1_000_000).unwrap_or(u64::MIN);
        seconds.saturating_mul(1000).saturating_add(ms)
    };
    Clocks {
        wall_ms: read(ClockId::Realtime),
        boot_ms: read(ClockId::Boottime),
        mono_ms: read(ClockId::Monotonic),
    }
}

/// A point in the future against which waiting is measured.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    #[must_use]
    pub fn after(wait: Duration) -> Self {
        Self(Instant::now() + wait)
    }

    #[must_use]
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    #[must_use]
    pub fn has_passed(self) -> bool {
        self.left().is_zero()
    }
}

/// A watch that measures how long something took.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    #[must_use]
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}
