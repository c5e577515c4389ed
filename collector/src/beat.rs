//! The collector's own beat, sent around the path it is responsible for.
//!
//! A plain thread sends it, with a socket of its own and nothing of the runtime, so that a hung
//! runtime is heard of instead of not heard. Its token moves only when everything that carries
//! telemetry has turned since the beat before ([`Rounds`]): the pipeline's runtime (through the
//! lock of the tally) and every exporter's task.
//!
//! Invariant: the thread never waits for the runtime, and the token never moves without it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram as Asking;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tokio::net::UnixDatagram as Asked;
use tracing::debug;
use watchdog_core::beat::{BeatBody, BeatDatagram, Token};
use watchdog_core::names::{Boot, Instance, Revision, Service};

use crate::BeatTarget;
use crate::driver;
use crate::metrics::Metrics;
use crate::rounds::{Rounds, Turns};
use crate::tally::Tally;

/// How often a beat is sent.
const EVERY: Duration = Duration::from_millis(100);

/// What the beat thread needs.
pub(crate) struct Beater {
    pub(crate) target: BeatTarget,
    pub(crate) boot: Boot,
    pub(crate) rounds: Arc<Rounds>,
    pub(crate) metrics: Arc<Metrics>,
    /// Where it asks for a round.
    pub(crate) asking: Asking,
}

/// How the beat thread asks the runtime.
///
/// # Errors
/// The system's, if it has no more sockets.
pub(crate) fn asking() -> std::io::Result<(Asking, Asked)> {
    let (asking, asked) = Asking::pair()?;
    // A runtime that hangs must not hang the thread.
    asking.set_nonblocking(true)?;
    asked.set_nonblocking(true)?;
    Ok((asking, Asked::from_std(asked)?))
}

/// Checks in for the pipeline's runtime and asks the exporters, whenever it is asked; for ever.
pub(crate) async fn turn(turns: Turns, asked: Asked, tally: Arc<Tally>) {
    while let Ok(1) = asked.recv(&mut [0]).await {
        tally.touch();
        turns.ask_others();
        turns.check_in();
    }
    // The thread has ended. If it were the socket alone, the member that never checks in again
    // would be seen.
    std::future::pending().await
}

impl Beater {
    /// Beats until the sender of `stop` is dropped, then says that it leaves.
    pub(crate) fn run(self, stop: &Receiver<()>) {
        let mut sender = Sender { socket: None };
        let mut datagram = self.first();
        let (mut token, mut turned) = (0, 0);
        loop {
            let ended = match stop.recv_timeout(EVERY) {
                Err(RecvTimeoutError::Timeout) => false,
                Ok(()) | Err(RecvTimeoutError::Disconnected) => true,
            };
            match self.rounds.look(turned, driver::now()) {
                None => (token, turned) = (token + 1, 0),
                Some(so_far) => turned = so_far,
            }
            // It is full if the runtime was asked before and has not turned.
            let _ = self.asking.send(&[0]);
            let [requests, errors] = self.metrics.drain_work();
            let body = &mut datagram.body;
            body.seq += 1;
            body.token = Token::Number(token);
            add(&mut body.requests, requests);
            add(&mut body.errors, errors);
            body.leaving = ended;
            if let Some(target) = (self.target)() {
                sender.send(&datagram, target);
            }
            if ended {
                return;
            }
        }
    }

    fn first(&self) -> BeatDatagram {
        let revision = Revision::new(env!("CARGO_PKG_VERSION")).expect("a version is a name");
        BeatDatagram {
            service: Service::new("holdpoint/collector").expect("it is a name"),
            mac: None,
            body: BeatBody {
                instance: Instance::new("collector").expect("it is a name"),
                boot: self.boot.clone(),
                seq: 0,
                token: Token::Number(0),
                // The collector counts its own work from its start, so 0 is a count here.
                requests: Some(0),
                errors: Some(0),
                revision: Some(revision),
                leaving: false,
            },
        }
    }
}

fn add(count: &mut Option<u64>, more: u64) {
    if let Some(count) = count {
        *count += more;
    }
}

struct Sender {
    /// The socket, and whether it speaks IPv6.
    socket: Option<(UdpSocket, bool)>,
}

impl Sender {
    /// A beat that cannot be sent is a beat that is missed, which is what the watchdog looks for;
    /// there is nobody better to tell.
    fn send(&mut self, datagram: &BeatDatagram, target: SocketAddr) {
        let bytes = serde_json::to_vec(datagram).expect("a beat is plain JSON");
        let sent = self.socket_for(target).and_then(|socket| socket.send_to(&bytes, target));
        if let Err(error) = sent {
            debug!(%target, %error, "cannot send a beat");
            self.socket = None;
        }
    }

    fn socket_for(&mut self, target: SocketAddr) -> std::io::Result<&UdpSocket> {
        if self.socket.as_ref().is_none_or(|(_, is_ipv6)| *is_ipv6 != target.is_ipv6()) {
            let any: SocketAddr = match target {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            let socket = UdpSocket::bind(any)?;
            // A full send buffer must cost a beat, not the thread.
            socket.set_nonblocking(true)?;
            self.socket = Some((socket, target.is_ipv6()));
        }
        Ok(&self.socket.as_ref().expect("it was just made").0)
    }
}
