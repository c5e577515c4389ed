//! Time as the cores see it: a count of milliseconds that only the drivers read from a clock.
//!
//! A driver takes it from `CLOCK_BOOTTIME`, which runs on through a suspend; `std::time::Instant`
//! stands still there and would call a lease live that died while the machine slept.
//!
//! Invariant: a `Tick` is a point on one process's clock. It is never sent to another process;
//! what crosses a process border is an age in milliseconds.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A point in time, in milliseconds since an origin that the driver chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tick(pub u64);

impl Tick {
    /// The point `ms` milliseconds later; stays at the end of time instead of wrapping.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// The point `ms` milliseconds earlier, not before the origin.
    #[must_use]
    pub const fn minus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_sub(ms))
    }

    /// Milliseconds from `earlier` to `self`; 0 if `earlier` is not earlier.
    #[must_use]
    pub const fn since_ms(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Tick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}
