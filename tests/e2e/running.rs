//! How a stack is run: checked, told to read its file again, drained by a signal, and with
//! nothing left of it when `up` is killed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rustix::process::Signal;

use super::http;
use super::stack::{Stack, is_gone, send, wait};

const ROLES: [&str; 3] = ["collector", "watchdog", "gate"];

#[test]
fn a_signal_drains_all_roles_and_takes_their_run_files_away() {
    let mut stack = Stack::start("");
    let pids = ROLES.map(|role| stack.pid(role).unwrap());
    send(stack.up_pid(), Signal::INT);
    assert_eq!(stack.wait_end(Duration::from_secs(15)), Some(0), "{}", stack.log());
    assert!(pids.into_iter().all(is_gone));
    assert!(ROLES.iter().all(|role| stack.run_file(role).is_none()));
}

#[test]
fn a_killed_up_leaves_no_role_behind_and_the_next_one_keeps_what_was_frozen() {
    let mut stack = Stack::start("");
    let frozen = stack.cli(&["freeze", "--scope", "fleet", "--reason", "a test"]);
    assert_eq!(frozen.code, Some(0), "{frozen:?}");
    let pids = ROLES.map(|role| stack.pid(role).unwrap());
    send(stack.up_pid(), Signal::KILL);
    wait("all roles end", Duration::from_secs(10), || pids.into_iter().all(is_gone).then_some(()));
    stack.wait_end(Duration::from_secs(1));

    let unreachable = stack.request("a", "v2", "x", &[]);
    assert_eq!(unreachable.code, Some(2), "no gate, no decision: {unreachable:?}");
    stack.start_again();
    assert_eq!(stack.freezes().len(), 1, "frozen is frozen");
}

fn in_force(stack: &Stack) -> serde_json::Value {
    let at = stack.address("collector", "admin").expect("it runs");
    let page = http::send(at, "GET", "/v1/config", &[], b"", Duration::from_secs(5));
    page.expect("an answer").json()
}

#[test]
fn a_hangup_takes_a_good_configuration_and_leaves_a_bad_one_alone() {
    let stack = Stack::start("");
    let file = stack.dir.path().join("holdpoint.toml");
    let good = fs::read_to_string(&file).unwrap();
    let pids = ROLES.map(|role| stack.pid(role).unwrap());
    fs::write(&file, format!("{good}\n[[service]]\nname = \"a\"\n")).unwrap();
    send(stack.up_pid(), Signal::HUP);
    wait("the mistake is reported", Duration::from_secs(5), || {
        stack.log().contains("service `a` is configured twice").then_some(())
    });
    assert_eq!(ROLES.map(|role| stack.pid(role).unwrap()), pids, "nothing was restarted");

    let rejected = "service `a` is configured twice";
    wait("the collector saw it too", Duration::from_secs(10), || {
        let why = in_force(&stack)["rejected"]["why"].as_str()?.to_owned();
        why.contains(rejected).then_some(())
    });

    let changed = good.replace("[collector]", "[collector]\nmax_request_bytes = 2048");
    fs::write(&file, format!("{changed}\n[[service]]\nname = \"new\"\n")).unwrap();
    send(stack.up_pid(), Signal::HUP);
    for (role, old) in ROLES.into_iter().zip(pids).skip(1) {
        stack.wait_restarted(role, old, Duration::from_secs(20));
    }
    assert_eq!(stack.pid("collector"), Some(pids[0]), "telemetry goes on");
    wait("the new limit is in force", Duration::from_secs(10), || {
        let at = stack.address("collector", "http")?;
        let headers = [("Content-Type", "application/x-protobuf")];
        let body = [0; 4_096];
        let answer = http::send(at, "POST", "/v1/traces", &headers, &body, Duration::from_secs(1))?;
        (answer.status == 413).then_some(())
    });
    assert_eq!(in_force(&stack)["rejected"], serde_json::Value::Null);
    let services = stack.cli(&["services"]);
    assert!(services.out.contains("\"new\""), "{services:?}");
}

#[test]
fn doctor_finds_nothing_on_a_good_stack_and_names_what_is_wrong_with_a_bad_one() {
    let stack = Stack::start("");
    let services: Vec<_> =
        ["a", "b", "c", "d"].into_iter().map(|name| stack.service(name, "v1")).collect();
    for name in ["a", "b", "c", "d"] {
        stack.wait_verdict(name, "live", Duration::from_secs(20));
    }
    let file = stack.dir.path().join("holdpoint.toml").display().to_string();
    let good = stack.cli(&["doctor", "--config", &file]);
    assert_eq!(good.code, Some(0), "{good:?}");
    assert_eq!(stack.cli(&["healthcheck"]).code, Some(0));

    let token = stack.data().join("tokens/agent.token");
    fs::copy(stack.data().join("tokens/operator.token"), &token).unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    let bad = stack.cli(&["doctor", "--config", &file]);
    assert_eq!(bad.code, Some(1), "{bad:?}");
    let wrong: Vec<_> = bad.json()["items"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|item| item["ok"] == false)
        .map(|item| item["check"].as_str().expect("a name").to_owned())
        .collect();
    assert_eq!(wrong, ["permissions", "agent's token"]);
    drop(services);
}

#[test]
fn a_killed_up_takes_a_hung_gate_and_watchdog_with_it() {
    let mut stack = Stack::start("");
    let pids = ["watchdog", "gate"].map(|role| stack.signal(role, Signal::STOP));
    send(stack.up_pid(), Signal::KILL);
    wait("both end", Duration::from_secs(5), || pids.into_iter().all(is_gone).then_some(()));
    stack.wait_end(Duration::from_secs(1));
}
