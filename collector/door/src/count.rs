//! What the door saw, for a metrics page.
//!
//! Invariant: these are statistics. Nothing decides by them, so relaxed order is enough.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the server's start; shared between the server and a metrics page.
#[derive(Debug, Default)]
pub struct Counts {
    pub(crate) accepted: AtomicU64,
    pub(crate) closed: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) evicted: AtomicU64,
    pub(crate) timed_out: AtomicU64,
    pub(crate) accept_errors: AtomicU64,
    pub(crate) handshake_errors: AtomicU64,
    pub(crate) certificates_renewed: AtomicU64,
    pub(crate) certificates_kept: AtomicU64,
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Connections that were let in.
    pub accepted: u64,
    /// Connections that are open.
    pub open: u64,
    /// Connections closed at once, because all others were busy.
    pub refused: u64,
    /// Quiet connections closed to make room.
    pub evicted: u64,
    /// Connections closed, and requests ended, because their time was up.
    pub timed_out: u64,
    /// Times that `accept` failed.
    pub accept_errors: u64,
    /// TLS handshakes that failed.
    pub handshake_errors: u64,
    /// Times that changed certificates were taken.
    pub certificates_renewed: u64,
    /// Times that changed certificates could not be used, so that the last ones stayed.
    pub certificates_kept: u64,
}

impl Counts {
    /// Reads all counts.
    #[must_use]
    pub fn seen(&self) -> Seen {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        // Closed is read first, so that `open` is never below the truth and never wraps.
        let closed = read(&self.closed);
        let accepted = read(&self.accepted);
        Seen {
            accepted,
            open: accepted.saturating_sub(closed),
            refused: read(&self.refused),
            evicted: read(&self.evicted),
            timed_out: read(&self.timed_out),
            accept_errors: read(&self.accept_errors),
            handshake_errors: read(&self.handshake_errors),
            certificates_renewed: read(&self.certificates_renewed),
            certificates_kept: read(&self.certificates_kept),
        }
    }
}

pub(crate) fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}
