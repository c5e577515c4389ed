//! The kernel as a witness of services that tell no work: whether bytes came in on their ports.
//!
//! Every connection is known by its cookie, so what is compared is each with itself. What cannot be
//! seen is said: a connection that came and went between two looks leaves nothing but its end, and
//! nobody can say whether it brought bytes.
//!
//! Invariant: only a whole look after a whole look says anything; everything else is "cannot say".

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use watchdog_core::names::Service;
use watchdog_core::tick::Tick;
use watchdog_core::watch::Event;

use crate::driver::Clock;
use crate::inbox::Inbox;
use crate::metrics::Metrics;
use crate::streak::{Streak, Turn};

mod sock_diag;

use sock_diag::Connection;

/// How often it is asked.
const INTERVAL: Duration = Duration::from_secs(1);

/// The ports of a service that the kernel is asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelPorts {
    /// TCP ports on which it takes its work, in the watchdog's own network namespace.
    pub kernel_ports: Vec<u16>,
    /// So many bytes within a second are work; fewer are health checks.
    #[serde(default = "bytes_min_default")]
    pub bytes_min: u64,
}

const fn bytes_min_default() -> u64 {
    1
}

/// Asks the kernel for all services that name ports.
pub struct KernelWitness {
    pub services: Vec<(Service, KernelPorts)>,
    pub clock: Arc<dyn Clock>,
    pub inbox: Arc<Inbox>,
    pub metrics: Metrics,
}

/// What each connection had brought, by its cookie.
type Bytes = HashMap<[u8; 8], Option<u64>>;

/// What the last look at one service's ports found.
#[derive(Debug, Default)]
struct Seen {
    before: Option<(Tick, Bytes)>,
    streak: Streak,
}

/// What came in between two looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    Bytes(u64),
    CannotSay,
}

impl KernelWitness {
    /// Asks until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut pace = tokio::time::interval(INTERVAL);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen: Vec<Seen> = self.services.iter().map(|_| Seen::default()).collect();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = pace.tick() => {}
            }
            for ((service, ports), seen) in self.services.iter().zip(&mut seen) {
                let asked = ports.kernel_ports.clone();
                let found = tokio::task::spawn_blocking(move || look(&asked)).await;
                let found = found.unwrap_or_else(|error| Err(io::Error::other(error)));
                self.tell(service, ports, seen, found);
            }
        }
    }

    fn tell(
        &self,
        service: &Service,
        ports: &KernelPorts,
        seen: &mut Seen,
        found: io::Result<Vec<Connection>>,
    ) {
        let now = self.clock.now();
        match seen.streak.note(found.is_ok()) {
            Some(Turn::ToWorking) => info!(%service, "the kernel tells of its connections again"),
            Some(Turn::ToFailing) => {
                let error = found.as_ref().err().map(ToString::to_string);
                warn!(%service, error, "the kernel does not tell of its connections");
            }
            None => {}
        }
        let span_ms = seen.before.as_ref().map_or(0, |(at, _)| now.since_ms(*at));
        let came = match found {
            Ok(found) => seen.compare(found, now),
            Err(_) => seen.forget(),
        };
        let bytes = match came {
            Came::Bytes(bytes) => Some(bytes),
            Came::CannotSay => None,
        };
        self.metrics.kernel(service, bytes);
        let moved = bytes.map(|bytes| bytes >= ports.bytes_min);
        self.inbox.put(Event::KernelAsked { service: service.clone(), moved, span_ms });
    }
}

fn look(ports: &[u16]) -> io::Result<Vec<Connection>> {
    let mut found = Vec::new();
    for port in ports {
        found.append(&mut sock_diag::connections(*port)?);
    }
    Ok(found)
}

impl Seen {
    fn forget(&mut self) -> Came {
        self.before = None;
        Came::CannotSay
    }

    /// What came in since the look before.
    fn compare(&mut self, found: Vec<Connection>, now: Tick) -> Came {
        let after: HashMap<_, _> = found.iter().map(|one| (one.cookie, one.received)).collect();
        let Some((_, before)) = self.before.replace((now, after)) else { return Came::CannotSay };
        let (mut bytes, mut unseen) = (0_u64, false);
        for one in found {
            match (before.get(&one.cookie), one.received) {
                // A new connection brought all that it has.
                (None, Some(all)) => bytes = bytes.saturating_add(all),
                (Some(Some(then)), Some(now)) => {
                    bytes = bytes.saturating_add(now.saturating_sub(*then));
                }
                // It ended, and what it brought at last is not told.
                (None | Some(Some(_)), None) => unseen = true,
                (Some(None), Some(_) | None) => {}
            }
        }
        if bytes == 0 && unseen { Came::CannotSay } else { Came::Bytes(bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(name: u8, received: Option<u64>) -> Connection {
        Connection { cookie: [name; 8], received }
    }

    #[test]
    fn each_connection_is_compared_with_itself_and_what_was_not_seen_is_said() {
        let mut seen = Seen::default();
        let mut look = |found: &[Connection]| seen.compare(found.to_vec(), Tick(0));
        let (one, two) = (|n| connection(1, Some(n)), |n| connection(2, Some(n)));
        assert_eq!(look(&[one(1_000)]), Came::CannotSay, "the first look is a base");
        assert_eq!(look(&[one(1_000)]), Came::Bytes(0));
        assert_eq!(look(&[one(1_010), two(7)]), Came::Bytes(17));
        assert_eq!(look(&[two(7)]), Came::Bytes(0), "who is gone takes nothing back");
        let ended = connection(3, None);
        assert_eq!(look(&[two(7), ended]), Came::CannotSay, "it came and went");
        assert_eq!(look(&[two(9), ended]), Came::Bytes(2), "it is only remembered");
        assert_eq!(look(&[two(9), ended]), Came::Bytes(0));
        assert_eq!(seen.forget(), Came::CannotSay);
        assert_eq!(seen.compare(vec![two(99)], Tick(9)), Came::CannotSay, "another base");
    }
}
