//! Once, whoever asks how often.

use rustix::process::{Pid, Signal};

use super::process::PATIENCE;
use super::site::{Site, dies, kill, stop};

const EFFECT: &str = "echo \"$HOLDPOINT_ROLLOUT $HOLDPOINT_TO $HOLDPOINT_DIGEST\" >> effects";

#[test]
fn a_command_runs_under_a_permit_and_a_replayed_one_runs_nothing() {
    let site = Site::start(30_000, "");
    let allowed = site.allowed("c-1", "r1");
    let id = allowed["rollout"]["id"].as_str().unwrap();
    let permit = allowed["permit"]["token"].as_str().unwrap();
    let ended = site.apply(permit, &["--digest", "sha256:c-1", "--service", "checkout"], EFFECT);
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert_eq!(site.effects(), [format!("{id} r1 sha256:c-1")]);
    assert_eq!(site.state(id), "baking", "the gate was told");
    for options in [&[][..], &["--offline"]] {
        let again = site.apply(permit, options, EFFECT);
        assert_eq!(again.code, Some(0), "{}", again.said);
        assert!(again.said.contains("not run again"), "{}", again.said);
    }
    assert_eq!(site.effects().len(), 1);
}

#[test]
fn of_two_applies_that_race_one_runs() {
    let site = Site::start(30_000, "");
    let permit = site.permit("c-1", "r1");
    let script = "echo begun >> effects; echo $$ > pid; while [ ! -e go ]; do sleep 0.01; done";
    let first = site.begin("log.1", &permit, &[], script);
    let second = site.begin("log.2", &permit, &[], script);
    let mut both = [("log.1", Some(first)), ("log.2", Some(second))];
    let loser = super::wait("one of them gives up", PATIENCE, || {
        let ended = |child: &mut Option<std::process::Child>| {
            child.as_mut().unwrap().try_wait().unwrap().is_some()
        };
        both.iter_mut().position(|(_, child)| ended(child))
    });
    let (log, child) = &mut both[loser];
    let ended = site.end(log, child.take().unwrap());
    assert_eq!(ended.code, Some(75), "{}", ended.said);
    assert!(ended.said.contains("another apply is at work"), "{}", ended.said);
    site.pid("pid");
    std::fs::write(site.path("go"), "").unwrap();
    let (log, child) = &mut both[1 - loser];
    let ended = site.end(log, child.take().unwrap());
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert_eq!(site.effects(), ["begun"]);
}

#[test]
fn a_fence_that_is_killed_takes_its_command_with_it_and_the_step_runs_anew() {
    let site = Site::start(30_000, "");
    let permit = site.permit("c-1", "r1");
    let mut apply = site.begin("log.1", &permit, &[], "echo $$ > pid; exec sleep 1000");
    let command = site.pid("pid");
    apply.kill().unwrap();
    apply.wait().unwrap();
    dies("the command dies with its fence", command, PATIENCE);

    // And when both are killed before one notices, the next apply ends the rest.
    let script = "echo $PPID > ward; echo $$ > pid.2; exec sleep 1000";
    let mut apply = site.begin("log.2", &permit, &[], script);
    let command = site.pid("pid.2");
    let ward = site.pid("ward");
    stop(Pid::from_child(&apply));
    rustix::process::kill_process(ward, Signal::KILL).unwrap();
    dies("the ward", ward, PATIENCE);
    apply.kill().unwrap();
    apply.wait().unwrap();
    assert!(super::site::is_alive(command), "nobody has ended it yet");
    let ended = site.apply(&permit, &[], EFFECT);
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    dies("what was left is ended", command, PATIENCE);
    assert_eq!(site.effects().len(), 1);
}

