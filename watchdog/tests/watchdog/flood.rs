//! A flood of beats leaves the loop alive and the memory bounded.

use std::time::Instant;

use tokio::net::UdpSocket;

use crate::stage::{Stage, body, config, datagram, wiring};

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("proc is mounted");
    let pages: u64 = statm.split(' ').nth(1).and_then(|p| p.parse().ok()).expect("a number");
    pages * 4_096
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_thousand_datagrams_leave_the_loop_alive_and_the_memory_bounded() {
    let stage = Stage::start(config(), Vec::new(), wiring()).await;
    let before = resident();
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let began = Instant::now();
    for seq in 1..=50_000_u64 {
        // One in ten is garbage, the rest come from a thousand services, some out of order.
        let text = if seq % 10 == 0 {
            "{".repeat(200)
        } else {
            datagram(&format!("s{}", seq % 1_000), seq ^ 3).to_string()
        };
        let _sent = socket.send_to(text.as_bytes(), stage.address).await;
        if seq % 5_000 == 0 {
            // A beat over HTTP gets its answer in the middle of the flood.
            assert_eq!(stage.beat("checkout", &body(seq)).await.0, 202);
            assert_eq!(stage.status("/healthz").await, 200);
        }
    }
    let took = began.elapsed();
    stage.until("health", async |s| s.status("/healthz").await == 200).await;
    let grown = resident().saturating_sub(before);
    assert!(grown < 64 * 1024 * 1024, "grew by {grown} bytes");
    assert!(took.as_secs() < 20, "took {took:?}");
    let accepted = stage.sample(r#"holdpoint_watchdog_beats_total{transport="udp"}"#).await;
    assert!(accepted > Some(1_000.0), "{accepted:?}");
    stage.stop().await.expect("a clean stop");
}
