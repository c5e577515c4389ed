//! Collectors that are not Holdpoint's: watched by probes alone, restarted through who runs them.
//!
//! The collector is a scripted one (Python), a process of its own that takes OTLP/HTTP and carries
//! it to the watchdog's far tap, and misbehaves when it is told to.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use watchdog::{Config, Foreign, Restart};

use crate::stage::{Stage, config, wiring};

const SCRIPT: &str = include_str!("scripted_collector.py");
const RETURNED: &str = r#"holdpoint_watchdog_probes_total{outcome="returned"}"#;
const CONVICTIONS: &str = "holdpoint_watchdog_collector_convictions_total";

/// The folder with the script and the far tap's address, and the port of the front door.
pub struct Scripted {
    folder: tempfile::TempDir,
    front_door: SocketAddr,
}

impl Scripted {
    /// `None` if there is no Python here and none is required.
    pub fn new() -> Option<Self> {
        let python = std::process::Command::new("python3").arg("--version").output();
        if python.is_err() {
            let required = std::env::var("HOLDPOINT_REQUIRE").is_ok_and(|what| what == "all");
            assert!(!required, "python3 is required and not on this machine");
            eprintln!("skipped: no python3, so no scripted collector");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("collector.py"), SCRIPT).expect("a file");
        let port = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let front_door = port.local_addr().expect("bound");
        Some(Self { folder, front_door })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The command line of the collector.
    pub fn argv(&self) -> Vec<String> {
        let path = |name| self.path(name).display().to_string();
        let port = self.front_door.port().to_string();
        vec!["python3".into(), path("collector.py"), port, path("far-tap")]
    }

    pub fn config(&self, restart: Restart) -> Config {
        let foreign = Foreign {
            front_door: self.front_door.to_string(),
            far_tap: Some("127.0.0.1:0".parse().expect("an address")),
            restart: Some(restart),
        };
        Config { foreign: Some(foreign), ..config() }
    }

    pub async fn start(&self, restart: Restart) -> Stage {
        let stage = Stage::start(self.config(restart), Vec::new(), wiring()).await;
        let far_tap = stage.far_tap.expect("it was asked for").to_string();
        std::fs::write(self.path("far-tap"), far_tap).expect("a file");
        probes_return(&stage).await;
        stage
    }
}

/// Waits for five probes more than have returned by now.
pub async fn probes_return(stage: &Stage) {
    let before = stage.sample(RETURNED).await.unwrap_or_default();
    let more = async |stage: &Stage| stage.sample(RETURNED).await >= Some(before + 5.0);
    stage.until("probes return", more).await;
}

/// The boot of the collector that runs, as the page tells it.
pub async fn boot(stage: &Stage) -> Option<String> {
    let collector = stage.json("/v1/verdicts").await["collector"].clone();
    collector["boot"].as_str().map(str::to_owned)
}

pub fn send(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, signal).expect("it runs");
}

/// A child's boot is its pid and its start time.
async fn child(stage: &Stage) -> u32 {
    let boot = boot(stage).await.expect("it runs");
    boot.split_once('-').expect("two numbers").0.parse().expect("a pid")
}

async fn replaced(stage: &Stage, old: &str) {
    let another = async |stage: &Stage| boot(stage).await.is_some_and(|boot| boot != old);
    stage.until("another collector runs", another).await;
    probes_return(stage).await;
}

#[tokio::test]
async fn a_foreign_collector_that_hangs_dies_or_drops_is_replaced() {
    let Some(scripted) = Scripted::new() else { return };
    let stage = scripted.start(Restart::Child(scripted.argv())).await;
    for (signal, convictions) in [(Signal::STOP, 1.0), (Signal::KILL, 1.0), (Signal::USR1, 2.0)] {
        let old = boot(&stage).await.expect("it runs");
        let hit = Instant::now();
        send(child(&stage).await, signal);
        replaced(&stage, &old).await;
        println!("{signal:?}: five probes of another one returned after {:?}", hit.elapsed());
        assert_eq!(stage.sample(CONVICTIONS).await, Some(convictions), "{signal:?}");
    }
    let last = child(&stage).await;
    stage.stop().await.expect("a clean stop");
    assert!(!Path::new(&format!("/proc/{last}")).exists(), "a child is drained with the watchdog");
}

#[tokio::test]
async fn a_foreign_collector_that_forges_is_found_out() {
    let Some(scripted) = Scripted::new() else { return };
    let stage = scripted.start(Restart::Child(scripted.argv())).await;
    send(child(&stage).await, Signal::USR2);
    let wrong = r#"holdpoint_watchdog_probes_total{outcome="wrong"}"#;
    stage.until("it is found", async |s| s.sample(wrong).await.is_some_and(|n| n > 0.0)).await;
    stage.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn a_command_of_the_user_restarts_what_hangs_and_hears_why() {
    let Some(scripted) = Scripted::new() else { return };
    let argv = scripted.argv().join(" ");
    let (pid_file, said) = (scripted.path("pid"), scripted.path("said"));
    let restart = format!(
        "echo $HOLDPOINT_GENERATION $HOLDPOINT_REASON >> {}\n\
         [ -f {pid} ] && kill -KILL $(cat {pid})\n\
         setsid {argv} > /dev/null 2>&1 &\necho $! > {pid}\n",
        said.display(),
        pid = pid_file.display(),
    );
    let script = scripted.path("restart.sh");
    std::fs::write(&script, restart).expect("a file");
    let command = vec!["/bin/sh".to_owned(), script.display().to_string()];
    let first = std::process::Command::new(&command[0]).arg(&command[1]).status();
    assert!(first.expect("a shell").success());
    let pid = || -> u32 {
        let text = std::fs::read_to_string(&pid_file).expect("it was started");
        text.trim().parse().expect("a pid")
    };
    let stage = scripted.start(Restart::Command(command)).await;
    let old = boot(&stage).await.expect("it runs");
    send(pid(), Signal::STOP);
    replaced(&stage, &old).await;
    stage.stop().await.expect("a clean stop");
    let said = std::fs::read_to_string(&said).expect("it was run");
    let said: Vec<_> = said.lines().map(str::trim).collect();
    assert_eq!(said, ["", "1 silent"]);
    assert!(Path::new(&format!("/proc/{}", pid())).exists(), "it outlives the watchdog");
    send(pid(), Signal::KILL);
    tokio::time::sleep(Duration::ZERO).await;
}
