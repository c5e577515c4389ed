//! The thread that sends, and the datagram.
//!
//! Invariant: what is signed is the canonical form of the datagram: keys sorted, no white space,
//! without `mac`.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{Builder, JoinHandle};

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use watchdog_core::beat::{BeatBody, BeatDatagram, Token};
use watchdog_core::names::Boot;

use crate::driver;
use crate::sender::{Sender, SenderError};
use crate::work::Work;

/// Beats as long as it lives; dropped, it announces a planned stop.
#[derive(Debug)]
pub struct Beats {
    work: Work,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Beats {
    /// Starts the thread that sends.
    ///
    /// # Errors
    /// [`SenderError::Socket`] if there is no socket or no thread to be had. A watchdog that does
    /// not listen is no error.
    pub fn start(sender: Sender) -> Result<Self, SenderError> {
        let watchdog = sender.watchdog;
        let failed = |cause| SenderError::Socket { watchdog, cause };
        let socket = UdpSocket::bind(any_port_towards(watchdog)).map_err(failed)?;
        // A full buffer is a lost beat and must not become a thread that waits.
        socket.set_nonblocking(true).map_err(failed)?;
        let work = Work::default();
        let (stop, stopped) = mpsc::channel();
        let heart = Heart { sender, socket, boot: driver::boot(), work: work.clone(), seq: 0 };
        let thread = Builder::new().name("holdpoint-beats".into());
        let thread = thread.spawn(move || heart.beat_until(&stopped)).map_err(failed)?;
        Ok(Self { work, stop: Some(stop), thread: Some(thread) })
    }

    /// What the work loop tells its turns to. Clone it into every worker.
    #[must_use]
    pub const fn work(&self) -> &Work {
        &self.work
    }
}

impl Drop for Beats {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so; the service stops anyway.
            let _panicked = thread.join();
        }
    }
}

fn any_port_towards(peer: SocketAddr) -> SocketAddr {
    match peer {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

struct Heart {
    sender: Sender,
    socket: UdpSocket,
    boot: Boot,
    work: Work,
    seq: u64,
}

impl Heart {
    fn beat_until(mut self, stopped: &mpsc::Receiver<()>) {
        loop {
            self.beat(false);
            match stopped.recv_timeout(self.sender.interval) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.beat(true);
    }

    fn beat(&mut self, leaving: bool) {
        self.seq += 1;
        let datagram = self.datagram(leaving);
        // The next one says all that this one said.
        let _lost = self.socket.send_to(&datagram, self.sender.watchdog);
    }

    fn datagram(&self, leaving: bool) -> Vec<u8> {
        let told = self.work.told();
        let beat = BeatDatagram {
            service: self.sender.service.clone(),
            mac: None,
            body: BeatBody {
                instance: self.sender.instance.clone(),
                boot: self.boot.clone(),
                seq: self.seq,
                token: Token::Number(told.turns),
                requests: Some(told.requests),
                errors: Some(told.errors),
                revision: self.sender.revision.clone(),
                leaving,
            },
        };
        let mut fields = sorted(&beat);
        if let Some(key) = &self.sender.key {
            let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes any key length");
            mac.update(self.sender.service.as_str().as_bytes());
            mac.update(b"\n");
            mac.update(&bytes(&fields));
            let mac = format!("v1={}", hex::encode(mac.finalize().into_bytes()));
            fields.insert("mac".into(), Value::String(mac));
        }
        bytes(&fields)
    }
}

fn sorted(beat: &BeatDatagram) -> BTreeMap<String, Value> {
    let value = serde_json::to_value(beat).expect("a beat is plain JSON");
    serde_json::from_value(value).expect("a beat is an object")
}

fn bytes(fields: &BTreeMap<String, Value>) -> Vec<u8> {
    serde_json::to_vec(fields).expect("a map of plain values is JSON")
}
