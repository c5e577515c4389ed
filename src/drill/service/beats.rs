//! The service's beats: a plain thread and a UDP socket, and nothing of the telemetry stack.
//!
//! Invariant: the beat goes on whatever becomes of serving and telemetry, and says of them only
//! what the work counters say.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use watchdog_core::beat::{BeatBody, BeatDatagram, Token};

use super::Identity;
use super::shop::Work;
use crate::drill::ServiceArgs;

/// The running beat thread.
#[derive(Debug)]
pub struct Beats {
    leaving: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Beats {
    /// Starts to beat towards the watchdog at `args.beats`.
    pub fn start(identity: &Identity, args: &ServiceArgs, work: Arc<Work>) -> io::Result<Self> {
        let socket = UdpSocket::bind(any_port_towards(args.beats))?;
        socket.connect(args.beats)?;
        let (leaving, left) = mpsc::channel();
        let heart = Heart { identity: identity.clone(), work, socket, seq: 0 };
        let interval = Duration::from_millis(args.beat_interval_ms);
        let thread = std::thread::Builder::new()
            .name("beats".into())
            .spawn(move || heart.beat_until(&left, interval))?;
        Ok(Self { leaving, thread })
    }

    /// Announces the planned stop with a last beat.
    pub fn leave(self) {
        drop(self.leaving);
        // A beat thread that panicked has said so on standard error; the service stops anyway.
        let _ = self.thread.join();
    }
}

fn any_port_towards(peer: SocketAddr) -> SocketAddr {
    match peer {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

struct Heart {
    identity: Identity,
    work: Arc<Work>,
    socket: UdpSocket,
    seq: u64,
}

impl Heart {
    fn beat_until(mut self, left: &mpsc::Receiver<()>, interval: Duration) {
        self.beat(false);
        while left.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
            self.beat(false);
        }
        self.beat(true);
    }

    fn beat(&mut self, leaving: bool) {
        self.seq += 1;
        let beat = BeatDatagram {
            service: self.identity.service.clone(),
            mac: None,
            body: BeatBody {
                instance: self.identity.instance.clone(),
                boot: self.identity.boot.clone(),
                seq: self.seq,
                token: Token::Number(self.work.token()),
                requests: Some(self.work.requests()),
                errors: Some(self.work.errors()),
                revision: Some(self.identity.revision.clone()),
                leaving,
            },
        };
        let datagram = serde_json::to_vec(&beat).expect("a beat is plain data");
        // A watchdog that is not there refuses the datagram. The next beat tries again.
        let _ = self.socket.send(&datagram);
    }
}
