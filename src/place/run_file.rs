//! Run files: where a running role is reached, and which process it is.
//!
//! `start_ticks` is field 22 of `/proc/PID/stat`. Together with the pid it names one process for
//! ever, so a recycled pid is never taken for the old one.
//!
//! Invariant: a run file is written after the ports are bound and before the role serves, in one
//! step. It is removed on a clean stop by the process it names, and by no other.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use watchdog_core::names::Boot;

use super::{Place, PlaceError};

/// `run/collector.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectorRun {
    pub pid: u32,
    pub start_ticks: u64,
    pub boot: Boot,
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    pub admin: SocketAddr,
    /// Where the watchdog posts its probes.
    pub probe: SocketAddr,
}

/// `run/watchdog.json` and `run/gate.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listen {
    pub pid: u32,
    pub start_ticks: u64,
    pub boot: Boot,
    pub listen: SocketAddr,
}

/// What every run file has.
pub trait RoleRun: Serialize + DeserializeOwned {
    /// The process that wrote it.
    fn process(&self) -> (u32, u64);

    /// Whether that process still exists, running or stopped.
    fn exists(&self) -> bool {
        let (pid, ticks) = self.process();
        start_ticks(pid) == Some(ticks)
    }
}

impl RoleRun for CollectorRun {
    fn process(&self) -> (u32, u64) {
        (self.pid, self.start_ticks)
    }
}

impl RoleRun for Listen {
    fn process(&self) -> (u32, u64) {
        (self.pid, self.start_ticks)
    }
}

impl Place {
    #[must_use]
    pub fn run_path(&self, role: &str) -> PathBuf {
        self.root.join(format!("run/{role}.json"))
    }

    /// What `role` last wrote; `None` if there is no such file or it cannot be read.
    #[must_use]
    pub fn run<R: RoleRun>(&self, role: &str) -> Option<R> {
        serde_json::from_slice(&fs::read(self.run_path(role)).ok()?).ok()
    }

    /// # Errors
    /// [`PlaceError`] if the file cannot be written.
    pub fn write_run<R: RoleRun>(&self, role: &str, run: &R) -> Result<(), PlaceError> {
        let text = serde_json::to_vec(run).expect("a run file has no map with odd keys");
        self.replace(&self.run_path(role), &text)
    }

    /// Removes the run file of `role` if it names this process.
    pub fn remove_run<R: RoleRun>(&self, role: &str) {
        let own = (std::process::id(), own_start_ticks());
        if self.run::<R>(role).is_some_and(|run| run.process() == own) {
            // A file that stays behind names a process that is gone, which readers notice.
            drop(fs::remove_file(self.run_path(role)));
        }
    }
}

/// When process `pid` started, in clock ticks since boot; `None` if there is no such process or
/// it is a zombie, which is dead and only waits to be counted.
#[must_use]
pub fn start_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name in parentheses may hold spaces and parentheses; fields count after it.
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// [`start_ticks`] of this process.
#[must_use]
pub fn own_start_ticks() -> u64 {
    start_ticks(std::process::id()).expect("/proc lists the process that reads it")
}
