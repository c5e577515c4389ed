//! A bound on strangers: how many instances nobody configured may come up in a span of time.
//!
//! Whoever can send to the port can make up names, and every name costs memory for as long as its
//! replays must be known. The bound lets a large fleet appear at once and keeps a flood of made-up
//! names small.
//!
//! Invariant: who was let in within a span stays in for the rest of it, however many come after.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use watchdog_core::names::{Instance, Service};
use watchdog_core::tick::Tick;

/// The most strangers of one span.
const STRANGERS_MAX: usize = 65_536;
/// The length of a span, in milliseconds.
const SPAN_MS: u64 = 600_000;

/// The strangers of the running span.
#[derive(Debug)]
pub struct Crowd {
    seen: HashSet<u64>,
    since: Tick,
}

impl Crowd {
    pub fn new(now: Tick) -> Self {
        Self { seen: HashSet::new(), since: now }
    }

    /// Whether an instance may be heard.
    pub fn lets_in(&mut self, service: &Service, instance: &Instance, now: Tick) -> bool {
        if now.since_ms(self.since) >= SPAN_MS {
            self.seen.clear();
            self.since = now;
        }
        // Two names with one hash share a place, which harms nobody.
        let mut hasher = DefaultHasher::new();
        (service, instance).hash(&mut hasher);
        let name = hasher.finish();
        if self.seen.len() >= STRANGERS_MAX {
            return self.seen.contains(&name);
        }
        self.seen.insert(name);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_place_is_given_and_the_next_stranger_waits_for_the_next_span() {
        let mut crowd = Crowd::new(Tick(0));
        let service = Service::new("s").expect("a valid name");
        let instance = |n: usize| Instance::new(n.to_string()).expect("a valid name");
        for n in 0..STRANGERS_MAX {
            assert!(crowd.lets_in(&service, &instance(n), Tick(1)));
        }
        assert!(!crowd.lets_in(&service, &instance(STRANGERS_MAX), Tick(1)));
        assert!(crowd.lets_in(&service, &instance(0), Tick(SPAN_MS - 1)));
        assert!(crowd.lets_in(&service, &instance(STRANGERS_MAX), Tick(SPAN_MS)));
    }
}
