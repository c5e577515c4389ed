//! A foreign collector in a container, by a server that speaks the Docker Engine API.
//!
//! The server answers what the API documents (inspect 200, kill 204 or 409, restart 204, 404 with
//! `{"message": …}`) over a Unix socket, and its container is the scripted collector's process.

use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use rustix::process::Signal;
use serde_json::{Value, json};
use watchdog::{Container, Restart};

use crate::foreign::{Scripted, boot, probes_return, send};

/// The container that the daemon knows.
const NAME: &str = "otelcol";

struct Daemon {
    argv: Vec<String>,
    running: Option<Child>,
    starts: u32,
    asked: Vec<String>,
}

impl Daemon {
    fn start(&mut self) {
        self.starts += 1;
        let child = Command::new(&self.argv[0])
            .args(&self.argv[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.running = Some(child.expect("python runs"));
    }

    fn end(&mut self) {
        if let Some(mut child) = self.running.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
    }
}

type Shared = Arc<Mutex<Daemon>>;

fn serve(socket: &std::path::Path, argv: Vec<String>) -> Shared {
    let mut daemon = Daemon { argv, running: None, starts: 0, asked: Vec::new() };
    daemon.start();
    let daemon = Arc::new(Mutex::new(daemon));
    let routes = Router::new()
        .route("/containers/{name}/json", get(inspect))
        .route("/containers/{name}/kill", post(kill))
        .route("/containers/{name}/restart", post(restart))
        .with_state(daemon.clone());
    let listener = tokio::net::UnixListener::bind(socket).expect("a socket");
    tokio::spawn(async move { axum::serve(listener, routes).await });
    daemon
}

fn refuse(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "message": message }))).into_response()
}

async fn inspect(State(daemon): State<Shared>, Path(name): Path<String>) -> Response {
    if name != NAME {
        return refuse(StatusCode::NOT_FOUND, &format!("No such container: {name}"));
    }
    let mut daemon = daemon.lock().expect("no test panicked");
    let ended = daemon.running.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None)));
    if ended {
        daemon.running = None;
    }
    let pid = daemon.running.as_ref().map_or(0, Child::id);
    let started = format!("2026-11-24T13:00:{:02}.123456789Z", daemon.starts);
    let state = json!({
        "Status": if pid > 0 { "running" } else { "exited" },
        "Running": pid > 0, "Paused": false, "Restarting": false, "OOMKilled": false,
        "Dead": false, "Pid": pid, "ExitCode": 0, "Error": "",
        "StartedAt": started, "FinishedAt": "0001-01-01T00:00:00Z",
    });
    Json(json!({ "Id": "8dfafdbc3a40", "Name": "/otelcol", "State": state })).into_response()
}

async fn kill(
    State(daemon): State<Shared>,
    Query(query): Query<Value>,
    Path(name): Path<String>,
) -> Response {
    let mut daemon = daemon.lock().expect("no test panicked");
    let signal = query["signal"].as_str().unwrap_or("SIGKILL").to_owned();
    daemon.asked.push(format!("kill {name} {signal}"));
    let Some(child) = &daemon.running else {
        return refuse(StatusCode::CONFLICT, &format!("container {name} is not running"));
    };
    send(child.id(), if signal == "SIGKILL" { Signal::KILL } else { Signal::ABORT });
    StatusCode::NO_CONTENT.into_response()
}

async fn restart(
    State(daemon): State<Shared>,
    Query(query): Query<Value>,
    Path(name): Path<String>,
) -> Response {
    let mut daemon = daemon.lock().expect("no test panicked");
    daemon.asked.push(format!("restart {name} {}", query["t"].as_str().unwrap_or("-")));
    daemon.end();
    daemon.start();
    StatusCode::NO_CONTENT.into_response()
}

#[tokio::test]
async fn a_container_that_hangs_is_killed_and_restarted_over_the_daemon_s_socket() {
    let Some(scripted) = Scripted::new() else { return };
    let socket = scripted.path("docker.sock");
    let daemon = serve(&socket, scripted.argv());
    let container = Container { container: NAME.into(), socket };
    let stage = scripted.start(Restart::Docker(container)).await;
    assert_eq!(boot(&stage).await.as_deref(), Some("2026-11-24T13:00:01.123456789Z"));
    let hung = daemon.lock().expect("no test panicked").running.as_ref().map(Child::id);
    send(hung.expect("it runs"), Signal::STOP);
    let another = Some("2026-11-24T13:00:02.123456789Z");
    stage.until("another runs", async |s| boot(s).await.as_deref() == another).await;
    probes_return(&stage).await;
    let asked = daemon.lock().expect("no test panicked").asked.clone();
    // A stopped process acts on nothing but SIGKILL.
    assert_eq!(asked, ["kill otelcol SIGKILL", "restart otelcol 0"]);
    stage.stop().await.expect("a clean stop");
    let daemon = daemon.lock().expect("no test panicked");
    assert!(daemon.running.is_some(), "what Docker runs outlives the watchdog");
}
