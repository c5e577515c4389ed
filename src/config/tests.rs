//! Tests of the configuration as a whole.

use std::path::Path;

use super::{Config, Loaded, parse, policy, print};

fn read(text: &str) -> Result<Loaded, String> {
    parse(Path::new("t.toml"), text.to_owned()).map_err(|mistakes| mistakes.to_string())
}

#[test]
fn the_file_in_the_repository_is_the_defaults() {
    let text = include_str!("../../holdpoint.toml");
    let loaded = read(text).unwrap();
    assert_eq!(loaded.config, Config::default());
    // What stands in the file as a comment is a default too: with the marks off it still reads as
    // the defaults, and no key of the defaults is missing.
    let printed = print(&Loaded::default());
    for line in printed.lines().filter(|line| line.contains(" = ")) {
        let key = line.split(" = ").next().unwrap();
        assert!(
            text.lines().any(|l| l.trim_start_matches("# ").starts_with(&format!("{key} = "))),
            "holdpoint.toml does not show `{key}`"
        );
    }
}

#[test]
fn every_mistake_is_reported_with_its_line() {
    let text = "\
[gate]
lisen = \"127.0.0.1:0\"
listen = \"nowhere\"

[watchdog]
beat_interval_ms = -1
probe_timeout_ms = 1

[[service]]
environment = \"test\"
[[service]]
name = \"a\"
expect = [\"traces\", \"metric\"]
colour = 1
[[service]]
name = \"a\"
revert = { exce = [\"x\"] }
[polcy]
";
    let error = read(text).unwrap_err();
    for expected in [
        "t.toml:2:1: unknown key `lisen`; did you mean `listen`?",
        "t.toml:3:",
        "t.toml:6:20:",
        "t.toml:7:1: watchdog.probe_timeout_ms is 1",
        "t.toml:9:1: missing key `name`",
        "t.toml:13:",
        "t.toml:14:1: unknown key `colour`",
        "t.toml:16:1: service `a` is configured twice",
        "t.toml:17:",
        "t.toml:18:2: unknown key `polcy`; did you mean `policy`?",
    ] {
        assert!(error.contains(expected), "{expected}\nis not in\n{error}");
    }
    assert!(error.ends_with("10 mistakes in t.toml"), "{error}");
}

#[test]
fn broken_toml_is_a_mistake_with_a_line_and_not_a_default() {
    let error = read("data_dir = \"x\"\n[gate\nlisten = 1\n").unwrap_err();
    assert!(error.contains("t.toml:2:"), "{error}");
}

#[test]
fn what_is_printed_reads_back_the_same_and_hides_what_was_filled_in() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "hunter2").unwrap();
    let text = format!(
        "[[service]]\nname = \"a\"\nexpect = [\"traces\"]\n\
         revert = {{ webhook = \"http://x/\", secret = \"${{file:{}}}\" }}\n",
        secret.display()
    );
    let loaded = read(&text).unwrap();
    let printed = print(&loaded);
    assert!(!printed.contains("hunter2"), "{printed}");
    assert!(printed.contains("# t.toml:2") && printed.contains("# default"), "{printed}");
    assert_eq!(read(&printed).unwrap().config, loaded.config, "{printed}");
}

#[test]
fn a_policy_of_one_service_is_checked_like_the_policy() {
    let error = read("[[service]]\nname = \"a\"\n[service.policy]\nbake_m = 5\n").unwrap_err();
    assert!(error.contains("t.toml:4:1: policy.bake_m: unknown key `bake_m`"), "{error}");
    assert!(read("[[service]]\nname = \"a\"\n[service.policy]\nbake_ms = 5\n").is_ok());
}

#[test]
fn every_mistake_in_policies_is_shown_at_the_key_that_is_wrong() {
    let error = read(
        "\
[policy]
patience_ms = 9000
[[environment]]
name = \"live\"
[environment.policy]
bake_m = 5
open_max = 7
[[environment]]
name = \"lvie\"
[[environment]]
name = \"live\"
[[service]]
name = \"a\"
environment = \"live\"
[service.policy]
gap_max_ms = 8000
freeze_scope = { stuck = \"service\" }
evidence_min = 0
",
    )
    .unwrap_err();
    for expected in [
        "t.toml:1:2: policy.gap_max_ms is beyond patience_ms = 9000",
        "t.toml:6:1: policy.bake_m: unknown key `bake_m`; did you mean `bake_ms`?",
        "t.toml:7:1: policy.open_max holds for the whole fleet; set it in [policy]",
        "t.toml:9:1: environment `lvie` has no service in it",
        "t.toml:11:1: environment `live` is configured twice",
        "t.toml:17:1: policy.freeze_scope lets stuck reach less far",
        "t.toml:18:1: policy.evidence_min must be at least 1",
    ] {
        assert!(error.contains(expected), "{expected}\nis not in\n{error}");
    }
    assert!(error.ends_with("7 mistakes in t.toml"), "{error}");
}

#[test]
fn the_policy_of_a_service_is_explained_with_the_place_of_each_key() {
    let loaded = read(
        "\
[policy]
bake_ms = 7000
[[environment]]
name = \"live\"
revert = { exec = [\"/bin/back\"] }
policy = { dwell_ms = 8000, approval = \"always\" }
[[service]]
name = \"a\"
environment = \"live\"
policy = { dwell_ms = 9000 }
",
    )
    .unwrap();
    let explained = policy::explain(&loaded, &"a".parse().unwrap());
    let text = policy::text(&explained);
    for expected in [
        "# service a in environment live\n# a person must approve: true\n# revert: exec",
        "dwell_ms = 9000                          # [[service]] a, t.toml:10",
        "approval = \"always\"                      # [[environment]] live, t.toml:6",
        "bake_ms = 7000                           # [policy], t.toml:2",
        "evidence_min = 50                        # default",
    ] {
        assert!(text.contains(expected), "{expected}\nis not in\n{text}");
    }
    let stray = policy::text(&policy::explain(&loaded, &"b".parse().unwrap()));
    assert!(stray.contains("dwell_ms = 5000") && stray.contains("# revert: none"), "{stray}");
}

#[test]
fn a_liveness_contract_that_cannot_be_kept_says_why_and_what_could() {
    let contract = |detect: u64, interval: &str| {
        format!(
            "[[service]]\nname = \"a\"\n{interval}\n[service.liveness]\ndetect_ms = {detect}\n\
             mistakes_apart_ms = 2592000000\nmistake_ms_max = 1000\n"
        )
    };
    assert!(read(&contract(1_000, "")).is_ok());
    let error = read(&contract(1_000, "beat_interval_ms = 900")).unwrap_err();
    assert!(error.contains("liveness of `a`: beats every 900 ms are too slow"), "{error}");
    let error = read(&contract(50, "")).unwrap_err();
    assert!(error.contains("it must be at least 120"), "{error}");
}
