//! A stack: `holdpoint up` in a directory of its own on free ports, and what is asked of it.
//!
//! Invariant: every process is ended by its handle or by the end of `up`, when the stack goes.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::http::{self, Answer};
use super::service::{Addresses, Service, TURN as TURN_OF_WORK};

const EXE: &str = env!("CARGO_BIN_EXE_holdpoint");

/// Stories take turns.
static TURN: Mutex<()> = Mutex::new(());

/// What a command ended with.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ended {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or(Value::Null)
    }
}

/// Runs `holdpoint` to its end.
pub fn holdpoint(arguments: &[&str]) -> Ended {
    let mut command = Command::new(EXE);
    command.args(arguments).stdin(Stdio::null());
    for name in ["HOLDPOINT_DATA_DIR", "HOLDPOINT_GATE_URL", "HOLDPOINT_TOKEN", "RUST_LOG"] {
        command.env_remove(name);
    }
    let ended = command.output().expect("the executable runs");
    Ended {
        code: ended.status.code(),
        out: String::from_utf8_lossy(&ended.stdout).into_owned(),
        err: String::from_utf8_lossy(&ended.stderr).into_owned(),
    }
}

/// Waits until `seen` gives something.
///
/// Panics with `what` when the time is over.
pub fn wait<T>(what: &str, limit: Duration, mut seen: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = seen() {
            return value;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A configuration with free ports and short times. Services `a` to `d` can be reverted: the revert
/// writes the revision to go back to into `DIR/reverted-SERVICE`.
pub fn config(dir: &Path, policy: &str) -> String {
    let script = dir.join("revert.sh");
    let dir_shown = dir.display();
    let body = format!(
        r#"[ "$HOLDPOINT_DRY_RUN" = 1 ] && exit 0
printf %s "$HOLDPOINT_TO" > "{dir_shown}/new-$$"
mv "{dir_shown}/new-$$" "{dir_shown}/reverted-$HOLDPOINT_SERVICE"
"#
    );
    fs::write(&script, body).expect("the directory can be written");
    let mut text = format!(
        "[collector]\n\
         grpc_listen = \"127.0.0.1:0\"\nhttp_listen = \"127.0.0.1:0\"\n\
         admin_listen = \"127.0.0.1:0\"\n\
         [watchdog]\nlisten = \"127.0.0.1:0\"\nbeat_interval_ms = 500\n\
         [watchdog.judge]\nlearn_ms = 1500\n\
         [gate]\nlisten = \"127.0.0.1:0\"\n\
         [policy]\n{policy}\n"
    );
    for service in ["a", "b", "c", "d"] {
        text.push_str(&format!(
            "[[service]]\nname = \"{service}\"\nexpect = [\"traces\"]\n\
             revert = {{ exec = [\"/bin/sh\", \"{}\"], timeout_ms = 5000 }}\n",
            script.display()
        ));
    }
    text
}

/// A running `up`.
#[derive(Debug)]
pub struct Stack {
    pub dir: TempDir,
    up: Child,
    _turn: MutexGuard<'static, ()>,
}

impl Stack {
    /// Starts it with `policy` and waits until every role answers.
    pub fn start(policy: &str) -> Self {
        let turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::write(dir.path().join("holdpoint.toml"), config(dir.path(), policy)).expect("written");
        let up = Self::up(dir.path());
        let stack = Self { dir, up, _turn: turn };
        stack.wait_ready();
        stack
    }

    fn up(dir: &Path) -> Child {
        let log = fs::File::create(dir.join("up.log")).expect("the directory can be written");
        Command::new(EXE)
            .args(["up", "--config"])
            .arg(dir.join("holdpoint.toml"))
            .arg("--data-dir")
            .arg(dir.join("data"))
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("one more handle"))
            .stderr(log)
            .spawn()
            .expect("the executable runs")
    }

    fn wait_ready(&self) {
        wait("all roles are ready", Duration::from_secs(30), || {
            ["collector", "watchdog", "gate"].iter().all(|role| self.is_ready(role)).then_some(())
        });
    }

    pub fn is_ready(&self, role: &str) -> bool {
        let Some(at) = self.admin(role) else { return false };
        http::get(at, "/readyz").is_some_and(|answer| answer.status == 200)
    }

    /// Starts `up` again in the same directory after it ended.
    pub fn start_again(&mut self) {
        self.up = Self::up(self.dir.path());
        self.wait_ready();
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("up.log")).unwrap_or_default()
    }

    pub fn run_file(&self, role: &str) -> Option<Value> {
        let text = fs::read_to_string(self.data().join(format!("run/{role}.json"))).ok()?;
        serde_json::from_str(&text).ok()
    }

    pub fn address(&self, role: &str, key: &str) -> Option<SocketAddr> {
        self.run_file(role)?[key].as_str()?.parse().ok()
    }

    fn admin(&self, role: &str) -> Option<SocketAddr> {
        self.address(role, if role == "collector" { "admin" } else { "listen" })
    }

    pub fn pid(&self, role: &str) -> Option<u32> {
        u32::try_from(self.run_file(role)?["pid"].as_u64()?).ok()
    }

    /// The process id of `up` itself.
    pub fn up_pid(&self) -> u32 {
        self.up.id()
    }

    /// Sends a signal to the process of `role` as its run file names it; gives back its pid.
    pub fn signal(&self, role: &str, signal: Signal) -> u32 {
        let pid = self.pid(role).expect("the role runs");
        send(pid, signal);
        pid
    }

    /// Waits until `role` runs as another process than `old` and is ready.
    pub fn wait_restarted(&self, role: &str, old: u32, limit: Duration) {
        wait(&format!("{role} runs again"), limit, || {
            (self.pid(role).is_some_and(|pid| pid != old) && self.is_ready(role)).then_some(())
        });
    }

    /// Waits for the end of `up`; gives back its exit code.
    pub fn wait_end(&mut self, limit: Duration) -> Option<i32> {
        let up = &mut self.up;
        wait("up ends", limit, || up.try_wait().expect("up is our child")).code()
    }

    /// `holdpoint … --data-dir DATA -o json`.
    pub fn cli(&self, arguments: &[&str]) -> Ended {
        let data = self.data().display().to_string();
        let mut all = arguments.to_vec();
        all.extend(["--data-dir", &data, "-o", "json"]);
        holdpoint(&all)
    }

    /// Asks the gate with the token of `role`.
    pub fn gate(&self, role: &str, method: &str, path: &str, body: &Value) -> Option<Answer> {
        let token = fs::read_to_string(self.data().join(format!("tokens/{role}.token"))).ok()?;
        let bearer = format!("Bearer {}", token.trim());
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let at = self.address("gate", "listen")?;
        http::send(at, method, path, &headers, body.as_bytes(), Duration::from_secs(1))
    }

    pub fn freezes(&self) -> Vec<Value> {
        let answer = self.gate("viewer", "GET", "/v1/freezes", &Value::Null);
        let items = answer.map(|answer| answer.json()["items"].clone());
        items.and_then(|items| items.as_array().cloned()).unwrap_or_default()
    }

    pub fn verdict(&self, service: &str) -> Option<Value> {
        let at = self.address("watchdog", "listen")?;
        let answer = http::get(at, &format!("/v1/verdicts/{service}"))?;
        (answer.status == 200).then(|| answer.json())
    }

    pub fn wait_verdict(&self, service: &str, verdict: &str, limit: Duration) {
        let mut last = Value::Null;
        let start = Instant::now();
        while last["verdict"] != verdict {
            assert!(
                start.elapsed() < limit,
                "{service} is not {verdict}: {last:#}\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
            last = self.verdict(service).unwrap_or(Value::Null);
        }
    }

    /// Starts a service that sends to this stack, wherever its roles are at the moment.
    pub fn service(&self, name: &str, revision: &str) -> Service {
        self.service_with_turn(name, revision, TURN_OF_WORK)
    }

    /// The same, for a service that beats at the end of every `turn`.
    pub fn service_with_turn(&self, name: &str, revision: &str, turn: Duration) -> Service {
        let run = self.data().join("run");
        let read = move |role: &str, key: &str| -> Option<SocketAddr> {
            let text = fs::read_to_string(run.join(format!("{role}.json"))).ok()?;
            let value: Value = serde_json::from_str(&text).ok()?;
            value[key].as_str()?.parse().ok()
        };
        let addresses: Addresses =
            Arc::new(move || Some((read("watchdog", "listen")?, read("collector", "http")?)));
        Service::start(name, revision, turn, addresses)
    }

    /// Asks for a rollout of `service`, once.
    pub fn request(&self, service: &str, to: &str, change: &str, more: &[&str]) -> Ended {
        let digest = format!("sha256:{change}");
        let mut arguments = vec!["rollout", "request", "--service", service, "--from", "v1"];
        arguments.extend(["--to", to, "--digest", &digest, "--change-id", change]);
        arguments.extend(more);
        self.cli(&arguments)
    }

    /// The revision that the revert of `service` went back to, if it ran.
    pub fn reverted(&self, service: &str) -> Option<String> {
        fs::read_to_string(self.dir.path().join(format!("reverted-{service}"))).ok()
    }

    pub fn state(&self, rollout: &str) -> Option<String> {
        let path = format!("/v1/rollouts/{rollout}");
        let answer = self.gate("viewer", "GET", &path, &Value::Null)?;
        answer.json()["state"].as_str().map(str::to_owned)
    }

    pub fn wait_state(&self, rollout: &str, state: &str, limit: Duration) {
        let start = Instant::now();
        loop {
            let seen = self.state(rollout);
            if seen.as_deref() == Some(state) {
                return;
            }
            let shown = self.cli(&["rollout", "status", rollout]).out;
            assert!(start.elapsed() < limit, "not {state}: {shown}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Takes a rollout of `service` to `baking`: asked for, permitted, begun, applied, seen.
    pub fn bake(&self, service: &Service, name: &str, to: &str) -> String {
        let asked = self.request(name, to, &format!("{name}-{to}"), &["--wait", "30s"]);
        assert_eq!(asked.code, Some(0), "{asked:?}\n{}", self.log());
        let id = asked.json()["rollout"]["id"].as_str().expect("an id").to_owned();
        let renewed = self.cli(&["rollout", "renew", &id]);
        assert_eq!(renewed.code, Some(0), "{renewed:?}");
        service.run_revision(to);
        let applied = self.cli(&["rollout", "applied", &id]);
        assert_eq!(applied.code, Some(0), "{applied:?}");
        self.wait_state(&id, "baking", Duration::from_secs(5));
        id
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // A role that a story stopped could not drain.
        for role in ["collector", "watchdog", "gate"] {
            if let Some(pid) = self.pid(role) {
                send(pid, Signal::CONT);
            }
        }
        send(self.up.id(), Signal::TERM);
        let start = Instant::now();
        while !matches!(self.up.try_wait(), Ok(Some(_))) {
            if start.elapsed() > Duration::from_secs(20) {
                self.up.kill().ok();
                self.up.wait().ok();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

/// Sends a signal to a process of a stack.
pub fn send(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, signal).ok();
}

/// Whether process `pid` is gone, or dead and only not counted yet.
pub fn is_gone(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rfind(')').is_none_or(|end| stat[end + 1..].trim_start().starts_with('Z'))
}
