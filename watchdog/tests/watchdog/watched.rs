//! Who watches the watchdog: the dead-man ping outside, and the service manager beside it.

use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use watchdog::{CollectorPlace, Config, Wiring};
use watchdog_core::names::Boot;

use crate::fakes::{FakeCollector, FakeGate};
use crate::stage::{PATIENCE, Stage, config, wiring};

pub fn beside(collector: &FakeCollector) -> Wiring {
    let place = CollectorPlace {
        pid: std::process::id(),
        start_ticks: 1,
        boot: Boot::new("1700000000000-b").expect("a valid boot"),
        http: collector.address,
        admin: collector.address,
    };
    Wiring { collector: Arc::new(move || Some(place.clone())), ..wiring() }
}

#[tokio::test]
async fn the_dead_man_is_pinged_only_while_probes_come_back_right() {
    let collector = FakeCollector::start("1700000000000-b").await;
    // Anything that takes a request will do; this one remembers it.
    let outside = FakeGate::start().await;
    let url = format!("http://{}/v1/attestations", outside.address);
    let config = Config {
        dead_man_url: Some(url),
        dead_man_interval_ms: 100,
        probe_timeout_ms: 300,
        ..config()
    };
    let stage = Stage::start(config, Vec::new(), beside(&collector)).await;
    stage.until("it is pinged", async |_| outside.taken().len() >= 2).await;
    let ping = outside.taken().pop().expect("two came");
    assert!(ping.signature.starts_with("ed25519="), "{}", ping.signature);
    let body: Value = serde_json::from_slice(&ping.body).expect("JSON");
    assert!(body["seq"].as_u64().is_some_and(|seq| seq > 0), "{body}");

    collector.state.lock().expect("no test panicked").forge = true;
    let withheld = "dead_man_pings_total{outcome=\"withheld\"}";
    let first = count(&stage, withheld).await;
    stage.until("pings are withheld", async |s| count(s, withheld).await > first).await;
    let before = (outside.taken().len(), count(&stage, withheld).await);
    stage
        .until("more are withheld", async |stage| count(stage, withheld).await >= before.1 + 3)
        .await;
    assert_eq!(outside.taken().len(), before.0, "a wrong answer is no proof");

    collector.state.lock().expect("no test panicked").forge = false;
    stage.until("it is pinged again", async |_| outside.taken().len() > before.0).await;
}

/// A counter by its name and labels; one that has no sample yet has counted nothing.
pub async fn count(stage: &Stage, name: &str) -> u64 {
    let page = stage.client.get(format!("http://{}/metrics", stage.address)).send().await;
    let text = page.expect("it answers").text().await.expect("text");
    let line = text.lines().find(|line| line.contains(name));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn the_service_manager_hears_ready_each_verdict_and_the_stop() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("manager");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let wiring = Wiring { service_manager: Some(path), ..wiring() };
    let stage = Stage::start(config(), Vec::new(), wiring).await;
    let heard = tokio::task::spawn_blocking(move || {
        let mut heard = Vec::new();
        while heard.last().is_none_or(|words: &String| words != "STOPPING=1") {
            let mut room = [0; 256];
            let length = manager.recv(&mut room).expect("a message in time");
            heard.push(String::from_utf8_lossy(&room[..length]).into_owned());
        }
        heard
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    stage.stop().await.expect("a planned stop is no failure");
    let heard = heard.await.expect("it does not panic");
    assert!(heard[0].starts_with("READY=1\n"), "{heard:?}");
    let seqs: Vec<u64> = heard.iter().filter_map(|words| seq(words)).collect();
    assert!(seqs.len() >= 3 && seqs.is_sorted_by(|a, b| a < b), "{heard:?}");
}

fn seq(words: &str) -> Option<u64> {
    words.lines().find_map(|line| line.strip_prefix("X_HOLDPOINT_SEQ="))?.parse().ok()
}
