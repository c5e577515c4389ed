//! The collector's start: where it listens, and how it finds the watchdog to beat at.
//!
//! Invariant: the watchdog's address is asked again for every beat, so that a watchdog that was
//! restarted elsewhere hears the collector without the collector's restart.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use collector::{BeatTarget, Source};
use tokio_util::sync::CancellationToken;

use super::reload::{Proposer, version};
use super::{RoleError, Start, enter, own_executable, settled};
use crate::cli::{CollectorArgs, Globals};
use crate::place::{CollectorRun, Listen, Place, own_start_ticks};
use crate::telemetry::leads_back;

pub(super) const ROLE: &str = "collector";

/// `holdpoint collector`.
pub fn run(globals: &Globals, args: &CollectorArgs) -> ExitCode {
    begin_with_allocator();
    enter(ROLE, globals, &args.lifeline, false, |start, shutdown| serve(start, args, shutdown))
}

/// Becomes the same process with the allocator's settings in its environment, where it reads them,
/// unless the environment says something of it. Who started it sees no difference.
fn begin_with_allocator() {
    const NAME: &str = "GLIBC_TUNABLES";
    if std::env::var_os(NAME).is_some() {
        return;
    }
    let Ok(program) = own_executable() else { return };
    let mut words = std::env::args_os();
    let mut again = Command::new(program);
    if let Some(name) = words.next() {
        again.arg0(name);
    }
    let error = again.args(words).env(NAME, collector::GLIBC_TUNABLES).exec();
    // It runs without them as well, with more memory than its budget says.
    eprintln!("{ROLE}: start again with {NAME} set: {error}");
}

async fn serve(
    start: Start,
    args: &CollectorArgs,
    shutdown: CancellationToken,
) -> Result<(), RoleError> {
    let place = start.place.clone();
    let _lock = place.lock(ROLE)?;
    let version = version(&start.loaded);
    let mistakes = start.loaded.environment_mistakes();
    if !mistakes.is_empty() {
        return Err(RoleError::Start(mistakes.join("\n").into()));
    }
    let mut config = start.loaded.config.collector.clone();
    let last = place.run::<CollectorRun>(ROLE);
    let last = |pick: fn(&CollectorRun) -> _| last.as_ref().map(pick);
    let grpc = args.grpc_listen.unwrap_or(config.grpc_listen);
    config.grpc_listen = settled(grpc, last(|run| run.grpc)).await;
    let http = args.http_listen.unwrap_or(config.http_listen);
    config.http_listen = settled(http, last(|run| run.http)).await;
    let admin = args.admin_listen.unwrap_or(config.admin_listen);
    config.admin_listen = settled(admin, last(|run| run.admin)).await;

    let boot = start.boot.clone();
    let mut bound = collector::bind(config, boot.clone())
        .await
        .map_err(|error| RoleError::Start(error.into()))?;
    let at = bound.addresses();
    if let Some(telemetry) = &start.telemetry {
        if at.are_reached_by(telemetry.endpoint()).await {
            let text = format!("telemetry.endpoint {}", leads_back(telemetry.endpoint()));
            return Err(RoleError::Start(text.into()));
        }
        bound = bound.showing(telemetry.counts());
        let page = bound.metrics_page();
        telemetry.reads(Box::new(move || page.text()));
    }
    let bound = bound.spooling_in(&place.spool()).map_err(|error| RoleError::Kept(error.into()))?;
    let (pid, start_ticks) = (std::process::id(), own_start_ticks());
    let collector::Addresses { grpc, http, admin, probe } = at;
    let run = CollectorRun { pid, start_ticks, boot, grpc, http, admin, probe };
    place.write_run(ROLE, &run)?;
    let (proposer, proposals) = Proposer::new(&start, args.clone(), run, &version)?;
    let proposing = tokio::spawn(proposer.run());
    tracing::info!(grpc = %at.grpc, http = %at.http, admin = %at.admin, "collector is up");
    let source = Source { version, proposals };
    let ended = bound.run_reloading(watchdog_at(place.clone()), source, shutdown).await;
    // It may not write the run file again after it is removed.
    proposing.abort();
    place.remove_run::<CollectorRun>(ROLE);
    ended.map_err(|error| RoleError::Run(error.into()))
}

/// Where the watchdog of this data directory hears beats now.
fn watchdog_at(place: Place) -> BeatTarget {
    Arc::new(move || place.run::<Listen>("watchdog").map(|run| run.listen))
}
