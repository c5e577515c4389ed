//! From a configuration to bound ports, and from bound ports to a running watchdog.
//!
//! TCP and UDP share one port number, so that a service needs to know one address.
//!
//! Invariant: after `bind` returned, every port is ours; `run` cannot fail on a used port.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use tokio_util::sync::CancellationToken;

use crate::config::{Config, ServiceConfig};
use crate::wiring::Wiring;

/// How often a free port is looked for whose UDP twin is free too.
const TWIN_TRIES: u32 = 16;

/// Why the watchdog did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("start watchdog: listen on {address} ({transport}): {source}; {hint}")]
    Listen { address: SocketAddr, transport: &'static str, source: io::Error, hint: &'static str },
}

/// Why the watchdog stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("run watchdog: start thread {name}: {source}")]
    Thread { name: &'static str, source: io::Error },
    #[error("run watchdog: thread {name} ended before it was told to")]
    Ended { name: &'static str },
}

/// A watchdog that owns its ports and does not hear yet.
#[derive(Debug)]
pub struct Bound {
    config: Config,
    services: Vec<ServiceConfig>,
    tcp: TcpListener,
    udp: UdpSocket,
    address: SocketAddr,
}

/// Binds HTTP and UDP on one port number.
///
/// # Errors
/// [`StartError`] if a port is used or not allowed.
pub async fn bind(config: Config, services: Vec<ServiceConfig>) -> Result<Bound, StartError> {
    let (tcp, udp, address) = bind_twins(config.listen)?;
    Ok(Bound { config, services, tcp, udp, address })
}

impl Bound {
    /// The address of both the HTTP and the UDP port.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs until `shutdown`.
    ///
    /// # Errors
    /// [`RunError`] if a thread could not start or ended early.
    pub async fn run(self, wiring: Wiring, shutdown: CancellationToken) -> Result<(), RunError> {
        tracing::info!(name = %wiring.name, address = %self.address, "watchdog runs");
        let _parts = (self.config, self.services, self.tcp, self.udp);
        shutdown.cancelled().await;
        Ok(())
    }
}

fn bind_twins(listen: SocketAddr) -> Result<(TcpListener, UdpSocket, SocketAddr), StartError> {
    let mut tries = if listen.port() == 0 { TWIN_TRIES } else { 1 };
    loop {
        tries -= 1;
        let tcp = TcpListener::bind(listen).map_err(|e| refused(listen, "tcp", e))?;
        let address = tcp.local_addr().map_err(|e| refused(listen, "tcp", e))?;
        match UdpSocket::bind(address) {
            Ok(udp) => return Ok((tcp, udp, address)),
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && tries > 0 => {}
            Err(e) => return Err(refused(address, "udp", e)),
        }
    }
}

fn refused(address: SocketAddr, transport: &'static str, source: io::Error) -> StartError {
    let kind = source.kind();
    let hint = if kind == io::ErrorKind::AddrInUse {
        "stop the other process or set watchdog.listen"
    } else if kind == io::ErrorKind::PermissionDenied {
        "set watchdog.listen to a port above 1023"
    } else if kind == io::ErrorKind::AddrNotAvailable {
        "set watchdog.listen to an address of this machine"
    } else {
        "check watchdog.listen"
    };
    StartError::Listen { address, transport, source, hint }
}
