//! Whether an exporter delivers, derived from what it did last.
//!
//! Invariant: health follows attempts. An exporter that was never asked to send is not ill.

use std::sync::{Mutex, MutexGuard, PoisonError};

use watchdog_core::tick::Tick;

/// What the last attempts of an exporter were like.
#[derive(Debug, Default)]
pub(crate) struct Health {
    failing: Mutex<Option<Failing>>,
}

#[derive(Debug, Clone)]
struct Failing {
    since: Tick,
    why: String,
}

impl Health {
    fn failing(&self) -> MutexGuard<'_, Option<Failing>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The backend took a request; whether that is news.
    pub(crate) fn works(&self) -> bool {
        self.failing().take().is_some()
    }

    /// An attempt failed; whether that is news.
    pub(crate) fn fails(&self, now: Tick, why: &str) -> bool {
        let mut failing = self.failing();
        let since = failing.as_ref().map_or(now, |failing| failing.since);
        failing.replace(Failing { since, why: why.to_owned() }).is_none()
    }

    /// For how long attempts have failed, and why the last one did; `None` if it did not.
    pub(crate) fn trouble(&self, now: Tick) -> Option<(u64, String)> {
        self.failing().as_ref().map(|failing| (now.since_ms(failing.since), failing.why.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_counts_from_the_first_failure_in_a_row() {
        let health = Health::default();
        assert_eq!(health.trouble(Tick(0)), None);
        assert!(health.fails(Tick(10), "a"));
        assert!(!health.fails(Tick(20), "b"));
        assert_eq!(health.trouble(Tick(30)), Some((20, "b".to_owned())));
        assert!(health.works());
        assert!(!health.works());
        assert_eq!(health.trouble(Tick(40)), None);
    }
}
