//! From a configuration to bound ports, and from bound ports to a running watchdog.
//!
//! TCP and UDP share one port number, so that a service needs to know one address.
//!
//! Invariant: after `bind` returned, every port is ours; `run` cannot fail on a used port.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prometheus_client::collector::Collector;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, ServiceConfig};
use crate::driver::{Clock, SystemClock};
use crate::kick::Kicks;
use crate::listen::{Ears, notify};
use crate::metrics::{Metrics, MetricsPage};
use crate::run::{Judged, Open, RunError, Running};
use crate::wiring::Wiring;
use outside::Outside;

/// How often a free port is looked for whose UDP twin is free too.
const TWIN_TRIES: u32 = 16;
/// Room for beats that arrive while the machine is busy, in bytes; the kernel may grant less.
const RECEIVE_BYTES: usize = 4 * 1024 * 1024;

/// Why the watchdog did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("start watchdog: listen on {address} ({transport}): {cause}; {hint}")]
    Listen { address: SocketAddr, transport: &'static str, cause: io::Error, hint: &'static str },
    #[error("start watchdog: foreign.far_tap {address}: {cause}; give it a port that is free")]
    FarTap { address: SocketAddr, cause: io::Error },
    #[error("start watchdog: notify_socket {}: {cause}", path.display())]
    Notify { path: PathBuf, cause: io::Error },
    #[error("start watchdog: {0}")]
    Outside(String),
    #[error("start watchdog: watchdog_device {}: {cause}", path.display())]
    Device { path: PathBuf, cause: io::Error },
}

/// A watchdog that owns its ports and does not hear yet.
#[derive(Debug)]
pub struct Bound {
    config: Config,
    services: Vec<ServiceConfig>,
    ears: Ears,
    kicks: Kicks,
    far_tap: Option<TcpListener>,
    address: SocketAddr,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    outside: Outside,
}

/// Binds HTTP and UDP on one port number.
///
/// # Errors
/// [`StartError`] if a port is used or not allowed.
pub async fn bind(config: Config, services: Vec<ServiceConfig>) -> Result<Bound, StartError> {
    let (tcp, udp, address) = bind_twins(config.listen)?;
    let notify = config.notify_socket.as_ref().map(|path| {
        notify::bind(path).map_err(|cause| StartError::Notify { path: path.clone(), cause })
    });
    let ears = Ears { tcp, udp, notify: notify.transpose()? };
    let far_tap = config.foreign.as_ref().and_then(|foreign| foreign.far_tap);
    let far_tap = far_tap.map(bind_far_tap).transpose()?;
    let device = config.watchdog_device.as_deref();
    let kicks = Kicks::open(device).map_err(|cause| StartError::Device {
        path: device.unwrap_or(Path::new("")).to_owned(),
        cause,
    })?;
    let outside = config.outside().map_err(StartError::Outside)?;
    let (clock, metrics) = (Arc::new(SystemClock), Metrics::default());
    Ok(Bound { config, services, ears, kicks, far_tap, address, clock, metrics, outside })
}

impl Bound {
    /// The address of both the HTTP and the UDP port.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Shows `more` under `/metrics`, beside what the watchdog counts.
    #[must_use]
    pub fn showing(self, more: Box<dyn Collector>) -> Self {
        self.metrics.show(more);
        self
    }

    /// The page that `/metrics` shows.
    #[must_use]
    pub fn metrics_page(&self) -> MetricsPage {
        MetricsPage::of(&self.metrics)
    }

    /// Where the exporter of a foreign collector is to bring what it carries.
    #[must_use]
    pub fn far_tap(&self) -> Option<SocketAddr> {
        self.far_tap.as_ref()?.local_addr().ok()
    }

    /// Runs until `shutdown`, then ends the collector if it is ours.
    ///
    /// If the future is dropped instead, the watchdog stops and the collector runs on.
    ///
    /// # Errors
    /// [`RunError`] if a thread could not start or ended early.
    pub async fn run(self, wiring: Wiring, shutdown: CancellationToken) -> Result<(), RunError> {
        let Self { config, services, ears, mut kicks, far_tap, address, clock, metrics, outside } =
            self;
        if let Some(path) = &wiring.service_manager {
            kicks.tell_manager(path);
        }
        tracing::info!(name = %wiring.name, %address, "watchdog runs");
        let judged = Judged { config, services, clock, metrics };
        let open = Open { ears, kicks, far_tap, outside };
        Running::start(judged, open, wiring)?.until(shutdown).await
    }
}

fn bind_twins(listen: SocketAddr) -> Result<(TcpListener, UdpSocket, SocketAddr), StartError> {
    let mut tries = if listen.port() == 0 { TWIN_TRIES } else { 1 };
    loop {
        tries -= 1;
        let tcp = TcpListener::bind(listen).map_err(|e| refused(listen, "tcp", e))?;
        let address = tcp.local_addr().map_err(|e| refused(listen, "tcp", e))?;
        match UdpSocket::bind(address) {
            Ok(udp) => {
                let prepared = tcp.set_nonblocking(true).and_then(|()| udp.set_nonblocking(true));
                prepared.map_err(|e| refused(address, "tcp and udp", e))?;
                // Less room is a reason to lose a flood, not to fail.
                let _granted = set_socket_recv_buffer_size(&udp, RECEIVE_BYTES);
                return Ok((tcp, udp, address));
            }
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && tries > 0 => {}
            Err(e) => return Err(refused(address, "udp", e)),
        }
    }
}

fn bind_far_tap(listen: SocketAddr) -> Result<TcpListener, StartError> {
    let bound = TcpListener::bind(listen).and_then(|tcp| tcp.set_nonblocking(true).map(|()| tcp));
    bound.map_err(|cause| StartError::FarTap { address: listen, cause })
}

fn refused(address: SocketAddr, transport: &'static str, cause: io::Error) -> StartError {
    let kind = cause.kind();
    let hint = if kind == io::ErrorKind::AddrInUse {
        "stop the other process or set watchdog.listen"
    } else if kind == io::ErrorKind::PermissionDenied {
        "set watchdog.listen to a port above 1023"
    } else if kind == io::ErrorKind::AddrNotAvailable {
        "set watchdog.listen to an address of this machine"
    } else {
        "check watchdog.listen"
    };
    StartError::Listen { address, transport, cause, hint }
}
