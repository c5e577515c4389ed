//! The clients of `docs/clients.md`, run as they stand there against a running watchdog.
//!
//! A client whose language is not on this machine is passed over with one line, unless
//! `HOLDPOINT_REQUIRE=all` says that everything must be there.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use holdpoint_beat::{Beats, Sender};
use serde_json::Value;

use crate::stage::{BEAT_KEY, Stage, config, wiring};

const DOCUMENT: &str = include_str!("../../../docs/clients.md");
/// A compiler may have to build its own library first.
const PATIENCE: Duration = Duration::from_secs(120);

/// Ends the client with the test.
struct Client(Child);

impl Drop for Client {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// The program that stands in the document in this language.
fn program(language: &str) -> String {
    let begin = format!("```{language}\n");
    let (_, after) = DOCUMENT.split_once(&begin).expect("the document has this language");
    after.split_once("\n```").expect("the program ends").0.to_owned()
}

fn is_here(runner: &str) -> bool {
    let probe = if runner == "go" { "version" } else { "--version" };
    let found = Command::new(runner)
        .arg(probe)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        let required = std::env::var("HOLDPOINT_REQUIRE").is_ok_and(|what| what == "all");
        assert!(!required, "{runner} is required and not on this machine");
        eprintln!("skipped: {runner} is not on this machine");
    }
    found
}

/// Runs the client and waits until the watchdog has heard it work twice.
async fn heard(language: &str, file: &str, runner: &str, key: Option<&[u8]>) {
    if !is_here(runner) {
        return;
    }
    let stage = Stage::start(config(), Vec::new(), wiring()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(file);
    std::fs::write(&path, program(language)).expect("a file");
    let service = format!("{}{language}", if key.is_some() { "signed-" } else { "" });
    // `go run` would leave the program behind when it is ended: it is built first.
    let mut command = if runner == "go" {
        let built = folder.path().join("client");
        let mut build = Command::new(runner);
        let done = build.args(["build", "-o"]).arg(&built).arg(&path).status();
        assert!(done.expect("go runs").success(), "the program in the document builds");
        Command::new(built)
    } else {
        let mut command = Command::new(runner);
        command.arg(&path);
        command
    };
    command.env("HOLDPOINT_BEATS", stage.address.to_string());
    command.env("SERVICE", &service);
    if let Some(key) = key {
        command.env("BEAT_KEY", std::str::from_utf8(key).expect("a key of letters"));
    }
    let mut client = Client(command.spawn().expect("it starts"));
    works(&stage, &service, key.is_some(), || {
        let ended = client.0.try_wait().expect("it is our child");
        assert!(ended.is_none(), "the {language} client ended: {ended:?}");
    })
    .await;
}

async fn works(stage: &Stage, service: &str, signed: bool, mut look: impl FnMut()) {
    let begun = Instant::now();
    let mut requests = Vec::new();
    while requests.len() < 2 {
        assert!(begun.elapsed() < PATIENCE, "{service} is not heard: {requests:?}");
        look();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let Some(verdict) = stage.verdict(service).await else { continue };
        assert_eq!(verdict["beats"]["authenticated"], Value::Bool(signed), "{verdict}");
        let count = verdict["witness"]["requests"].as_u64();
        requests.extend(count.filter(|count| requests.last().is_none_or(|last| count > last)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_client_is_heard() {
    heard("python", "client.py", "python3", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_client_signs() {
    heard("python", "client.py", "python3", Some(BEAT_KEY)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_client_is_heard() {
    heard("javascript", "client.js", "node", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_go_client_is_heard() {
    heard("go", "client.go", "go", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shell_client_is_heard() {
    heard("bash", "client.sh", "bash", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rust_client_is_heard_and_signs() {
    let stage = Stage::start(config(), Vec::new(), wiring()).await;
    let sender = Sender::new(stage.address, "signed-rust").expect("a name");
    let sender = sender.every(Duration::from_millis(50)).signed(BEAT_KEY.to_vec());
    let beats = Beats::start(sender).expect("a socket and a thread");
    let work = beats.work();
    works(&stage, "signed-rust", true, || {
        work.request();
        work.turn();
    })
    .await;
}
