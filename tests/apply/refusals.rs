//! What never runs: forged, foreign, late and damaged.

use std::fs;

use serde_json::json;

use super::site::Site;

const EFFECT: &str = "echo run >> effects";

#[test]
fn a_permit_that_is_forged_or_for_something_else_runs_nothing() {
    let site = Site::start(30_000, "");
    let permit = site.permit("c-1", "r1");
    let (payload, signature) = permit.rsplit_once('.').unwrap();
    let mut forged = payload.to_owned();
    let changed = if forged.pop() == Some('A') { 'B' } else { 'A' };
    forged = format!("{forged}{changed}.{signature}");
    fs::write(site.path("artifact"), "not what was decided on").unwrap();
    for (permit, options, says) in [
        (forged.as_str(), &[][..], "permit"),
        ("hp1.nonsense", &[], "not a permit"),
        (permit.as_str(), &["--digest", "sha256:other"], "is for sha256:c-1, not sha256:other"),
        (permit.as_str(), &["--artifact", "artifact"], "is for sha256:c-1"),
        (permit.as_str(), &["--service", "cart"], "for service checkout, not cart"),
        (permit.as_str(), &["--key", &"00".repeat(32)], "signature is wrong"),
    ] {
        let ended = site.apply(permit, options, EFFECT);
        assert_eq!(ended.code, Some(1), "{options:?}: {}", ended.said);
        assert!(ended.said.contains(says), "{options:?}: {}", ended.said);
    }
    assert!(site.effects().is_empty());
    assert_eq!(site.apply(&permit, &[], EFFECT).code, Some(0), "the permit itself is good");
}

#[test]
fn a_late_agent_with_a_permit_of_an_old_epoch_is_refused_for_ever() {
    let mut site = Site::start(60_000, "");
    let old = site.allowed("c-1", "r1");
    let late = old["permit"]["token"].as_str().unwrap().to_owned();
    let freeze = site.freeze("service=checkout");
    let under = site.apply(&late, &[], EFFECT);
    assert_eq!(under.code, Some(1), "{}", under.said);
    assert!(under.said.contains("is in force"), "{}", under.said);
    site.thaw(&freeze);
    site.abort(&old);

    // After the thaw another rollout goes through; the late one's epoch is below it.
    let permit = site.permit("c-2", "r2");
    let ended = site.apply(&permit, &[], EFFECT);
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    let online = site.apply(&late, &[], EFFECT);
    assert_eq!(online.code, Some(1), "{}", online.said);
    site.gate.kill();
    let offline = site.apply(&late, &["--offline"], EFFECT);
    assert_eq!(offline.code, Some(1), "{}", offline.said);
    assert!(offline.said.contains("older than"), "{}", offline.said);
    assert_eq!(site.effects().len(), 1);
}

#[test]
fn a_torn_epoch_file_runs_nothing_until_a_person_has_looked() {
    let site = Site::start(30_000, "");
    let permit = site.permit("c-1", "r1");
    assert_eq!(site.apply(&permit, &["--step", "1"], EFFECT).code, Some(0));
    let path = site.path("data/fence/web-1.json");
    let whole = fs::read(&path).unwrap();
    let flipped = {
        let mut bytes = whole.clone();
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        bytes
    };
    for damaged in [&whole[..whole.len() / 2], &whole[..10], &[], &flipped] {
        fs::write(&path, damaged).unwrap();
        let ended = site.apply(&permit, &["--step", "2"], EFFECT);
        assert_eq!(ended.code, Some(2), "{}", ended.said);
        assert!(ended.said.contains("is damaged"), "{}", ended.said);
    }
    assert_eq!(site.effects().len(), 1);
    fs::write(&path, &whole).unwrap();
    // A half-written file beside it, as a kill leaves one, is nobody's.
    fs::write(site.path("data/fence/web-1.new"), "sha256=").unwrap();
    assert!(site.apply(&permit, &["--step", "1"], EFFECT).said.contains("not run again"));
}

#[test]
fn a_clock_that_was_set_back_gives_no_permit_a_longer_life() {
    let mut site = Site::start(60_000, "");
    let permit = site.permit("c-1", "r1");
    assert_eq!(site.apply(&permit, &["--step", "1", "--more"], EFFECT).code, Some(0));
    // The fence has seen a time that lies an hour ahead of what the clock shows now.
    let mut kept = site.kept();
    kept["wall_ms"] = json!(kept["wall_ms"].as_u64().unwrap() + 3_600_000);
    site.keep(&kept);
    // The gate says how long the permit lives, and no wall clock is asked.
    let ended = site.apply(&permit, &["--step", "2", "--more"], EFFECT);
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    site.gate.kill();
    let ended = site.apply(&permit, &["--step", "3", "--more", "--offline"], EFFECT);
    assert_eq!(ended.code, Some(2), "{}", ended.said);
    assert!(ended.said.contains("it was set back"), "{}", ended.said);
    assert_eq!(site.effects().len(), 2);
}

#[test]
fn a_gate_that_has_forgotten_freezes_is_not_believed() {
    let site = Site::start(30_000, "");
    let permit = site.permit("c-1", "r1");
    assert_eq!(site.apply(&permit, &["--step", "1", "--more"], EFFECT).code, Some(0));
    let mut kept = site.kept();
    for made in kept["freezes"]["origins"].as_object_mut().unwrap().values_mut() {
        made["seen"] = json!(7);
    }
    site.keep(&kept);
    let ended = site.apply(&permit, &["--step", "2"], EFFECT);
    assert_eq!(ended.code, Some(2), "{}", ended.said);
    assert!(ended.said.contains("it has forgotten some"), "{}", ended.said);
}
