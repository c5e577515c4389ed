//! Beats as datagrams, and the statement that no datagram waits unread.
//!
//! Invariant: `Inbox::drained(at)` is said only when everything that lay in the socket at `at` has
//! been handled. The verdict loop judges no silence later than that: a beat that waits in a buffer
//! is not a beat that is missing.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::UdpSocket;
use watchdog_core::tick::Tick;

use super::reception::{Arrival, Reception, Rejection};
use crate::metrics::{Refused, Transport};

/// The longest datagram that is looked at, in bytes.
const DATAGRAM_BYTES_MAX: usize = 4 * 1024;
/// How many datagrams are read before others get their turn.
const BATCH: u32 = 256;
/// More datagrams than a receive buffer holds: after so many, what lay there is handled.
const BUFFER_DATAGRAMS_MAX: u32 = 16 * BATCH;
/// How long the socket may rest before it is stated again that it is empty.
const REST: Duration = Duration::from_millis(20);
/// A turn that read so many datagrams shows that many more are coming.
const BUSY_DATAGRAMS: u32 = 4;
/// Then the next ones may gather for so long: one turn costs less than one for each.
const GATHER: Duration = Duration::from_millis(3);
/// A turn that begins so late shows that the whole thread was stalled.
const STALL_MS: u64 = 200;
/// For how long a thread that was stalled claims nothing: connections must be read first.
const CATCH_UP_MS: u64 = 50;

/// Receives for ever.
pub async fn receive(socket: UdpSocket, reception: &Reception) -> io::Error {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX + 1];
    let mut began = reception.now();
    let mut silent_until = began;
    loop {
        // A timeout is a turn as well: an empty socket is a fact.
        if let Ok(Err(error)) = tokio::time::timeout(REST, socket.readable()).await {
            return error;
        }
        let now = reception.now();
        if now.since_ms(began) >= STALL_MS {
            silent_until = now.plus_ms(CATCH_UP_MS);
        }
        began = now;
        let read = match drain(&socket, &mut buffer, reception).await {
            Ok(read) => read,
            Err(error) => return error,
        };
        if began >= silent_until {
            reception.drained(began);
        }
        if read >= BUSY_DATAGRAMS {
            tokio::time::sleep(GATHER).await;
        }
    }
}

/// Says how many datagrams it read.
async fn drain(socket: &UdpSocket, buffer: &mut [u8], reception: &Reception) -> io::Result<u32> {
    let mut read = 0;
    while read < BUFFER_DATAGRAMS_MAX {
        match socket.try_recv_from(buffer) {
            Ok((length, peer)) => take(&buffer[..length], peer, reception, reception.now()),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(read),
            // The kernel reports an earlier answer's failure here; it is no failure of ours.
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(e) => return Err(e),
        }
        read += 1;
        if read.is_multiple_of(BATCH) {
            tokio::task::yield_now().await;
        }
    }
    Ok(read)
}

fn take(datagram: &[u8], peer: SocketAddr, reception: &Reception, now: Tick) {
    let peer = peer.ip();
    let arrival = if datagram.len() > DATAGRAM_BYTES_MAX {
        let message = format!("the datagram is longer than {DATAGRAM_BYTES_MAX} bytes");
        Err(Rejection { reason: Refused::TooLarge, message })
    } else {
        Arrival::datagram(datagram, peer)
    };
    // A datagram has no answer; counters and log tell what came of it.
    match arrival {
        Ok(arrival) => drop(reception.receive(arrival, now)),
        Err(rejection) => drop(reception.refuse(Transport::Udp, rejection, None, Some(peer))),
    }
}
