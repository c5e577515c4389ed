//! The collector's own beat, sent around the path it is responsible for.
//!
//! A plain thread sends it, with a socket of its own and nothing of the runtime, so that a hung
//! runtime is heard of instead of not heard. Its token moves only when everything that carries
//! telemetry has turned since the beat before: the pipeline's runtime (through the lock of the
//! tally) and every exporter's task.
//!
//! Invariant: the thread never waits for the runtime, and the token never moves without it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tracing::debug;
use watchdog_core::beat::{BeatBody, BeatDatagram, Token};
use watchdog_core::names::{Boot, Instance, Revision, Service};
use watchdog_core::pulse::Pulse;

use crate::BeatTarget;
use crate::driver;
use crate::metrics::Metrics;
use crate::tally::Tally;

/// How often a beat is sent.
const EVERY: Duration = Duration::from_millis(100);
/// How often the runtime shows that it turns.
const TURN: Duration = Duration::from_millis(20);
/// The bit of the pipeline's runtime in the pulse; exporters have those after it.
const PIPELINE: u8 = 0;

/// What the beat thread needs.
pub(crate) struct Beater {
    pub(crate) target: BeatTarget,
    pub(crate) boot: Boot,
    pub(crate) pulse: Arc<Pulse>,
    /// How many check in at the pulse.
    pub(crate) workers: u8,
    pub(crate) metrics: Arc<Metrics>,
}

/// Checks in for the pipeline's runtime, for ever.
pub(crate) async fn turn(pulse: Arc<Pulse>, tally: Arc<Tally>) {
    let mut turn = tokio::time::interval(TURN);
    loop {
        turn.tick().await;
        tally.touch();
        pulse.check_in(PIPELINE, driver::now());
    }
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
            let mut look = self.pulse.look();
            look.checked_in |= turned;
            if look.all_of(self.workers) {
                token += 1;
                turned = 0;
            } else {
                turned = look.checked_in;
            }
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