#[test]
fn a_ward_that_is_killed_takes_the_command_with_it() {
    let site = Site::start(30_000, "");
    let permit = site.permit("c-1", "r1");
    let script = "echo $PPID > ward; echo $$ > pid; exec sleep 1000";
    let apply = site.begin("log.1", &permit, &[], script);
    let command = site.pid("pid");
    rustix::process::kill_process(site.pid("ward"), Signal::KILL).unwrap();
    let ended = site.end("log.1", apply);
    assert_eq!(ended.code, Some(4), "{}", ended.said);
    dies("the command dies with its ward", command, PATIENCE);
}

#[test]
fn a_command_that_fails_is_told_to_the_gate_and_so_is_one_that_a_person_stops() {
    let site = Site::start(30_000, "");
    let allowed = site.allowed("c-1", "r1");
    let permit = allowed["permit"]["token"].as_str().unwrap();
    let ended = site.apply(permit, &[], "exit 7");
    assert_eq!(ended.code, Some(3), "{}", ended.said);
    assert!(ended.said.contains("failed with code 7"), "{}", ended.said);
    let state = site.state(allowed["rollout"]["id"].as_str().unwrap());
    assert!(["reverting", "reverted", "stuck"].contains(&state.as_str()), "{state}");

    let site = Site::start(30_000, "");
    let permit = site.permit("c-1", "r1");
    // It does not listen to SIGTERM.
    let script = "trap '' TERM; echo $$ > pid; while :; do sleep 1; done";
    let apply = site.begin("log.1", &permit, &["--grace", "200ms"], script);
    let command = site.pid("pid");
    kill(&apply, Signal::TERM);
    let ended = site.end("log.1", apply);
    assert_eq!(ended.code, Some(4), "{}", ended.said);
    dies("it is killed when its grace is over", command, PATIENCE);
}

#[test]
fn an_order_of_the_way_back_runs_once_under_any_freeze_and_an_older_one_never() {
    let site = Site::start(30_000, "");
    site.freeze("fleet");
    let order = |effect: &'static str, generation: &'static str| {
        let variables = [
            ("HOLDPOINT_ROLLOUT", "r-000001"),
            ("HOLDPOINT_SERVICE", "checkout"),
            ("HOLDPOINT_FROM", "r1"),
            ("HOLDPOINT_TO", "r0"),
            ("HOLDPOINT_GENERATION", generation),
            ("HOLDPOINT_EFFECT_ID", effect),
        ];
        let script = "echo \"$HOLDPOINT_EFFECT_ID $HOLDPOINT_TO\" >> effects";
        let all = ["apply", "--revert", "--target", "web-1", "--", "/bin/sh", "-c", script];
        let child = site.spawn("log.revert", &all, &variables);
        site.end("log.revert", child)
    };
    for _ in 0..3 {
        assert_eq!(order("e-000001", "1").code, Some(0));
    }
    assert_eq!(order("e-000002", "2").code, Some(0));
    let late = order("e-000009", "1");
    assert_eq!(late.code, Some(1), "{}", late.said);
    assert!(late.said.contains("generation 1 of r-000001 is old"), "{}", late.said);
    assert_eq!(site.effects(), ["e-000001 r0", "e-000002 r0"]);
}

#[test]
fn a_person_takes_a_rollout_back_by_hand_under_any_freeze() {
    let site = Site::start(30_000, "");
    let allowed = site.allowed("c-1", "r1");
    let id = allowed["rollout"]["id"].as_str().unwrap();
    let ended = site.apply(allowed["permit"]["token"].as_str().unwrap(), &[], EFFECT);
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    site.freeze("fleet");
    let all = ["revert", id, "--reason", "not what we wanted", "--wait", "30s"];
    let child = site.spawn("log.revert", &all, &[]);
    let ended = site.end("log.revert", child);
    assert_eq!((ended.code, site.state(id).as_str()), (Some(0), "reverted"), "{}", ended.said);
    let child = site.spawn("log.revert", &all, &[]);
    let again = site.end("log.revert", child);
    assert_eq!(again.code, Some(1), "what is over cannot be taken back again: {}", again.said);
}
