//! The one place that reads a clock: the start of this process names its boot.

use std::time::{SystemTime, UNIX_EPOCH};

use watchdog_core::names::Boot;

/// Start time in milliseconds, then the process id, so that a newer boot retires the older one.
#[must_use]
pub(crate) fn boot() -> Boot {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    // A clock before 1970 is not set: every boot is as old as the other then, and told apart by
    // its process id alone.
    let ms = since.map_or(0, |since| since.as_millis());
    Boot::new(format!("{ms}-{}", std::process::id())).expect("digits are a valid boot")
}
