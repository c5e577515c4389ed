//! Waiting for a condition with a deadline, which is all the waiting the drill does between acts.

use std::time::Duration;

use super::failure::DrillError;
use crate::driver::Deadline;

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Asks `look` until it gives something; `None` if it did not within `patience`.
///
/// # Errors
/// The first error of `look`.
pub async fn wait_for<T>(
    patience: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>, DrillError>,
) -> Result<Option<T>, DrillError> {
    let deadline = Deadline::after(patience);
    loop {
        if let Some(found) = look().await? {
            return Ok(Some(found));
        }
        if deadline.has_passed() {
            return Ok(None);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
