//! The phases of one connection, and when its time is up.
//!
//! ```text
//!   Opening ──request──► Busy ──last response ends──► Idle ──first byte──► Head ──request──► Busy
//! ```
//!
//! The phase is moved by what passes: bytes read ([`crate::io`]), requests begun and responses
//! ended ([`Turn`]). One slow tick per connection looks whether the phase has lasted too long, so
//! that a request costs no timer.
//!
//! Invariant: only a connection without a request in flight is ever cut for being quiet.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::Limits;

/// HTTP/2 connections begin with this.
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing but a part of the first header has come.
    Opening,
    /// Between requests, nothing of the next has come.
    Idle,
    /// A part of the next header has come.
    Head,
    /// So many requests are in flight.
    Busy(usize),
}

/// Why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Its header did not come in time.
    SlowHeader,
    /// It rested too long.
    Idle,
    /// Room is needed for another.
    Evicted,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Grows with every change of phase: the same number a while later means "still quiet".
    turn: u64,
    /// Bytes of the HTTP/2 preface seen; `None` once it is known to be HTTP/1.
    preface: Option<usize>,
}

#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) peer: IpAddr,
    state: Mutex<State>,
    evict: Notify,
}

impl Conn {
    pub(crate) fn new(peer: IpAddr) -> Self {
        let state = State { phase: Phase::Opening, turn: 0, preface: Some(0) };
        Self { peer, state: Mutex::new(state), evict: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock, and a poisoned one is as good as before.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the connection may be closed to make room.
    pub(crate) fn is_quiet(&self) -> bool {
        !matches!(self.state().phase, Phase::Busy(_))
    }

    /// Asks the connection's task to close it.
    pub(crate) fn evict(&self) {
        self.evict.notify_one();
    }

    /// Bytes came in.
    pub(crate) fn read(&self, bytes: &[u8]) {
        let mut state = self.state();
        if let Some(seen) = state.preface
            && seen < H2_PREFACE.len()
        {
            let rest = &H2_PREFACE[seen..];
            let n = rest.len().min(bytes.len());
            state.preface = (rest[..n] == bytes[..n]).then_some(seen + n);
            if state.preface == Some(H2_PREFACE.len()) {
                // An HTTP/2 client that has introduced itself may rest before its first request.
                move_to(&mut state, Phase::Idle);
                return;
            }
        }
        // On HTTP/2, bytes between requests are pings and settings as well as headers.
        if state.phase == Phase::Idle && state.preface.is_none() {
            move_to(&mut state, Phase::Head);
        }
    }

    /// A request begins.
    pub(crate) fn begin(self: &Arc<Self>) -> Turn {
        let mut state = self.state();
        let n = match state.phase {
            Phase::Busy(n) => n,
            Phase::Opening | Phase::Idle | Phase::Head => 0,
        };
        move_to(&mut state, Phase::Busy(n + 1));
        drop(state);
        Turn(Arc::clone(self))
    }

    fn end_turn(&self) {
        let mut state = self.state();
        let next = match state.phase {
            Phase::Busy(n) if n > 1 => Phase::Busy(n - 1),
            Phase::Busy(_) | Phase::Opening | Phase::Idle | Phase::Head => Phase::Idle,
        };
        move_to(&mut state, next);
    }

    /// Resolves when the connection's time is up.
    pub(crate) async fn time_is_up(&self, limits: &Limits) -> End {
        tokio::select! {
            () = self.evict.notified() => End::Evicted,
            end = self.quiet_for_too_long(limits) => end,
        }
    }

    async fn quiet_for_too_long(&self, limits: &Limits) -> End {
        let shortest = limits.header_timeout.min(limits.idle_timeout);
        let tick = (shortest / 5).clamp(Duration::from_millis(10), Duration::from_secs(1));
        let mut quiet = Duration::ZERO;
        let mut before = 0;
        loop {
            tokio::time::sleep(tick).await;
            let (phase, turn) = {
                let state = self.state();
                (state.phase, state.turn)
            };
            quiet = if turn == before { quiet + tick } else { Duration::ZERO };
            before = turn;
            match phase {
                Phase::Opening | Phase::Head if quiet >= limits.header_timeout => {
                    return End::SlowHeader;
                }
                Phase::Idle if quiet >= limits.idle_timeout => return End::Idle,
                Phase::Opening | Phase::Head | Phase::Idle | Phase::Busy(_) => {}
            }
        }
    }
}

fn move_to(state: &mut State, phase: Phase) {
    state.phase = phase;
    state.turn = state.turn.wrapping_add(1);
}

/// One request in flight, from its header to the end of its response.
#[derive(Debug)]
pub(crate) struct Turn(Arc<Conn>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.end_turn();
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn conn() -> Arc<Conn> {
        Arc::new(Conn::new(IpAddr::V4(Ipv4Addr::LOCALHOST)))
    }

    #[test]
    fn a_connection_is_busy_until_its_last_response_ends() {
        let conn = conn();
        conn.read(b"GET / HTTP/1.1\r\n\r\n");
        assert_eq!(conn.state().phase, Phase::Opening);
        let (first, second) = (conn.begin(), conn.begin());
        drop(first);
        assert!(!conn.is_quiet());
        drop(second);
        assert_eq!(conn.state().phase, Phase::Idle);
        conn.read(b"G");
        assert_eq!(conn.state().phase, Phase::Head);
    }

    #[test]
    fn an_http2_client_may_rest_once_its_preface_is_whole() {
        let conn = conn();
        conn.read(&H2_PREFACE[..23]);
        assert_eq!(conn.state().phase, Phase::Opening);
        conn.read(&H2_PREFACE[23..]);
        assert_eq!(conn.state().phase, Phase::Idle);
        conn.read(b"\0\0\x08\x06ping");
        assert_eq!(conn.state().phase, Phase::Idle);
    }
}
