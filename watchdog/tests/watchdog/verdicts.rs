//! Verdicts from real beats, a real tally and real probes; and the pages that show them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::UdpSocket;
use tokio_util::sync::{CancellationToken, DropGuard};
use watchdog::{CollectorPlace, ServiceConfig, Wiring};
use watchdog_core::liveness::LivenessContract;
use watchdog_core::names::Boot;

use crate::fakes::FakeCollector;
use crate::stage::{Stage, body, config, datagram, wiring};

/// The beat period of these tests, in milliseconds.
const PERIOD_MS: u64 = 100;

/// A service under load: every period it serves ten requests, beats, and exports their spans.
struct Shop {
    beating: Arc<AtomicBool>,
    working: Arc<AtomicBool>,
    exporting: Arc<AtomicBool>,
    last_export: Arc<Mutex<Instant>>,
    _stop: DropGuard,
}

impl Shop {
    fn open(watchdog: SocketAddr, collector: Arc<FakeCollector>) -> Self {
        let flag = || Arc::new(AtomicBool::new(true));
        let (beating, working, exporting) = (flag(), flag(), flag());
        let last_export = Arc::new(Mutex::new(Instant::now()));
        let stop = CancellationToken::new();
        let shop = Self {
            beating: Arc::clone(&beating),
            working: Arc::clone(&working),
            exporting: Arc::clone(&exporting),
            last_export: Arc::clone(&last_export),
            _stop: stop.clone().drop_guard(),
        };
        tokio::spawn(async move {
            let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
            let mut pace = tokio::time::interval(Duration::from_millis(PERIOD_MS));
            let (mut seq, mut requests) = (0, 0);
            while !stop.is_cancelled() {
                pace.tick().await;
                seq += 1;
                let working = working.load(Ordering::Relaxed);
                requests += if working { 10 } else { 0 };
                if working && exporting.load(Ordering::Relaxed) {
                    collector.arrive("checkout", "i", "v1", 10);
                    *last_export.lock().expect("no test panicked") = Instant::now();
                }
                if beating.load(Ordering::Relaxed) {
                    let mut beat = datagram("checkout", seq);
                    beat["requests"] = json!(requests);
                    beat["revision"] = json!("v1");
                    let _sent = socket.send_to(beat.to_string().as_bytes(), watchdog).await;
                }
                let mut own = body(seq);
                own["service"] = json!("holdpoint/collector");
                own["instance"] = json!("collector");
                let _sent = socket.send_to(own.to_string().as_bytes(), watchdog).await;
            }
        });
        shop
    }
}

/// A collector that runs as long as this process does.
fn watching(collector: &FakeCollector) -> Wiring {
    let place = CollectorPlace {
        pid: std::process::id(),
        start_ticks: 1,
        boot: Boot::new("1700000000000-b").expect("a valid boot"),
        http: collector.address,
        admin: collector.address,
    };
    Wiring { collector: Arc::new(move || Some(place.clone())), ..wiring() }
}

async fn open() -> (Stage, Shop, Arc<FakeCollector>) {
    let collector = Arc::new(FakeCollector::start("1700000000000-b").await);
    let stage = Stage::start(config(), Vec::new(), watching(&collector)).await;
    let shop = Shop::open(stage.address, Arc::clone(&collector));
    (stage, shop, collector)
}

