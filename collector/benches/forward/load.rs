//! Clients that send the same request again and again, each when its last one was answered.
//!
//! Invariant: no more than [`WINDOW_BYTES`] are acknowledged and not yet delivered, so that what is
//! measured is the way through and not a queue that fills.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::child::Server;
use crate::client::{Client, Request};

const CLIENTS: usize = 8;
const WINDOW_BYTES: u64 = 16 << 20;
const PATIENCE: Duration = Duration::from_secs(10);

/// What the clients did.
#[derive(Debug, Default, Clone, Copy)]
pub struct Offered {
    pub accepted: u64,
    pub refused: u64,
}

/// Bytes at the backend.
#[derive(Debug, Clone)]
pub struct Delivered(pub Arc<AtomicU64>);

impl Delivered {
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Sends `request` to `server` for about `length`, until all that was accepted is `delivered`
/// (`None` for a server that has no backend).
pub fn offer(
    server: &Server,
    request: &Request,
    delivered: Option<&Delivered>,
    length: Duration,
) -> Offered {
    let before = delivered.map_or(0, Delivered::bytes);
    let (accepted, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    let waiting = || {
        let bytes = accepted.load(Ordering::Relaxed) * request.delivered_bytes() as u64;
        delivered.map_or(0, |delivered| bytes.saturating_sub(delivered.bytes() - before))
    };
    let end = Instant::now() + length;
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Client::connect(server, request);
                while Instant::now() < end {
                    if waiting() > WINDOW_BYTES {
                        thread::sleep(Duration::from_micros(200));
                    } else if client.is_taken(request) {
                        accepted.fetch_add(1, Ordering::Relaxed);
                    } else {
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let patience = Instant::now() + PATIENCE;
    while waiting() > 0 {
        assert!(Instant::now() < patience, "{} acknowledged bytes did not arrive", waiting());
        thread::sleep(Duration::from_millis(1));
    }
    Offered { accepted: accepted.into_inner(), refused: refused.into_inner() }
}
