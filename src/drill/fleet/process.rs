//! One process of the fleet.
//!
//! Invariant: it cannot outlive the drill. It ends when its lifeline does, and the kernel closes
//! that however the drill dies.

use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

use super::{DrillError, Wiring, last_words};
use crate::drill::stack::{BEAT_INTERVAL_MS, EXPORT_EVERY_MS};

const START_WITHIN: Duration = Duration::from_secs(10);
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// A running service.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lifeline: Option<ChildStdin>,
    pub revision: String,
    pub http: SocketAddr,
}

/// The line a service writes when it listens.
#[derive(Debug, Deserialize)]
struct Told {
    http: SocketAddr,
}

impl Process {
    pub async fn start(wiring: &Wiring, name: &str, revision: &str) -> Result<Self, DrillError> {
        let what = || format!("start {name} on revision {revision}");
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&wiring.log)
            .map_err(DrillError::system(format!("open {}", wiring.log.display())))?;
        let mut command = Command::new(&wiring.program);
        command
            .args(["drill-service", "--name", name, "--revision", revision])
            .args(["--otlp", &wiring.otlp.to_string(), "--beats", &wiring.beats.to_string()])
            .args(["--beat-interval-ms", &BEAT_INTERVAL_MS.to_string()])
            .args(["--traces-every-ms", &EXPORT_EVERY_MS.to_string()])
            .args(["--metrics-every-ms", &EXPORT_EVERY_MS.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            // Ctrl-C reaches the drill alone, which ends its processes in order.
            .process_group(0)
            .kill_on_drop(true);
        // The person's own OpenTelemetry settings must not steer the fleet.
        for (key, _) in std::env::vars_os() {
            if key.to_string_lossy().starts_with("OTEL_") {
                command.env_remove(key);
            }
        }
        let mut child = command.spawn().map_err(DrillError::system(what()))?;
        let lifeline = child.stdin.take();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("standard output is piped"));
        let told = timeout(START_WITHIN, out.read_line(&mut line)).await;
        let told = told.ok().and_then(Result::ok).and_then(|_| serde_json::from_str(&line).ok());
        let Some(Told { http }) = told else {
            let last_words = last_words(&wiring.log);
            return Err(DrillError::Late { what: what(), after: START_WITHIN, last_words });
        };
        Ok(Self { child, lifeline, revision: revision.to_owned(), http })
    }

    /// Lets go of the process and waits until it has ended.
    pub async fn stop(mut self) {
        self.end().await;
    }

    pub async fn end(&mut self) {
        drop(self.lifeline.take());
        if timeout(STOP_WITHIN, self.child.wait()).await.is_err() {
            // Nothing is asked of a service that will not leave; the kernel ends it.
            let _ = self.child.kill().await;
        }
    }
}
