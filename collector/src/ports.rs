//! The three ports: what listens where, and how a port moves while its clients are served.
//!
//! Invariant: a port that moves is bound at its new place before the old one closes, and what is
//! in flight at the old one is answered.

use std::net::SocketAddr;
use std::sync::Arc;

use front_door::{Counts as DoorCounts, Limits, Listener, Tls, serve_counted};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::service_fn;

use crate::admin::{self, Admin};
use crate::config::Config;
use crate::health::Monitor;
use crate::pipeline::Pipeline;
use crate::receive;
use crate::receive::guard::{Entrance, Guard};
use crate::reload::Standing;
use crate::rounds::Rounds;
use crate::{Addresses, Listeners};

/// What the servers at the ports need.
#[derive(Debug, Clone)]
pub(crate) struct Serving {
    /// The pipeline in which requests begin now.
    pub(crate) pipeline: watch::Receiver<Arc<Pipeline>>,
    pub(crate) standing: Arc<Standing>,
    pub(crate) rounds: Arc<Rounds>,
    pub(crate) health: Arc<Monitor>,
    /// The OTLP ports stop taking requests.
    pub(crate) stopping: CancellationToken,
    /// The admin port stops.
    pub(crate) closing: CancellationToken,
}

/// One listening port.
#[derive(Debug)]
struct Port {
    /// As the configuration says; port 0 takes a free one.
    configured: SocketAddr,
    at: SocketAddr,
    close: CancellationToken,
    counts: Arc<DoorCounts>,
}

/// All ports.
#[derive(Debug)]
pub(crate) struct Ports {
    serving: Serving,
    tls: Arc<Tls>,
    guarded: bool,
    grpc: Port,
    http: Port,
    admin: Port,
    receivers: JoinSet<()>,
    admins: JoinSet<()>,
}

/// Listeners at new places, not served yet.
#[derive(Debug)]
pub(crate) struct Moved {
    grpc: Option<(TcpListener, SocketAddr)>,
    http: Option<(TcpListener, SocketAddr)>,
    admin: Option<(TcpListener, SocketAddr)>,
}

impl Port {
    /// A port that closes when it moves, and with all others of its kind at `close_all`.
    fn new(
        configured: SocketAddr,
        at: SocketAddr,
        close_all: &CancellationToken,
        counts: Arc<DoorCounts>,
    ) -> Self {
        Self { configured, at, close: close_all.child_token(), counts }
    }

    /// Binds `wanted` if that is another place than now.
    async fn bind_moved(
        &self,
        wanted: SocketAddr,
    ) -> std::io::Result<Option<(TcpListener, SocketAddr)>> {
        if wanted == self.configured || wanted == self.at {
            return Ok(None);
        }
        let listener = front_door::bind(wanted).await?;
        let at = listener.local_addr()?;
        Ok(Some((listener, at)))
    }

    /// Becomes the port that is configured as `to.0` and listens at `to.1`; the old place closes.
    fn move_to(&mut self, to: (SocketAddr, SocketAddr), close_all: &CancellationToken) {
        let new = Self::new(to.0, to.1, close_all, Arc::clone(&self.counts));
        std::mem::replace(self, new).close.cancel();
    }
}

impl Ports {
    pub(crate) fn open(
        listeners: Listeners,
        config: &Config,
        guard: &Guard,
        serving: Serving,
        doors: [Arc<DoorCounts>; 4],
    ) -> Self {
        let Listeners { grpc, http, admin, unix, addresses: at } = listeners;
        let [grpc_door, http_door, admin_door, unix_door] = doors;
        let mut ports = Self {
            grpc: Port::new(config.grpc_listen, at.grpc, &serving.stopping, grpc_door),
            http: Port::new(config.http_listen, at.http, &serving.stopping, http_door),
            admin: Port::new(config.admin_listen, at.admin, &serving.closing, admin_door),
            receivers: JoinSet::new(),
            admins: JoinSet::new(),
            tls: Tls::new(guard.certificates.clone()),
            guarded: guard.is_shut(),
            serving,
        };
        ports.serve_grpc(grpc);
        ports.serve_http(http);
        if let Some(listener) = unix {
            let close = ports.serving.stopping.clone();
            otlp(&mut ports.receivers, &ports.serving, Entrance::Local, listener, close, unix_door);
        }
        ports.serve_admin(admin);
        ports
    }

