//! From configuration and keys to a running gate.
//!
//! [`bind`] checks what can be checked without touching the disk and takes the port; `run` opens
//! the store, starts the driver and serves until it is told to stop. A gate whose store fails ends
//! with an error: a dead gate gives no permits, and the next one starts held.
//!
//! Invariant: nothing is served before the state on disk has been read.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent_gate_core::latch::Latch;
use agent_gate_core::policy::PolicySet;
use front_door::Limits;
use outside::{Outside, Reach, Settings};
use prometheus_client::collector::Collector;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use watchdog_core::names::{Boot, Environment, Service};
use watchdog_core::tick::Tick;

use crate::api::{self, Api};
use crate::attest::Keys;
use crate::config::{Config, RevertAction, ServiceConfig, StoreKind};
use crate::driver::hold::Hold;
use crate::driver::{self, Shared};
use crate::fences::{self, Fences};
use crate::lead::{Desk, Office, Source};
use crate::metrics::{Metrics, MetricsPage};
use crate::permit::{self, Issuer};
use crate::store::postgres::{Database, Turns};
use crate::store::sqlite::SqliteStore;
use crate::store::{Reader, StoreError, TokenRow};
use crate::tokens::{self, Role, TokenBook};

pub mod policies;

pub use policies::Policies;

/// What a gate needs besides its configuration. The root package reads it from files.
#[derive(Clone)]
pub struct Wiring {
    pub boot: Boot,
    /// The SQLite file; its directory must exist. Not used with a database.
    pub store: PathBuf,
    /// Ed25519 seed that signs permits.
    pub permit_key: [u8; 32],
    /// Ed25519 public keys of the watchdogs that may attest, by name.
    pub watchdog_keys: BTreeMap<String, [u8; 32]>,
    /// Tokens of the installation; the ones the store does not know are added.
    pub tokens: Vec<BootstrapToken>,
}

impl std::fmt::Debug for Wiring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wiring").field("store", &self.store).finish_non_exhaustive()
    }
}

/// A token that stands in a file of the data directory.
#[derive(Clone)]
pub struct BootstrapToken {
    pub name: String,
    pub role: Role,
    pub secret: String,
}

impl std::fmt::Debug for BootstrapToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BootstrapToken({}:{})", self.role, self.name)
    }
}

/// Why a gate cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("start gate: {0}")]
    Listen(#[source] std::io::Error),
    #[error("start gate: gate.{0}")]
    Outside(String),
    #[error("start gate: {table}: {problem}")]
    Policy { table: String, problem: String },
}

impl StartError {
    fn service(name: &Service, problem: String) -> Self {
        Self::Policy { table: format!("service {name}"), problem }
    }

    fn environment(name: &Environment, problem: String) -> Self {
        Self::Policy { table: format!("environment {name}"), problem }
    }
}

