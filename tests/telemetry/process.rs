//! A role as a process of its own, in a directory of its own, on free ports.
//!
//! Invariant: the process is ended by its handle when the test ends, however it ends.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{http, wait};

/// Ports for all roles, of which nobody knows before.
const PORTS: &str = "[collector]\ngrpc_listen = \"127.0.0.1:0\"\nhttp_listen = \"127.0.0.1:0\"\n\
                     admin_listen = \"127.0.0.1:0\"\notel_environment = false\n\
                     [watchdog]\nlisten = \"127.0.0.1:0\"\n[gate]\nlisten = \"127.0.0.1:0\"\n";

#[derive(Debug)]
pub struct Process {
    pub dir: TempDir,
    verb: &'static str,
    child: Option<Child>,
}

impl Process {
    /// `holdpoint VERB`, not started yet, with `tables` in its configuration.
    pub fn new(verb: &'static str, tables: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let process = Self { dir, verb, child: None };
        process.configure(tables);
        process
    }

    /// A collector that appends what it takes to a file, running.
    pub fn taker() -> Self {
        let mut taker = Self::new("collector", "");
        let file = taker.taken_file();
        taker.configure(&format!(
            "[[collector.exporter]]\ntype = \"file\"\npath = \"{}\"\n",
            file.display()
        ));
        taker.start(&[]);
        taker
    }

    pub fn taken_file(&self) -> PathBuf {
        self.dir.path().join("taken.jsonl")
    }

    pub fn configure(&self, tables: &str) {
        fs::write(self.config(), format!("{PORTS}{tables}")).unwrap();
    }

    pub fn config(&self) -> PathBuf {
        self.dir.path().join("holdpoint.toml")
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn spawn(&mut self, env: &[(&str, &str)]) {
        let open = |name| fs::OpenOptions::new().create(true).append(true).open(name).unwrap();
        let log = open(self.dir.path().join("log"));
        let child = Command::new(env!("CARGO_BIN_EXE_holdpoint"))
            .args([self.verb, "--config"])
            .arg(self.config())
            .arg("--data-dir")
            .arg(self.data())
            .env_remove("RUST_LOG")
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        self.child = Some(child.unwrap());
    }

    /// Starts it and waits until its collector takes requests.
    pub fn start(&mut self, env: &[(&str, &str)]) {
        self.spawn(env);
        wait("it is ready", || {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert_eq!(ended, None, "it ended:\n{}", self.log());
            let at = self.address("collector", "admin")?;
            http::get(at, "/readyz").filter(|answer| answer.status == 200)
        });
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Asks it to stop, and how long that takes.
    pub fn stop(&mut self) -> Duration {
        let began = Instant::now();
        kill_process(Pid::from_child(self.child.as_ref().unwrap()), Signal::TERM).unwrap();
        let status = self.wait_end();
        assert_eq!(status.code(), Some(0), "{}", self.log());
        began.elapsed()
    }

    pub fn wait_end(&mut self) -> ExitStatus {
        let child = self.child.as_mut().unwrap();
        let status = wait("it ends", || child.try_wait().unwrap());
        self.child = None;
        status
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub fn run(&self, role: &str) -> Option<Value> {
        let path = self.data().join(format!("run/{role}.json"));
        serde_json::from_str(&fs::read_to_string(path).ok()?).ok()
    }

    pub fn address(&self, role: &str, key: &str) -> Option<SocketAddr> {
        self.run(role)?[key].as_str()?.parse().ok()
    }

    /// What the collector's admin port shows.
    pub fn page(&self, path: &str) -> String {
        let at = self.address("collector", "admin").unwrap();
        wait("the admin port answers", || http::get(at, path)).body
    }

    /// A line of the collector's metrics.
    pub fn metric(&self, series: &str) -> Option<f64> {
        let page = self.page("/metrics");
        let value = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map(|value| value.parse().unwrap())
    }

    /// Posts an export request in JSON.
    pub fn post(&self, path: &str, request: &Value) {
        let at = self.address("collector", "http").unwrap();
        let (headers, body) = ([("Content-Type", "application/json")], request.to_string());
        let limit = Duration::from_secs(10);
        let answer = http::send(at, "POST", path, &headers, body.as_bytes(), limit).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The whole product takes its children with it when it is asked to go.
        if let Some(child) = self.child.as_ref() {
            let _ = kill_process(Pid::from_child(child), Signal::TERM);
            std::thread::sleep(Duration::from_millis(if self.verb == "up" { 2_000 } else { 0 }));
        }
        self.kill();
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}
