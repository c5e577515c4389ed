//! A Unix datagram socket that speaks the `sd_notify` protocol.
//!
//! A service that supports systemd's watchdog beats here without a change: it gets this path as
//! `NOTIFY_SOCKET` and its name as `OTEL_SERVICE_NAME`, which it has anyway. Who sends is not taken
//! from the message but from the kernel (`SCM_CREDENTIALS`): the process id names the instance and
//! its start time the boot.
//!
//! | message | beat |
//! |---|---|
//! | `WATCHDOG=1` or `READY=1` | alive, with `X_HOLDPOINT_REQUESTS`, `…_ERRORS`, `…_REVISION` |
//! | `STOPPING=1` | leaving |
//!
//! Invariant: a process can only beat for itself.

use std::collections::BTreeMap;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixDatagram as StdUnixDatagram;
use std::path::Path;

use rustix::net::sockopt::set_socket_passcred;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use watchdog_core::beat::{BeatBody, Token};
use watchdog_core::names::{Boot, Instance, Revision, Service};

use super::reception::{Arrival, Reception, Rejection};
use crate::metrics::Transport;
use crate::supervise::process::start_ticks;

/// The longest message that is looked at, in bytes.
const MESSAGE_BYTES_MAX: usize = 4 * 1024;
/// How many senders are remembered.
const SENDERS_MAX: usize = 4_096;

/// Binds the socket; a socket file that a former life left behind is replaced.
pub fn bind(path: &Path) -> io::Result<StdUnixDatagram> {
    use std::os::unix::fs::FileTypeExt as _;
    if std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket()) {
        std::fs::remove_file(path)?;
    }
    let socket = StdUnixDatagram::bind(path)?;
    set_socket_passcred(&socket, true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Who sent, as the kernel knows it, and what was found out about it.
#[derive(Debug)]
struct Sender {
    service: Service,
    instance: Instance,
    boot: Boot,
    start_ticks: u64,
    /// Numbers its beats; every kick is a turn of its loop, so it is the token as well.
    seq: u64,
}

/// Receives for ever.
pub async fn receive(socket: UnixDatagram, reception: &Reception) -> io::Error {
    let mut senders = BTreeMap::new();
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    loop {
        if let Err(error) = socket.readable().await {
            return error;
        }
        match socket.try_io(Interest::READABLE, || read(&socket, &mut buffer)) {
            Ok((length, pid)) => take(&buffer[..length], pid, &mut senders, reception),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return error,
        }
    }
}

fn read(socket: &UnixDatagram, buffer: &mut [u8]) -> io::Result<(usize, Option<u32>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(buffer)];
    let message = recvmsg(socket, &mut slices, &mut control, RecvFlags::DONTWAIT)?;
    let pid = control.drain().find_map(|m| {
        let RecvAncillaryMessage::ScmCredentials(who) = m else { return None };
        u32::try_from(who.pid.as_raw_nonzero().get()).ok()
    });
    Ok((message.bytes, pid))
}

fn take(
    message: &[u8],
    pid: Option<u32>,
    senders: &mut BTreeMap<u32, Sender>,
    reception: &Reception,
) {
    let refuse = |message: &str| {
        drop(reception.refuse(Transport::Notify, Rejection::malformed(message), None, None));
    };
    let fields = fields(message);
    let says = |key: &str| fields.get(key).is_some_and(|v| *v == "1");
    let leaving = says("STOPPING");
    if !(says("WATCHDOG") || says("READY") || leaving) {
        return;
    }
    let Some(sender) = pid.and_then(|pid| sender(pid, &fields, senders)) else {
        refuse("the sender is gone, or has neither X_HOLDPOINT_SERVICE nor OTEL_SERVICE_NAME");
        return;
    };
    sender.seq += 1;
    let count = |key: &str| fields.get(key).map(|v| v.parse::<u64>()).transpose();
    let (Ok(requests), Ok(errors)) = (count("X_HOLDPOINT_REQUESTS"), count("X_HOLDPOINT_ERRORS"))
    else {
        refuse("X_HOLDPOINT_REQUESTS and X_HOLDPOINT_ERRORS are counts");
        return;
    };
    let revision = fields.get("X_HOLDPOINT_REVISION").and_then(|v| Revision::new(*v).ok());
    let body = BeatBody {
        instance: sender.instance.clone(),
        boot: sender.boot.clone(),
        seq: sender.seq,
        token: Token::Number(sender.seq),
        requests,
        errors,
        revision,
        leaving,
    };
    let arrival = Arrival {
        transport: Transport::Notify,
        service: sender.service.clone(),
        body: Some(body),
        signature: None,
        peer: None,
    };
    // `sd_notify` has no answer; the counters tell.
    let _counted: Result<u64, Rejection> = reception.receive(arrival, reception.now());
}

fn fields(message: &[u8]) -> BTreeMap<&str, &str> {
    let text = std::str::from_utf8(message).unwrap_or_default();
    text.lines().filter_map(|line| line.split_once('=')).collect()
}

fn sender<'s>(
    pid: u32,
    fields: &BTreeMap<&str, &str>,
    senders: &'s mut BTreeMap<u32, Sender>,
) -> Option<&'s mut Sender> {
    let ticks = start_ticks(pid)?;
    if senders.get(&pid).is_none_or(|s| s.start_ticks != ticks) {
        if senders.len() >= SENDERS_MAX {
            senders.retain(|pid, s| start_ticks(*pid) == Some(s.start_ticks));
        }
        let name = match fields.get("X_HOLDPOINT_SERVICE") {
            Some(name) => (*name).to_owned(),
            None => environment(pid, "OTEL_SERVICE_NAME")?,
        };
        let sender = Sender {
            service: Service::new(name).ok()?,
            instance: Instance::new(format!("pid-{pid}")).ok()?,
            boot: Boot::new(ticks.to_string()).ok()?,
            start_ticks: ticks,
            seq: 0,
        };
        senders.insert(pid, sender);
    }
    senders.get_mut(&pid)
}

/// A variable of the environment that process `pid` was started with.
fn environment(pid: u32, name: &str) -> Option<String> {
    let variables = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let variables = variables.split(|b| *b == 0);
    let mut values = variables.filter_map(|v| v.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    String::from_utf8(values.next()?.to_vec()).ok()
}
