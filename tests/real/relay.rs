//! A TCP relay between a real exporter and the collector that can be made a black hole.
//!
//! Blocked, it keeps every connection open, takes what the exporter sends and answers nothing:
//! what a hung proxy, a full socket or a wedged collector look like from the exporter's side.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

pub struct Relay {
    pub address: SocketAddr,
    blocked: Arc<AtomicBool>,
}

impl Relay {
    /// Relays connections to `target` until the process ends.
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        let blocked = Arc::new(AtomicBool::new(false));
        let gate = Arc::clone(&blocked);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(target) else { continue };
                let back =
                    (server.try_clone().expect("a socket"), client.try_clone().expect("one"));
                let (there, here) = (Arc::clone(&gate), Arc::clone(&gate));
                thread::spawn(move || carry(client, server, &there));
                thread::spawn(move || carry(back.0, back.1, &here));
            }
        });
        Self { address, blocked }
    }

    pub fn block(&self) {
        self.blocked.store(true, Ordering::Release);
    }

    pub fn clear(&self) {
        self.blocked.store(false, Ordering::Release);
    }
}

/// Copies bytes while the relay is clear; a connection that was ever blocked stays mute, because
/// bytes are missing from it.
fn carry(mut from: TcpStream, mut to: TcpStream, blocked: &AtomicBool) {
    let mut buffer = [0_u8; 16 * 1024];
    let mut mute = false;
    while let Ok(count) = from.read(&mut buffer) {
        if count == 0 {
            break;
        }
        mute |= blocked.load(Ordering::Acquire);
        if !mute && to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Write);
}
