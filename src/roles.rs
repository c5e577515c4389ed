//! The roles: each takes its place and its configuration, binds, says where it is, and runs.
//!
//! ```text
//! lock ─► bind ─► run file ─► run ─► (signal or lifeline) ─► drain ─► remove run file
//! ```
//!
//! Invariant: what can refuse a start (configuration, lock, port, store) refuses it before the run
//! file is written, and the process ends with 2.

mod collector;
mod command;
mod gate;
mod lifeline;
mod log;
mod reload;
mod watchdog;

use std::error::Error;
use std::fmt::Write as _;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use watchdog_core::names::Boot;

use crate::cli::{Globals, LifelineArgs};
use crate::config::{self, Loaded, Mistakes};
use crate::driver;
use crate::exit::Ending;
use crate::place::{Place, PlaceError};
use crate::telemetry::{Speaker, Telemetry};

pub use collector::run as collector;
pub use command::{child_argv, own_executable};
pub use gate::run as gate;
pub use lifeline::{drain_on_signal, hold};
pub use log::start as start_log;
pub use watchdog::run as watchdog;

/// Why a role did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    #[error("{0}")]
    Config(#[from] Mistakes),
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error("start the runtime: {0}")]
    Runtime(#[source] std::io::Error),
    #[error(transparent)]
    Start(Box<dyn Error + Send + Sync>),
    /// What an earlier start kept cannot be read. Another start with it would end the same way.
    #[error(transparent)]
    Kept(Box<dyn Error + Send + Sync>),
    #[error(transparent)]
    Run(Box<dyn Error + Send + Sync>),
}

/// What every role begins with.
#[derive(Debug)]
pub struct Start {
    pub place: Place,
    pub loaded: Loaded,
    pub config_file: Option<PathBuf>,
    pub globals: Globals,
    /// The name of this start.
    pub boot: Boot,
    /// What the role says of itself, if anyone listens.
    pub telemetry: Option<Arc<Telemetry>>,
}

impl Start {
    /// Reads the configuration, then creates the data directory.
    ///
    /// # Errors
    /// [`RoleError`] with all mistakes of the configuration, or what is wrong with the directory.
    pub fn read(globals: &Globals) -> Result<Self, RoleError> {
        let loaded = config::load(globals.config.as_deref())?;
        let place = Place::create(data_dir(globals, &loaded))?;
        let config_file = loaded.file.clone();
        let (globals, boot) = (globals.clone(), driver::boot());
        Ok(Self { place, loaded, config_file, globals, boot, telemetry: None })
    }

    /// Starts own telemetry, if the configuration wants it.
    fn speak(mut self, role: &'static str) -> Result<Self, RoleError> {
        let speaker = Speaker { role, boot: self.boot.clone() };
        let telemetry = Telemetry::start(&self.loaded.config.telemetry, &speaker);
        self.telemetry = telemetry.map_err(|error| RoleError::Start(error.into()))?.map(Arc::new);
        Ok(self)
    }
}

/// The data directory: the flag or the environment, else the configuration.
#[must_use]
pub fn data_dir(globals: &Globals, loaded: &Loaded) -> PathBuf {
    globals.data_dir.clone().unwrap_or_else(|| loaded.config.data_dir.clone())
}

/// Runs a role on a runtime of its own, to its end.
pub fn enter<F, R>(
    role: &'static str,
    globals: &Globals,
    life: &LifelineArgs,
    dies_with_parent: bool,
    run: F,
) -> ExitCode
where
    F: FnOnce(Start, CancellationToken) -> R,
    R: Future<Output = Result<(), RoleError>>,
{
    let started = Start::read(globals).and_then(|start| start.speak(role));
    let telemetry = started.as_ref().ok().and_then(|start| start.telemetry.clone());
    let layers = telemetry.as_ref().map_or_else(Vec::new, |telemetry| telemetry.layers());
    log::start(role, globals.log_format, layers);
    let shutdown = CancellationToken::new();
    if life.lifeline {
        if dies_with_parent {
            lifeline::die_with_parent();
        }
        hold(shutdown.clone());
    }
    let ran = started.and_then(|start| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(RoleError::Runtime)?;
        let ended = runtime.block_on(async {
            drain_on_signal(shutdown.clone()).map_err(RoleError::Runtime)?;
            run(start, shutdown).await
        });
        // What still blocks a thread has had its drain; waiting for it would hang the end.
        runtime.shutdown_background();
        ended
    });
    if let Some(telemetry) = telemetry {
        telemetry.stop();
    }
    match ran {
        Ok(()) => Ending::Done.into(),
        Err(error) => {
            eprintln!("{role}: {}", sentence(&error));
            match error {
                RoleError::Kept(_) => Ending::Unreadable.into(),
                RoleError::Config(_)
                | RoleError::Place(_)
                | RoleError::Runtime(_)
                | RoleError::Start(_)
                | RoleError::Run(_) => Ending::Undecided.into(),
            }
        }
    }
}

/// SIGHUP reads the configuration again and says what is wrong with it. What runs stays as it is:
/// `up` takes a good one by starting gate and watchdog anew; the collector takes it as it runs.
fn check_on_hangup(start: &Start) -> Result<(), RoleError> {
    let mut hangups = signal(SignalKind::hangup()).map_err(RoleError::Runtime)?;
    let (file, running) = (start.config_file.clone(), start.loaded.config.clone());
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            match config::load(file.as_deref()) {
                Ok(loaded) if loaded.config == running => {
                    tracing::info!("configuration read again: nothing changed");
                }
                Ok(_) => tracing::warn!(
                    "configuration read again: it is good and differs; restart to apply it"
                ),
                Err(mistakes) => tracing::error!(%mistakes, "the running configuration stays"),
            }
        }
    });
    Ok(())
}

/// An error and its causes as one sentence, without saying the same twice.
#[must_use]
pub fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            _ = write!(text, ": {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// The address to bind: where the configuration says port 0, the port of the last run is tried
/// first, so that a restarted role is found where it was.
async fn settled(configured: SocketAddr, last: Option<SocketAddr>) -> SocketAddr {
    let Some(last) = last.filter(|last| configured.port() == 0 && last.ip() == configured.ip())
    else {
        return configured;
    };
    // Bound and let go: a listener that never accepted leaves nothing behind.
    match tokio::net::TcpListener::bind(last).await {
        Ok(_) => last,
        Err(_) => configured,
    }
}
