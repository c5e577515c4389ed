//! New configurations for the running collector: on SIGHUP, and when the file changes.
//!
//! The file is looked at once a second and taken when it has stood still for one, so that a text
//! that is being written is not read half. Editors and orchestrators replace files in many ways;
//! looking at what the path leads to now sees them all.
//!
//! Invariant: only a configuration without mistakes is proposed, and what runs is never touched
//! here: the collector takes the proposal as a whole, or not at all.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use collector::{Applied, Config, Proposal, Version};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use super::{RoleError, Start};
use crate::cli::CollectorArgs;
use crate::config::{self, FILE_DEFAULT, Loaded};
use crate::place::{CollectorRun, Place};
use crate::telemetry::TelemetryConfig;

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Whoever proposes configurations to the collector.
#[derive(Debug)]
pub struct Proposer {
    file: Option<PathBuf>,
    args: CollectorArgs,
    place: Place,
    run: CollectorRun,
    /// Of the file that the collector started with.
    begun: String,
    /// What own telemetry goes by until the next start.
    telemetry: TelemetryConfig,
    hangups: Signal,
    proposals: mpsc::Sender<Proposal>,
}

/// What a file's content is known by without reading it.
type Mark = Option<(u64, u64, u64, i64, i64)>;

impl Proposer {
    /// # Errors
    /// If the system refuses to deliver signals.
    pub fn new(
        start: &Start,
        args: CollectorArgs,
        run: CollectorRun,
        begun: &Version,
    ) -> Result<(Self, mpsc::Receiver<Proposal>), RoleError> {
        let hangups = signal(SignalKind::hangup()).map_err(RoleError::Runtime)?;
        let (proposals, source) = mpsc::channel(1);
        let (file, place) = (start.globals.config.clone(), start.place.clone());
        let telemetry = start.loaded.config.telemetry.clone();
        let begun = begun.sha256.clone();
        Ok((Self { file, args, place, run, begun, telemetry, hangups, proposals }, source))
    }

    /// Proposes until the collector takes nothing any more.
    pub async fn run(mut self) {
        let mut last = self.mark();
        // It may have changed since it was read for the start.
        let is_begun =
            config::load(self.file.as_deref()).is_ok_and(|now| now.sha256() == self.begun);
        let mut taken = is_begun.then_some(last);
        loop {
            let asked = tokio::select! {
                Some(()) = self.hangups.recv() => true,
                () = sleep(LOOK_EVERY) => false,
            };
            let now = self.mark();
            let has_settled = taken != Some(now) && now == last;
            last = now;
            if asked || has_settled {
                taken = Some(now);
                if self.propose().await.is_none() {
                    return;
                }
            }
        }
    }

    fn mark(&self) -> Mark {
        let path = self.file.as_deref().unwrap_or(Path::new(FILE_DEFAULT));
        // Whatever hinders the look hinders the reading too, which says what it is.
        let meta = fs::metadata(path).ok()?;
        Some((meta.dev(), meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
    }

    /// Reads the file and proposes what it says; `None` if nobody listens.
    async fn propose(&mut self) -> Option<()> {
        let config = match config::load(self.file.as_deref()) {
            // Without exporters in the file the variables count, as they do at the start.
            Ok(loaded) if !loaded.environment_mistakes().is_empty() => {
                Err(loaded.environment_mistakes().join("\n"))
            }
            Ok(loaded) => {
                if loaded.config.telemetry != self.telemetry {
                    tracing::warn!("what [telemetry] says now is taken at the next start");
                }
                Ok((Box::new(self.ours(&loaded)), version(&loaded)))
            }
            Err(mistakes) => Err(mistakes.to_string()),
        };
        let (answer, answered) = oneshot::channel();
        self.proposals.send(Proposal { config, answer }).await.ok()?;
        // A rejection is in the collector's log and on its admin port.
        if let Ok(Applied { addresses: at, .. }) = answered.await.ok()? {
            let run = &mut self.run;
            if (run.grpc, run.http, run.admin) != (at.grpc, at.http, at.admin) {
                (run.grpc, run.http, run.admin) = (at.grpc, at.http, at.admin);
                if let Err(error) = self.place.write_run(super::collector::ROLE, run) {
                    tracing::error!(%error, "the collector moved and cannot say where it is");
                }
            }
        }
        Some(())
    }

    /// The collector's part, with what the command line says and the ports that were found for 0.
    fn ours(&self, loaded: &Loaded) -> Config {
        let mut config = loaded.config.collector.clone();
        let (args, run) = (&self.args, &self.run);
        let listen = |said: Option<SocketAddr>, written: SocketAddr, now: SocketAddr| {
            let wanted = said.unwrap_or(written);
            if wanted.port() == 0 && wanted.ip() == now.ip() { now } else { wanted }
        };
        config.grpc_listen = listen(args.grpc_listen, config.grpc_listen, run.grpc);
        config.http_listen = listen(args.http_listen, config.http_listen, run.http);
        config.admin_listen = listen(args.admin_listen, config.admin_listen, run.admin);
        config
    }
}

/// What the configuration is known by.
pub fn version(loaded: &Loaded) -> Version {
    let file = loaded.file.as_ref().map(|file| file.display().to_string());
    Version { file, sha256: loaded.sha256() }
}
