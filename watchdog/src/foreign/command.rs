//! A foreign collector that a command of the user restarts.
//!
//! The command hears why in `HOLDPOINT_REASON` and which restart this is in `HOLDPOINT_GENERATION`,
//! so that it can refuse one that comes twice.
//!
//! Invariant: the command never runs twice at a time, and is ended after its time.

use std::process::Stdio;

use tokio::time::timeout;

use super::adapter::{Generation, RESTART};

/// The command, and how often it has restarted the collector.
#[derive(Debug)]
pub struct Command {
    argv: Vec<String>,
    restarts: u64,
}

impl Command {
    pub fn new(argv: &[String]) -> Self {
        Self { argv: argv.to_vec(), restarts: 0 }
    }

    pub fn generation(&self) -> Option<Generation> {
        Generation::new(&format!("{}-restarts", self.restarts), None)
    }

    pub async fn run(&mut self, reason: &str) -> Result<(), String> {
        let next = self.restarts + 1;
        let generation = next.to_string();
        let environment = [("HOLDPOINT_REASON", reason), ("HOLDPOINT_GENERATION", &generation)];
        run(&self.argv, &environment, RESTART).await?;
        self.restarts = next;
        Ok(())
    }
}

/// Runs a command to its end; gives back what it printed.
pub async fn run(
    argv: &[String],
    environment: &[(&str, &str)],
    limit: std::time::Duration,
) -> Result<String, String> {
    let Some((program, arguments)) = argv.split_first() else {
        return Err("the command line is empty".into());
    };
    let ended = tokio::process::Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let ended = timeout(limit, ended).await;
    let ended = ended.map_err(|_| format!("{program} did not end within {limit:?}"))?;
    let ended = ended.map_err(|error| format!("{program}: {error}"))?;
    if ended.status.success() {
        return Ok(String::from_utf8_lossy(&ended.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&ended.stderr);
    Err(format!("{program} ended with {}: {}", ended.status, said.trim()))
}
