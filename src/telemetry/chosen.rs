//! Which events and spans of the process are own telemetry.
//!
//! Only what our own crates say: an event of the client that sends telemetry (hyper, h2, the SDK)
//! would make telemetry of telemetry, for ever. What this room says of failed sending, and what
//! the debug exporter prints of passing requests, stays in the log on standard error for the same
//! reason.
//!
//! Invariant: a span that may come with each request is taken at most `spans_per_s` times a
//! second, and one that nobody takes costs no more than a comparison.

use std::sync::atomic::{AtomicU64, Ordering};

use tracing::subscriber::Interest;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Filter};

use crate::driver::Stopwatch;

const OURS: [&str; 7] = [
    "agent_gate",
    "agent_gate_core",
    "collector",
    "front_door",
    "holdpoint",
    "watchdog",
    "watchdog_core",
];
/// Of ours, what would speak of the telemetry itself.
const SILENT: [&str; 2] = ["collector::export::debug", "holdpoint::telemetry"];

fn is_own(meta: &Metadata<'_>) -> bool {
    let target = meta.target();
    let root = target.split("::").next().unwrap_or(target);
    OURS.contains(&root) && !SILENT.iter().any(|silent| target.starts_with(silent))
}

/// The events that become log records: ours, from INFO on, whatever `RUST_LOG` shows besides.
pub fn is_logged(meta: &Metadata<'_>) -> bool {
    meta.is_event() && *meta.level() <= Level::INFO && is_own(meta)
}

/// The spans that become spans: ours at INFO, and a few of those at DEBUG.
#[derive(Debug)]
pub struct Spans(Pace);

impl Spans {
    pub fn new(per_s: u32) -> Self {
        Self(Pace::new(per_s))
    }
}

impl<S> Filter<S> for Spans {
    fn enabled(&self, meta: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        meta.is_span()
            && is_own(meta)
            && (*meta.level() <= Level::INFO || (*meta.level() == Level::DEBUG && self.0.is_due()))
    }

    fn callsite_enabled(&self, meta: &'static Metadata<'static>) -> Interest {
        if !meta.is_span() || !is_own(meta) || *meta.level() > Level::DEBUG {
            Interest::never()
        } else if *meta.level() <= Level::INFO {
            Interest::always()
        } else {
            Interest::sometimes()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::DEBUG)
    }
}

/// One in a while.
#[derive(Debug)]
struct Pace {
    watch: Stopwatch,
    /// Microseconds between two; 0 is never.
    gap: u64,
    /// From when on the next one is due.
    next: AtomicU64,
}

impl Pace {
    fn new(per_s: u32) -> Self {
        let gap = 1_000_000_u64.checked_div(u64::from(per_s)).unwrap_or(0);
        Self { watch: Stopwatch::start(), gap, next: AtomicU64::new(0) }
    }

    fn is_due(&self) -> bool {
        self.gap > 0 && self.is_due_at(self.watch.elapsed().as_micros() as u64)
    }

    fn is_due_at(&self, now: u64) -> bool {
        let next = self.next.load(Ordering::Relaxed);
        let (taken, order) = (now + self.gap, Ordering::Relaxed);
        now >= next && self.next.compare_exchange(next, taken, order, order).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::{Subscriber, debug_span, info, info_span, span};
    use tracing_subscriber::filter::filter_fn;
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::{Layer, Registry};

    use super::*;

    #[derive(Debug, Clone, Default)]
    struct Names(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Names {
        fn on_new_span(&self, attrs: &span::Attributes<'_>, _: &span::Id, _: Context<'_, S>) {
            self.0.lock().unwrap().push(attrs.metadata().name().to_owned());
        }

        fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
            self.0.lock().unwrap().push(event.metadata().target().to_owned());
        }
    }

    #[test]
    fn events_of_others_and_of_this_room_are_not_taken() {
        let names = Names::default();
        let layer = names.clone().with_filter(filter_fn(is_logged));
        tracing::subscriber::with_default(Registry::default().with(layer), || {
            info!(target: "collector::run", "ours");
            info!(target: "holdpoint::roles", "ours");
            info!(target: "hyper::proto", "not ours");
            info!(target: "h2::client", "not ours");
            info!(target: "opentelemetry_sdk", "not ours");
            info!(target: "collectors", "not ours");
            info!(target: "holdpoint::telemetry::transport", "of the telemetry");
            info!(target: "collector::export::debug", "of what passes");
            tracing::debug!(target: "collector::run", "too much");
        });
        assert_eq!(*names.0.lock().unwrap(), ["collector::run", "holdpoint::roles"]);
    }

    #[test]
    fn rare_spans_are_all_taken_and_frequent_ones_seldom() {
        let names = Names::default();
        let layer = names.clone().with_filter(Spans::new(1));
        tracing::subscriber::with_default(Registry::default().with(layer), || {
            for _ in 0..50 {
                drop(info_span!(target: "collector::reload", "rare"));
                drop(debug_span!(target: "collector::export", "frequent"));
                drop(debug_span!(target: "h2::client", "alien"));
            }
        });
        let names = names.0.lock().unwrap();
        assert_eq!(names.iter().filter(|name| *name == "rare").count(), 50);
        let frequent = names.iter().filter(|name| *name == "frequent").count();
        assert!((1..=2).contains(&frequent), "{frequent}");
        assert_eq!(names.len(), 50 + frequent);
    }

    #[test]
    fn the_pace_is_kept_and_none_is_none() {
        let pace = Pace::new(10);
        let taken = (0..1_000_000).step_by(1_000).filter(|now| pace.is_due_at(*now)).count();
        assert_eq!(taken, 10);
        assert!(!Pace::new(0).is_due());
    }
}