async fn becomes(stage: &Stage, verdict: &str) {
    let is = async |s: &Stage| s.verdict("checkout").await.is_some_and(|v| v["verdict"] == verdict);
    let waited = tokio::time::timeout(crate::stage::PATIENCE, async {
        while !is(stage).await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    if waited.await.is_err() {
        panic!("not {verdict} but {:#?}", stage.verdict("checkout").await);
    }
}

/// What a service must have shown before its expectations are learnt, and a little more.
async fn live_and_learnt(stage: &Stage) {
    becomes(stage, "live").await;
    stage
        .until("expectations are learnt", async |s| {
            let verdict = s.verdict("checkout").await.expect("it had one");
            verdict["verdict"] == "live"
                && verdict["signals"]["traces"]["expected"] == true
                && verdict["witness"]["ratio"].is_number()
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_that_goes_on_without_telemetry_is_telemetry_lost_within_the_bound() {
    let (stage, shop, _collector) = open().await;
    live_and_learnt(&stage).await;
    shop.exporting.store(false, Ordering::Relaxed);
    becomes(&stage, "telemetry_lost").await;
    let took = shop.last_export.lock().expect("no test panicked").elapsed();
    println!("telemetry_lost {} ms after the last arrival", took.as_millis());
    // The freeze bound is 2 periods and 250 ms; a loaded machine gets a second more.
    assert!(took < Duration::from_millis(2 * PERIOD_MS + 250 + 1_000), "took {took:?}");
    shop.exporting.store(true, Ordering::Relaxed);
    becomes(&stage, "live").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_work_is_idle_and_no_beats_is_heartbeat_lost_and_neither_is_down() {
    let (stage, shop, _collector) = open().await;
    live_and_learnt(&stage).await;
    shop.working.store(false, Ordering::Relaxed);
    becomes(&stage, "idle").await;
    shop.working.store(true, Ordering::Relaxed);
    becomes(&stage, "live").await;
    shop.beating.store(false, Ordering::Relaxed);
    becomes(&stage, "heartbeat_lost").await;
    shop.exporting.store(false, Ordering::Relaxed);
    becomes(&stage, "down").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_zeroes_values_is_forged() {
    let (stage, _shop, collector) = open().await;
    becomes(&stage, "live").await;
    collector.state.lock().expect("no test panicked").forge = true;
    becomes(&stage, "forged").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pages_show_what_holds_and_the_stream_shows_what_changes() {
    let (stage, shop, _collector) = open().await;
    live_and_learnt(&stage).await;
    let page = stage.json("/v1/verdicts").await;
    assert_eq!((&page["watchdog"], &page["boot"]), (&json!("w1"), &json!("1700000000000-w")));
    assert!(page["seq"].as_u64() > Some(0));
    let services: Vec<&Value> =
        page["items"].as_array().expect("a list").iter().map(|v| &v["service"]).collect();
    assert!(services.contains(&&json!("checkout")), "{services:?}");
    let line =
        r#"holdpoint_watchdog_verdict{service="checkout",environment="default",verdict="live"}"#;
    assert_eq!(stage.sample(line).await, Some(1.0));
    assert_eq!(stage.status("/v1/verdicts/nobody").await, 404);

    let request = stage.client.get(stage.url("/v1/verdicts")).header("Accept", "text/event-stream");
    let mut stream = request.send().await.expect("a stream");
    shop.beating.store(false, Ordering::Relaxed);
    let mut text = String::new();
    let read = tokio::time::timeout(crate::stage::PATIENCE, async {
        while !text.contains(r#""to":"heartbeat_lost""#) {
            let chunk = stream.chunk().await.expect("the stream holds").expect("it does not end");
            text.push_str(&String::from_utf8_lossy(&chunk));
        }
    });
    assert!(read.await.is_ok(), "the change is not in {text}");
    assert!(text.starts_with("event: verdicts"), "{text}");
    assert!(text.contains("event: change"), "{text}");
    // An open stream must not hold the watchdog back from stopping.
    let began = Instant::now();
    stage.stop().await.expect("a clean stop");
    assert!(began.elapsed() < Duration::from_secs(3), "took {:?}", began.elapsed());
}

#[tokio::test]
async fn what_the_detector_promises_stands_beside_what_it_achieves() {
    let contract =
        LivenessContract { detect_ms: 600, mistakes_apart_ms: 86_400_000, mistake_ms_max: 600 };
    let service = ServiceConfig {
        name: "checkout".parse().expect("a valid name"),
        environment: "test".parse().expect("a valid name"),
        expect: None,
        beat_interval_ms: Some(PERIOD_MS),
        instances_min: None,
        restart_grace_ms: None,
        witness: None,
        liveness: Some(contract),
    };
    let collector = Arc::new(FakeCollector::start("1700000000000-b").await);
    let stage = Stage::start(config(), vec![service], watching(&collector)).await;
    let shop = Shop::open(stage.address, Arc::clone(&collector));
    wait(&stage, "is live", |v| v["verdict"] == "live").await;
    shop.beating.store(false, Ordering::Relaxed);
    let found =
        wait(&stage, "has a figure", |v| !v["liveness"]["achieved"]["detect_ms_max"].is_null())
            .await;
    let liveness = &found["liveness"];
    assert_eq!(liveness["promise"]["detect_ms"], 600);
    assert_eq!(liveness["unkept"], Value::Null, "{liveness}");
    assert_eq!(liveness["interval_ms"], PERIOD_MS);
    let detected = liveness["achieved"]["detect_ms_max"].as_u64().expect("a figure");
    assert!((500..1_100).contains(&detected), "{liveness}");
    assert!(liveness["suspicion"].as_f64().is_some_and(|level| level > 3.0), "{liveness}");
    shop.beating.store(true, Ordering::Relaxed);
    let again = wait(&stage, "is a mistake", |v| v["liveness"]["achieved"]["mistakes"] == 1).await;
    assert!(again["liveness"]["achieved"]["accuracy"].as_f64().is_some_and(|part| part < 1.0));
    let text = stage.client.get(format!("http://{}/metrics", stage.address));
    let text = text.send().await.expect("it answers").text().await.expect("text");
    let promised = "holdpoint_watchdog_liveness_promised_seconds\
                    {service=\"checkout\",figure=\"detection\"} 0.6";
    assert!(text.contains(promised), "{text}");
    assert!(text.contains("liveness_achieved_seconds{service=\"checkout\",figure=\"mistake\"}"));
}

/// The verdict about `checkout` as soon as `holds` is true of it.
async fn wait(stage: &Stage, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let mut found = Value::Null;
    stage
        .until(what, async |stage| {
            found = stage.verdict("checkout").await.unwrap_or(Value::Null);
            holds(&found)
        })
        .await;
    found
}

#[tokio::test]
async fn a_service_that_was_live_is_kept_and_known_after_a_restart() {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&kept);
    let collector = Arc::new(FakeCollector::start("1700000000000-b").await);
    let keep: watchdog::Keep = Arc::new(move |services| {
        *sink.lock().expect("no test panicked") = services.to_vec();
        Ok(())
    });
    let stage = Stage::start(config(), Vec::new(), Wiring { keep, ..watching(&collector) }).await;
    let _shop = Shop::open(stage.address, Arc::clone(&collector));
    let known = || kept.lock().expect("no test panicked").clone();
    stage.until("it is kept", async |_| known().iter().any(|r| !r.expect.is_empty())).await;
    stage.stop().await.expect("a planned stop is no failure");

    let again = Wiring { recalled: known(), ..wiring() };
    let stage = Stage::start(config(), Vec::new(), again).await;
    let found = wait(&stage, "it is known", |v| v["verdict"] == "unknown").await;
    assert_eq!(found["signals"]["traces"]["state"], "never", "{found}");
}