/// Why a gate stopped before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("start gate: {0}")]
    Start(#[source] StoreError),
    #[error("gate stopped, no permit is given until it starts again: {0}")]
    Store(#[source] StoreError),
}

/// A gate that has its port and does not serve yet.
#[derive(Debug)]
pub struct Bound {
    pub(crate) config: Config,
    pub(crate) policy: PolicySet,
    pub(crate) reverts: BTreeMap<Service, RevertAction>,
    pub(crate) services: Vec<ServiceConfig>,
    pub(crate) listener: TcpListener,
    address: SocketAddr,
    metrics: Arc<Metrics>,
    outside: Outside,
}

/// Checks the configuration and takes the port.
///
/// # Errors
/// [`StartError`] if a policy is wrong or the port cannot be had.
pub async fn bind(
    config: Config,
    policies: impl Into<Policies>,
    services: Vec<ServiceConfig>,
) -> Result<Bound, StartError> {
    let policies = policies.into();
    let reverts = policies.ways_back(&services);
    let policy = policies.set(&services)?;
    let outside = outside(&config, &policies, &services).map_err(StartError::Outside)?;
    let listener = front_door::bind(config.listen).await.map_err(StartError::Listen)?;
    let address = listener.local_addr().map_err(StartError::Listen)?;
    let metrics = Arc::default();
    Ok(Bound { config, policy, reverts, services, listener, address, metrics, outside })
}

/// The client towards all URLs of the configuration.
fn outside(
    config: &Config,
    policies: &Policies,
    services: &[ServiceConfig],
) -> Result<Outside, String> {
    let of = policies.environments.iter().filter_map(|table| table.revert.as_ref()?.url());
    let urls: Vec<&str> = services.iter().flat_map(ServiceConfig::urls).chain(of).collect();
    Outside::new(Settings {
        urls: &urls,
        ca_file: config.ca_file.as_deref(),
        identity: None,
        reach: if config.allow_link_local { Reach::Everywhere } else { Reach::NotLinkLocal },
    })
}

impl Bound {
    /// Where the API listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Shows `more` under `/metrics`, beside what the gate counts.
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

    /// Serves until `shutdown`, then finishes what is in flight.
    ///
    /// # Errors
    /// [`RunError`] if the store cannot be opened or a commit fails.
    pub async fn run(self, wiring: Wiring, shutdown: CancellationToken) -> Result<(), RunError> {
        let base_url = self.base_url();
        let (source, reader) = self.open(&wiring).await.map_err(RunError::Start)?;
        let issuer = Issuer::new(&wiring.permit_key);
        let origin = permit::origin(&issuer.public_key());
        let shared = Shared {
            fences: Arc::new(Fences::new(origin, &self.services)),
            policy: Arc::new(self.policy),
            latch: Arc::new(Latch::new()),
            tokens: TokenBook::default(),
            metrics: self.metrics,
            hold: Arc::new(Hold::default()),
            outside: self.outside,
        };
        let (desk, actions) = (Desk::empty(), Arc::new(self.reverts));
        let office = Office {
            source,
            shared: shared.clone(),
            desk: desk.clone(),
            actions: Arc::clone(&actions),
            tokens: wiring.tokens,
        };
        // The driver outlives the server: what is in flight is decided and answered first.
        let (stop, door) = (CancellationToken::new(), shutdown.child_token());
        let (opened, is_open) = oneshot::channel();
        let mut drive = AbortOnDropHandle::new(tokio::spawn(office.run(opened, stop.clone())));
        if is_open.await.is_err() {
            return ended(drive.await);
        }
        tracing::info!(boot = %wiring.boot, "the gate is up");
        let tellers = fences::tell::start(&shared, &desk, &issuer, &stop);
        let router = api::router(Api {
            shared,
            desk,
            reader: Arc::clone(&reader),
            issuer,
            keys: Arc::new(Keys::new(&wiring.watchdog_keys)),
            reverts: actions,
            peers: api::forward::peers(),
            pace: Arc::new(api::pace::Pace::new(self.config.calls_per_s)),
            base_url: base_url.into(),
            wall_ms: driver::wall_ms,
            tick: driver::boot_tick,
            secret: driver::secret,
        });
        let limits = Limits { connections_max: self.config.connections_max, ..Limits::default() };
        let serve = front_door::serve(self.listener, router.into_service(), limits, door.clone());
        tokio::pin!(serve);
        let driven = tokio::select! {
            () = &mut serve => {
                stop.cancel();
                drive.await
            }
            driven = &mut drive => {
                door.cancel();
                serve.await;
                driven
            }
        };
        drop(tellers);
        reader.close().await;
        ended(driven)
    }

    /// The store of the configuration.
    async fn open(&self, wiring: &Wiring) -> Result<(Source, Arc<dyn Reader>), StoreError> {
        let url = match &self.config.store {
            StoreKind::Sqlite => {
                let store = SqliteStore::open(&wiring.store).await?;
                let reader = Arc::new(store.reader());
                return Ok((Source::Owned(Some(Box::new(store))), reader));
            }
            StoreKind::Postgres(url) => url,
        };
        let database = Database::new(&url.0).expect("the configuration was read with this URL");
        database.prepare().await?;
        let reader = Arc::new(database.reader());
        let own = self.config.own_url.as_deref().map(|url| url.trim_end_matches('/').to_owned());
        let own = own.unwrap_or_else(|| format!("http://{}", self.address));
        let lease = Duration::from_millis(self.config.lease_ms);
        let turns = Turns::new(database, wiring.boot.to_string(), own, lease);
        Ok((Source::Turns(Box::new(turns)), reader))
    }

    fn base_url(&self) -> String {
        let configured = self.config.approval_url.as_deref().map(|url| url.trim_end_matches('/'));
        configured.map_or_else(|| format!("http://{}", self.address), str::to_owned)
    }
}

fn ended(driven: Result<Result<(), RunError>, JoinError>) -> Result<(), RunError> {
    match driven {
        Ok(ended) => ended,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// The rows of tokens that stand in files and not in the store, or there with another secret.
pub(crate) fn missing(book: &TokenBook, tokens: &[BootstrapToken], now: Tick) -> Vec<TokenRow> {
    let row = |token: &BootstrapToken| TokenRow {
        name: token.name.clone(),
        role: token.role.to_string(),
        sha256: tokens::hash(&token.secret),
        created_ms: now.0,
        expires_ms: None,
        revoked_ms: None,
    };
    let is_missing = |row: &TokenRow| match book.named(&row.name) {
        // A revoked token stays revoked until its file holds another secret.
        Some(known) => known.sha256 != row.sha256,
        None => true,
    };
    tokens.iter().map(row).filter(is_missing).collect()
}

#[cfg(test)]
mod tests {
    use agent_gate_core::policy::Policy;

    use super::*;

    #[tokio::test]
    async fn a_used_port_is_an_error_that_says_which() {
        let first = bind(
            Config { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..Config::default() },
            Policy::default(),
            Vec::new(),
        )
        .await
        .expect("a free port");
        let config = Config { listen: first.address(), ..Config::default() };
        let error = bind(config, Policy::default(), Vec::new()).await.expect_err("a used port");
        let text = error.to_string();
        let address = first.address().to_string();
        assert!(text.starts_with("start gate: listen on") && text.contains(&address), "{text}");
    }
}
