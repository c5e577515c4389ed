//! The whole drill as its users run it: one command, and its verdict about itself.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The drill promises less than a minute.
const DRILL_MAX: Duration = Duration::from_secs(60);

/// Two drills at once would share two cores and measure each other.
static STAGE: Mutex<()> = Mutex::new(());

fn drill(temporary: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdpoint"));
    command.args(["drill", "-o", "json"]).env("TMPDIR", temporary).stdin(Stdio::null());
    command
}

#[test]
fn the_drill_proves_the_crash_and_the_gate() {
    let _alone = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let temporary = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let done = drill(temporary.path()).output().unwrap();
    let took = began.elapsed();
    let words = String::from_utf8_lossy(&done.stderr);
    let report: Value = serde_json::from_slice(&done.stdout)
        .unwrap_or_else(|error| panic!("standard output is one document: {error}\n{words}"));

    let failed: Vec<_> =
        report["checks"].as_array().unwrap().iter().filter(|check| check["ok"] != true).collect();
    assert!(failed.is_empty(), "{failed:#?}\n{words}");
    assert!(report["checks"].as_array().unwrap().len() >= 14);
    assert_eq!(report["ok"], true);
    assert!(done.status.success(), "{}", done.status);

    let [naive, gated] = report["acts"].as_array().unwrap().as_slice() else {
        panic!("two acts: {report:#}")
    };
    assert_eq!(naive["name"], "naive");
    assert_eq!((&naive["services"], &naive["changed"]), (&20.into(), &20.into()));
    assert!(naive["blind"].as_u64().unwrap() >= 18);
    assert_eq!(naive["permits"], 0);
    for figure in ["freeze_ms", "reverted_ms", "denied_after"] {
        assert!(naive[figure].is_null(), "{figure} does not apply: {}", naive[figure]);
    }
    assert_eq!(gated["name"], "gated");
    assert_eq!((&gated["changed"], &gated["blind"]), (&1.into(), &1.into()));
    assert_eq!((&gated["permits"], &gated["denied_after"]), (&1.into(), &19.into()));
    assert!(gated["freeze_ms"].as_u64().unwrap() > 0);
    assert!(gated["reverted_ms"].as_u64().unwrap() > 0);
    for act in [naive, gated] {
        assert!(act["timeline"].as_array().unwrap().len() >= 5);
    }

    assert!(took < DRILL_MAX, "took {took:?}");
    assert_clean(temporary.path());
}

#[test]
fn an_interrupted_drill_takes_everything_with_it() {
    let _alone = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let temporary = tempfile::tempdir().unwrap();
    // A group of its own, so that the signal reaches the drill and nothing of the test.
    let child = drill(temporary.path())
        .process_group(0)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut child = Ended(child);
    // Deep enough that roles and services run: the fleet has written its log.
    wait_until("the fleet is up", || {
        drills(temporary.path()).iter().any(|drill| drill.join("naive/fleet.log").exists())
    });
    let pid = rustix::process::Pid::from_raw(child.0.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let status = child.0.wait().unwrap();
    assert_eq!(status.code(), Some(2));
    assert_clean(temporary.path());
}

#[test]
fn a_running_installation_is_not_drilled_and_the_refusal_says_what_works() {
    let temporary = tempfile::tempdir().unwrap();
    let done = drill(temporary.path()).args(["--service", "checkout"]).output().unwrap();
    assert_eq!(done.status.code(), Some(2));
    assert!(done.stdout.is_empty());
    let words = String::from_utf8(done.stderr).unwrap();
    assert!(words.contains("`holdpoint drill` alone"), "{words}");
    assert_clean(temporary.path());
}

/// A child that ends with its test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn drills(temporary: &Path) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(temporary)
        .expect("the test owns it")
        .map(|entry| entry.expect("an entry").path())
        .collect()
}

/// Nothing is left: no file, and no process that was told of the directory.
fn assert_clean(temporary: &Path) {
    assert_eq!(drills(temporary), Vec::<std::path::PathBuf>::new());
    let name = temporary.to_str().expect("UTF-8");
    wait_until("every process has ended", || {
        let processes = std::fs::read_dir("/proc").expect("Linux").filter_map(Result::ok);
        let environment = |path: std::path::PathBuf| std::fs::read(path.join("environ"));
        !processes
            .filter_map(|process| environment(process.path()).ok())
            .any(|read| String::from_utf8_lossy(&read).contains(name))
    });
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(15), "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
