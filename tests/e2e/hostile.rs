//! Hostile input: the answer is a clear refusal, and every role goes on.

use std::net::UdpSocket;
use std::time::Duration;

use flate2::{Compress, Compression, FlushCompress};

use super::http::{self, Answer};
use super::stack::Stack;

const ROLES: [&str; 3] = ["collector", "watchdog", "gate"];
const LIMIT: Duration = Duration::from_secs(20);

fn post(stack: &Stack, headers: &[(&str, &str)], body: &[u8]) -> Option<Answer> {
    let at = stack.address("collector", "http").unwrap();
    http::send(at, "POST", "/v1/traces", headers, body, LIMIT)
}

fn rss_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[test]
fn hostile_input_is_refused_and_the_roles_go_on() {
    let stack = Stack::start("");
    let pids = ROLES.map(|role| stack.pid(role).unwrap());
    let service = stack.service("a", "v1");
    stack.wait_verdict("a", "live", LIMIT);

    let json = ("Content-Type", "application/json");
    let protobuf = ("Content-Type", "application/x-protobuf");
    let gzip = ("Content-Encoding", "gzip");

    for (what, headers, body) in [
        ("malformed JSON", vec![json], b"{\"resourceSpans\": [".to_vec()),
        ("malformed protobuf", vec![protobuf], vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x01]),
        ("no gzip", vec![protobuf, gzip], b"this is no gzip".to_vec()),
    ] {
        let answer = post(&stack, &headers, &body).expect(what);
        assert_eq!(answer.status, 400, "{what}: {answer:?}");
    }

    let over = vec![b' '; 64 * 1024 * 1024 + 1];
    let answer = post(&stack, &[json], &over).expect("an answer to a body above the limit");
    assert_eq!(answer.status, 413, "{answer:?}");

    let answer = post(&stack, &[protobuf, gzip], &bomb(4 * 1024));
    let answer = answer.expect("an answer to a gzip bomb");
    assert_eq!(answer.status, 413, "{answer:?}");
    let collector = stack.pid("collector").unwrap();
    assert!(rss_mib(collector) < 400, "{} MiB", rss_mib(collector));

    flood(&stack);
    let watchdog = stack.address("watchdog", "listen").unwrap();
    for (body, status) in [("{", 400), ("[]", 400), (r#"{"instance": ""}"#, 400)] {
        let answer = http::send(watchdog, "POST", "/v1/beats/x", &[json], body.as_bytes(), LIMIT);
        assert_eq!(answer.expect("an answer").status, status, "{body}");
    }
    let big = vec![b'x'; 4 * 1024 * 1024];
    let answer = http::send(watchdog, "POST", "/v1/beats/x", &[json], &big, LIMIT);
    assert_eq!(answer.expect("an answer").status, 413);

    let gate = stack.address("gate", "listen").unwrap();
    let answer = http::send(gate, "POST", "/v1/rollouts", &[json], b"{", LIMIT);
    assert_eq!(answer.expect("an answer").status, 401);
    let answer = stack.gate("agent", "POST", "/v1/rollouts", &serde_json::json!({"colour": 1}));
    assert_eq!(answer.expect("an answer").status, 400);

    assert_eq!(ROLES.map(|role| stack.pid(role).unwrap()), pids, "nothing was restarted");
    assert!(ROLES.iter().all(|role| stack.is_ready(role)), "{}", stack.log());
    stack.wait_verdict("a", "live", LIMIT);
    drop(service);
}

/// A gzip stream of some kilobytes that unfolds to `mib` MiB of zeros: one block that ends on a
/// byte, over and over.
fn bomb(mib: usize) -> Vec<u8> {
    let mut block = Vec::with_capacity(64 * 1024);
    let mut deflate = Compress::new(Compression::best(), false);
    let zeros = vec![0; 1024 * 1024];
    deflate.compress_vec(&zeros, &mut block, FlushCompress::Full).unwrap();
    assert!(deflate.total_in() == 1024 * 1024 && block.len() < 8 * 1024);
    let mut bomb = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    (0..mib).for_each(|_| bomb.extend_from_slice(&block));
    bomb
}

/// Beats of ten thousand services that do not exist, garbage among them.
fn flood(stack: &Stack) {
    let at = stack.address("watchdog", "listen").unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for index in 0..30_000_u32 {
        let beat = format!(
            r#"{{"service":"flood-{}","instance":"i","boot":"1","seq":{index},"token":{index}}}"#,
            index % 10_000
        );
        let bytes = if index % 3 == 0 { &beat.as_bytes()[..20] } else { beat.as_bytes() };
        socket.send_to(bytes, at).ok();
    }
    assert!(stack.is_ready("watchdog"), "{}", stack.log());
}
