//! Help, usage mistakes and the configuration verbs.

use std::fs;

use super::{err, holdpoint, out};

#[test]
fn help_names_every_verb_and_the_exit_codes() {
    let help = holdpoint(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let text = out(&help);
    for verb in [
        "up",
        "sidecar",
        "collector",
        "watchdog",
        "gate",
        "rollout",
        "approve",
        "reject",
        "settle",
        "freeze",
        "thaw",
        "freezes",
        "status",
        "services",
        "verdicts",
        "explain",
        "replay",
        "audit",
        "backup",
        "token",
        "config",
        "doctor",
        "healthcheck",
        "drill",
    ] {
        assert!(text.lines().any(|line| line.trim_start().starts_with(verb)), "{verb}\n{text}");
    }
    assert!(text.contains("0 allow or done, 1 deny, 2 no decision possible, 75 hold"), "{text}");
    assert!(!text.contains("drill-service"), "the drill's inner verbs are hidden");
}

#[test]
fn usage_mistakes_are_words_on_stderr_and_2() {
    for arguments in [
        &["no-such-verb"][..],
        &[],
        &["rollout"],
        &["rollout", "request", "--service", "a"],
        &["rollout", "request", "--wait", "10"],
        &["freeze", "--scope", "fleet"],
        &["thaw"],
        &["status", "-o", "xml"],
        &["token", "create", "--role", "king", "--name", "x"],
        &["rollout", "report", "r-1", "--epoch", "1", "--claim", "no json"],
    ] {
        let ended = holdpoint(arguments);
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}");
        assert!(!err(&ended).is_empty() && out(&ended).is_empty(), "{arguments:?}: {ended:?}");
    }
}

#[test]
fn a_good_configuration_is_0_and_a_bad_one_is_2_with_all_mistakes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("t.toml");
    let path = file.display().to_string();
    fs::write(&file, "[policy]\nbake_ms = 5\n").unwrap();
    assert_eq!(holdpoint(&["config", "check", "--config", &path]).status.code(), Some(0));

    fs::write(&file, "[policy]\nbake_m = 5\nalpha = 2.0\n[[service]]\n").unwrap();
    let ended = holdpoint(&["config", "check", "--config", &path]);
    assert_eq!(ended.status.code(), Some(2));
    let text = err(&ended);
    assert!(text.contains("t.toml:2:1: unknown key `bake_m`; did you mean `bake_ms`?"), "{text}");
    assert!(text.contains("t.toml:3:1: policy.alpha"), "{text}");
    assert!(text.contains("t.toml:4:1: missing key `name`"), "{text}");
    assert!(text.ends_with("3 mistakes in ") || text.contains("3 mistakes in"), "{text}");

    let missing = holdpoint(&["config", "check", "--config", "/nowhere/t.toml"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(err(&missing).contains("/nowhere/t.toml"));
}

#[test]
fn the_configuration_in_force_is_printed_with_its_origins() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("t.toml");
    let path = file.display().to_string();
    fs::write(&file, "[policy]\nbake_ms = 5\n").unwrap();
    let printed = out(&holdpoint(&["config", "print", "--config", &path]));
    let line = printed.lines().find(|line| line.starts_with("bake_ms")).unwrap();
    assert!(line.starts_with("bake_ms = 5 ") && line.ends_with("t.toml:2"), "{line}");
    let line = printed.lines().find(|line| line.starts_with("dwell_ms")).unwrap();
    assert!(line.ends_with("# default"), "{line}");

    let json = out(&holdpoint(&["config", "print", "--config", &path, "-o", "json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["policy"]["bake_ms"], 5);
    let yaml = out(&holdpoint(&["config", "print", "--config", &path, "-o", "yaml"]));
    assert!(yaml.contains("  bake_ms: 5\n"), "{yaml}");
}

#[test]
fn variables_of_opentelemetry_say_where_to_forward_to_and_are_shown_without_secrets() {
    let asked = |verb: &str, file: &[&str], variables: &[(&str, &str)]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_holdpoint"));
        command.args(["config", verb]).args(file).current_dir(env!("CARGO_TARGET_TMPDIR"));
        command.envs(variables.iter().copied()).output().expect("the executable runs")
    };
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://otlp.example:4318"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s3cret"),
    ];
    let printed = out(&asked("print", &[], &variables));
    let line = printed.lines().find(|line| line.starts_with("endpoint = ")).unwrap();
    assert!(line.contains("https://otlp.example:4318"), "{line}");
    assert!(line.ends_with("# OTEL_EXPORTER_OTLP_ENDPOINT"), "{line}");
    assert!(printed.contains("# OTEL_EXPORTER_OTLP_HEADERS"), "{printed}");
    assert!(!printed.contains("s3cret"), "{printed}");

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("t.toml");
    std::fs::write(&file, "[collector]\notel_environment = false\n").unwrap();
    let printed = out(&asked("print", &["--config", &file.display().to_string()], &variables));
    assert!(!printed.contains("otlp.example"), "{printed}");

    let wrong = [variables[0], ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")];
    let ended = asked("check", &[], &wrong);
    assert_eq!(ended.status.code(), Some(2));
    assert!(err(&ended).contains("OTEL_EXPORTER_OTLP_PROTOCOL: `http/json`"), "{}", err(&ended));
}
