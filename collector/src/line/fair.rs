//! Who fills the line: no service may take the room of the others.
//!
//! While there is much room, anyone takes what is left. Once three quarters are full, a service is
//! let in only up to its fair share, which leaves one share for a service that is not there yet.
//! So a service that floods the line while a backend is away finds it full sooner than the rest.
//!
//! Requests leave the account in the order in which they came, when all exporters are done with
//! them and with all before them.
//!
//! Invariant: the account of a service is the sum of what it has in the line.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// What each service has in the line.
#[derive(Debug, Default)]
pub(super) struct Fair {
    held: VecDeque<Held>,
    /// Bytes of each service that has any.
    services: HashMap<Arc<str>, usize>,
    bytes: usize,
}

#[derive(Debug)]
struct Held {
    seq: u64,
    service: Arc<str>,
    bytes: usize,
}

impl Fair {
    /// Whether `service` may have so many more `bytes` in a line that holds `capacity`.
    pub(super) fn admits(&self, service: &str, bytes: usize, capacity: usize) -> bool {
        if self.bytes.saturating_add(bytes) <= capacity / 4 * 3 {
            return true;
        }
        match self.services.get(service) {
            // Who has nothing in the line may have what room there is.
            None => true,
            Some(held) => held.saturating_add(bytes) <= capacity / (self.services.len() + 1),
        }
    }

    /// The request `seq` of `service` is in the line.
    pub(super) fn joined(&mut self, seq: u64, service: Arc<str>, bytes: usize) {
        *self.services.entry(Arc::clone(&service)).or_default() += bytes;
        self.bytes += bytes;
        self.held.push_back(Held { seq, service, bytes });
    }

    /// All exporters are done with what came before `low`.
    pub(super) fn settled_before(&mut self, low: u64) {
        while let Some(Held { service, bytes, .. }) = self.held.pop_front_if(|it| it.seq < low) {
            self.bytes -= bytes;
            let left = self.services.get_mut(&service).map(|held| {
                *held -= bytes;
                *held
            });
            if left == Some(0) {
                self.services.remove(&service);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_service_alone_leaves_a_quarter_free() {
        let mut fair = Fair::default();
        let mut seq = 0;
        while fair.admits("noisy", 10, 1_000) {
            fair.joined(seq, "noisy".into(), 10);
            seq += 1;
        }
        assert_eq!(fair.bytes, 750);
        assert!(fair.admits("quiet", 10, 1_000));
        fair.joined(seq, "quiet".into(), 10);
        assert!(!fair.admits("noisy", 10, 1_000));
        assert!(fair.admits("quiet", 10, 1_000));
        assert!(fair.admits("other", 240, 1_000));
    }

    #[test]
    fn what_leaves_makes_room_and_nothing_is_remembered_of_it() {
        let mut fair = Fair::default();
        fair.joined(0, "a".into(), 500);
        fair.joined(1, "b".into(), 250);
        fair.joined(2, "a".into(), 1);
        assert!(!fair.admits("a", 1, 1_000));
        fair.settled_before(1);
        assert!(fair.admits("a", 499, 1_000));
        fair.settled_before(3);
        assert_eq!(fair.bytes, 0);
        assert!(fair.services.is_empty(), "{fair:?}");
    }
}
