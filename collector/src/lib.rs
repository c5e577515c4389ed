//! The collector: takes OTLP, counts what it saw, carries it on untouched.
//!
//! ```text
//!  4317 gRPC ─┐                               ┌─► exporter ─► your backend
//!             ├─► receive ─► pipeline ────────┤        │
//!  4318 HTTP ─┘                  │            └────────┴─► far tap (probe echoes)
//!                              tally ◄──────── GET /v1/tally (7060), the watchdog's long poll
//! ```
//!
//! It decides nothing: opinions are the watchdog's. Read [`pipeline`] first; it is the life of one
//! request. The bytes of a request are carried as they came, only scanned for the few fields that
//! matter, and never decoded and encoded again.
//!
//! Invariant: what was answered with success is exported, or counted as dropped with a reason, and
//! survives what the configuration's `acknowledge` says it survives.

mod admin;
mod arrival;
mod beat;
#[doc(hidden)]
pub mod bench;
mod config;
mod driver;
mod export;
mod gunzip;
mod health;
mod json;
mod kind;
mod ledger;
mod line;
mod memory;
mod metrics;
mod otlp;
mod outlet;
mod page;
mod payload;
mod pipeline;
mod ports;
mod receive;
mod red;
mod refusal;
mod reload;
mod rounds;
mod rules;
mod run;
#[cfg(test)]
mod samples;
mod scan;
mod spool;
mod tally;
mod tap;
mod unzstd;
mod wire;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use std::error::Error;
use std::fmt::Write as _;

use prometheus_client::collector::Collector;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use watchdog_core::names::Boot;

pub use rules::DropRule;

pub use outlet::{Outlet, Untaken};
pub use page::MetricsPage;
pub use reload::{Applied, Proposal, Source, Version};

use receive::guard::Guard;

pub use config::{
    Acknowledge, Compression, Config, EnvSource, Exported, ExporterConfig, ExporterKind,
    FileFormat, FileSource, FromEnvironment, HeaderSource, Protocol, TlsConfig, exporters_of,
};
pub use spool::SpoolError;
use spool::{Recovered, Spool};

/// What the environment variable of this name should hold where the collector starts.
///
/// glibc's allocator keeps big pieces that were freed, and more of them the bigger they were; with
/// several arenas that is a multiple of the memory budget. With fixed thresholds what is bigger
/// than 1 MiB goes back to the system at once. It is read when a process begins, so whoever starts
/// the collector sets it.
pub const GLIBC_TUNABLES: &str = "glibc.malloc.mmap_threshold=1048576:\
    glibc.malloc.trim_threshold=8388608:glibc.malloc.arena_max=2";

/// Where the watchdog listens for beats; asked again for every beat. `None`: no watchdog is known.
pub type BeatTarget = Arc<dyn Fn() -> Option<SocketAddr> + Send + Sync>;

/// Where the collector listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    pub admin: SocketAddr,
    /// Where the watchdog may post its probes: the admin port if the OTLP ports are guarded.
    pub probe: SocketAddr,
}

/// Why the collector did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("start collector: `{key}` in [collector]: {text}")]
    Config { key: &'static str, text: String },
    #[error("start collector")]
    Bind(#[source] std::io::Error),
    #[error("start collector: open the spool: {0}")]
    Spool(#[source] SpoolError),
}

/// Why a running collector ended other than by `shutdown`.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("run collector: start the beat thread")]
    BeatThread(#[source] std::io::Error),
    #[error("run collector: set up the exporters: {0}")]
    Exporters(String),
    #[error(
        "run collector: `acknowledge = \"spooled\"` needs a directory; name one with \
         `spooling_in`, or choose \"delivered\" or \"queued\""
    )]
    NoSpool,
}

