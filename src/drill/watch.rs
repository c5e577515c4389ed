//! Follows the verdicts during an act: who has gone blind, who has come back.
//!
//! Invariant: a service counts as blind only by the watchdog's verdict `telemetry_lost`.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use watchdog_core::verdict::VerdictKind;

use super::scene::Scene;
use super::sight::Sight;
use super::timeline::{Mark, Timeline, Who};

const LOOK_EVERY: Duration = Duration::from_millis(25);

#[derive(Debug, Default)]
struct Blind {
    now: BTreeSet<String>,
    at_worst: BTreeSet<String>,
}

/// A running watch; it ends when this is dropped.
#[derive(Debug)]
pub struct Watch {
    blind: Arc<Mutex<Blind>>,
    watching: JoinHandle<()>,
}

impl Watch {
    pub fn start(scene: &Scene) -> Self {
        let blind = Arc::new(Mutex::new(Blind::default()));
        let (sight, timeline) = (scene.sight.clone(), Arc::clone(&scene.timeline));
        let watching = tokio::spawn(watch(sight, timeline, Arc::clone(&blind)));
        Self { blind, watching }
    }

    pub fn blind_now(&self) -> BTreeSet<String> {
        lock(&self.blind).now.clone()
    }

    /// Every service that was blind at some time.
    pub fn blind_at_worst(&self) -> BTreeSet<String> {
        lock(&self.blind).at_worst.clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

fn lock(blind: &Mutex<Blind>) -> MutexGuard<'_, Blind> {
    blind.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn watch(sight: Sight, timeline: Arc<Timeline>, blind: Arc<Mutex<Blind>>) {
    loop {
        // A look that failed shows nothing, so nothing is concluded from it.
        if let Ok(verdicts) = sight.verdicts().await {
            let seen: BTreeSet<_> = verdicts
                .iter()
                .filter(|(_, item)| item.verdict == VerdictKind::TelemetryLost)
                .map(|(service, _)| service.clone())
                .collect();
            let mut blind = lock(&blind);
            let new: Vec<_> = seen.difference(&blind.now).cloned().collect();
            blind.at_worst.extend(new.iter().cloned());
            if let Some(first) = new.first() {
                let reason = &verdicts[first].reason;
                timeline.note(Who::Watchdog, Mark::Lost, told(&new, reason, seen.len()));
            }
            blind.now = seen;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn told(new: &[String], reason: &str, blind: usize) -> String {
    match new {
        [one] if blind == 1 => format!("{one}: telemetry_lost: {reason}"),
        several => format!("{}: telemetry_lost ({blind} blind)", several.join(", ")),
    }
}
