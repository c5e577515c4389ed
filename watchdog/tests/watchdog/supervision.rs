//! The collector as a process: started, adopted, killed when it hangs, given up when it must be.
//!
//! The processes are real and do nothing; what they would say is said for them by the fakes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::UdpSocket;
use tokio_util::sync::{CancellationToken, DropGuard};
use watchdog::{CollectorPlace, Config, FindCollector, Supervise, Wiring};
use watchdog_core::names::Boot;

use crate::fakes::{FakeCollector, FakeGate};
use crate::stage::{Stage, body, config, wiring};

/// A command that writes its pid to a file and then runs `script`.
fn command(pid_file: &Path, script: &str) -> Supervise {
    let script = format!("exec > /dev/null 2>&1; echo $$ > {}; {script}", pid_file.display());
    Supervise {
        program: "/bin/sh".into(),
        argv: vec!["collector".into(), "-c".into(), script],
        env: Vec::new(),
    }
}

fn pid(pid_file: &Path) -> Option<u32> {
    std::fs::read_to_string(pid_file).ok()?.trim().parse().ok()
}

fn start_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Whether the process runs or sleeps; a zombie does not.
fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.try_into().expect("a pid is small")).expect("a pid is not 0");
    kill_process(pid, signal).expect("it is our child");
}

/// What the collector's run file would say, of the process in `pid_file`. The boot is its pid.
fn find(pid_file: PathBuf, http: std::net::SocketAddr) -> FindCollector {
    Arc::new(move || {
        let pid = pid(&pid_file)?;
        let start_ticks = start_ticks(pid)?;
        let boot = Boot::new(format!("17{pid}")).expect("a valid boot");
        Some(CollectorPlace { pid, start_ticks, boot, http, admin: http })
    })
}

