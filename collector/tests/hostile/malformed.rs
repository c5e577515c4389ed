//! Bodies that are wrong: too deep, cut off, not text.

use std::io::{Read, Write};
use std::time::Duration;

use crate::bodies::{nested, nested_json, not_utf8, spans};
use crate::child::Child;

const DEPTH: usize = 1_000_000;

#[test]
fn a_million_levels_are_refused_and_no_stack_overflows() {
    let child = Child::start();
    let (protobuf, json) = (nested(DEPTH), nested_json(DEPTH));
    let (cost, ()) = child.cost(|| {
        assert_eq!(child.post("/v1/traces", &[], &protobuf), 400);
        let headers = [("content-type", "application/json")];
        assert_eq!(child.post("/v1/traces", &headers, &json), 400);
    });
    // The bodies themselves are 10 and 25 MiB, which grow by doubling.
    cost.is_within("a million levels deep", Duration::from_millis(200), 80);
}

#[test]
fn bodies_that_are_cut_anywhere_or_hold_a_wrong_length_anywhere_are_refused() {
    let child = Child::start();
    let good = spans(30);
    let (cost, ()) = child.cost(|| {
        for end in (1..good.len()).step_by(7) {
            let status = child.post("/v1/traces", &[], &good[..end]);
            assert!([200, 400].contains(&status), "cut at {end}: {status}");
        }
        for at in (0..good.len()).step_by(7) {
            let mut bad = good.clone();
            bad[at] = 0xff;
            let status = child.post("/v1/traces", &[], &bad);
            assert!([200, 400].contains(&status), "wrong at {at}: {status}");
        }
    });
    cost.is_within("cut and wrong bodies", Duration::from_secs(1), 8);
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    let child = Child::start();
    for path in ["/v1/traces", "/v1/metrics", "/v1/logs"] {
        assert_eq!(child.post(path, &[], &not_utf8()), 400, "{path}");
    }
    let json = b"{\"resourceLogs\":[{\"schemaUrl\":\"\xff\"}]}";
    let headers = [("content-type", "application/json")];
    assert_eq!(child.post("/v1/logs", &headers, json), 400);
    child.serves();
}

#[test]
fn a_content_length_that_lies_harms_only_its_own_connection() {
    let child = Child::start();
    let body = spans(3);
    for length in ["0", "5", "4294967296", "18446744073709551616", "-1", "+5", "5, 6", "0x10"] {
        let mut socket = child.connect(child.http);
        let head = format!(
            "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n\
             content-length: {length}\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).unwrap();
        let _ = socket.write_all(&body);
        let _ = socket.shutdown(std::net::Shutdown::Write);
        let mut answer = String::new();
        // Bytes that follow an answered request may make the server reset the connection.
        let _ = socket.read_to_string(&mut answer);
        let first = answer.lines().next().unwrap_or_default().to_owned();
        let is_told = first.is_empty() || first.contains(" 4") || first.contains(" 200");
        assert!(is_told, "{length}: {first}");
        child.serves();
    }
}
