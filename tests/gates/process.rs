//! A gate as a process of its own, in a data directory of its own.
//!
//! Invariant: the process is ended by its handle when the test ends, however it ends.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{http, wait};

const EXE: &str = env!("CARGO_BIN_EXE_holdpoint");
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How long one call may take; a paused gate answers none.
const CALL_MAX: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub struct Gate {
    home: PathBuf,
    child: Option<Child>,
}

/// An answer, and when it was asked for and read.
#[derive(Debug)]
pub struct Told {
    pub status: u16,
    pub body: Value,
    pub asked: Instant,
    pub read: Instant,
}

/// Where a gate is called, with the secrets of its roles.
#[derive(Debug, Clone)]
pub struct Door {
    home: PathBuf,
}

impl Gate {
    /// A gate whose directory is `home`, with `config` as its configuration.
    pub fn new(home: &Path, config: &str) -> Self {
        fs::create_dir_all(home.join("data")).expect("it can be made");
        fs::write(home.join("holdpoint.toml"), config).expect("it can be written");
        Self { home: home.to_owned(), child: None }
    }

    /// Takes the keys and tokens of `other`, as every gate of one database must have them.
    pub fn shares(&self, other: &Self) {
        for directory in ["keys", "tokens"] {
            let from = other.home.join("data").join(directory);
            let into = self.home.join("data");
            let copied = Command::new("cp").arg("-r").arg(from).arg(into).status();
            assert!(copied.expect("cp runs").success());
        }
    }

    pub fn door(&self) -> Door {
        Door { home: self.home.clone() }
    }

    /// Starts the process without waiting for anything.
    pub fn spawn(&mut self) {
        // A file of an earlier life would be taken for the new one's.
        let _ = fs::remove_file(self.home.join("data/run/gate.json"));
        let log = fs::OpenOptions::new().create(true).append(true).open(self.home.join("log"));
        let log = log.expect("a log");
        let child = Command::new(EXE)
            .args(["gate", "--lifeline", "--config"])
            .arg(self.home.join("holdpoint.toml"))
            .arg("--data-dir")
            .arg(self.home.join("data"))
            .env_remove("RUST_LOG")
            // Its end is the gate's, whatever becomes of the test.
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("one more handle"))
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("the executable runs"));
    }

    /// Starts it and waits until it answers.
    pub fn start(&mut self) {
        self.spawn();
        wait("the gate answers", PATIENCE, || {
            assert_eq!(self.ended(), None, "the gate ended:\n{}", self.log());
            self.door().get("/readyz").map(|_| ())
        });
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().expect("our child"))
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it is our child");
            child.wait().expect("it is our child");
        }
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(self.child.as_ref().expect("it runs"));
        kill_process(pid, signal).expect("it is our child");
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.home.join("log")).unwrap_or_default()
    }

    /// Runs a verb beside the gate; its exit code and what it said.
    pub fn verb(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(EXE);
        command.args(arguments).arg("--config").arg(self.home.join("holdpoint.toml"));
        command.arg("--data-dir").arg(self.home.join("data")).stdin(Stdio::null());
        let ended = command.output().expect("the executable runs");
        let said = [ended.stdout, ended.stderr].concat();
        (ended.status.code(), String::from_utf8_lossy(&said).into_owned())
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Door {
    fn address(&self) -> Option<SocketAddr> {
        let text = fs::read_to_string(self.home.join("data/run/gate.json")).ok()?;
        serde_json::from_str::<Value>(&text).ok()?["listen"].as_str()?.parse().ok()
    }

    /// A public page.
    pub fn get(&self, path: &str) -> Option<http::Answer> {
        http::get(self.address()?, path)
    }

    /// The same, from one that may be paused.
    pub fn get_soon(&self, path: &str) -> Option<http::Answer> {
        http::send(self.address()?, "GET", path, &[], b"", SOON)
    }

    /// The watchdog's key, in a directory that a gate has made.
    pub fn watchdog_key(&self) -> [u8; 32] {
        let text = fs::read_to_string(self.home.join("data/keys/watchdog.key")).expect("a key");
        hex::decode(text.trim()).expect("hex").try_into().expect("32 bytes")
    }

    /// One call as `role`; `None` if nobody answered.
    pub fn call(&self, role: &str, method: &str, path: &str, body: &Value) -> Option<Told> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(role, method, path, &[], body.as_bytes())
    }

    pub fn send(
        &self,
        role: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Option<Told> {
        let address = self.address()?;
        let token = fs::read_to_string(self.home.join(format!("data/tokens/{role}.token"))).ok()?;
        let bearer = format!("Bearer {}", token.trim());
        let mut all = vec![("Authorization", bearer.as_str())];
        all.extend_from_slice(headers);
        let asked = Instant::now();
        let answer = http::send(address, method, path, &all, body, CALL_MAX)?;
        let body = serde_json::from_str(&answer.body).ok()?;
        Some(Told { status: answer.status, body, asked, read: Instant::now() })
    }
}
