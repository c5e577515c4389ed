//! Hostile requests: they cost little, are refused clearly, and others are served meanwhile.

use std::time::{Duration, Instant};

use collector::Config;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::rig::{JSON, PATIENCE, PROTOBUF, gzip, on_free_ports, start};
use crate::samples;

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_gzip_bomb_is_refused_and_its_memory_is_returned() {
    let rig = start(Config { max_request_bytes: MIB, ..on_free_ports() }).await;
    // 8 MiB of empty messages, eight times the limit.
    let bomb = gzip(&[0x12, 0x00].repeat(4 * MIB));
    assert!(bomb.len() < 64 * 1_024, "{}", bomb.len());
    let start_at = Instant::now();
    for kind in [PROTOBUF, JSON] {
        let headers = [("content-type", kind), ("content-encoding", "gzip")];
        let answer = rig.post("/v1/traces", &headers, bomb.clone()).await;
        assert_eq!(answer.status, 413, "{kind}");
        assert_eq!(answer.header("retry-after"), "", "it is not worth trying again");
    }
    assert!(start_at.elapsed() < Duration::from_secs(20), "{:?}", start_at.elapsed());
    assert_eq!(rig.metric("holdpoint_collector_memory_held_bytes").await, Some(0.0));
    assert_eq!(rig.traces(samples::spans("a", 1, 0).encode_to_vec()).await.status, 200);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_64_mib_is_taken_and_one_byte_more_is_not() {
    let rig = start(on_free_ports()).await;
    let spans = samples::spans("shop", 1_000, 0).encode_to_vec();
    let mut body = spans.repeat(64 * MIB / spans.len());
    let whole = body.len() / spans.len();
    // An unknown field fills the body up to the last byte.
    let left = 64 * MIB - body.len();
    let filler = (0..left).rev().map(|n| samples::field(100, &vec![0; n]));
    body.extend(filler.into_iter().find(|field| field.len() <= left).expect("short enough"));
    body.resize(body.len().min(64 * MIB), 0);
    let answer = rig.traces(body.clone()).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    assert_eq!(rig.page(0, 0).await.flow.received, whole as u64 * 1_000);
    body.resize(64 * MIB + 1, 0);
    let refused = rig.traces(body).await;
    assert_eq!(refused.status, 413);
    assert!(refused.body.windows(8).any(|text| text == b"67108864"), "it tells the limit");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_only_is_announced_holds_no_memory() {
    let rig = start(on_free_ports()).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = TcpStream::connect(rig.addresses.http).await.expect("connect");
        let head = format!(
            "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: {PROTOBUF}\r\n\
             content-length: {}\r\nexpect: 100-continue\r\n\r\n",
            60 * MIB
        );
        client.write_all(head.as_bytes()).await.expect("write");
        let mut answer = [0; 25];
        client.read_exact(&mut answer).await.expect("100 Continue");
        client.write_all(&[0x0a]).await.expect("write");
        clients.push(client);
    }
    // 1 200 MiB are announced and a byte of each came; what is held is the smallest buffer.
    let portions = (20 * 1_024) as f64;
    let held = "holdpoint_collector_memory_held_bytes";
    let settling = async {
        while rig.metric(held).await != Some(portions) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, settling).await.expect("no more and no less is held");
    assert_eq!(rig.traces(samples::spans("a", 20_000, 0).encode_to_vec()).await.status, 200);
    drop(clients);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spent_memory_budget_refuses_and_tells_when_to_come_back() {
    let config = Config { memory_bytes: 2 * MIB, max_request_bytes: MIB, ..on_free_ports() };
    let rig = start(config).await;
    let plain = samples::spans("shop", 15_000, 0).encode_to_vec();
    assert!((MIB / 2..MIB).contains(&plain.len()), "{}", plain.len());
    // Four half bodies hold the budget; the rest of a fifth finds none.
    let mut clients = Vec::new();
    for _ in 0..6 {
        let mut client = TcpStream::connect(rig.addresses.http).await.expect("connect");
        let head = format!(
            "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: {PROTOBUF}\r\n\
             content-length: {}\r\n\r\n",
            plain.len()
        );
        client.write_all(head.as_bytes()).await.expect("write");
        client.write_all(&plain[..plain.len() - 1]).await.expect("write");
        clients.push(client);
    }
    let mut refused = 0;
    let mut taken = 0;
    for mut client in clients {
        // Those that were refused already may have closed; that is an answer to read, too.
        let _ = client.write_all(&plain[plain.len() - 1..]).await;
        let mut answer = [0; 4_096];
        let n = client.read(&mut answer).await.expect("an answer");
        let answer = String::from_utf8_lossy(&answer[..n]).into_owned();
        if answer.starts_with("HTTP/1.1 503") {
            assert!(answer.contains("retry-after: 1"), "{answer}");
            refused += 1;
        } else {
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            taken += 1;
        }
    }
    assert!(refused > 0 && taken > 0, "{refused} refused, {taken} taken");
    assert_eq!(rig.metric("holdpoint_collector_memory_held_bytes").await, Some(0.0));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_bodies_of_all_kinds_are_400_and_leave_the_collector_well() {
    let rig = start(on_free_ports()).await;
    let good = samples::full(watchdog_core::tally::Signal::Traces);
    for end in 1..good.len().min(400) {
        let answer = rig.traces(good[..end].to_vec()).await;
        assert!([200, 400].contains(&answer.status.as_u16()), "{end}: {}", answer.status);
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for json in ["{", "[]", "{\"resourceSpans\":1}", deep.as_str()] {
        let answer = rig.post("/v1/traces", &[("content-type", JSON)], json.into()).await;
        assert_eq!(answer.status, 400, "{}", &json[..json.len().min(20)]);
    }
    assert_eq!(rig.admin("/healthz").await.status, 200);
    rig.stop().await;
}
