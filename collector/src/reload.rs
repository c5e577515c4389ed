//! A new configuration while the collector runs: all of it, or none of it.
//!
//! ```text
//! proposal ─► check ─► build exporters ─► bind changed ports ─┬─► swap ─► close the old ports
//!                │            │                   │           │
//!                └────────────┴───────────────────┴─► rejected: nothing has changed
//! ```
//!
//! Who proposes reads the files; the collector knows none. Everything that can fail is built
//! beside what runs. The swap is one store of the new [`Pipeline`]: a request goes to its end in
//! the pipeline that it began in, and backends that stay keep their queues.
//!
//! Invariant: after a rejected proposal the collector serves exactly as before, and says why.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tracing::field::Empty;
use tracing::{Instrument, error, info, info_span, warn};

use crate::config::Config;
use crate::driver;
use crate::export::circle;
use crate::run::Running;
use crate::{Addresses, sentence};

/// Where configurations come from after the first.
#[derive(Debug)]
pub struct Source {
    /// What the first one is known by: for people, to compare.
    pub version: Version,
    pub proposals: mpsc::Receiver<Proposal>,
}

/// What a configuration is known by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Version {
    /// The file; unset where the defaults stand alone.
    pub file: Option<String>,
    /// SHA-256 of the text, before anything was filled in.
    pub sha256: String,
}

/// A configuration to run with from now on.
#[derive(Debug)]
pub struct Proposal {
    /// The configuration, or why there is none.
    pub config: Result<(Box<Config>, Version), String>,
    pub answer: oneshot::Sender<Result<Applied, String>>,
}

/// A configuration is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    pub addresses: Addresses,
    /// Keys whose new values wait for a restart.
    pub after_restart: Vec<&'static str>,
}

/// How a proposal ended; the values of the label `outcome`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Applied,
    Unchanged,
    Rejected,
}

impl Outcome {
    pub(crate) const ALL: [Self; 3] = [Self::Applied, Self::Unchanged, Self::Rejected];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Rejected => "rejected",
        }
    }
}

/// Which configuration is in force, for `/v1/config` and `/readyz`.
#[derive(Debug)]
pub(crate) struct Standing(Mutex<State>);

/// What [`Standing`] shows.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct State {
    #[serde(flatten)]
    pub(crate) version: Version,
    /// When it came into force, in milliseconds since 1970.
    pub(crate) since_unix_ms: u64,
    /// Keys whose new values wait for a restart.
    pub(crate) after_restart: Vec<&'static str>,
    /// The last proposal, if it was rejected; the configuration in force is an older one.
    pub(crate) rejected: Option<Rejected>,
}

/// A proposal that did not come up.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Rejected {
    pub(crate) at_unix_ms: u64,
    pub(crate) why: String,
}

impl Standing {
    pub(crate) fn new(version: Version) -> Self {
        let since_unix_ms = driver::unix_ms();
        let after_restart = Vec::new();
        Self(Mutex::new(State { version, since_unix_ms, after_restart, rejected: None }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn show(&self) -> State {
        self.state().clone()
    }
}

/// Takes proposals until their sender is gone, and then rests.
pub(crate) async fn take(running: &mut Running, source: &mut mpsc::Receiver<Proposal>) {
    while let Some(Proposal { config, answer }) = source.recv().await {
        let span = info_span!("reload", outcome = Empty);
        let taken = match config {
            Ok((config, version)) => {
                consider(running, *config, version).instrument(span.clone()).await
            }
            Err(why) => Err(why),
        };
        let outcome = match &taken {
            Ok((outcome, _)) => *outcome,
            Err(why) => {
                let why = why.clone();
                error!(why, "the new configuration does not come up; the old one stays in force");
                let rejected = Rejected { at_unix_ms: driver::unix_ms(), why };
                running.standing.state().rejected = Some(rejected);
                Outcome::Rejected
            }
        };
        running.metrics.reloaded(outcome);
        span.record("outcome", outcome.as_str());
        // Who does not wait for the answer has it in the log.
        let _ = answer.send(taken.map(|(_, applied)| applied));
    }
    std::future::pending().await
}

async fn consider(
    running: &mut Running,
    config: Config,
    version: Version,
) -> Result<(Outcome, Applied), String> {
    if let Some((key, text)) = config.mistakes().into_iter().next() {
        return Err(format!("`{key}` in [collector]: {text}"));
    }
    let at = running.addresses();
    if let Some(text) = circle::mistake(&config.exporters, &[at.grpc, at.http]).await {
        return Err(format!("`exporter.endpoint` in [collector]: {text}"));
    }
    let after_restart = after_restart(&running.config, &config);
    let same = config == running.config;
    // Also where nothing differs the files that it names may have changed: certificates, secrets.
    running.renew(config).await.map_err(|error| sentence(&error))?;
    let mut state = running.standing.state();
    state.since_unix_ms = driver::unix_ms();
    state.version = version;
    state.after_restart.clone_from(&after_restart);
    state.rejected = None;
    drop(state);
    let at = running.addresses();
    if !after_restart.is_empty() {
        warn!(keys = ?after_restart, "these keys are taken at the next start");
    }
    info!(changed = !same, grpc = %at.grpc, http = %at.http, admin = %at.admin,
        "the configuration is in force");
    let outcome = if same { Outcome::Unchanged } else { Outcome::Applied };
    Ok((outcome, Applied { addresses: at, after_restart }))
}

/// The keys that differ and cannot change in a running collector.
fn after_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let mut keys = Vec::new();
    // The tally's rows are what the watchdog knows; a smaller table would have to forget some.
    if old.tally_rows_max != new.tally_rows_max {
        keys.push("tally_rows_max");
    }
    // What was acknowledged is where it is.
    if old.acknowledge != new.acknowledge {
        keys.push("acknowledge");
    }
    if old.spool_bytes != new.spool_bytes {
        keys.push("spool_bytes");
    }
    if old.unix_listen != new.unix_listen {
        keys.push("unix_listen");
    }
    keys
}

/// A source that never proposes anything.
pub(crate) fn never() -> Source {
    Source { version: Version::default(), proposals: mpsc::channel(1).1 }
}
