//! What the verbs make of a gate that misbehaves: never 0.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// A server that answers every connection with `answer`, or keeps it open without one.
fn gate(answer: Option<&'static str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let mut kept = Vec::new();
        for mut stream in listener.incoming().flatten() {
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let mut buffer = [0; 8192];
            let _asked = stream.read(&mut buffer);
            match answer {
                Some(answer) => stream.write_all(answer.as_bytes()).unwrap_or_default(),
                None => kept.push(stream),
            }
        }
    });
    url
}

fn http(status: &str, body: &str) -> &'static str {
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    Box::leak(text.into_boxed_str())
}

const REQUEST: [&str; 10] =
    ["rollout", "request", "--service", "a", "--to", "v2", "--digest", "d", "--change-id", "c"];

fn ask(url: &str, token: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let ended = Command::new(env!("CARGO_BIN_EXE_holdpoint"))
        .args(arguments)
        .arg("--data-dir")
        .arg(dir.path())
        .env("HOLDPOINT_GATE_URL", url)
        .env("HOLDPOINT_TOKEN", token)
        .output()
        .unwrap();
    (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
}

#[test]
fn whatever_is_no_decision_is_2() {
    let permitless = r#"{"decision": "allow", "permit": null, "rollout": {"state": "allowed"}}"#;
    for (what, answer) in [
        ("garbage", "garbage\r\n\r\n"),
        ("closed at once", ""),
        ("no JSON", http("200 OK", "allow")),
        ("empty", http("200 OK", "")),
        ("cut short", "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"decision\": \"allow\""),
        ("a page that says allow", http("200 OK", "\"allow\"")),
        ("allow without a permit", http("200 OK", permitless)),
        ("an unknown word", http("200 OK", r#"{"decision": "sure"}"#)),
        ("a redirect", "HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"),
        ("500", http("500 Internal Server Error", r#"{"decision": "allow"}"#)),
        ("503", http("503 Service Unavailable", r#"{"error": {"code": "x", "message": "y"}}"#)),
        ("401", http("401 Unauthorized", r#"{"error": {"code": "x", "message": "y"}}"#)),
    ] {
        let (code, words) = ask(&gate(Some(answer)), "t", &REQUEST);
        assert_eq!(code, Some(2), "{what}: {words}");
        assert!(!words.is_empty(), "{what}");
    }
    let refused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, words) = ask(&format!("http://{refused}"), "t", &REQUEST);
    assert_eq!(code, Some(2), "{words}");
    let (code, words) = ask(&format!("https://{refused}"), "t", &REQUEST);
    assert_eq!(code, Some(2), "{words}");
    let (code, words) = ask("no url", "t", &REQUEST);
    assert_eq!(code, Some(2), "{words}");
    let (code, words) = ask(&gate(Some(http("200 OK", "{}"))), "a\nb", &REQUEST);
    assert_eq!(code, Some(2), "a token that cannot be sent: {words}");
}

#[test]
fn decisions_become_their_exit_codes() {
    let allow = r#"{"decision": "allow", "permit": {"token": "hp1.x"}, "rollout": {}}"#;
    let hold = r#"{"decision": "hold", "permit": null, "reasons": [], "retry_after_s": 1}"#;
    let deny = r#"{"decision": "deny", "permit": null, "reasons": []}"#;
    for (body, expected) in [(allow, 0), (hold, 75), (deny, 1)] {
        let (code, words) = ask(&gate(Some(http("200 OK", body))), "t", &REQUEST);
        assert_eq!(code, Some(expected), "{words}");
    }
    let waiting = [&REQUEST[..], &["--wait", "500ms"]].concat();
    let (code, words) = ask(&gate(Some(http("200 OK", hold))), "t", &waiting);
    assert_eq!(code, Some(1), "a wait that is over is a no: {words}");
    let gone = http("503 Service Unavailable", r#"{"error": {"code": "x", "message": "y"}}"#);
    let (code, words) = ask(&gate(Some(gone)), "t", &waiting);
    assert_eq!(code, Some(2), "a wait without any decision is none: {words}");
    let conflict = http("409 Conflict", r#"{"error": {"code": "x", "message": "y"}}"#);
    let (code, words) = ask(&gate(Some(conflict)), "t", &["thaw", "f-1", "--reason", "x"]);
    assert_eq!(code, Some(1), "{words}");
}

#[test]
fn a_gate_that_hangs_is_2_within_the_timeout() {
    let (code, words) = ask(&gate(None), "t", &REQUEST);
    assert_eq!(code, Some(2), "{words}");
    assert!(words.contains("no answer in time"), "{words}");
}
