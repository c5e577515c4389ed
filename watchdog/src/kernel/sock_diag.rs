//! The kernel's table of TCP connections on one port, asked over netlink (`sock_diag(7)`).
//!
//! It needs no privilege: the kernel tells everybody about the connections of a network namespace,
//! and about those of this process's own alone.
//!
//! Invariant: an answer is whole, or it is an error. Half of a table is no table.

use std::io;
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{
    AF_INET, AF_INET6, IPPROTO_TCP, TCP_LISTEN, TCP_TIME_WAIT,
};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags,
};
use rustix::fd::OwnedFd;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, sendto,
    socket_with,
};

/// The largest part of an answer that the kernel sends at once, with room to spare.
const PART_BYTES_MAX: usize = 256 * 1024;
/// No part of an answer takes so long.
const TIMEOUT: Duration = Duration::from_millis(500);
/// The most connections on one port that are looked at.
const CONNECTIONS_MAX: usize = 100_000;

/// One connection of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// Names it as long as the machine runs.
    pub cookie: [u8; 8],
    /// Bytes that came in on it; `None` for one that has ended and is only remembered.
    pub received: Option<u64>,
}

/// All connections that were accepted on `port`.
///
/// # Errors
/// If the kernel denies the answer, it cannot be read, or nobody listens on the port.
pub fn connections(port: u16) -> io::Result<Vec<Connection>> {
    let asking = netlink::SOCK_DIAG;
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(asking))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(TIMEOUT))?;
    let mut table = Table { port, found: Vec::new(), listens: false };
    for family in [AF_INET, AF_INET6] {
        ask(&socket, family, port)?;
        table.read(&socket)?;
    }
    if table.listens {
        return Ok(table.found);
    }
    // An empty table of a port that is not here is no "nothing came in".
    let text = format!("nobody listens on port {port} in this network namespace");
    Err(io::Error::new(io::ErrorKind::NotFound, text))
}

/// What was found of one port.
struct Table {
    port: u16,
    found: Vec<Connection>,
    listens: bool,
}

fn ask(socket: &OwnedFd, family: u8, port: u16) -> io::Result<()> {
    let mut socket_id = if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() };
    socket_id.source_port = port;
    let request = InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::INFO,
        // Who is not heard yet has brought nothing.
        states: StateFlags::all() - StateFlags::SYN_SENT - StateFlags::SYN_RECV,
        socket_id,
    };
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let payload = NetlinkPayload::from(SockDiagMessage::InetRequest(request));
    let mut message = NetlinkMessage::new(header, payload);
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    let kernel = netlink::SocketAddrNetlink::new(0, 0);
    sendto(socket, &bytes, SendFlags::empty(), &kernel)?;
    Ok(())
}

impl Table {
    /// Reads one answer to its end.
    fn read(&mut self, socket: &OwnedFd) -> io::Result<()> {
        let mut part = vec![0; PART_BYTES_MAX];
        loop {
            let (length, whole) = recv(socket, &mut part[..], RecvFlags::empty())?;
            if whole > length || length == 0 {
                return Err(io::Error::other("the kernel's answer is cut off"));
            }
            let mut rest = &part[..length];
            while !rest.is_empty() {
                let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest);
                let message = message.map_err(|error| io::Error::other(error.to_string()))?;
                if matches!(message.payload, NetlinkPayload::Done(_)) {
                    return Ok(());
                }
                if let NetlinkPayload::Error(error) = message.payload {
                    return Err(error.to_io());
                }
                let NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(told)) =
                    message.payload
                else {
                    return Err(io::Error::other("the kernel answers what was not asked"));
                };
                self.take(&told);
                if self.found.len() > CONNECTIONS_MAX {
                    let text = format!("there are more than {CONNECTIONS_MAX} connections");
                    return Err(io::Error::other(text));
                }
                let aligned = usize::try_from(message.header.length)
                    .map_or(usize::MAX, |length| length.next_multiple_of(4));
                rest = rest.get(aligned..).unwrap_or_default();
            }
        }
    }

    fn take(&mut self, told: &InetResponse) {
        let id = &told.header.socket_id;
        if id.source_port != self.port {
            return;
        }
        if told.header.state == TCP_LISTEN {
            self.listens = true;
            return;
        }
        let received = told.nlas.iter().find_map(|nla| {
            let Nla::TcpInfo(info) = nla else { return None };
            Some(info.bytes_received)
        });
        if received.is_some() || told.header.state == TCP_TIME_WAIT {
            self.found.push(Connection { cookie: id.cookie, received });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// `None`, with a line that says why, where the kernel denies it.
    fn asked(port: u16) -> Option<Vec<Connection>> {
        match connections(port) {
            Ok(found) => Some(found),
            Err(error) => {
                assert!(std::env::var_os("HOLDPOINT_REQUIRE").is_none(), "{error}");
                eprintln!("skipped: the kernel tells of no connections: {error}");
                None
            }
        }
    }

    #[test]
    fn bytes_that_come_in_are_counted_by_connection_on_both_families_and_ends_are_remembered() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                eprintln!("skipped: no {address} here");
                continue;
            };
            let at = listener.local_addr().expect("bound");
            let Some(none) = asked(at.port()) else { return };
            assert_eq!(none, [], "nobody has come, and who listens is no connection");
            let mut client = TcpStream::connect(at).expect("it listens");
            let (mut served, _) = listener.accept().expect("somebody has come");
            client.write_all(b"twelve bytes").expect("it is taken");
            served.read_exact(&mut [0; 12]).expect("it has come");
            served.write_all(b"what goes out does not count").expect("it is taken");
            let found = asked(at.port()).expect("it told before");
            let [one] = found[..] else { panic!("{found:?}") };
            assert_eq!(one.received, Some(12), "the client's end is on another port");
            client.write_all(b"!").expect("it is taken");
            served.read_exact(&mut [0; 1]).expect("it has come");
            let more = Connection { received: Some(13), ..one };
            assert_eq!(asked(at.port()).expect("it told before"), [more]);
            drop(served);
            client.read_to_end(&mut Vec::new()).expect("its end");
            drop(client);
            let gone = asked(at.port()).expect("it told before");
            assert!(gone.iter().all(|one| one.received.is_none()), "{gone:?}");
            drop(listener);
            let error = connections(at.port()).expect_err("nobody listens any more");
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
        }
    }
}
