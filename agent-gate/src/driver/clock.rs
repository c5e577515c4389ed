//! One time line out of three clocks.
//!
//! The gate's `now` starts at the wall clock, so that records carry times people know, and goes on
//! with `CLOCK_BOOTTIME`, which neither stands still in a suspend nor jumps when somebody sets the
//! clock. The readings are arguments; the driver takes them.
//!
//! Invariant: `now` never goes back, not even over a restart, and a disagreement of the clocks by
//! more than [`JUMP_MS`] between two readings is told.

use watchdog_core::tick::Tick;

/// What the clocks may disagree between two readings. Slewing stays far below it.
pub const JUMP_MS: u64 = 1_000;

/// The three clocks at one moment, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// `CLOCK_REALTIME`.
    pub wall_ms: u64,
    /// `CLOCK_BOOTTIME`.
    pub boot_ms: u64,
    /// `CLOCK_MONOTONIC`.
    pub mono_ms: u64,
}

/// See the module's head.
#[derive(Debug, Clone)]
pub struct Clock {
    origin: Tick,
    origin_boot_ms: u64,
    last: Reading,
}

impl Clock {
    /// A time line that goes on after `alive`, when an earlier gate last turned.
    #[must_use]
    pub fn new(reading: Reading, alive: Option<Tick>) -> Self {
        let wall = Tick(reading.wall_ms);
        // A wall clock that was set back while no gate ran must not take the time line with it.
        let origin = alive.map_or(wall, |alive| wall.max(alive.plus_ms(1)));
        Self { origin, origin_boot_ms: reading.boot_ms, last: reading }
    }

    /// The time at `reading`, and whether the clocks disagree about how much passed.
    pub fn advance(&mut self, reading: Reading) -> (Tick, bool) {
        let before = std::mem::replace(&mut self.last, reading);
        let boot = reading.boot_ms.saturating_sub(before.boot_ms);
        let mono = reading.mono_ms.saturating_sub(before.mono_ms);
        let is_wall_set =
            reading.wall_ms.abs_diff(before.wall_ms.saturating_add(boot)).gt(&JUMP_MS);
        let jumped = boot.abs_diff(mono) > JUMP_MS || is_wall_set;
        (self.now(), jumped)
    }

    /// The time at the last reading.
    #[must_use]
    pub fn now(&self) -> Tick {
        self.origin.plus_ms(self.last.boot_ms.saturating_sub(self.origin_boot_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall_ms: u64, boot_ms: u64, mono_ms: u64) -> Reading {
        Reading { wall_ms, boot_ms, mono_ms }
    }

    #[test]
    fn time_goes_on_with_the_boot_clock_and_tells_a_jump_of_more_than_a_second() {
        let mut clock = Clock::new(at(10_000, 500, 400), None);
        assert_eq!(clock.advance(at(10_100, 600, 500)), (Tick(10_100), false));
        // Slewed by exactly the bound, and then set by one millisecond more.
        assert_eq!(clock.advance(at(11_200, 700, 600)), (Tick(10_200), false));
        assert_eq!(clock.advance(at(13_301, 1_800, 1_700)), (Tick(11_300), true));
        // Set back.
        assert_eq!(clock.advance(at(9_000, 1_900, 1_800)), (Tick(11_400), true));
        // Suspended for a minute: no clock was set, and leases ran on.
        assert_eq!(clock.advance(at(69_100, 62_000, 1_900)), (Tick(71_500), true));
        assert_eq!(clock.advance(at(69_200, 62_100, 2_000)), (Tick(71_600), false));
    }

    #[test]
    fn a_wall_clock_that_was_set_back_between_two_gates_does_not_turn_time_back() {
        let clock = Clock::new(at(5_000, 1, 1), Some(Tick(9_000)));
        assert_eq!(clock.now(), Tick(9_001));
        let clock = Clock::new(at(15_000, 1, 1), Some(Tick(9_000)));
        assert_eq!(clock.now(), Tick(15_000));
    }
}
