//! The gate under load: this executable again, in a process of its own.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use agent_gate::{BootstrapToken, Config, Policy, Role, ServiceConfig, Wiring, bind};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use watchdog_core::names::Boot;

use crate::load::Client;
use crate::watch;

/// The variable that makes this executable a gate; its value is the store's directory.
pub const ROLE: &str = "DECISIONS_GATE";
/// Ticks of `/proc` in a second, on every Linux there is.
const TICKS: f64 = 100.0;

/// A gate that runs.
pub struct Gate {
    child: Child,
    pub address: SocketAddr,
}

/// What the gate had used by some moment.
pub struct Figures {
    pub at: Instant,
    pub cpu_s: f64,
    pub resident_mib: f64,
    pub written_mib: f64,
    pub commits: f64,
    pub commit_s: f64,
    pub steps: f64,
}

impl Gate {
    pub fn start(directory: &Path, watchdogs: usize) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(ROLE, directory)
            .env("DECISIONS_WATCHDOGS", watchdogs.to_string())
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().parse().unwrap();
        Self { child, address }
    }

    pub async fn figures(&self, client: &Client) -> Figures {
        let page = client.get("/metrics").await;
        let sample = |name: &str| {
            let found = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            found.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name}"))
        };
        let read = |file: &str| {
            std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap()
        };
        let stat = read("stat");
        let fields = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().skip(11).take(2);
        let field = |text: &str, name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_ascii_whitespace().next().unwrap().parse().unwrap()
        };
        Figures {
            at: Instant::now(),
            cpu_s: fields.map(|field| field.parse::<f64>().unwrap()).sum::<f64>() / TICKS,
            resident_mib: field(&read("status"), "VmRSS:") / 1024.0,
            written_mib: field(&read("io"), "write_bytes:") / 1_048_576.0,
            commits: sample("holdpoint_gate_commit_duration_seconds_count"),
            commit_s: sample("holdpoint_gate_commit_duration_seconds_sum"),
            steps: sample("holdpoint_gate_commit_steps_sum"),
        }
    }

    /// Ends the gate where it stands.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Runs the gate until it is killed.
pub fn serve(directory: &Path, watchdogs: usize, services_each: usize) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let config = Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            // One token stands for all agents here.
            calls_per_s: std::num::NonZeroU32::MAX,
            ..Config::default()
        };
        // All that is asked for must be decided on its merits, not by the budget.
        let policy = Policy { budget_start: 1_000, budget_max: 1_000, ..Policy::default() };
        let services = (0..watchdogs * services_each).map(service).collect();
        let bound = bind(config, policy, services).await.unwrap();
        let address = bound.address();
        let run = tokio::spawn(bound.run(wiring(directory, watchdogs), CancellationToken::new()));
        println!("{address}");
        run.await.unwrap().unwrap();
    });
}

fn service(number: usize) -> ServiceConfig {
    let table = json!({"name": watch::service(number), "revert": {"exec": ["/bin/true"]}});
    serde_json::from_value::<ServiceConfig>(table).unwrap()
}

fn wiring(directory: &Path, watchdogs: usize) -> Wiring {
    let token =
        |role: Role| BootstrapToken { name: role.to_string(), role, secret: role.to_string() };
    let keys = (0..watchdogs)
        .map(|number| (watch::name(number), watch::key(number).verifying_key().to_bytes()));
    Wiring {
        boot: Boot::new("1700000000000-gate").unwrap(),
        store: directory.join("gate.db"),
        permit_key: [6; 32],
        watchdog_keys: keys.collect::<BTreeMap<_, _>>(),
        tokens: Role::ALL.map(token).to_vec(),
    }
}
