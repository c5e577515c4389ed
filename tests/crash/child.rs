//! A collector as a process of its own, in a directory of its own, on free ports.
//!
//! Invariant: the process is ended by its handle when the test ends, however it ends.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{http, wait};

/// No start and no stop of these tests takes longer.
const PATIENCE: Duration = Duration::from_secs(30);
/// USER_HZ, in which Linux tells processor time.
const TICKS_PER_SECOND: u64 = 100;

/// Sums of a ledger, in records.
#[derive(Debug, Default)]
pub struct Ledger {
    pub recovered: u64,
    pub accepted: u64,
    pub pending: u64,
    pub dropped: u64,
    pub waiting: u64,
}

#[derive(Debug)]
pub struct Collector {
    pub dir: TempDir,
    child: Option<Child>,
}

impl Collector {
    /// A directory with the configuration: `keys` of `[collector]`, then `exporter` tables.
    pub fn new(keys: &str, exporters: &[String]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(dir.path().join("data")).expect("it can be made");
        let collector = Self { dir, child: None };
        collector.configure(keys, exporters);
        collector
    }

    /// Another configuration, for the next start.
    pub fn configure(&self, keys: &str, exporters: &[String]) {
        let mut text = format!(
            "[collector]\ngrpc_listen = \"127.0.0.1:0\"\nhttp_listen = \"127.0.0.1:0\"\n\
             admin_listen = \"127.0.0.1:0\"\n{keys}\n"
        );
        for exporter in exporters {
            text.push_str(&format!("[[collector.exporter]]\n{exporter}\n"));
        }
        fs::write(self.dir.path().join("holdpoint.toml"), text).expect("it can be written");
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Starts the process without waiting for anything.
    pub fn spawn(&mut self) {
        // A file of an earlier life would be taken for the new one's.
        let _ = fs::remove_file(self.data().join("run/collector.json"));
        let path = self.dir.path().join("log");
        let log = fs::OpenOptions::new().create(true).append(true).open(path).expect("a log");
        let child = Command::new(env!("CARGO_BIN_EXE_holdpoint"))
            .args(["collector", "--config"])
            .arg(self.dir.path().join("holdpoint.toml"))
            .arg("--data-dir")
            .arg(self.data())
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("one more handle"))
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("the executable runs"));
    }

    /// Starts it and waits until it says that it is ready.
    pub fn start(&mut self) -> SocketAddr {
        self.spawn();
        wait("the collector is ready", PATIENCE, || {
            self.assert_runs();
            let ready = self.get("/readyz").is_some_and(|answer| answer.status == 200);
            // With a full disk it never is, but it is there.
            (ready || self.get("/readyz").is_some_and(|answer| answer.status == 503)).then_some(())
        });
        self.address("http").expect("it runs")
    }

    pub fn assert_runs(&mut self) {
        let ended = self.child.as_mut().and_then(|child| child.try_wait().expect("our child"));
        assert_eq!(ended, None, "the collector ended:\n{}", self.log());
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it is our child");
            child.wait().expect("it is our child");
        }
    }

    /// Asks it to stop and gives back its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.wait_end()
    }

    /// `kill -STOP`.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(self.child.as_ref().expect("it runs"));
        kill_process(pid, signal).expect("it is our child");
    }

    pub fn wait_end(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("it was started");
        wait("the collector ends", PATIENCE, || child.try_wait().expect("our child")).code()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub fn address(&self, key: &str) -> Option<SocketAddr> {
        let text = fs::read_to_string(self.data().join("run/collector.json")).ok()?;
        serde_json::from_str::<Value>(&text).ok()?[key].as_str()?.parse().ok()
    }

    pub fn get(&self, path: &str) -> Option<http::Answer> {
        http::get(self.address("admin")?, path)
    }

    pub fn page(&self, path: &str) -> Value {
        self.get(path).expect("the admin port answers").json()
    }

    /// The ledger of this moment, which must balance; panics if it does not.
    pub fn assert_balances(&self) -> Ledger {
        let page = self.page("/v1/ledger");
        assert_eq!(page["imbalance"], 0, "{page:#}");
        let mut ledger = Ledger::default();
        let count = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{page:#}"));
        for (signal, one) in page["signals"].as_object().expect("signals") {
            let of = |name: &str| count(&one[name]);
            let came = of("received") + of("recovered");
            assert_eq!(came, of("refused") + of("pending") + of("accepted"), "{signal}: {page:#}");
            ledger.recovered += of("recovered");
            ledger.accepted += of("accepted");
            ledger.pending += of("pending");
        }
        for exporter in page["exporters"].as_array().expect("exporters") {
            for (signal, one) in exporter["signals"].as_object().expect("signals") {
                let of = |name: &str| count(&one[name]);
                let went = of("forwarded") + of("dropped") + of("waiting");
                assert_eq!(of("owed"), went, "{signal}: {page:#}");
                ledger.dropped += of("dropped");
                ledger.waiting += of("waiting");
            }
        }
        ledger
    }

    /// Waits until nothing is on its way; nothing may have been dropped.
    pub fn assert_settles(&self) {
        let settled = wait("the ledger has nothing that waits", PATIENCE, || {
            let ledger = self.assert_balances();
            (ledger.waiting + ledger.pending == 0).then_some(ledger)
        });
        assert_eq!(settled.dropped, 0, "{settled:?}");
        assert_eq!(self.metric("holdpoint_collector_ledger_imbalance_records"), Some(0.0));
    }

    /// The environment with which the process that runs now has begun.
    pub fn environment(&self) -> String {
        let pid = self.child.as_ref().expect("it runs").id();
        fs::read_to_string(format!("/proc/{pid}/environ")).expect("it runs")
    }

    /// The value of the metric with this name and labels.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let page = self.get("/metrics").expect("the admin port answers").body;
        let lines = page.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        lines.filter_map(|value| value.parse().ok()).next()
    }

    /// Processor time it has used.
    pub fn cpu(&self) -> Duration {
        let pid = self.child.as_ref().expect("it runs").id();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
        let rest = &stat[stat.rfind(')').expect("a name") + 2..];
        let ticks = rest.split(' ').skip(11).take(2).map(|text| text.parse::<u64>().unwrap());
        Duration::from_millis(ticks.sum::<u64>() * 1_000 / TICKS_PER_SECOND)
    }

    /// The part of one processor that it uses in `span` from now on.
    pub fn cpu_share(&self, span: Duration) -> f64 {
        let (start, before) = (Instant::now(), self.cpu());
        std::thread::sleep(span);
        (self.cpu() - before).as_secs_f64() / start.elapsed().as_secs_f64()
    }

    /// Bytes of memory it has in use.
    pub fn memory_bytes(&self) -> u64 {
        let pid = self.child.as_ref().expect("it runs").id();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib * 1_024
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}
