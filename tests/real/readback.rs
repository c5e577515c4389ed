//! Probes read back from a real Prometheus, by the query that people use.
//!
//! Prometheus scrapes a backend that shows what it took as OTLP, so that what is read is the real
//! answer: its JSON, its staleness, its silence.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::stack::{Stack, send, wait};
use crate::{backend, http};

const WHAT: &str = "read probes back from it";
const PATIENCE: Duration = Duration::from_secs(40);

/// Ends with the test.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Self {
        let quiet = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(quiet.spawn().expect("it starts"))
    }

    fn send(&self, signal: Signal) {
        send(self.0.id(), signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn backend(dir: &Path) -> (Process, SocketAddr) {
    let process = Process::start(
        Command::new(std::env::current_exe().expect("this test"))
            .args(["backend::child_that_backs", "--exact", "--nocapture"])
            .env(backend::ROLE_ENV, dir),
    );
    let at = wait("the backend is up", PATIENCE, || {
        let text = fs::read_to_string(dir.join("data/run/backend.json")).ok()?;
        let run: Value = serde_json::from_str(&text).ok()?;
        run["http"].as_str()?.parse().ok()
    });
    (process, at)
}

fn prometheus(dir: &Path, scraped: SocketAddr) -> (Process, SocketAddr) {
    let scrape = format!(
        "global: {{ scrape_interval: 1s }}\nscrape_configs:\n  - job_name: backend\n    \
         static_configs:\n      - {{ targets: [\"{scraped}\"] }}\n"
    );
    fs::write(dir.join("prometheus.yml"), scrape).expect("written");
    let port = TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr());
    let at = port.expect("a free port");
    let process = Process::start(
        Command::new("prometheus")
            .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("tsdb").display()))
            .arg(format!("--web.listen-address={at}")),
    );
    (process, at)
}

fn states(stack: &Stack) -> Option<[String; 2]> {
    let page = http::get(stack.address("watchdog", "listen")?, "/v1/verdicts")?.json();
    let of = |way: &str| page["readback"][way]["state"].as_str().map(str::to_owned);
    Some([of("path")?, of("direct")?])
}

fn until(stack: &Stack, what: &str, state: &str) {
    wait(what, PATIENCE, || (states(stack)? == [state; 2]).then_some(()));
}

#[test]
fn probes_are_read_back_from_a_real_prometheus_and_its_silence_is_unknown() {
    let has = Command::new("prometheus").arg("--version").stderr(Stdio::null()).output().is_ok();
    if !has {
        return crate::skip("prometheus", WHAT);
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (backend, taken_at) = backend(dir.path());
    let (prometheus, asked_at) = prometheus(dir.path(), taken_at);
    let stack = Stack::start(&format!(
        "dwell_ms = 1000\n[[collector.exporter]]\nendpoint = \"http://{taken_at}\"\n\
         [watchdog.readback]\npromql = \"http://{asked_at}\"\notlp = \"http://{taken_at}\""
    ));
    until(&stack, "both ways are read back", "returning");
    prometheus.send(Signal::STOP);
    until(&stack, "who does not answer proves nothing", "unknown");
    prometheus.send(Signal::CONT);
    until(&stack, "both ways are read back again", "returning");
    backend.send(Signal::KILL);
    until(&stack, "what is not there is lost", "lost");
}
