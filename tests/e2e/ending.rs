//! How a stack ends: drained by a signal, or with nothing left when `up` is killed.

use std::time::Duration;

use rustix::process::Signal;

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

#[test]
fn a_killed_up_takes_a_hung_gate_and_watchdog_with_it() {
    let mut stack = Stack::start("");
    let pids = ["watchdog", "gate"].map(|role| stack.signal(role, Signal::STOP));
    send(stack.up_pid(), Signal::KILL);
    wait("both end", Duration::from_secs(5), || pids.into_iter().all(is_gone).then_some(()));
    stack.wait_end(Duration::from_secs(1));
}