/// Why a new configuration does not come up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    #[error("set up the exporters: {0}")]
    Exporters(String),
    #[error("`{key}` in [collector]: {text}")]
    Guard { key: &'static str, text: String },
    #[error("move a port")]
    Bind(#[source] std::io::Error),
}

/// A collector that holds its ports and does not serve yet.
#[derive(Debug)]
pub struct Bound {
    config: Config,
    boot: Boot,
    guard: Guard,
    listeners: Listeners,
    spool: Option<(Spool, Recovered)>,
    page: MetricsPage,
    also_shown: Vec<Box<dyn Collector>>,
}

#[derive(Debug)]
struct Listeners {
    grpc: TcpListener,
    http: TcpListener,
    admin: TcpListener,
    unix: Option<front_door::Listener>,
    addresses: Addresses,
}

/// Checks `config` and binds all three ports.
///
/// # Errors
/// [`StartError`] with the first mistake of the configuration, or the port that cannot be bound.
pub async fn bind(config: Config, boot: Boot) -> Result<Bound, StartError> {
    if let Some((key, text)) = config.mistakes().into_iter().next() {
        return Err(StartError::Config { key, text });
    }
    let guard = Guard::of(&config).await.map_err(|(key, text)| StartError::Config { key, text })?;
    let grpc = front_door::bind(config.grpc_listen).await.map_err(StartError::Bind)?;
    let http = front_door::bind(config.http_listen).await.map_err(StartError::Bind)?;
    let admin = front_door::bind(config.admin_listen).await.map_err(StartError::Bind)?;
    let address = |listener: &TcpListener| listener.local_addr().map_err(StartError::Bind);
    let (grpc_at, http_at, admin_at) = (address(&grpc)?, address(&http)?, address(&admin)?);
    let probe = if guard.is_shut() { admin_at } else { http_at };
    let addresses = Addresses { grpc: grpc_at, http: http_at, admin: admin_at, probe };
    let own = [addresses.grpc, addresses.http];
    if let Some(text) = export::circle::mistake(&config.exporters, &own).await {
        return Err(StartError::Config { key: "exporter.endpoint", text });
    }
    let unix = config.unix_listen.as_deref().map(front_door::bind_unix).transpose();
    let unix = unix.map_err(StartError::Bind)?;
    let listeners = Listeners { grpc, http, admin, unix, addresses };
    let page = MetricsPage::default();
    Ok(Bound { config, boot, guard, listeners, spool: None, page, also_shown: Vec::new() })
}

impl Bound {
    /// The bound addresses, with the ports that `:0` took.
    #[must_use]
    pub const fn addresses(&self) -> Addresses {
        self.listeners.addresses
    }

    /// Keeps requests in `dir` if the configuration says that they are spooled.
    ///
    /// # Errors
    /// [`StartError::Spool`] if it cannot be written, or an earlier run's cannot be read.
    pub fn spooling_in(mut self, dir: &Path) -> Result<Self, StartError> {
        self.spool = run::open_spool(dir, &self.config).map_err(StartError::Spool)?;
        Ok(self)
    }

    /// Shows `more` under `/metrics`, beside what the collector counts.
    #[must_use]
    pub fn showing(mut self, more: Box<dyn Collector>) -> Self {
        self.also_shown.push(more);
        self
    }

    /// The page that `/metrics` will show.
    #[must_use]
    pub fn metrics_page(&self) -> MetricsPage {
        self.page.clone()
    }

    /// Serves until `shutdown`, then drains the exporters' queues.
    ///
    /// # Errors
    /// [`RunError`] if the system refuses what it takes to begin, or requests are to be spooled
    /// and [`Self::spooling_in`] has not said where.
    pub async fn run(
        self,
        watchdog: BeatTarget,
        shutdown: CancellationToken,
    ) -> Result<(), RunError> {
        self.run_reloading(watchdog, reload::never(), shutdown).await
    }

    /// As [`Self::run`], and takes the configurations that `source` proposes: each is in force as a
    /// whole, or rejected as a whole.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn run_reloading(
        self,
        watchdog: BeatTarget,
        source: Source,
        shutdown: CancellationToken,
    ) -> Result<(), RunError> {
        run::run(self, watchdog, source, shutdown).await
    }
}

/// An error and its causes as one sentence.
fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}
