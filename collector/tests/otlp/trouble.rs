//! Backends in trouble: the breaker, isolation of one from another, and peers that are gone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use collector::{Config, ExporterConfig, Protocol};
use prost::Message;
use tokio::net::{TcpListener, TcpStream};

use crate::rig::{backend, forwarding_to, on_free_ports, start};
use crate::samples;

const TRIPS: &str = "holdpoint_collector_breaker_trips_total";

/// Stands before a backend and passes bytes on, or lets them vanish.
struct Hole {
    address: SocketAddr,
    /// New connections are accepted, and nothing that is sent on any of them arrives.
    is_black: Arc<AtomicBool>,
    /// Bytes that are in a connection when it turns black are lost with it, for good.
    connections: Arc<AtomicUsize>,
    /// Connections that have turned black.
    forgotten: Arc<AtomicUsize>,
}

impl Hole {
    /// Turns black, and waits until the connection that is there has.
    async fn turn_black(&self) {
        self.is_black.store(true, Ordering::Relaxed);
        while self.forgotten.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn hole(before: SocketAddr, is_black: bool) -> Hole {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let is_black = Arc::new(AtomicBool::new(is_black));
    let connections = Arc::new(AtomicUsize::new(0));
    let forgotten = Arc::new(AtomicUsize::new(0));
    let (black, count) = (Arc::clone(&is_black), Arc::clone(&connections));
    let lost = Arc::clone(&forgotten);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            let (black, lost) = (Arc::clone(&black), Arc::clone(&lost));
            tokio::spawn(async move {
                if !black.load(Ordering::Relaxed) {
                    let mut server = TcpStream::connect(before).await.expect("a backend");
                    let passing = tokio::io::copy_bidirectional(&mut client, &mut server);
                    let turned = async {
                        while !black.load(Ordering::Relaxed) {
                            tokio::time::sleep(Duration::from_millis(5)).await;
                        }
                    };
                    tokio::select! { _ = passing => return, () = turned => {} }
                    // The backend's end stays open too, as behind a firewall that forgot.
                    std::mem::forget(server);
                    lost.fetch_add(1, Ordering::Relaxed);
                }
                let (_client, ()) = (client, std::future::pending::<()>().await);
            });
        }
    });
    Hole { address, is_black, connections, forgotten }
}

fn one() -> Vec<u8> {
    samples::spans("shop", 1, 0).encode_to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_is_down_is_asked_by_one_probe_at_a_time_and_its_return_is_noticed() {
    let address = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("bound")
    };
    let exporter = ExporterConfig::new(format!("http://{address}"), Protocol::Http);
    let rig = forwarding_to(&exporter).await;
    for _ in 0..50 {
        assert_eq!(rig.traces(one()).await.status, 200);
    }
    rig.metric_when(TRIPS, |trips| trips == 1.0).await;
    let attempts = "holdpoint_collector_failed_attempts_total";
    let (start, before) = (Instant::now(), rig.metric(attempts).await.expect("some"));
    rig.metric_when(attempts, |n| n >= before + 2.0).await;
    // Rests are at least half of 250, 500, 1 000 and 1 000 ms.
    assert!(start.elapsed() >= Duration::from_millis(125), "{:?}", start.elapsed());
    let state = |state: &str| {
        let endpoint = &exporter.endpoint;
        format!("holdpoint_collector_breaker_state{{exporter=\"{endpoint}\",state=\"{state}\"}}")
    };
    assert_eq!(rig.metric(&state("passing")).await, Some(0.0));
    let listener = TcpListener::bind(address).await.expect("the port is free");
    let back = Instant::now();
    let healed = crate::rig::backend_at(listener, Vec::new());
    healed.got_when(50).await;
    assert!(back.elapsed() < Duration::from_secs(2), "{:?}", back.elapsed());
    rig.page_when(|page| page.flow.forwarded == 50 && page.flow.dropped == 0).await;
    assert_eq!(rig.metric(&state("passing")).await, Some(1.0));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_black_hole_does_not_delay_another_backend() {
    let (good, hidden) = (backend(Vec::new()).await, backend(Vec::new()).await);
    let hole = hole(hidden.address, true).await;
    let to = |address| ExporterConfig::new(format!("http://{address}"), Protocol::Http);
    let exporters = vec![to(hole.address), to(good.address)];
    let rig = start(Config { exporters, drain_timeout_ms: 10, ..on_free_ports() }).await;
    let start = Instant::now();
    for _ in 0..200 {
        assert_eq!(rig.traces(one()).await.status, 200);
    }
    good.got_when(200).await;
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(hidden.got().len(), 0);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_black_hole_all_is_delivered_soon() {
    let hidden = backend(Vec::new()).await;
    let hole = hole(hidden.address, false).await;
    let endpoint = format!("http://{}", hole.address);
    let rig = forwarding_to(&ExporterConfig::new(endpoint, Protocol::Http)).await;
    rig.traces(one()).await;
    hidden.got_when(1).await;
    hole.turn_black().await;
    for _ in 0..100 {
        assert_eq!(rig.traces(one()).await.status, 200);
    }
    let black = Instant::now();
    rig.metric_when(TRIPS, |trips| trips == 1.0).await;
    assert!(black.elapsed() < Duration::from_secs(5), "long before an attempt times out");
    let while_black = hole.connections.load(Ordering::Relaxed);
    assert!(while_black < 10, "{while_black} connections for 100 requests that wait");
    hole.is_black.store(false, Ordering::Relaxed);
    let back = Instant::now();
    rig.page_when(|page| page.flow.forwarded == 101).await;
    assert!(back.elapsed() < Duration::from_secs(2), "{:?}", back.elapsed());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_gone_is_noticed_on_a_connection_that_is_shared() {
    let hidden = backend(Vec::new()).await;
    let hole = hole(hidden.address, false).await;
    let endpoint = format!("http://{}", hole.address);
    let exporter =
        ExporterConfig { timeout_ms: 1_000, ..ExporterConfig::new(endpoint, Protocol::Grpc) };
    let rig = forwarding_to(&exporter).await;
    rig.traces(one()).await;
    hidden.got_when(1).await;
    // The connection that is in use is forgotten; new ones would work.
    hole.turn_black().await;
    rig.traces(one()).await;
    rig.metric_when("holdpoint_collector_failed_attempts_total", |n| n >= 1.0).await;
    hole.is_black.store(false, Ordering::Relaxed);
    rig.page_when(|page| page.flow.forwarded == 2).await;
    assert!(hole.connections.load(Ordering::Relaxed) > 1, "by another connection");
    rig.stop().await;
}
