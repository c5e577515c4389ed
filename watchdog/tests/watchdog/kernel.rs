//! A service whose beats tell no work, behind a real TCP port: the kernel says whether its silence
//! is idle or lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use watchdog::{CollectorPlace, KernelPorts, ServiceConfig, Wiring};

use crate::fakes::FakeCollector;
use crate::stage::{PATIENCE, Stage, body, config, wiring};

struct Scene {
    stage: Stage,
    collector: FakeCollector,
    client: TcpStream,
    _listener: TcpListener,
    seq: u64,
}

/// What goes on meanwhile.
#[derive(Debug, Clone, Copy)]
struct Doing {
    requests: bool,
    records: bool,
}

impl Scene {
    async fn set() -> Self {
        let collector = FakeCollector::start("1700000000000-c").await;
        let http = collector.address;
        let boot = "1700000000000-c".parse().expect("a valid boot");
        let place = CollectorPlace { pid: 1, start_ticks: 1, boot, http, admin: http };
        let wiring = Wiring { collector: Arc::new(move || Some(place.clone())), ..wiring() };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let at = listener.local_addr().expect("bound");
        let client = TcpStream::connect(at).await.expect("it listens");
        let (mut served, _) = listener.accept().await.expect("somebody has come");
        tokio::spawn(async move { while served.read_u8().await.is_ok() {} });
        let service = ServiceConfig {
            name: "checkout".parse().expect("a valid name"),
            environment: "test".parse().expect("a valid name"),
            expect: None,
            beat_interval_ms: None,
            instances_min: None,
            restart_grace_ms: None,
            witness: Some(KernelPorts { kernel_ports: vec![at.port()], bytes_min: 1 }),
            liveness: None,
        };
        let stage = Stage::start(config(), vec![service], wiring).await;
        Self { stage, collector, client, _listener: listener, seq: 0 }
    }

    async fn until(&mut self, kind: &str, doing: Doing) {
        let began = Instant::now();
        loop {
            self.seq += 1;
            self.stage.beat("checkout", &body(self.seq)).await;
            if doing.requests {
                self.client.write_all(b"GET /").await.expect("it is taken");
            }
            if doing.records {
                self.collector.arrive("checkout", "i", "v1", 1);
            }
            let verdict = self.stage.verdict("checkout").await.unwrap_or(Value::Null);
            if verdict["verdict"] == kind {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "not {kind} while {doing:?}: {verdict:#}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test]
async fn silence_is_lost_while_bytes_come_in_on_its_port_and_idle_while_none_do() {
    let mut scene = Scene::set().await;
    let at_work = Doing { requests: true, records: true };
    scene.until("live", at_work).await;
    // Long enough for what is learnt in the first live dwell, and for two looks of the kernel.
    let dwell = Instant::now();
    while dwell.elapsed() < Duration::from_secs(4) {
        scene.until("live", at_work).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let tells = "holdpoint_watchdog_kernel_tells{service=\"checkout\"}";
    if scene.stage.sample(tells).await != Some(1.0) {
        assert!(std::env::var_os("HOLDPOINT_REQUIRE").is_none(), "the kernel must tell");
        eprintln!("skipped: the kernel tells of no connections");
        return;
    }
    scene.until("telemetry_lost", Doing { requests: true, records: false }).await;
    scene.until("live", at_work).await;
    scene.until("idle", Doing { requests: false, records: false }).await;
    let bytes = "holdpoint_watchdog_kernel_received_bytes_total{service=\"checkout\"}";
    assert!(scene.stage.sample(bytes).await.is_some_and(|bytes| bytes >= 5.0));
}
