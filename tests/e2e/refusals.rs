//! What cannot start says why, all of it, and ends with 2.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use super::stack::{Stack, config, holdpoint};

fn start(role: &str, dir: &Path, text: &str, data: &Path) -> super::stack::Ended {
    let file = dir.join("t.toml");
    fs::write(&file, text).unwrap();
    let (file, data) = (file.display().to_string(), data.display().to_string());
    holdpoint(&[role, "--config", &file, "--data-dir", &data])
}

#[test]
fn an_unknown_key_is_refused_with_its_line_before_anything_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let text =
        "[gate]\nlisten = \"127.0.0.1:0\"\nstoer = \"sqlite\"\n[policy]\nbake_ms = \"long\"\n";
    for role in ["up", "sidecar", "gate", "watchdog", "collector"] {
        let ended = start(role, dir.path(), text, &data);
        assert_eq!(ended.code, Some(2), "{role}: {ended:?}");
        assert!(ended.err.contains("t.toml:3:1: unknown key `stoer`; did you mean `store`?"));
        assert!(ended.err.contains("t.toml:5:11: "), "both are reported: {}", ended.err);
        assert!(!data.exists(), "{role} created its data directory before it read its file");
    }
}

#[test]
fn a_used_port_is_named_and_up_gives_up() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap().to_string();
    for (role, table, key) in
        [("gate", "gate", "listen"), ("watchdog", "watchdog", "listen"), ("up", "gate", "listen")]
    {
        let text = config(dir.path(), "").replace(
            &format!("[{table}]\n{key} = \"127.0.0.1:0\""),
            &format!("[{table}]\n{key} = \"{at}\""),
        );
        assert!(text.contains(&at));
        let ended = start(role, dir.path(), &text, &dir.path().join(role));
        assert_eq!(ended.code, Some(2), "{role}: {ended:?}");
        assert!(ended.err.contains(&at), "{role} names the address: {}", ended.err);
        assert!(ended.err.to_lowercase().contains("in use"), "{role}: {}", ended.err);
    }
    let text = config(dir.path(), "")
        .replace("http_listen = \"127.0.0.1:0\"", &format!("http_listen = \"{at}\""));
    let ended = start("collector", dir.path(), &text, &dir.path().join("collector"));
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.err.contains(&at), "{}", ended.err);
}

#[test]
fn a_data_directory_that_cannot_be_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let text = config(dir.path(), "");
    for data in [file.clone(), file.join("below")] {
        let ended = start("up", dir.path(), &text, &data);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.err.contains(&file.display().to_string()), "{}", ended.err);
        assert!(ended.err.contains("--data-dir"), "it says what to do: {}", ended.err);
    }
}

#[test]
fn a_second_up_in_the_same_directory_is_refused_and_the_first_goes_on() {
    let stack = Stack::start("");
    let file = stack.dir.path().join("holdpoint.toml").display().to_string();
    let data = stack.data().display().to_string();
    for role in ["up", "gate", "watchdog", "collector"] {
        let second = holdpoint(&[role, "--config", &file, "--data-dir", &data]);
        assert_eq!(second.code, Some(2), "{role}: {second:?}");
        assert!(second.err.contains("another"), "{role}: {}", second.err);
    }
    assert!(["collector", "watchdog", "gate"].iter().all(|role| stack.is_ready(role)));
}

#[test]
fn a_bad_token_and_an_unreachable_gate_are_no_decision() {
    let stack = Stack::start("");
    fs::write(stack.data().join("tokens/agent.token"), "hpt_wrong\n").unwrap();
    let refused = stack.request("a", "v2", "x", &[]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.err.contains("401"), "{}", refused.err);
    fs::remove_file(stack.data().join("tokens/agent.token")).unwrap();
    let missing = stack.request("a", "v2", "x", &[]);
    assert_eq!(missing.code, Some(2), "{missing:?}");
    assert!(missing.err.contains("HOLDPOINT_TOKEN"), "{}", missing.err);
}
