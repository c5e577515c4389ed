//! A running watchdog and the ways of a test to talk to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use watchdog::{Config, RunError, ServiceConfig, Wiring};
use watchdog_core::names::Boot;
use watchdog_core::watch::WatchConfig;

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The HMAC key of every service whose name begins with `signed`.
pub const BEAT_KEY: &[u8] = b"the key of a test";

pub struct Stage {
    pub address: SocketAddr,
    pub far_tap: Option<SocketAddr>,
    pub client: reqwest::Client,
    pub shutdown: CancellationToken,
    pub running: JoinHandle<Result<(), RunError>>,
}

/// A configuration on a free port with services that beat ten times a second.
pub fn config() -> Config {
    Config {
        listen: "127.0.0.1:0".parse().expect("an address"),
        beat_interval_ms: 100,
        probe_interval_ms: 100,
        attest_interval_ms: 50,
        judge: WatchConfig { learn_ms: 1_000, idle_after_ms: 1_000, ..WatchConfig::default() },
        ..Config::default()
    }
}

/// A wiring in which nothing else is known.
pub fn wiring() -> Wiring {
    Wiring {
        name: "w1".into(),
        boot: Boot::new("1700000000000-w").expect("a valid boot"),
        signing_key: [3; 32],
        probe_key: [4; 32],
        beat_key: Arc::new(|service| {
            service.as_str().starts_with("signed").then(|| BEAT_KEY.to_vec())
        }),
        collector: Arc::new(|| None),
        gate: Arc::new(|| None),
        service_manager: None,
        recalled: Vec::new(),
        keep: Arc::new(|_| Ok(())),
        supervise: None,
        healing: None,
    }
}

impl Stage {
    pub async fn start(config: Config, services: Vec<ServiceConfig>, wiring: Wiring) -> Self {
        let bound = watchdog::bind(config, services).await.expect("free ports");
        let (address, far_tap) = (bound.address(), bound.far_tap());
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(bound.run(wiring, shutdown.clone()));
        let stage = Self { address, far_tap, client: reqwest::Client::new(), shutdown, running };
        stage.until("the verdict loop turns", async |s| s.status("/readyz").await == 200).await;
        stage
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub async fn status(&self, path: &str) -> u16 {
        let answer = self.client.get(self.url(path)).send().await;
        answer.map_or(0, |a| a.status().as_u16())
    }

    pub async fn text(&self, path: &str) -> String {
        let answer = self.client.get(self.url(path)).send().await.expect("the watchdog answers");
        answer.text().await.expect("text")
    }

    pub async fn json(&self, path: &str) -> Value {
        let text = self.text(path).await;
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e} in {text}"))
    }

    /// The value of a sample in `/metrics`; `None` if there is no such line.
    pub async fn sample(&self, line: &str) -> Option<f64> {
        let text = self.text("/metrics").await;
        let found = text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
        found.map(|value| value.parse().expect("a number"))
    }

    pub async fn beat(&self, service: &str, body: &Value) -> (u16, Value) {
        self.beat_signed(service, body.to_string(), None).await
    }

    pub async fn beat_signed(
        &self,
        service: &str,
        body: String,
        signature: Option<String>,
    ) -> (u16, Value) {
        let mut request = self.client.post(self.url(&format!("/v1/beats/{service}"))).body(body);
        if let Some(signature) = signature {
            request = request.header("X-Holdpoint-Signature", signature);
        }
        let answer = request.send().await.expect("the watchdog answers");
        let status = answer.status().as_u16();
        (status, answer.json().await.expect("JSON"))
    }

    pub async fn datagram(&self, body: &Value) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let sent = socket.send_to(body.to_string().as_bytes(), self.address).await;
        sent.expect("a datagram on loopback");
    }

    /// The verdict about one service, once it has one.
    pub async fn verdict(&self, service: &str) -> Option<Value> {
        let page = self.json(&format!("/v1/verdicts/{service}")).await;
        page.get("verdict").is_some().then_some(page)
    }

    /// Waits until `holds`, or fails the test.
    pub async fn until(&self, what: &str, mut holds: impl AsyncFnMut(&Self) -> bool) {
        let waited = tokio::time::timeout(PATIENCE, async {
            while !holds(self).await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        assert!(waited.await.is_ok(), "did not come true in {PATIENCE:?}: {what}");
    }

    /// Ends the watchdog and gives back how it ended.
    pub async fn stop(self) -> Result<(), RunError> {
        self.shutdown.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.running).await;
        ended.expect("it stops when it is told to").expect("it does not panic")
    }
}

/// A beat of instance `i` with a token that is the sequence number.
pub fn body(seq: u64) -> Value {
    json!({ "instance": "i", "boot": "1700000000000-b", "seq": seq, "token": seq })
}

/// The same as a datagram of `service`.
pub fn datagram(service: &str, seq: u64) -> Value {
    let mut beat = body(seq);
    beat["service"] = json!(service);
    beat
}
