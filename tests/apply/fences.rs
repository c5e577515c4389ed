//! `holdpoint fence`: freezes come to be `fenced`, and stay at a target that is cut off.

use std::time::Instant;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::process::PATIENCE;
use super::site::{Site, kill};
use super::wait;

fn fence(site: &Site, log: &str) -> std::process::Child {
    let secret = site.path("secret").display().to_string();
    let all = ["fence", "--service", "checkout", "--target", "web-1", "--secret-file", &secret];
    site.spawn(log, &all, &[])
}

fn stage(site: &Site, id: &str) -> Value {
    let list = site.call("viewer", "/v1/freezes?all=true", &Value::Null);
    let items = list["items"].as_array().unwrap();
    items.iter().find(|freeze| freeze["id"] == id).expect("the freeze").clone()
}

#[test]
fn a_freeze_is_fenced_once_every_target_confirmed_it_and_a_target_cut_off_stays_frozen() {
    let mut site = Site::start(30_000, "");
    let durable = site.freeze("service=checkout");
    let id = durable["id"].as_str().unwrap();
    let shown = wait("its targets are counted", PATIENCE, || {
        let shown = stage(&site, id);
        shown["fenced"]["done"].is_u64().then_some(shown)
    });
    assert_eq!(shown["stage"], "durable", "{shown}");
    assert_eq!((&shown["fenced"]["done"], &shown["fenced"]["total"]), (&json!(0), &json!(1)));

    let mut watch = fence(&site, "log.fence");
    wait("the target confirms", PATIENCE, || (stage(&site, id)["stage"] == "fenced").then_some(()));
    site.thaw(&durable);
    let permit = site.permit("c-1", "r1");
    let asked = Instant::now();
    let second = site.freeze("fleet");
    let id = second["id"].as_str().unwrap();
    wait("the target confirms", PATIENCE, || (stage(&site, id)["stage"] == "fenced").then_some(()));
    println!("from the freeze to fenced: {:?}", asked.elapsed());

    // Cut off, restarted and killed, it stays frozen: for this permit and for any other.
    site.gate.kill();
    watch.kill().unwrap();
    watch.wait().unwrap();
    let watch = fence(&site, "log.fence.2");
    wait("it says so", PATIENCE, || {
        site.text("log.fence.2").contains("stays frozen here").then_some(())
    });
    let ended = site.apply(&permit, &["--offline"], "echo run >> effects");
    assert_eq!(ended.code, Some(1), "{}", ended.said);
    assert!(ended.said.contains(id), "{}", ended.said);
    assert!(site.effects().is_empty());
    kill(&watch, Signal::TERM);
    assert_eq!(site.end("log.fence.2", watch).code, Some(0));
}

#[test]
fn an_agents_word_without_the_targets_secret_fences_nothing() {
    let site = Site::start(30_000, "");
    let freeze = site.freeze("fleet");
    let id = freeze["id"].as_str().unwrap();
    let body = json!({"service": "checkout", "held": freeze["epoch"]});
    let refused = site.call("agent", "/v1/fences/web-1", &body);
    assert_eq!(refused["error"]["code"], "wrong_signature", "{refused}");
    let elsewhere = site.call("agent", "/v1/fences/web-2", &body);
    assert_eq!(elsewhere["counted"], false, "{elsewhere}");
    assert_ne!(stage(&site, id)["stage"], "fenced");
}
