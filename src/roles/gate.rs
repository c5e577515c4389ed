//! The gate's start: its keys, its tokens and its store.
//!
//! Invariant: the gate trusts the attestations of the watchdogs whose public keys stand in the data
//! directory, and of no others.

use std::process::ExitCode;

use agent_gate::{BootstrapToken, Wiring};
use tokio_util::sync::CancellationToken;
use watchdog_core::names::Boot;

use super::{RoleError, Start, check_on_hangup, enter, settled};
use crate::cli::{GateArgs, Globals};
use crate::place::{Listen, Place, own_start_ticks};

const ROLE: &str = "gate";

/// `holdpoint gate`.
pub fn run(globals: &Globals, args: &GateArgs) -> ExitCode {
    enter(ROLE, globals, &args.lifeline, true, |start, shutdown| serve(start, args, shutdown))
}

async fn serve(
    start: Start,
    args: &GateArgs,
    shutdown: CancellationToken,
) -> Result<(), RoleError> {
    check_on_hangup(&start)?;
    let place = start.place.clone();
    let _lock = place.lock(ROLE)?;
    let boot = start.boot.clone();
    let wiring = wiring(&place, boot.clone())?;
    let config = &start.loaded.config;
    let mut gate = config.gate.clone();
    let listen = args.listen.unwrap_or(gate.listen);
    let last = place.run::<Listen>(ROLE).map(|run| run.listen);
    gate.listen = settled(listen, last).await;
    let (policies, services) = (config.policies(), config.services_of_gate());
    let mut bound = agent_gate::bind(gate, policies, services)
        .await
        .map_err(|error| RoleError::Start(error.into()))?;
    if let Some(telemetry) = &start.telemetry {
        bound = bound.showing(telemetry.counts());
        let page = bound.metrics_page();
        telemetry.reads(Box::new(move || page.text()));
    }
    let listen = bound.address();
    let run = Listen { pid: std::process::id(), start_ticks: own_start_ticks(), boot, listen };
    place.write_run(ROLE, &run)?;
    tracing::info!(%listen, "gate is up");
    let ended = bound.run(wiring, shutdown).await;
    place.remove_run::<Listen>(ROLE);
    ended.map_err(|error| RoleError::Run(error.into()))
}

fn wiring(place: &Place, boot: Boot) -> Result<Wiring, RoleError> {
    let token = |(name, secret): (&str, String)| BootstrapToken {
        name: name.to_owned(),
        role: name.parse().expect("token files are named after roles"),
        secret,
    };
    Ok(Wiring {
        boot,
        store: place.gate_db(),
        permit_key: place.signing_key("permit")?,
        watchdog_keys: place.watchdog_keys()?,
        tokens: place.tokens()?.into_iter().map(token).collect(),
    })
}
