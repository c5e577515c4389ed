//! The command line as a person or script meets it: help, mistakes, exit codes; no network.

#![allow(clippy::unwrap_used, reason = "in a test a panic with its place is the message")]

use std::process::{Command, Output};

fn holdpoint(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdpoint"));
    for name in ["HOLDPOINT_DATA_DIR", "HOLDPOINT_GATE_URL", "HOLDPOINT_TOKEN", "HOLDPOINT_AGENT"] {
        command.env_remove(name);
    }
    command.args(arguments).output().expect("the executable runs")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

mod gate;
mod words;
