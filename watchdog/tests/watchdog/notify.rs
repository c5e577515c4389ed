//! The `sd_notify` socket, spoken to by a real process that knows nothing of Holdpoint.

use std::io::Read as _;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use serde_json::json;
use watchdog::Config;

use crate::stage::{Stage, config, wiring};

/// The child's part: what a service written for systemd does. Without the variable it is a test
/// run like any other and there is nothing to do.
#[test]
fn as_a_child_this_binary_speaks_sd_notify() {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let socket = UnixDatagram::unbound().expect("a socket");
    for message in ["READY=1\nSTATUS=up", "WATCHDOG=1\nX_HOLDPOINT_REQUESTS=7", "STATUS=no beat"] {
        socket.send_to(message.as_bytes(), &path).expect("the watchdog hears");
    }
    let mut end = String::new();
    std::io::stdin().read_to_string(&mut end).expect("the parent closes the pipe");
}

#[tokio::test]
async fn a_service_made_for_systemd_beats_without_a_change() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("notify.sock");
    // What a former life left behind is no obstacle.
    drop(UnixDatagram::bind(&path).expect("a stale socket"));
    let config = Config { notify_socket: Some(path.clone()), ..config() };
    let stage = Stage::start(config, Vec::new(), wiring()).await;
    let mut child = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "notify::as_a_child_this_binary_speaks_sd_notify"])
        .env("NOTIFY_SOCKET", &path)
        .env("OTEL_SERVICE_NAME", "cron")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("this binary starts");

    let beats = r#"holdpoint_watchdog_beats_total{transport="notify"}"#;
    stage.until("two beats", async |s| s.sample(beats).await == Some(2.0)).await;
    stage.until("a verdict", async |s| s.verdict("cron").await.is_some()).await;
    let instance = format!("pid-{}", child.id());
    stage
        .until("the instance is the process", async |s| {
            let verdict = s.verdict("cron").await.expect("it had one");
            verdict["instances"][0]["instance"] == json!(instance)
        })
        .await;
    drop(child.stdin.take());
    assert!(child.wait().expect("our child").success());
}