    pub(crate) const fn addresses(&self) -> Addresses {
        let (http, admin) = (self.http.at, self.admin.at);
        let probe = if self.guarded { admin } else { http };
        Addresses { grpc: self.grpc.at, http, admin, probe }
    }

    /// Binds what `config` moves, all of it or nothing.
    pub(crate) async fn bind_moved(&self, config: &Config) -> std::io::Result<Moved> {
        Ok(Moved {
            grpc: self.grpc.bind_moved(config.grpc_listen).await?,
            http: self.http.bind_moved(config.http_listen).await?,
            admin: self.admin.bind_moved(config.admin_listen).await?,
        })
    }

    /// Serves at the new places and closes the old ones.
    pub(crate) fn take_over(&mut self, moved: Moved, config: &Config) {
        if let Some((listener, at)) = moved.grpc {
            self.grpc.move_to((config.grpc_listen, at), &self.serving.stopping);
            self.serve_grpc(listener);
        }
        if let Some((listener, at)) = moved.http {
            self.http.move_to((config.http_listen, at), &self.serving.stopping);
            self.serve_http(listener);
        }
        if let Some((listener, at)) = moved.admin {
            self.admin.move_to((config.admin_listen, at), &self.serving.closing);
            self.serve_admin(listener);
        }
    }

    /// New connections at the OTLP ports are under TLS, or in the clear, as `guard` has it.
    pub(crate) fn secure(&mut self, guard: &Guard) {
        self.tls.set(guard.certificates.clone());
        self.guarded = guard.is_shut();
    }

    fn serve_grpc(&mut self, listener: TcpListener) {
        let (close, counts) = (self.grpc.close.clone(), Arc::clone(&self.grpc.counts));
        let listener = Listener::from(listener).with_tls(Arc::clone(&self.tls));
        otlp(&mut self.receivers, &self.serving, Entrance::Port, listener, close, counts);
    }

    fn serve_http(&mut self, listener: TcpListener) {
        let (close, counts) = (self.http.close.clone(), Arc::clone(&self.http.counts));
        let listener = Listener::from(listener).with_tls(Arc::clone(&self.tls));
        otlp(&mut self.receivers, &self.serving, Entrance::Port, listener, close, counts);
    }

    fn serve_admin(&mut self, listener: TcpListener) {
        let Serving { pipeline, standing, rounds, health, stopping, closing: _ } =
            self.serving.clone();
        let close = self.admin.close.clone();
        let admin = Admin { pipeline, standing, rounds, health, stopping, closing: close.clone() };
        let service = admin::router(admin).into_service();
        let counts = Arc::clone(&self.admin.counts);
        self.admins.spawn(serve_counted(listener, service, Limits::default(), close, counts));
    }

    /// Waits until the OTLP ports have answered what was in flight when they were told to stop.
    pub(crate) async fn received(&mut self) {
        while self.receivers.join_next().await.is_some() {}
    }

    /// Waits until the admin port is closed.
    pub(crate) async fn closed(&mut self) {
        while self.admins.join_next().await.is_some() {}
    }
}

/// Serves OTLP at `listener`.
fn otlp(
    tasks: &mut JoinSet<()>,
    serving: &Serving,
    entrance: Entrance,
    listener: Listener,
    close: CancellationToken,
    counts: Arc<DoorCounts>,
) {
    let pipeline = serving.pipeline.clone();
    let service = service_fn(move |request| {
        let pipeline = Arc::clone(&pipeline.borrow());
        receive::answer(pipeline, entrance, request)
    });
    tasks.spawn(serve_counted(listener, service, Limits::default(), close, counts));
}
