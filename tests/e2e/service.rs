//! A service as the test plays it: it works, beats about its work, and posts spans of it.
//!
//! Invariant: beats and telemetry are sent from one thread each, so that blocking one says nothing
//! about the other.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::json;

use super::http;

/// How many requests the service serves in one turn.
const REQUESTS: u64 = 10;
/// How long one turn of a story's service takes, and how often any service posts what it owes.
pub const TURN: Duration = Duration::from_millis(100);

/// Where a service sends.
pub type Addresses = Arc<dyn Fn() -> Option<(SocketAddr, SocketAddr)> + Send + Sync>;

#[derive(Debug)]
struct Shared {
    name: String,
    /// How long one turn of work takes; a beat ends it.
    turn: Duration,
    revision: Mutex<String>,
    stop: AtomicBool,
    /// Whether telemetry leaves the service.
    speaks: AtomicBool,
    requests: AtomicU64,
    /// Spans that are not posted yet.
    owed: AtomicU64,
    /// When the collector last took telemetry, in milliseconds since 1970.
    last_post_ms: Mutex<Option<u64>>,
}

/// A running service; it ends when it is dropped.
#[derive(Debug)]
pub struct Service {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Service {
    /// Starts it on `revision`. `addresses` gives the watchdog's UDP and the collector's HTTP.
    pub fn start(name: &str, revision: &str, turn: Duration, addresses: Addresses) -> Self {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            turn,
            revision: Mutex::new(revision.to_owned()),
            stop: AtomicBool::new(false),
            speaks: AtomicBool::new(true),
            requests: AtomicU64::new(0),
            owed: AtomicU64::new(0),
            last_post_ms: Mutex::new(None),
        });
        let (beating, speaking) = (shared.clone(), shared.clone());
        let (to_watchdog, to_collector) = (addresses.clone(), addresses);
        let threads = vec![
            thread::spawn(move || beat(&beating, &to_watchdog)),
            thread::spawn(move || speak(&speaking, &to_collector)),
        ];
        Self { shared, threads }
    }

    /// Lets telemetry out, or blocks it. Work and beats go on.
    pub fn let_telemetry(&self, out: bool) {
        self.shared.speaks.store(out, Ordering::SeqCst);
    }

    /// Replaces the running revision.
    pub fn run_revision(&self, revision: &str) {
        *self.shared.revision.lock().unwrap() = revision.to_owned();
    }

    /// When the collector last took telemetry of it.
    pub fn last_post_ms(&self) -> Option<u64> {
        *self.shared.last_post_ms.lock().unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

/// Works and beats. A deploy of another revision is a new boot of the instance.
fn beat(shared: &Shared, addresses: &Addresses) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free UDP port");
    let (mut seq, mut boot, mut running) = (0_u64, String::new(), String::new());
    let mut booted_at = 0;
    while !shared.stop.load(Ordering::SeqCst) {
        let revision = shared.revision.lock().unwrap().clone();
        if revision != running {
            seq = 0;
            booted_at = shared.requests.load(Ordering::SeqCst);
            boot = format!("{}-{revision}", wall_ms());
            running.clone_from(&revision);
        }
        let total = shared.requests.fetch_add(REQUESTS, Ordering::SeqCst) + REQUESTS;
        shared.owed.fetch_add(REQUESTS, Ordering::SeqCst);
        seq += 1;
        let beat = json!({
            "service": shared.name, "instance": "one", "boot": boot, "seq": seq, "token": seq,
            "requests": total - booted_at, "errors": 0, "revision": revision,
        });
        if let Some((watchdog, _)) = addresses() {
            socket.send_to(beat.to_string().as_bytes(), watchdog).ok();
        }
        thread::sleep(shared.turn);
    }
}

fn speak(shared: &Shared, addresses: &Addresses) {
    while !shared.stop.load(Ordering::SeqCst) {
        thread::sleep(TURN);
        let owed = shared.owed.swap(0, Ordering::SeqCst);
        if owed == 0 || !shared.speaks.load(Ordering::SeqCst) {
            continue;
        }
        let revision = shared.revision.lock().unwrap().clone();
        let Some((_, collector)) = addresses() else { continue };
        let body = spans(&shared.name, &revision, owed).to_string();
        let headers = [("Content-Type", "application/json")];
        let timeout = Duration::from_secs(1);
        let path = "/v1/traces";
        let answer = http::send(collector, "POST", path, &headers, body.as_bytes(), timeout);
        if answer.is_some_and(|answer| answer.status == 200) {
            *shared.last_post_ms.lock().unwrap() = Some(wall_ms());
        } else {
            // An exporter that was refused tries again with what it has.
            shared.owed.fetch_add(owed, Ordering::SeqCst);
        }
    }
}

/// An OTLP/JSON request with `count` server spans.
pub fn spans(service: &str, revision: &str, count: u64) -> serde_json::Value {
    let end = wall_ms() * 1_000_000;
    let span = |index: u64| {
        json!({
            "traceId": format!("{:032x}", u128::from(end) + u128::from(index) + 1),
            "spanId": format!("{:016x}", end + index + 1),
            "name": "GET /", "kind": 2,
            "startTimeUnixNano": (end - 3_000_000).to_string(),
            "endTimeUnixNano": end.to_string(),
            "status": {},
        })
    };
    let attribute = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    json!({"resourceSpans": [{
        "resource": {"attributes": [
            attribute("service.name", service),
            attribute("service.instance.id", "one"),
            attribute("service.version", revision),
        ]},
        "scopeSpans": [{"spans": (0..count).map(span).collect::<Vec<_>>()}],
    }]})
}

pub fn wall_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(since.expect("the clock is past 1970").as_millis()).expect("a small number")
}
