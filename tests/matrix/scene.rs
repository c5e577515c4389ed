//! One stage: services, a watchdog, the collector it watches, and a backend.
//!
//! ```text
//!  services ──[otlp]──► collector ──[export]──► backend
//!     └─────[beats]──► watchdog ──[tally]──► collector
//!                         └──────[direct]──► backend
//! ```
//!
//! Every process is real, and every bracket is a wire that can fail.
//!
//! Invariant: all processes end with the scene, and with the test's process, however it ends.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::backend;
use super::http;
use super::service::Service;
use super::wires::{Towards, Wire};

/// No start takes longer, on a machine that does nothing else.
const PATIENCE: Duration = Duration::from_secs(60);
/// Nothing on the loopback takes longer to answer, unless it is stopped.
const ANSWER: Duration = Duration::from_millis(400);

/// Who starts the collector and restarts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Nobody: what is broken stays broken.
    Nobody,
    /// The watchdog.
    Watchdog,
}

/// A role of the executable as a process in a directory of its own.
#[derive(Debug)]
pub struct Role {
    name: &'static str,
    dir: PathBuf,
    child: Child,
}

impl Role {
    fn start(name: &'static str, dir: &Path, more: &[&str]) -> Self {
        let log = fs::OpenOptions::new().create(true).append(true).open(dir.join("log"));
        let log = log.expect("the directory can be written");
        let child = Command::new(env!("CARGO_BIN_EXE_holdpoint"))
            .args([name, "--lifeline", "--config"])
            .arg(dir.join("holdpoint.toml"))
            .arg("--data-dir")
            .arg(dir.join("data"))
            .args(more)
            .env_remove("RUST_LOG")
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("one more handle"))
            .stderr(log)
            .spawn();
        Self { name, dir: dir.to_owned(), child: child.expect("the executable runs") }
    }

    /// The backend, in its directory.
    fn backend(dir: &Path) -> Self {
        let child = Command::new(std::env::current_exe().expect("this test"))
            .args(["backend::child_that_backs", "--exact", "--nocapture"])
            .env(backend::ROLE_ENV, dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        let backend =
            Self { name: "backend", dir: dir.to_owned(), child: child.expect("it starts") };
        backend.wait_run();
        backend
    }

    pub fn send(&self, signal: Signal) {
        send(self.child.id(), signal);
    }

    /// Waits until its run file names it.
    fn wait_run(&self) {
        let start = Instant::now();
        let pid = u64::from(self.child.id());
        while run_file(&self.dir, self.name).is_none_or(|run| run["pid"] != pid) {
            assert!(start.elapsed() < PATIENCE, "{} is not up\n{}", self.name, log(&self.dir));
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The whole stage.
#[derive(Debug)]
pub struct Scene {
    pub beats: Wire,
    pub otlp: Wire,
    pub export: Wire,
    pub tally: Wire,
    pub services: Vec<Service>,
    pub watchdog: Role,
    /// Only where the watchdog owns the collector: a kill waits for the gate to be told.
    _gate: Option<Role>,
    pub backend: Option<Role>,
    /// `None` if it is the watchdog's child, or dead.
    pub collector: Option<Role>,
    at: Backing,
    watched: PathBuf,
    backing: PathBuf,
    _dir: TempDir,
}

impl Scene {
    /// Starts everything, with services named `shop-0`, `shop-1`, …
    pub fn start(owner: Owner, services: usize) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (watched, backing) = (dir.path().join("watched"), dir.path().join("backing"));
        for folder in [&watched, &backing] {
            fs::create_dir_all(folder.join("data")).expect("it can be made");
        }
        let backend = Role::backend(&backing);
        let towards = |folder: &Path, role: &'static str, key: &'static str| -> Towards {
            let folder = folder.to_owned();
            Arc::new(move || address(&folder, role, key))
        };
        let [export, direct] = [0; 2].map(|_| Wire::tcp(towards(&backing, "backend", "http")));
        let at = Backing { export: export.address, direct: direct.address };
        at.configure(&watched, services, "");
        let tally = Wire::tcp(admin_behind(&watched));
        let collector = (owner == Owner::Nobody).then(|| {
            let collector = Role::start("collector", &watched, &[]);
            collector.wait_run();
            through(&watched, &tally);
            collector
        });
        let gate = (owner == Owner::Watchdog).then(|| {
            let gate = Role::start("gate", &watched, &[]);
            gate.wait_run();
            gate
        });
        let more: &[&str] = if owner == Owner::Watchdog { &["--supervise"] } else { &[] };
        let watchdog = Role::start("watchdog", &watched, more);
        watchdog.wait_run();
        let mut scene = Self {
            beats: Wire::udp(towards(&watched, "watchdog", "listen")),
            otlp: Wire::tcp(towards(&watched, "collector", "grpc")),
            export,
            tally,
            at,
            services: Vec::new(),
            watchdog,
            _gate: gate,
            backend: Some(backend),
            collector,
            watched,
            backing,
            _dir: dir,
        };
        for index in 0..services {
            let service = scene.new_service(index);
            scene.services.push(service);
        }
        scene
    }

    fn new_service(&self, index: usize) -> Service {
        Service::start(&format!("shop-{index}"), self.beats.address, self.otlp.address)
    }

    /// Ends the first service and starts it anew.
    pub fn replace_service(&mut self) {
        self.services.remove(0);
        let service = self.new_service(0);
        self.services.insert(0, service);
    }

    /// Starts the collector anew where it was.
    pub fn replace_collector(&mut self) {
        self.collector = None;
        let collector = Role::start("collector", &self.watched, &[]);
        collector.wait_run();
        through(&self.watched, &self.tally);
        self.collector = Some(collector);
    }

    /// Starts the backend anew where it was.
    pub fn replace_backend(&mut self) {
        self.backend = None;
        self.backend = Some(Role::backend(&self.backing));
    }

    /// Gives the running collector another configuration: `more` keys of `[collector]`.
    pub fn reconfigure(&self, more: &str) {
        self.at.configure(&self.watched, self.services.len(), more);
        send(self.collector_pid().expect("it runs"), Signal::HUP);
    }

    /// The collector's process as its run file names it.
    pub fn collector_pid(&self) -> Option<u32> {
        u32::try_from(run_file(&self.watched, "collector")?["pid"].as_u64()?).ok()
    }

    /// How many probes have come back right.
    pub fn probes_returned(&self) -> Option<u64> {
        let at = address(&self.watched, "watchdog", "listen")?;
        let answer = http::send(at, "GET", "/metrics", &[], b"", ANSWER)?;
        let name = "holdpoint_watchdog_probes_total{outcome=\"returned\"} ";
        answer.body.lines().find_map(|line| line.strip_prefix(name))?.parse().ok()
    }

    pub fn verdict(&self, service: usize) -> Option<Value> {
        let at = address(&self.watched, "watchdog", "listen")?;
        let path = format!("/v1/verdicts/shop-{service}");
        let answer = http::send(at, "GET", &path, &[], b"", ANSWER)?;
        (answer.status == 200).then(|| answer.json())
    }

    pub fn log(&self) -> String {
        log(&self.watched)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // A collector that was stopped cannot see the end of its lifeline.
        if self.collector.is_none()
            && let Some(pid) = self.collector_pid()
        {
            send(pid, Signal::CONT);
        }
    }
}

const COLLECTOR: &str = "[collector]\ngrpc_listen = \"127.0.0.1:0\"\n\
                         http_listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n";

/// Where the backend is found by the exporter, and by the watchdog.
#[derive(Debug, Clone, Copy)]
struct Backing {
    export: SocketAddr,
    direct: SocketAddr,
}

impl Backing {
    fn configure(self, dir: &Path, services: usize, more: &str) {
        let Self { export, direct } = self;
        let mut text = format!(
            "{COLLECTOR}{more}\n[[collector.exporter]]\nendpoint = \"http://{export}\"\n\
             [gate]\nlisten = \"127.0.0.1:0\"\n\
             [watchdog]\nlisten = \"127.0.0.1:0\"\nbeat_interval_ms = 100\n\
             [watchdog.readback]\npromql = \"http://{direct}\"\notlp = \"http://{direct}\"\n\
             [watchdog.judge]\nlearn_ms = 1500\n"
        );
        for index in 0..services {
            text.push_str(&format!(
                "[[service]]\nname = \"shop-{index}\"\nexpect = [\"traces\", \"metrics\"]\n"
            ));
        }
        let new = dir.join("holdpoint.toml.new");
        fs::write(&new, text).expect("written");
        fs::rename(&new, dir.join("holdpoint.toml")).expect("renamed");
    }
}

/// The real admin port, which [`through`] keeps under another key.
fn admin_behind(dir: &Path) -> Towards {
    let dir = dir.to_owned();
    Arc::new(move || {
        let run = run_file(&dir, "collector")?;
        run.get("behind").unwrap_or(&run["admin"]).as_str()?.parse().ok()
    })
}

/// Leads the watchdog's polls through the wire: it finds the collector by its run file.
fn through(dir: &Path, wire: &Wire) {
    let mut run = run_file(dir, "collector").expect("it is up");
    run["behind"] = run["admin"].clone();
    run["admin"] = wire.address.to_string().into();
    let new = dir.join("data/run/collector.json.new");
    fs::write(&new, run.to_string()).expect("written");
    fs::rename(&new, dir.join("data/run/collector.json")).expect("renamed");
}

fn run_file(dir: &Path, role: &str) -> Option<Value> {
    let text = fs::read_to_string(dir.join(format!("data/run/{role}.json"))).ok()?;
    serde_json::from_str(&text).ok()
}

fn address(dir: &Path, role: &str, key: &str) -> Option<SocketAddr> {
    run_file(dir, role)?[key].as_str()?.parse().ok()
}

fn log(dir: &Path) -> String {
    fs::read_to_string(dir.join("log")).unwrap_or_default()
}

/// Sends a signal to a process of a stage.
pub fn send(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, signal).ok();
}
