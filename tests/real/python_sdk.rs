//! The README's promise to a newcomer: a Python service with the stock OpenTelemetry SDK and a beat
//! thread of ten lines becomes `live`, gets its permit, and loses it when its exporter is blocked.
//!
//! The exporter is blocked for real: the relay between it and the collector stops answering.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::http;
use crate::relay::Relay;
use crate::stack::{Stack, wait};

/// The beat period of `service.py`, and the slower of its exporters'.
const PERIOD: Duration = Duration::from_secs(1);

const POLICY: &str = r#"dwell_ms = 2000
permit_ttl_ms = 30000

[[service]]
name = "checkout"
beat_interval_ms = 1000
expect = ["traces", "metrics"]
revert = { exec = ["/bin/true"] }
"#;

const WHAT: &str = "watch a service with the stock OpenTelemetry SDK";

/// A Python that has the SDK: `HOLDPOINT_PYTHON`, or `python3`.
fn python() -> Option<PathBuf> {
    let named = std::env::var_os("HOLDPOINT_PYTHON").map(PathBuf::from);
    let python = named.unwrap_or_else(|| PathBuf::from("python3"));
    let found = Command::new(&python)
        .args(["-c", "import opentelemetry.sdk, opentelemetry.exporter.otlp.proto.http"])
        .stderr(Stdio::null())
        .status();
    found.is_ok_and(|status| status.success()).then_some(python)
}

/// The service, under a steady load.
struct Shop {
    child: Child,
    done: Arc<AtomicBool>,
    load: Option<JoinHandle<u64>>,
}

impl Shop {
    fn start(python: &PathBuf, beats: SocketAddr, otlp: SocketAddr) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/service.py");
        let mut child = Command::new(python)
            .arg(script)
            .env("HOLDPOINT_BEATS", format!("http://{beats}"))
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{otlp}"))
            .env("OTEL_BSP_SCHEDULE_DELAY", "500")
            .env("OTEL_METRIC_EXPORT_INTERVAL", "1000")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("a pipe");
        BufReader::new(out).read_line(&mut line).expect("the service prints its port");
        let port: u16 = line.trim().parse().expect("a port");
        let done = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&done);
        let load = std::thread::spawn(move || {
            let at = SocketAddr::from(([127, 0, 0, 1], port));
            let mut answered = 0;
            while !stop.load(Ordering::Acquire) {
                answered += u64::from(http::get(at, "/checkout").is_some_and(|a| a.status == 200));
                std::thread::park_timeout(Duration::from_millis(20));
            }
            answered
        });
        Self { child, done, load: Some(load) }
    }

    /// Ends the load; gives back how many requests were answered.
    fn answered(&mut self) -> u64 {
        self.done.store(true, Ordering::Release);
        self.load.take().map_or(0, |load| load.join().expect("the load ends"))
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.answered();
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn a_stock_python_service_is_seen_permitted_and_stopped_when_its_exporter_is_blocked() {
    let Some(python) = python() else { return crate::skip("Python with opentelemetry-sdk", WHAT) };
    let stack = Stack::start(POLICY);
    let relay = Relay::to(stack.address("collector", "http").expect("the collector runs"));
    let beats = stack.address("watchdog", "listen").expect("the watchdog runs");
    let mut shop = Shop::start(&python, beats, relay.address);

    stack.wait_verdict("checkout", "live", Duration::from_secs(30));
    wait("the pace of the metrics is learnt", Duration::from_secs(30), || {
        let metrics = &stack.verdict("checkout")?["signals"]["metrics"];
        metrics["cadence_ms"].as_u64()
    });
    let asked = stack.request("checkout", "v2", "cache-42", &["--wait", "30s"]);
    assert_eq!(asked.code, Some(0), "a permit: {asked:?}\n{}", stack.log());
    assert!(asked.json()["permit"]["token"].is_string(), "{asked:?}");

    relay.block();
    let blocked = Instant::now();
    let frozen = wait("a freeze is in force", Duration::from_secs(15), || {
        (!stack.freezes().is_empty()).then(Instant::now)
    });
    let took = frozen.duration_since(blocked);
    stack.wait_verdict("checkout", "telemetry_lost", 2 * PERIOD);
    let verdict = stack.verdict("checkout").expect("a verdict");
    // The relay is blocked after the last good arrival, so this bound is a little stricter.
    assert!(took <= 2 * PERIOD + Duration::from_millis(250), "frozen after {took:?}: {verdict:#}");

    let again = stack.request("checkout", "v2", "cache-42", &[]);
    assert_eq!(again.code, Some(1), "{again:?}");
    let reasons = again.json()["reasons"].to_string();
    assert!(reasons.contains("telemetry_lost") || reasons.contains("frozen"), "{reasons}");

    // The exporter gives its request up after ten seconds and tries again on a new connection.
    relay.clear();
    stack.wait_verdict("checkout", "live", Duration::from_secs(40));
    assert!(!stack.freezes().is_empty(), "the signal's return does not thaw");
    assert!(shop.answered() > 100, "the service went on answering all the while");
}
