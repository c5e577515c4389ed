//! The gate is gone: what runs, runs to the end of its lease and no further.

use std::time::{Duration, Instant};

use super::process::PATIENCE;
use super::site::{Site, dies};

const TTL: Duration = Duration::from_secs(4);

#[test]
fn a_command_ends_with_its_lease_when_the_gate_is_killed() {
    let mut site = Site::start(4_000, "");
    let permit = site.permit("c-1", "r1");
    let apply = site.begin("log.1", &permit, &[], "echo $$ > pid; exec sleep 1000");
    let command = site.pid("pid");
    // It outlives one permit, because it is renewed.
    std::thread::sleep(TTL);
    assert!(super::site::is_alive(command), "{}", site.text("log.1"));
    site.gate.kill();
    let killed = Instant::now();
    dies("the lease is over", command, PATIENCE);
    let outlived = killed.elapsed();
    println!("the command outlived the gate by {outlived:?} of {TTL:?}");
    assert!(outlived < TTL, "a lease ends before its permit: {outlived:?}");
    let ended = site.end("log.1", apply);
    assert_eq!(ended.code, Some(4), "{}", ended.said);
    assert!(ended.said.contains("again later"), "the gate was not told: {}", ended.said);

    // A gate that comes back in a new epoch is told, and the old permit is dead.
    site.gate.start();
    let ended = site.apply(&permit, &["--step", "2"], "echo run >> effects");
    assert_eq!(ended.code, Some(1), "{}", ended.said);
    assert!(site.effects().is_empty());
    super::wait("the gate has heard how it ended", PATIENCE, || {
        let kept = site.kept();
        kept.as_object()?["runs"][0]["is_told"].as_bool()?.then_some(())
    });
}

#[test]
fn without_the_gate_nothing_begins_unless_that_was_asked_for() {
    let mut site = Site::start(30_000, "");
    let permit = site.permit("c-1", "r1");
    site.gate.kill();
    let effect = "echo run >> effects";
    let ended = site.apply(&permit, &[], effect);
    assert_eq!(ended.code, Some(2), "{}", ended.said);
    // A fence that never heard the gate knows of no freeze, which is not that there is none.
    let ended = site.apply(&permit, &["--offline"], effect);
    assert_eq!(ended.code, Some(2), "{}", ended.said);
    assert!(ended.said.contains("never heard the gate"), "{}", ended.said);
    assert!(site.effects().is_empty());

    let mut site = Site::start(30_000, "");
    let permit = site.permit("c-1", "r1");
    assert_eq!(site.apply(&permit, &["--step", "1", "--more"], effect).code, Some(0));
    site.gate.kill();
    let ended = site.apply(&permit, &["--step", "2", "--offline"], effect);
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert_eq!(site.effects().len(), 2);
}
