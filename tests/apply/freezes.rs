//! A freeze while a command is under way.

use std::time::{Duration, Instant};

use super::process::PATIENCE;
use super::site::{Site, dies};

#[test]
fn a_freeze_in_the_middle_stops_the_command_and_is_confirmed() {
    let site = Site::start(30_000, "");
    let allowed = site.allowed("c-1", "r1");
    let permit = allowed["permit"]["token"].as_str().unwrap();
    let script = "echo $$ > pid; exec sleep 1000";
    let apply = site.begin("log.1", permit, &[], script);
    let command = site.pid("pid");
    let frozen = Instant::now();
    let freeze = site.freeze("service=checkout");
    dies("the command is stopped", command, PATIENCE);
    println!("from the freeze to the end of the command: {:?}", frozen.elapsed());
    let ended = site.end("log.1", apply);
    assert_eq!(ended.code, Some(4), "{}", ended.said);
    let id = freeze["id"].as_str().unwrap();
    assert!(ended.said.contains(&format!("freeze {id}")), "{}", ended.said);
    let state = site.state(allowed["rollout"]["id"].as_str().unwrap());
    assert!(["reverting", "reverted", "stuck"].contains(&state.as_str()), "{state}");

    // On disk: also without the gate nothing of that epoch is ever taken here again.
    let mut site = site;
    site.gate.kill();
    let ended = site.apply(permit, &["--offline", "--step", "2"], "echo run >> effects");
    assert_eq!(ended.code, Some(1), "{}", ended.said);
    assert!(site.effects().is_empty());
}

#[test]
fn a_freeze_of_another_service_disturbs_nobody() {
    let site = Site::start(30_000, "");
    let permit = site.permit("c-1", "r1");
    let script = "echo $$ > pid; while [ ! -e go ]; do sleep 0.01; done; echo run >> effects";
    let apply = site.begin("log.1", &permit, &[], script);
    site.pid("pid");
    site.freeze("service=cart");
    super::wait("the fence has heard of it", PATIENCE, || {
        (site.kept()["freezes"]["floors"]["service=cart"].is_u64()).then_some(())
    });
    std::fs::write(site.path("go"), "").unwrap();
    let ended = site.end("log.1", apply);
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert_eq!(site.effects(), ["run"]);
}

#[test]
fn where_policy_says_so_a_command_may_finish_and_is_taken_back() {
    let site = Site::start(30_000, "on_freeze = \"finish\"");
    let allowed = site.allowed("c-1", "r1");
    let permit = allowed["permit"]["token"].as_str().unwrap();
    let script = "echo $$ > pid; while [ ! -e go ]; do sleep 0.01; done; echo run >> effects";
    let apply = site.begin("log.1", permit, &[], script);
    site.pid("pid");
    site.freeze("service=checkout");
    super::wait("the fence says that the permit is gone", PATIENCE, || {
        site.text("log.1").contains("without a permit").then_some(())
    });
    std::thread::sleep(Duration::from_millis(200));
    std::fs::write(site.path("go"), "").unwrap();
    let ended = site.end("log.1", apply);
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert_eq!(site.effects(), ["run"]);
    let state = site.state(allowed["rollout"]["id"].as_str().unwrap());
    assert!(["reverting", "reverted", "stuck"].contains(&state.as_str()), "{state}");
}
