//! The drill's own installation: `holdpoint up` on free ports, in a directory of its own.
//!
//! Its policy differs from the defaults in times alone, because nobody watches a fire drill for
//! an hour. What it decides on is the same.
//!
//! Invariant: the drill never talks to an installation that it did not start.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, ChildStdin, Command};
use toml::{Table, Value};

use super::failure::DrillError;
use super::fleet::{SERVICES, last_words};
use super::wait::wait_for;
use crate::place::{CollectorRun, DATA_DIR_ENV, Listen, Place};

/// How often the fleet beats.
pub const BEAT_INTERVAL_MS: u64 = 200;
/// Between two exports of a service's traces, and of its metrics. Alike, so that both fall silent
/// together; not shorter, so that a machine busy with other work does not look like silence.
pub const EXPORT_EVERY_MS: u64 = 600;

const READY_WITHIN: Duration = Duration::from_secs(20);
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// Where the roles are reached.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    pub otlp: SocketAddr,
    pub collector: SocketAddr,
    pub watchdog: SocketAddr,
    pub gate: SocketAddr,
}

/// The running installation.
#[derive(Debug)]
pub struct Stack {
    up: Child,
    lifeline: Option<ChildStdin>,
    pub addresses: Addresses,
    pub agent_token: String,
    pub operator_token: String,
}

impl Stack {
    /// Starts an installation in `dir` that reverts by asking at `socket`.
    pub async fn start(program: &Path, dir: &Path, socket: &Path) -> Result<Self, DrillError> {
        fs::create_dir(dir).map_err(DrillError::system(format!("create {}", dir.display())))?;
        let config = dir.join("holdpoint.toml");
        fs::write(&config, configuration(program, socket)?)
            .map_err(DrillError::system(format!("write {}", config.display())))?;
        let log = dir.join("up.log");
        let place = Place::at(dir.join("data"));
        let mut up = start_up(program, &config, &place, &log)?;
        let lifeline = up.stdin.take();
        let addresses = wait_until_ready(&mut up, &place, &log).await?;
        let token = |role| {
            let failed = |error| std::io::Error::other(format!("{error}"));
            place.token(role).map_err(failed).map_err(DrillError::system("find the token"))
        };
        let (agent_token, operator_token) = (token("agent")?, token("operator")?);
        Ok(Self { up, lifeline, addresses, agent_token, operator_token })
    }

    /// Lets go of the installation and waits for its clean end.
    pub async fn stop(mut self) {
        drop(self.lifeline.take());
        if tokio::time::timeout(STOP_WITHIN, self.up.wait()).await.is_err() {
            // Its children hold lifelines of their own and end with it.
            let _ = self.up.kill().await;
        }
    }
}

fn start_up(program: &Path, config: &Path, place: &Place, log: &Path) -> Result<Child, DrillError> {
    let open = || fs::OpenOptions::new().create(true).append(true).open(log);
    let failed = || DrillError::system(format!("open {}", log.display()));
    Command::new(program)
        .arg("--config")
        .arg(config)
        .arg("--data-dir")
        .arg(place.root())
        .args(["up", "--lifeline"])
        .env_remove(DATA_DIR_ENV)
        .stdin(Stdio::piped())
        .stdout(open().map_err(failed())?)
        .stderr(open().map_err(failed())?)
        // Ctrl-C reaches the drill alone, which ends its processes in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(DrillError::system("start holdpoint up"))
}

/// A role's run file appears after it has bound its ports.
async fn wait_until_ready(
    up: &mut Child,
    place: &Place,
    log: &Path,
) -> Result<Addresses, DrillError> {
    let what = || "holdpoint up".to_owned();
    let ready = wait_for(READY_WITHIN, async || {
        match up.try_wait().map_err(DrillError::system("wait for holdpoint up"))? {
            None => Ok(addresses(place)),
            Some(status) => Err(DrillError::Ended {
                what: what(),
                status: status.to_string(),
                last_words: last_words(log),
            }),
        }
    });
    let late =
        || DrillError::Late { what: what(), after: READY_WITHIN, last_words: last_words(log) };
    ready.await?.ok_or_else(late)
}

fn addresses(place: &Place) -> Option<Addresses> {
    let collector: CollectorRun = place.run("collector")?;
    let watchdog: Listen = place.run("watchdog")?;
    let gate: Listen = place.run("gate")?;
    Some(Addresses {
        otlp: collector.grpc,
        collector: collector.admin,
        watchdog: watchdog.listen,
        gate: gate.listen,
    })
}

fn configuration(program: &Path, socket: &Path) -> Result<String, DrillError> {
    let any_port = || Value::from("127.0.0.1:0");
    let table = |entries: Vec<(&str, Value)>| -> Table {
        entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    };
    let collector = table(vec![
        ("grpc_listen", any_port()),
        ("http_listen", any_port()),
        ("admin_listen", any_port()),
    ]);
    let policy = table(vec![
        ("approval", "never".into()),
        ("dwell_ms", 1_000.into()),
        ("bake_ms", 4_000.into()),
        ("evidence_min", 10.into()),
        ("permit_ttl_ms", 5_000.into()),
    ]);
    let services = SERVICES.map(|name| Value::from(service(name, program, socket)));
    Ok(toml::to_string(&table(vec![
        ("collector", collector.into()),
        ("watchdog", table(vec![("listen", any_port())]).into()),
        ("gate", table(vec![("listen", any_port())]).into()),
        ("policy", policy.into()),
        ("service", Value::Array(services.to_vec())),
    ]))?)
}

fn service(name: &str, program: &Path, socket: &Path) -> Table {
    let path = |path: &Path| Value::from(path.display().to_string());
    let action = vec![path(program), "drill-revert".into(), "--socket".into(), path(socket)];
    let mut revert = Table::new();
    revert.insert("exec".into(), Value::Array(action));
    revert.insert("timeout_ms".into(), 10_000.into());
    let mut service = Table::new();
    service.insert("name".into(), name.into());
    service.insert("environment".into(), "drill".into());
    service.insert("expect".into(), Value::Array(vec!["traces".into(), "metrics".into()]));
    let interval = i64::try_from(BEAT_INTERVAL_MS).expect("a fifth of a second fits");
    service.insert("beat_interval_ms".into(), interval.into());
    service.insert("revert".into(), revert.into());
    service
}

/// The program of this process: the drill starts itself in its other roles.
pub fn own_program() -> Result<PathBuf, DrillError> {
    std::env::current_exe().map_err(DrillError::system("find the own executable"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_names_every_service_and_its_way_back() {
        let text = configuration(Path::new("/bin/holdpoint"), Path::new("/tmp/a b.sock"))
            .expect("a plain table is written");
        let read: Table = toml::from_str(&text).expect("what was written is read");
        let services = read["service"].as_array().expect("an array of tables");
        assert_eq!(services.len(), SERVICES.len());
        let exec = &services[0]["revert"]["exec"];
        assert_eq!(exec.as_array().map(Vec::len), Some(4));
        assert_eq!(exec[3].as_str(), Some("/tmp/a b.sock"));
    }
}
