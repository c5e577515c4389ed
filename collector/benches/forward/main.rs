//! What it costs to carry a request: `cargo bench -p collector --bench forward`.
//!
//! The collector in a process of its own, with HTTP in, scan, tally and HTTP out to a backend in
//! this process, against a bare hyper server that reads the same bytes and drops them. Processor
//! time is that of the measured process, by the kernel's own accounting, until the last
//! acknowledged byte is at the backend. The two take turns, so that other work on the machine falls
//! on both: absolute values vary from machine to machine, the ratio hardly does.
//!
//! Invariant: what the collector acknowledged has arrived, to the byte, or the run fails.

mod bare;
mod child;
mod load;
mod requests;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prost::Message as _;

use child::Child;

/// 2 sizes x 2 servers x 2 rounds of it, with the warm-up 19 seconds in all.
const LENGTH: Duration = Duration::from_secs(2);
const WARM: Duration = Duration::from_millis(300);
const ROUNDS: usize = 2;

/// What carrying `requests` took.
#[derive(Debug, Default, Clone, Copy)]
struct Cost {
    cpu: Duration,
    requests: u64,
    refused: u64,
}

impl Cost {
    fn micros(self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.requests as f64
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if child::serve(&arguments) {
        return;
    }
    // `cargo test --benches` only asks whether it builds.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = child::runtime();
    let delivered = Arc::new(AtomicU64::new(0));
    let backend = tokio::net::TcpListener::bind("127.0.0.1:0");
    let backend = runtime.block_on(backend).expect("a free port");
    let address = backend.local_addr().expect("it is bound");
    runtime.spawn(bare::serve(backend, Arc::clone(&delivered)));
    let (floor, collector) = (Child::bare(), Child::collector(address));

    println!("\nHTTP to HTTP, no compression, one backend on loopback");
    println!(
        "{:<16}{:<14}{:>10}{:>10}{:>14}{:>13}{:>13}",
        "", "server", "requests", "refused", "CPU us/req", "CPU ns/span", "times bare"
    );
    for spans in [1_000, 5] {
        let body = requests::traces(spans).encode_to_vec();
        let (mut bare, mut ours) = (Cost::default(), Cost::default());
        for _ in 0..ROUNDS {
            measure(&floor, &body, None, &mut bare);
            measure(&collector, &body, Some(&delivered), &mut ours);
        }
        for (server, cost) in [("bare hyper", bare), ("collector", ours)] {
            println!(
                "{:<16}{:<14}{:>10}{:>10}{:>14.1}{:>13.0}{:>13.2}",
                format!("{spans} spans"),
                server,
                cost.requests,
                cost.refused,
                cost.micros(),
                cost.micros() * 1e3 / spans as f64,
                cost.micros() / bare.micros(),
            );
        }
    }
}

/// Adds a round of `body` through `server` to `cost`.
fn measure(server: &Child, body: &[u8], delivered: Option<&AtomicU64>, cost: &mut Cost) {
    load::offer(server.address, body, delivered, WARM);
    let before = server.cpu();
    let offered = load::offer(server.address, body, delivered, LENGTH);
    cost.cpu += server.cpu() - before;
    cost.requests += offered.accepted;
    cost.refused += offered.refused;
}
