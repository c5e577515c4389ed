//! The words for waivers of planned silence.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::duration::duration;

#[derive(Debug, Subcommand)]
pub enum WaiveCommand {
    /// Declare silence that is planned: it freezes nothing, and nothing rolls out on it
    Add(WaiveArgs),
    /// End a waiver before its time
    End(EndArgs),
    /// Waivers that are not over
    List(WaiversArgs),
}

#[derive(Debug, Args)]
pub struct WaiveArgs {
    /// fleet, environment=E or service=S
    #[arg(long)]
    pub scope: String,
    /// For how long, as in 90s, 30m or 2h
    #[arg(long = "for", value_parser = duration)]
    pub span: Duration,
    /// Why it is silent, for the people who find it so
    #[arg(long)]
    pub reason: String,
    /// What is expected, of lossy, frozen, telemetry_lost and down; all of them unless given
    #[arg(long = "verdict")]
    pub verdicts: Vec<String>,
}

#[derive(Debug, Args)]
pub struct EndArgs {
    /// The waiver
    pub id: String,
    /// Why it is over
    #[arg(long)]
    pub reason: String,
}

#[derive(Debug, Args)]
pub struct WaiversArgs {
    /// Also those that are over
    #[arg(long)]
    pub all: bool,
}
