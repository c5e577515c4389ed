//! `holdpoint drill-revert`: the revert action that the drill's services have in their
//! configuration. It asks the drill, which owns the processes, to put the old revision back.
//!
//! Invariant: exit code 0 only if the drill answered that the revision runs (or, dry, could run).

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Longer than a restart takes, shorter than the gate's patience.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);

/// What the action asks of the drill: one line of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    pub service: String,
    pub to: String,
    pub dry_run: bool,
}

/// What the drill answers: one line of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Done,
    Refused(String),
}

/// Why the revert did not happen.
#[derive(Debug, thiserror::Error)]
pub enum RevertError {
    #[error("revert: {0} is not set; the gate sets it when it runs a revert action")]
    Unset(&'static str),
    #[error("revert: reach the drill at {}: {source}", path.display())]
    Unreachable { path: PathBuf, source: std::io::Error },
    #[error("revert: the drill answered what is no answer: {0}")]
    Garbled(#[from] serde_json::Error),
    #[error("revert: the drill refused: {0}")]
    Refused(String),
}

/// Carries one order to the drill that listens on `socket`.
pub fn run(socket: &Path) -> Result<(), RevertError> {
    let order = Order {
        service: variable("HOLDPOINT_SERVICE")?,
        to: variable("HOLDPOINT_TO")?,
        dry_run: std::env::var_os("HOLDPOINT_DRY_RUN").is_some_and(|value| value == "1"),
    };
    let answer = exchange(socket, &serde_json::to_string(&order)?)
        .map_err(|source| RevertError::Unreachable { path: socket.to_owned(), source })?;
    match serde_json::from_str(&answer)? {
        Outcome::Done => Ok(()),
        Outcome::Refused(reason) => Err(RevertError::Refused(reason)),
    }
}

fn variable(name: &'static str) -> Result<String, RevertError> {
    std::env::var(name).map_err(|_| RevertError::Unset(name))
}

fn exchange(socket: &Path, order: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    writeln!(stream, "{order}")?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(answer)
}