/// Beats for the collector in `pid_file` every 50 ms, as its own thread would, while it runs.
fn beat_for(pid_file: PathBuf, watchdog: std::net::SocketAddr) -> DropGuard {
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let mut seq = 0;
        while !stopped.is_cancelled() {
            let running = pid(&pid_file).filter(|pid| {
                let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
                status.is_ok_and(|s| s.contains("State:\tS") || s.contains("State:\tR"))
            });
            if let Some(pid) = running {
                seq += 1;
                let mut beat = body(seq);
                beat["service"] = "holdpoint/collector".into();
                beat["instance"] = "collector".into();
                beat["boot"] = format!("17{pid}").into();
                let _sent = socket.send_to(beat.to_string().as_bytes(), watchdog).await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    stop.drop_guard()
}

struct Scene {
    _directory: tempfile::TempDir,
    pid_file: PathBuf,
    wiring: Wiring,
}

async fn scene(script: &str) -> (Scene, FakeCollector) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let pid_file = directory.path().join("pid");
    let fake = FakeCollector::start("1700000000000-c").await;
    let wiring = Wiring {
        supervise: Some(command(&pid_file, script)),
        collector: find(pid_file.clone(), fake.address),
        ..wiring()
    };
    (Scene { _directory: directory, pid_file, wiring }, fake)
}

const STARTS: &str = "holdpoint_watchdog_collector_starts_total";

#[tokio::test]
async fn the_collector_is_started_restarted_when_it_dies_and_drained_at_the_end() {
    let (scene, _fake) = scene("exec sleep 60").await;
    let stage = Stage::start(config(), Vec::new(), scene.wiring.clone()).await;
    stage.until("it runs", async |_| pid(&scene.pid_file).is_some_and(lives)).await;
    let first = pid(&scene.pid_file).expect("it runs");
    signal(first, Signal::KILL);
    stage
        .until("another runs", async |_| {
            pid(&scene.pid_file).is_some_and(|p| p != first && lives(p))
        })
        .await;
    let second = pid(&scene.pid_file).expect("it runs");
    let restarts = format!(r#"{STARTS}{{cause="restart"}}"#);
    assert_eq!(stage.sample(&restarts).await, Some(1.0));
    stage.stop().await.expect("a clean stop");
    assert!(!lives(second), "a planned stop ends the collector");
}

#[tokio::test]
async fn a_collector_that_hangs_is_killed_after_the_gate_was_told_and_started_again() {
    let (scene, fake) = scene("exec sleep 60").await;
    let gate = FakeGate::start().await;
    let place = watchdog::GatePlace { url: format!("http://{}", gate.address), token: "t".into() };
    let captures = tempfile::tempdir().expect("a temporary directory");
    let config = Config { capture_dir: Some(captures.path().into()), ..config() };
    let wiring = Wiring { gate: Arc::new(move || Some(place.clone())), ..scene.wiring.clone() };
    let stage = Stage::start(config, Vec::new(), wiring).await;
    let _beats = beat_for(scene.pid_file.clone(), stage.address);
    stage.until("it runs", async |_| pid(&scene.pid_file).is_some_and(lives)).await;
    let returned = r#"holdpoint_watchdog_probes_total{outcome="returned"}"#;
    stage.until("probes return", async |s| s.sample(returned).await >= Some(5.0)).await;

    let hung = pid(&scene.pid_file).expect("it runs");
    let stopped_at = std::time::Instant::now();
    signal(hung, Signal::STOP);
    fake.state.lock().expect("no test panicked").deaf = true;
    stage.until("it is killed", async |_| !lives(hung)).await;
    let killed_after = stopped_at.elapsed();
    fake.state.lock().expect("no test panicked").deaf = false;
    stage
        .until("another runs", async |_| {
            pid(&scene.pid_file).is_some_and(|p| p != hung && lives(p))
        })
        .await;
    let held = stage.json("/v1/verdicts").await["collector"].clone();
    assert_ne!(held["pid"], hung);
    let before = stage.sample(returned).await;
    stage.until("probes return", async |s| s.sample(returned).await > before).await;
    let back_after = stopped_at.elapsed().as_millis();
    println!(
        "killed {} ms after it hung, probes back after {back_after} ms",
        killed_after.as_millis()
    );
    assert!(killed_after > Duration::from_millis(1_500), "convicted late: {killed_after:?}");
    assert!(killed_after < Duration::from_secs(4), "convicted in time: {killed_after:?}");
    assert_eq!(stage.sample("holdpoint_watchdog_collector_convictions_total").await, Some(1.0));
    let files: Vec<_> = std::fs::read_dir(captures.path()).expect("readable").flatten().collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let text = std::fs::read_to_string(files[0].path()).expect("a capture");
    assert!(text.contains("T (stopped)"), "{text}");
    stage.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn a_collector_that_dies_at_every_start_is_given_up_after_five_restarts() {
    let (scene, _fake) = scene("exit 3").await;
    let stage = Stage::start(config(), Vec::new(), scene.wiring.clone()).await;
    let given_up = "holdpoint_watchdog_collector_given_up";
    stage.until("it is given up", async |s| s.sample(given_up).await == Some(1.0)).await;
    let restarts = format!(r#"{STARTS}{{cause="restart"}}"#);
    assert_eq!(stage.sample(&restarts).await, Some(5.0));
    assert_eq!(stage.json("/v1/verdicts").await["collector"]["state"], "given_up");
    // The opinion goes on without it.
    assert_eq!(stage.status("/healthz").await, 200);
    stage.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn the_watchdog_s_death_ends_no_collector_and_the_next_one_adopts_it() {
    let (scene, _fake) = scene("exec sleep 60").await;
    let first = Stage::start(config(), Vec::new(), scene.wiring.clone()).await;
    first.until("it runs", async |_| pid(&scene.pid_file).is_some_and(lives)).await;
    let collector = pid(&scene.pid_file).expect("it runs");
    first.running.abort();
    let address = first.address;
    first.until("the port is free", async |_| std::net::TcpListener::bind(address).is_ok()).await;
    assert!(lives(collector));

    let second = Stage::start(config(), Vec::new(), scene.wiring.clone()).await;
    let adopted = format!(r#"{STARTS}{{cause="adopted"}}"#);
    second.until("it is adopted", async |s| s.sample(&adopted).await == Some(1.0)).await;
    assert_eq!(second.sample(&format!(r#"{STARTS}{{cause="first"}}"#)).await, None);
    assert_eq!(pid(&scene.pid_file), Some(collector));
    second.stop().await.expect("a clean stop");
    assert!(!lives(collector), "the adopted one is drained like one's own");
}

#[tokio::test]
async fn a_recycled_pid_is_not_adopted() {
    let (scene, fake) = scene("exec sleep 60").await;
    // The place names this very process, with another start time.
    let own = std::process::id();
    let boot = Boot::new("1").expect("a valid boot");
    let stale =
        CollectorPlace { pid: own, start_ticks: 1, boot, http: fake.address, admin: fake.address };
    let wiring =
        Wiring { collector: Arc::new(move || Some(stale.clone())), ..scene.wiring.clone() };
    let stage = Stage::start(config(), Vec::new(), wiring).await;
    stage.until("one is started", async |_| pid(&scene.pid_file).is_some_and(lives)).await;
    assert_eq!(stage.sample(&format!(r#"{STARTS}{{cause="adopted"}}"#)).await, None);
    stage.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn a_collector_that_ignores_sigterm_is_killed_in_the_end() {
    let (scene, _fake) = scene("trap '' TERM; while :; do sleep 1; done").await;
    let stage = Stage::start(config(), Vec::new(), scene.wiring.clone()).await;
    stage.until("it runs", async |_| pid(&scene.pid_file).is_some_and(lives)).await;
    let stubborn = pid(&scene.pid_file).expect("it runs");
    stage.stop().await.expect("a clean stop");
    assert!(!lives(stubborn));
}
