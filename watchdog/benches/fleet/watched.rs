//! The watchdog that is measured, alone in its process.
//!
//! Invariant: it is the whole crate, started as the root package starts it.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use watchdog::{CollectorPlace, Config, GatePlace, Wiring};

/// Runs until it is killed. `peers`: where collector and gate are, if there are any.
pub async fn run(peers: Option<SocketAddr>) {
    let listen = "127.0.0.1:0".parse().expect("an address");
    let bound = watchdog::bind(Config { listen, ..Config::default() }, Vec::new()).await;
    let bound = bound.expect("free ports");
    println!("{}", bound.address());
    let shutdown = CancellationToken::new();
    bound.run(wiring(peers), shutdown).await.expect("it is not stopped");
}

fn wiring(peers: Option<SocketAddr>) -> Wiring {
    let collector = peers.map(|at| CollectorPlace {
        pid: std::process::id(),
        start_ticks: 0,
        boot: "1700000000000-c".parse().expect("a valid boot"),
        http: at,
        admin: at,
    });
    let gate = peers.map(|at| GatePlace { url: format!("http://{at}"), token: "t".into() });
    Wiring {
        name: "fleet".into(),
        boot: "1700000000000-w".parse().expect("a valid boot"),
        signing_key: [3; 32],
        probe_key: [4; 32],
        beat_key: Arc::new(|_| None),
        collector: Arc::new(move || collector.clone()),
        gate: Arc::new(move || gate.clone()),
        service_manager: None,
        recalled: Vec::new(),
        keep: Arc::new(|_| Ok(())),
        supervise: None,
        healing: None,
    }
}
