//! The watchdog asks its own port, and is told how late the answer was.
//!
//! The question goes out on the senders' runtime and is answered on the thread that hears beats,
//! so its round trip shows whether either is late. The verdict loop finds out about itself.
//!
//! Invariant: a question without an answer is told as late by the time it was waited for; it is
//! never "not late".

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use watchdog_core::watch::Event;

use crate::driver::Clock;
use crate::inbox::Inbox;
use crate::metrics::Metrics;

/// How often it asks.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long it waits for the answer, in milliseconds.
const TIMEOUT_MS: u64 = 1_000;
/// What is told at all, in milliseconds; the watch knows what counts.
const TOLD_MS_MIN: u64 = 50;

/// Asks.
pub struct Echo {
    /// Where this watchdog listens.
    pub at: SocketAddr,
    pub clock: Arc<dyn Clock>,
    pub inbox: Arc<Inbox>,
    pub metrics: Metrics,
}

impl Echo {
    /// Asks until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let client = crate::client::new(Duration::from_millis(TIMEOUT_MS));
        let url = format!("http://{}/readyz", reachable(self.at));
        let mut pace = tokio::time::interval(INTERVAL);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = pace.tick() => {}
            }
            let asked = self.clock.now();
            let answered = match client.get(&url).send().await {
                Ok(answer) => answer.bytes().await.is_ok(),
                Err(_) => false,
            };
            let took_ms = self.clock.now().since_ms(asked);
            let late_ms = if answered { took_ms } else { took_ms.max(TIMEOUT_MS) };
            self.metrics.echo(Duration::from_millis(late_ms));
            if late_ms >= TOLD_MS_MIN {
                self.inbox.put(Event::EchoLate { late_ms });
            }
        }
    }
}

/// An address that listens everywhere is asked on the loopback.
const fn reachable(at: SocketAddr) -> SocketAddr {
    let ip = match at.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        IpAddr::V4(_) | IpAddr::V6(_) => at.ip(),
    };
    SocketAddr::new(ip, at.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::SystemClock;
    use crate::inbox::Fact;

    /// Asks `at` until something is told, and says how late that was.
    async fn told(at: SocketAddr) -> u64 {
        let inbox = Arc::new(Inbox::default());
        let echo = Echo {
            at,
            clock: Arc::new(SystemClock),
            inbox: Arc::clone(&inbox),
            metrics: Metrics::default(),
        };
        let stop = CancellationToken::new();
        let asking = tokio::spawn(echo.run(stop.clone()));
        let event = tokio::task::spawn_blocking(move || inbox.take(Duration::from_secs(30)));
        let facts = event.await.expect("it waits").facts;
        stop.cancel();
        asking.await.expect("it ends");
        match facts[..] {
            [Fact { event: Event::EchoLate { late_ms }, .. }] => late_ms,
            _ => panic!("{facts:?}"),
        }
    }

    #[tokio::test]
    async fn a_port_that_does_not_answer_and_one_that_refuses_are_late_by_the_whole_time() {
        let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let at = mute.local_addr().expect("bound");
        assert!(told(at).await >= TIMEOUT_MS);
        drop(mute);
        assert!(told(at).await >= TIMEOUT_MS, "nobody listens");
    }

    #[test]
    fn who_listens_everywhere_is_asked_on_the_loopback() {
        for (listens, asked) in [
            ("0.0.0.0:7070", "127.0.0.1:7070"),
            ("[::]:7070", "[::1]:7070"),
            ("10.0.0.7:7070", "10.0.0.7:7070"),
        ] {
            let listens = listens.parse().expect("an address");
            assert_eq!(reachable(listens).to_string(), asked);
        }
    }
}
