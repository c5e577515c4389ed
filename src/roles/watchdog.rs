//! The watchdog's start: its keys, and how it finds the collector and the gate.
//!
//! Invariant: under `--supervise` the collector is started with this same executable, data
//! directory and configuration.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use watchdog::{CollectorPlace, FindCollector, FindGate, GatePlace, Healing, Supervise, Wiring};
use watchdog_core::names::Boot;

use super::command::child_argv_with;
use super::{RoleError, Start, check_on_hangup, child_argv, enter, own_executable, settled};
use crate::cli::{Globals, WatchdogArgs};
use crate::client::{GATE_URL_ENV, TOKEN_ENV};
use crate::config::FILE_DEFAULT;
use crate::place::{CollectorRun, Listen, Place, RoleRun, own_start_ticks};

const ROLE: &str = "watchdog";

/// `holdpoint watchdog`.
pub fn run(globals: &Globals, args: &WatchdogArgs) -> ExitCode {
    enter(ROLE, globals, &args.lifeline, true, |start, shutdown| serve(start, args, shutdown))
}

async fn serve(
    start: Start,
    args: &WatchdogArgs,
    shutdown: CancellationToken,
) -> Result<(), RoleError> {
    check_on_hangup(&start)?;
    let place = start.place.clone();
    let _lock = place.lock(ROLE)?;
    let boot = start.boot.clone();
    let wiring = wiring(&start, args, boot.clone())?;
    let mut config = start.loaded.config.watchdog;
    let listen = args.listen.unwrap_or(config.listen);
    let last = place.run::<Listen>(ROLE).map(|run| run.listen);
    config.listen = settled(listen, last).await;
    config.capture_dir.get_or_insert_with(|| place.captures());
    let services = start.loaded.config.services.iter().map(|table| table.for_watchdog()).collect();
    let mut bound =
        watchdog::bind(config, services).await.map_err(|error| RoleError::Start(error.into()))?;
    if let Some(telemetry) = &start.telemetry {
        bound = bound.showing(telemetry.counts());
        let page = bound.metrics_page();
        telemetry.reads(Box::new(move || page.text()));
    }
    let listen = bound.address();
    let run = Listen { pid: std::process::id(), start_ticks: own_start_ticks(), boot, listen };
    place.write_run(ROLE, &run)?;
    tracing::info!(%listen, "watchdog is up");
    let ended = bound.run(wiring, shutdown).await;
    place.remove_run::<Listen>(ROLE);
    ended.map_err(|error| RoleError::Run(error.into()))
}

fn wiring(start: &Start, args: &WatchdogArgs, boot: Boot) -> Result<Wiring, RoleError> {
    let place = &start.place;
    let (keys, memory) = (place.clone(), place.clone());
    // In the place of our own collector stands the foreign one, which has its own restart.
    let ours = args.supervise && start.loaded.config.watchdog.foreign.is_none();
    Ok(Wiring {
        name: args.name.name.clone(),
        boot,
        signing_key: place.signing_key(ROLE)?,
        probe_key: place.key("probe")?,
        beat_key: Arc::new(move |service| keys.beat_key(service)),
        collector: find_collector(place.clone()),
        gate: find_gate(place),
        recalled: place.recall_services()?,
        keep: Arc::new(move |services| memory.keep_services(services).map_err(|e| e.to_string())),
        service_manager: service_manager(&start.loaded.config.watchdog),
        supervise: ours.then(|| supervise(start)).transpose()?,
        healing: ours.then(|| healing(start)),
    })
}

/// The socket that the service manager gave; our own socket for services is none.
fn service_manager(config: &watchdog::Config) -> Option<PathBuf> {
    let socket = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty())?;
    let socket = PathBuf::from(socket);
    (config.notify_socket.as_ref() != Some(&socket)).then_some(socket)
}

/// A collector whose process is gone is still told: the watchdog must see that it died.
fn find_collector(place: Place) -> FindCollector {
    Arc::new(move || {
        let run = place.run::<CollectorRun>("collector").filter(RoleRun::exists)?;
        Some(CollectorPlace {
            pid: run.pid,
            start_ticks: run.start_ticks,
            boot: run.boot,
            http: run.probe,
            admin: run.admin,
        })
    })
}

/// Keeps the collector's memory near its budget, unless the environment says otherwise.
fn allocator() -> Option<(OsString, OsString)> {
    let name = "GLIBC_TUNABLES";
    let is_set = std::env::var_os(name).is_some();
    (!is_set).then(|| (name.into(), collector::GLIBC_TUNABLES.into()))
}

/// The gate that the environment names, else the one of this data directory.
fn find_gate(place: &Place) -> FindGate {
    let variable = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
    let (url, token, place) = (variable(GATE_URL_ENV), variable(TOKEN_ENV), place.clone());
    Arc::new(move || {
        let url = match &url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("http://{}", place.run::<Listen>("gate")?.listen),
        };
        let token = match &token {
            Some(token) => token.clone(),
            None => place.token(ROLE).ok()?,
        };
        Some(GatePlace { url, token })
    })
}

/// Where the last configuration is kept that was proven, and the spool.
fn healing(start: &Start) -> Healing {
    let place = start.place.clone();
    let known_good = place.known_good();
    let file = start.config_file.clone();
    Healing {
        config_file: file.unwrap_or_else(|| FILE_DEFAULT.into()),
        known_good_argv: child_argv_with("collector", start, Some(&known_good), &["--lifeline"]),
        known_good,
        quarantine: Arc::new(move || place.quarantine_spool()),
    }
}

fn supervise(start: &Start) -> Result<Supervise, RoleError> {
    Ok(Supervise {
        program: own_executable()?,
        argv: child_argv("collector", start, &["--lifeline"]),
        env: allocator().into_iter().collect(),
    })
}
