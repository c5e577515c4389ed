//! The ways to a collector that somebody else runs: which start of it runs now, a signal to it, and
//! a start.
//!
//! | adapter | which start runs | a signal | a start |
//! |---|---|---|---|
//! | child | pid and start time | by pidfd | the command line |
//! | systemd | `InvocationID`, `MainPID` | `systemctl kill` | `systemctl restart` |
//! | Docker | `State.StartedAt`, `State.Pid` | `POST /containers/NAME/kill` | `POST …/restart` |
//! | command | how often it was restarted | none: that is its own to do | the command |
//!
//! Invariant: every question and every act has a time limit; a service manager that hangs makes
//! nobody wait for longer.

use std::time::Duration;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use watchdog_core::names::Boot;

use super::child::Child;
use super::command::Command;
use super::docker::Docker;
use super::systemd::Systemd;

/// A service manager's answer takes no longer than this.
pub const ANSWER: Duration = Duration::from_secs(5);
/// A service manager's restart takes no longer than this.
pub const RESTART: Duration = Duration::from_secs(30);

/// How a foreign collector is restarted, as the configuration says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Restart {
    /// A command line that runs it in the foreground; the watchdog is its parent.
    Child(Vec<String>),
    /// A unit of the system's service manager.
    Systemd(String),
    /// A container of the Docker daemon.
    Docker(Container),
    /// A command that ends what runs, starts it anew, and ends.
    Command(Vec<String>),
}

/// A container and the daemon's socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    pub container: String,
    #[serde(default = "default_socket")]
    pub socket: std::path::PathBuf,
}

fn default_socket() -> std::path::PathBuf {
    "/var/run/docker.sock".into()
}

/// One start of the collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Names this start and no other.
    pub boot: Boot,
    /// The process in our own process namespace, if that is known.
    pub pid: Option<u32>,
}

impl Generation {
    /// The start that `text` names; `None` if nothing can be named so.
    pub fn new(text: &str, pid: Option<u32>) -> Option<Self> {
        Boot::new(text).ok().map(|boot| Self { boot, pid })
    }
}

/// A way to the collector.
#[derive(Debug)]
pub enum Adapter {
    Child(Child),
    Systemd(Systemd),
    Docker(Docker),
    Command(Command),
}

impl Adapter {
    pub fn new(restart: &Restart) -> Self {
        match restart {
            Restart::Child(argv) => Self::Child(Child::new(argv)),
            Restart::Systemd(unit) => Self::Systemd(Systemd::new(unit)),
            Restart::Docker(container) => Self::Docker(Docker::new(container)),
            Restart::Command(argv) => Self::Command(Command::new(argv)),
        }
    }

    /// The word in logs and on the page.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Child(_) => "child",
            Self::Systemd(_) => "systemd",
            Self::Docker(_) => "docker",
            Self::Command(_) => "command",
        }
    }

    /// Whether somebody else starts it when it exits by itself. Two owners would fight.
    pub const fn restarts_itself(&self) -> bool {
        match self {
            Self::Child(_) => false,
            Self::Systemd(_) | Self::Docker(_) | Self::Command(_) => true,
        }
    }

    /// Whether a signal reaches it.
    pub const fn takes_signals(&self) -> bool {
        match self {
            Self::Child(_) | Self::Systemd(_) | Self::Docker(_) => true,
            Self::Command(_) => false,
        }
    }

    /// The start that runs now; `None` if none does.
    pub async fn generation(&mut self) -> Result<Option<Generation>, String> {
        match self {
            Self::Child(child) => Ok(child.generation()),
            Self::Systemd(unit) => unit.generation().await,
            Self::Docker(docker) => docker.generation().await,
            Self::Command(command) => Ok(command.generation()),
        }
    }

    /// Sends a signal to what runs.
    pub async fn signal(&mut self, signal: Signal) -> Result<(), String> {
        match self {
            Self::Child(child) => child.signal(signal),
            Self::Systemd(unit) => unit.signal(signal).await,
            Self::Docker(docker) => docker.signal(signal).await,
            Self::Command(_) => Ok(()),
        }
    }

    /// Starts it, in the place of what still runs.
    pub async fn start(&mut self, reason: &str) -> Result<(), String> {
        match self {
            Self::Child(child) => child.start(),
            Self::Systemd(unit) => unit.restart().await,
            Self::Docker(docker) => docker.restart().await,
            Self::Command(command) => command.run(reason).await,
        }
    }
}

/// `SIGABRT` and the like, as service managers want it.
pub const fn name(signal: Signal) -> &'static str {
    if signal.as_raw() == Signal::ABORT.as_raw() {
        "SIGABRT"
    } else if signal.as_raw() == Signal::TERM.as_raw() {
        "SIGTERM"
    } else {
        "SIGKILL"
    }
}
