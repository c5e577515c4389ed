//! The verdict loop's thread, and the only place that reads a clock.
//!
//! The loop has a thread of its own so that nothing the other runtimes do can delay a verdict. It
//! asks the inbox for facts, reads the time, and hands both to [`Turns`], which is where
//! everything that can be tested without a clock stands.
//!
//! Invariant: time is read after the inbox was emptied, never before: a fact that arrives between
//! the two would otherwise look late.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};
use watchdog_core::tick::Tick;

use crate::inbox::Inbox;
use crate::turns::Turns;

/// Where time comes from. Tests give one that they turn by hand.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Milliseconds of `CLOCK_BOOTTIME`, which runs on through a suspend.
    fn now(&self) -> Tick;
    /// Nanoseconds of the Unix epoch; it may step.
    fn wall_ns(&self) -> u64;
}

/// The clocks of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Tick {
        Tick(nanoseconds(clock_gettime(ClockId::Boottime)) / 1_000_000)
    }

    fn wall_ns(&self) -> u64 {
        nanoseconds(clock_gettime(ClockId::Realtime))
    }
}

fn nanoseconds(time: Timespec) -> u64 {
    // A clock before 1970 is a clock that is not set; the epoch is the best that can be said.
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

/// Starts the verdict loop; it ends when the inbox is closed.
pub fn start(
    mut turns: Turns,
    inbox: Arc<Inbox>,
    clock: Arc<dyn Clock>,
) -> io::Result<JoinHandle<()>> {
    Builder::new().name("verdicts".into()).spawn(move || {
        let mut wait = Duration::ZERO;
        loop {
            let delivery = inbox.take(wait);
            if delivery.closed {
                turns.end();
                return;
            }
            let pause = turns.turn(delivery, clock.now(), clock.wall_ns());
            if !pause.rest.is_zero() {
                std::thread::sleep(pause.rest);
            }
            wait = pause.wait;
        }
    })
}
