//! A gate with one service in sight, and a target where commands leave lines in a file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::process::{Gate, PATIENCE};
use super::wait;
use super::world::World;

const EXE: &str = env!("CARGO_BIN_EXE_holdpoint");
pub const SERVICE: &str = "checkout";
pub const SECRET: &str = "known to web-1 alone";

/// See the module's head.
pub struct Site {
    pub home: TempDir,
    pub gate: Gate,
    _world: World,
}

/// An apply that ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub said: String,
}

impl Site {
    /// `ttl_ms` is how long a permit lives; `more` is laid over `[policy]`.
    pub fn start(ttl_ms: u64, more: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let config = format!(
            "[gate]\nlisten = \"127.0.0.1:0\"\n\n\
             [policy]\ndwell_ms = 20\nbake_ms = 60000\npermit_ttl_ms = {ttl_ms}\n\
             freeze_scope = \"service\"\nbudget_start = 8\nbudget_max = 8\n{more}\n\n\
             [[service]]\nname = \"{SERVICE}\"\n\
             revert = {{ exec = [\"/bin/true\"] }}\n\
             target = [{{ name = \"web-1\", secret = \"{SECRET}\" }}]\n"
        );
        let mut gate = Gate::new(home.path(), &config);
        gate.start();
        fs::write(home.path().join("secret"), SECRET).unwrap();
        let world = World::start(&[SERVICE.to_owned()], &[gate.door()]);
        Self { home, gate, _world: world }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// One call, which the gate must answer.
    pub fn call(&self, role: &str, path: &str, body: &Value) -> Value {
        let method = if body.is_null() { "GET" } else { "POST" };
        self.gate.door().call(role, method, path, body).expect("the gate answers").body
    }

    /// The answer with a permit to go from `r0` to `to`.
    pub fn allowed(&self, change: &str, to: &str) -> Value {
        let body = json!({
            "change_id": change, "service": SERVICE, "from": "r0", "to": to,
            "digest": format!("sha256:{change}"), "agent": "a", "summary": "go on",
        });
        wait("a permit", PATIENCE, || {
            let answer = self.call("agent", "/v1/rollouts", &body);
            (answer["decision"] == "allow").then_some(answer)
        })
    }

    pub fn permit(&self, change: &str, to: &str) -> String {
        self.allowed(change, to)["permit"]["token"].as_str().expect("a token").to_owned()
    }

    pub fn freeze(&self, scope: &str) -> Value {
        self.call("agent", "/v1/freezes", &json!({"scope": scope, "reason": "stop"}))
    }

    pub fn thaw(&self, freeze: &Value) {
        let path = format!("/v1/freezes/{}/thaw", freeze["id"].as_str().unwrap());
        let thawed = self.call("operator", &path, &json!({"reason": "go on", "override": true}));
        assert!(!thawed["thawed"].is_null(), "{thawed}");
    }

    pub fn abort(&self, answer: &Value) {
        let path = format!("/v1/rollouts/{}/abort", answer["rollout"]["id"].as_str().unwrap());
        self.call("agent", &path, &json!({"reason": "another one"}));
    }

    /// The state of the rollout, which may have moved on since.
    pub fn state(&self, id: &str) -> String {
        let rollout = self.call("viewer", &format!("/v1/rollouts/{id}"), &Value::Null);
        rollout["state"].as_str().expect("a state").to_owned()
    }

    /// `holdpoint VERB …` at the target, to its start. What it says goes into the file `log`.
    pub fn spawn(&self, log: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Child {
        let log = fs::File::create(self.path(log)).unwrap();
        let mut command = Command::new(EXE);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HOLDPOINT_") {
                command.env_remove(name);
            }
        }
        command.arg("--data-dir").arg(self.path("data")).args(arguments);
        command.envs(variables.iter().copied()).current_dir(self.home.path());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command.spawn().unwrap()
    }

    /// `holdpoint apply` at web-1 under `permit`, to its start.
    pub fn begin(&self, log: &str, permit: &str, options: &[&str], script: &str) -> Child {
        let secret = self.path("secret").display().to_string();
        let mut all = vec!["apply", "--permit", permit, "--target", "web-1"];
        all.extend(["--secret-file", &secret]);
        all.extend_from_slice(options);
        all.extend(["--", "/bin/sh", "-c", script]);
        self.spawn(log, &all, &[])
    }

    /// The same, to its end.
    pub fn apply(&self, permit: &str, options: &[&str], script: &str) -> Ended {
        let child = self.begin("log.apply", permit, options, script);
        self.end("log.apply", child)
    }

    pub fn end(&self, log: &str, mut child: Child) -> Ended {
        let mut ended = None;
        wait("the apply ends", PATIENCE, || {
            ended = child.try_wait().unwrap();
            ended
        });
        Ended { code: ended.unwrap().code(), said: self.text(log) }
    }

    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// The lines that commands left.
    pub fn effects(&self) -> Vec<String> {
        self.text("effects").lines().map(str::to_owned).collect()
    }

    /// Waits until a command has written its process id to `name`.
    pub fn pid(&self, name: &str) -> Pid {
        wait("the command runs", PATIENCE, || {
            let text = self.text(name);
            let text = text.strip_suffix('\n')?;
            Pid::from_raw(text.parse().expect("a process id"))
        })
    }

    /// What the fence keeps.
    pub fn kept(&self) -> Value {
        let text = self.text("data/fence/web-1.json");
        serde_json::from_str(text.split_once('\n').expect("a checksum").1).expect("JSON")
    }

    /// Writes what the fence keeps, as the fence itself would.
    pub fn keep(&self, kept: &Value) {
        let body = kept.to_string();
        let sum = hex::encode(Sha256::digest(&body));
        fs::write(self.path("data/fence/web-1.json"), format!("sha256={sum}\n{body}\n")).unwrap();
    }
}

/// Whether a process is there and no zombie.
pub fn is_alive(pid: Pid) -> bool {
    let stat = Path::new("/proc").join(pid.as_raw_nonzero().to_string()).join("stat");
    let text = fs::read_to_string(stat).unwrap_or_default();
    text.rsplit_once(')').is_some_and(|(_, fields)| !fields.trim_start().starts_with(['Z', 'X']))
}

/// Stops a process, and waits until each of its threads stands.
pub fn stop(pid: Pid) {
    kill_process(pid, Signal::STOP).unwrap();
    let threads = Path::new("/proc").join(pid.as_raw_nonzero().to_string()).join("task");
    wait("it stands", PATIENCE, || {
        let stands = |thread: fs::DirEntry| {
            let text = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            text.rsplit_once(')').is_some_and(|(_, fields)| fields.trim_start().starts_with('T'))
        };
        fs::read_dir(&threads).unwrap().flatten().all(stands).then_some(())
    });
}

pub fn dies(what: &str, pid: Pid, limit: Duration) {
    wait(what, limit, || (!is_alive(pid)).then_some(()));
}

pub fn kill(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}
