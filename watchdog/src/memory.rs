//! Keeps what the next watchdog must know of services.
//!
//! The verdict loop says what it remembers; this task hands it to the root package, which alone
//! knows the file. A disk that is slow or full makes nobody wait.
//!
//! Invariant: what failed to be kept is tried again until it is kept or has changed.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use watchdog_core::watch::Remembered;

use crate::streak::{Streak, Turn};
use crate::wiring::Keep;

/// How soon what failed is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// Keeps every change until `shutdown`.
pub async fn run(
    keep: Keep,
    mut memory: watch::Receiver<Vec<Remembered>>,
    shutdown: CancellationToken,
) {
    let mut streak = Streak::default();
    let mut kept = true;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = memory.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(AGAIN), if !kept => {}
        }
        let remembered = memory.borrow_and_update().clone();
        let keep = keep.clone();
        let written = tokio::task::spawn_blocking(move || keep(&remembered)).await;
        let written = written.map_err(|error| error.to_string()).flatten();
        kept = written.is_ok();
        match streak.note(kept) {
            Some(Turn::ToWorking) => info!("what is known of services is kept again"),
            Some(Turn::ToFailing) => {
                let words = written.err();
                warn!(words, "what is known of services is not kept; a restart forgets it");
            }
            None => {}
        }
    }
}
