//! The executable: one program, whose roles run as processes of their own.
//!
//! Invariant: this file only chooses who runs. The exit code is whatever that one says.

mod apply;
mod cli;
mod client;
mod config;
mod drill;
mod driver;
mod exit;
mod place;
mod render;
mod roles;
mod telemetry;
mod up;
mod verbs;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

fn main() -> ExitCode {
    let Cli { globals, command } = Cli::parse();
    match command {
        Command::Up(args) => up::up(&globals, &args),
        Command::Sidecar(args) => up::sidecar(&globals, &args),
        Command::Collector(args) if args.verb.is_none() => roles::collector(&globals, &args),
        Command::Watchdog(args) => roles::watchdog(&globals, &args),
        Command::Gate(args) => roles::gate(&globals, &args),
        Command::Config(command) => verbs::configuration(&globals, &command).into(),
        Command::Apply(args) => apply::run(&globals, args).into(),
        Command::Fence(args) => apply::watch(&globals, args).into(),
        Command::ApplyWard(args) => apply::ward::run(&args),
        Command::Drill(args) => drill::run(args, &globals),
        Command::DrillService(args) => drill::service(args),
        Command::DrillRevert(args) => drill::revert(args),
        command @ (Command::Collector(_)
        | Command::Rollout(_)
        | Command::Approve(_)
        | Command::Reject(_)
        | Command::Settle(_)
        | Command::Revert(_)
        | Command::Freeze(_)
        | Command::Thaw(_)
        | Command::Freezes(_)
        | Command::Status
        | Command::Services
        | Command::Verdicts(_)
        | Command::Explain(_)
        | Command::Replay(_)
        | Command::Audit(_)
        | Command::Backup(_)
        | Command::Token(_)
        | Command::Doctor
        | Command::Waive(_)
        | Command::Healthcheck(_)) => verbs::run(&globals, command).into(),
    }
}
