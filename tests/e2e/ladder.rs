//! What restarting does not heal: a spool with which the collector cannot live is put aside, and a
//! collector that dies too often is left to a person.
//!
//! Invariant: what is put aside is still there, byte for byte.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::process::Signal;

use super::http;
use super::stack::{Stack, is_gone, wait};

const PATIENCE: Duration = Duration::from_secs(30);
/// A file of a version that nobody can read yet.
const UNREADABLE: &[u8] = b"HPSPOOL\n\xe7\x03\x00\x00what a later version wrote";
const UNREADABLE_NAME: &str = "000000000099.spool";

/// A backend that takes everything.
fn backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || take(&stream));
        }
    });
    at
}

/// Answers every request on one connection; `None` at its end.
fn take(stream: &TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(text) = line.strip_prefix("content-length:") {
                length = text.trim().parse().ok()?;
            }
        }
        reader.read_exact(&mut vec![0; length]).ok()?;
        (&*stream).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").ok()?;
    }
}

/// A stack with a backend, whose collector may be started again so many times.
fn stack(restarts_max: usize) -> Stack {
    Stack::start(&format!(
        "dwell_ms = 1000\n\
         [[collector.exporter]]\nendpoint = \"http://{}\"\n\
         [watchdog.healing]\nrestarts_max = {restarts_max}\ndwell_ms = 2500",
        backend()
    ))
}

impl Stack {
    fn metric(&self, name: &str) -> Option<f64> {
        let page = http::get(self.address("watchdog", "listen")?, "/metrics")?;
        let line = page.body.lines().find(|line| line.starts_with(&format!("{name} ")))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    fn custody(&self) -> Option<String> {
        let page = http::get(self.address("watchdog", "listen")?, "/v1/verdicts")?.json();
        page["collector"]["state"].as_str().map(str::to_owned)
    }

    fn reason(&self, service: &str) -> String {
        let verdict = self.verdict(service).unwrap_or_default();
        verdict["reason"].as_str().unwrap_or_default().to_owned()
    }

    /// How long it was waited before each restart so far, in milliseconds.
    fn waits(&self) -> Vec<u64> {
        let text = self.log();
        let lines = text.lines().filter(|line| line.contains("the collector is started again"));
        let wait = |line: &str| {
            let digits = line.split("wait_ms=").nth(1)?.split(|c: char| !c.is_ascii_digit());
            digits.into_iter().next()?.parse().ok()
        };
        lines.filter_map(wait).collect()
    }

    /// Kills the collector that runs, as soon as it says so; gives back which that was.
    fn kill_another(&self, old: Option<u32>) -> u32 {
        let another = |pid: u32| Some(pid) != old && !is_gone(pid);
        wait("it runs", PATIENCE, || self.pid("collector").filter(|pid| another(*pid)));
        self.signal("collector", Signal::KILL)
    }
}

#[test]
fn a_spool_that_cannot_be_read_is_put_aside_and_kept_and_the_collector_comes_up() {
    let stack = stack(8);
    let service = stack.service("a", "v1");
    stack.wait_verdict("a", "live", PATIENCE);
    let spool = stack.data().join("spool");
    fs::write(spool.join(UNREADABLE_NAME), UNREADABLE).expect("it can be written");
    let old = stack.signal("collector", Signal::KILL);
    stack.wait_restarted("collector", old, PATIENCE);
    stack.wait_verdict("a", "live", PATIENCE);

    let aside = fs::read_dir(spool.join("quarantine")).expect("something was put aside");
    let kept = aside.map(|entry| entry.expect("it can be listed").path());
    let is_it = |path: &std::path::PathBuf| path.to_string_lossy().ends_with(UNREADABLE_NAME);
    let kept = kept.into_iter().find(is_it).expect("it is there");
    assert_eq!(fs::read(kept).expect("it can be read"), UNREADABLE);
    let told = stack.metric("holdpoint_watchdog_collector_spool_quarantines_total");
    assert_eq!(told, Some(1.0), "{}", stack.log());
    assert!(stack.log().contains("put aside in spool/quarantine"), "{}", stack.log());
    let reason = stack.reason("a");
    assert!(reason.contains("spool is put aside: a person must look"), "{reason}");
    assert_eq!(stack.metric("holdpoint_watchdog_collector_given_up"), Some(0.0));
    drop(service);
}

#[test]
fn a_collector_that_dies_too_often_is_left_to_a_person_and_a_proven_dwell_resets_the_backoff() {
    let stack = stack(3);
    let service = stack.service("a", "v1");
    stack.wait_verdict("a", "live", PATIENCE);
    let first = stack.kill_another(None);
    let second = stack.kill_another(Some(first));
    stack.wait_restarted("collector", second, PATIENCE);
    assert_eq!(stack.waits(), [0, 200], "{}", stack.log());
    stack.wait_verdict("a", "live", PATIENCE);
    // Longer than the dwell, and than what it takes to see its first and its last moment.
    std::thread::sleep(Duration::from_secs(5));
    let third = stack.kill_another(Some(second));
    let last = stack.kill_another(Some(third));
    wait("it is given up", PATIENCE, || (stack.custody()? == "given_up").then_some(()));
    assert_eq!(stack.waits(), [0, 200, 0], "{}", stack.log());

    std::thread::sleep(Duration::from_secs(3));
    assert!(is_gone(last) && stack.pid("collector").is_none_or(|pid| pid == last));
    assert_eq!(stack.waits().len(), 3, "it stays down");
    assert_eq!(stack.metric("holdpoint_watchdog_collector_given_up"), Some(1.0));
    assert!(stack.log().contains("dies too often and is not started again"), "{}", stack.log());
    let reason = stack.reason("a");
    assert!(reason.contains("not started again: a person must look"), "{reason}");

    let file = stack.dir.path().join("holdpoint.toml");
    let text = fs::read_to_string(&file).expect("it is there");
    fs::write(&file, format!("{text}\n# looked at\n")).expect("it can be written");
    stack.wait_verdict("a", "live", PATIENCE);
    assert_eq!(stack.metric("holdpoint_watchdog_collector_given_up"), Some(0.0));
    assert!(!stack.reason("a").contains("a person must look"), "{}", stack.reason("a"));
    drop(service);
}
