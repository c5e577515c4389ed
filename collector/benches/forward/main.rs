//! What it costs to carry a request: `cargo bench -p collector --bench forward`.
//!
//! The collector in a process of its own, from the socket through scan and tally to a backend in
//! this process, against a bare hyper server that reads the same bytes and drops them. Processor
//! time is that of the measured process, by the kernel's own accounting, until the last
//! acknowledged byte is at the backend. The servers take turns, so that other work on the machine
//! falls on all: absolute values vary from machine to machine, the ratios hardly do.
//!
//! | argument | |
//! |---|---|
//! | `--only PART` | `http`, `grpc`, `gzip`, `idle`, `latency` or `overload`, more than once |
//! | `--seconds N` | length of a round (2); of the rest 5 times it, of the overload 10 times |
//! | `--backend ADDR` | where this process is the backend, for a peer to forward to |
//! | `--peer HTTP,GRPC,PID` | another OTLP collector that forwards there, measured as ours is |
//!
//! Invariant: what the collector acknowledged has arrived, to the byte, or the run fails.

mod bare;
mod child;
mod client;
mod load;
mod requests;
mod rest;

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message as _;

use child::Server;
use client::Request;
use load::Delivered;

const WARM: Duration = Duration::from_millis(300);
const ROUNDS: usize = 2;

/// What carrying `requests` took.
#[derive(Debug, Default, Clone, Copy)]
struct Cost {
    cpu: Duration,
    requests: u64,
    refused: u64,
}

/// What is asked on the command line.
#[derive(Debug)]
struct Asked {
    only: Vec<String>,
    length: Duration,
    backend: SocketAddr,
    peer: Option<String>,
}

impl Asked {
    fn of(arguments: &[String]) -> Self {
        let after = |name: &str| {
            let values = arguments.windows(2).filter(move |pair| pair[0] == name);
            values.map(|pair| pair[1].clone()).collect::<Vec<_>>()
        };
        let seconds = after("--seconds").first().map_or(2, |text| text.parse().expect("seconds"));
        let backend = after("--backend").pop().unwrap_or_else(|| "127.0.0.1:0".to_owned());
        Self {
            only: after("--only"),
            length: Duration::from_secs(seconds),
            backend: backend.parse().expect("an address"),
            peer: after("--peer").pop(),
        }
    }

    fn asks(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|asked| asked == part)
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
    let asked = Asked::of(&arguments);
    let runtime = child::runtime();
    let delivered = Delivered(Arc::new(AtomicU64::new(0)));
    let backend = runtime.block_on(tokio::net::TcpListener::bind(asked.backend));
    let backend = backend.expect("a free port");
    let address = backend.local_addr().expect("it is bound");
    runtime.spawn(bare::serve(backend, Arc::clone(&delivered.0)));
    let peer = asked.peer.as_deref().map(|text| Server::peer(text).expect("HTTP,GRPC,PID"));
    let floor = Server::bare();
    let http = Server::collector(address, "http", "none");

    if asked.asks("idle") {
        let servers: Vec<_> = [&floor, &http].into_iter().chain(&peer).collect();
        rest::idle(&servers, asked.length * 5);
    }
    println!("\nOne backend on loopback; CPU of the server alone");
    println!(
        "{:<26}{:<14}{:>10}{:>10}{:>14}{:>13}{:>13}",
        "", "server", "requests", "refused", "CPU us/req", "CPU ns/span", "times bare"
    );
    for spans in [1_000, 5] {
        let body = Bytes::from(requests::traces(spans).encode_to_vec());
        if asked.asks("http") {
            let request = Request::Http(body.clone(), "identity");
            let servers = [&floor, &http].into_iter().chain(&peer);
            compare("HTTP to HTTP", spans, &request, servers, &delivered, asked.length);
        }
        if asked.asks("grpc") {
            let grpc = Server::collector(address, "grpc", "none");
            let servers = [&floor, &grpc].into_iter().chain(&peer);
            let request = Request::grpc(&body);
            compare("gRPC to gRPC", spans, &request, servers, &delivered, asked.length);
        }
        if asked.asks("gzip") {
            let zipped = Server::collector(address, "http", "gzip");
            let servers = [&floor, &zipped].into_iter().chain(&peer);
            let request = Request::Http(gzip(&body), "gzip");
            compare("gzip to gzip", spans, &request, servers, &delivered, asked.length);
        }
    }
    let small = Bytes::from(requests::traces(5).encode_to_vec());
    if asked.asks("latency") {
        let request = Request::Http(small, "identity");
        rest::latency([&floor, &http], &request, &delivered, asked.length * 2);
    }
    if asked.asks("overload") {
        let body = Bytes::from(requests::traces(1_000).encode_to_vec());
        rest::overload(&Request::Http(body, "identity"), asked.length * 10);
    }
}

fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("memory does not fail");
    Bytes::from(encoder.finish().expect("memory does not fail"))
}

/// Measures all `servers` with `request`, in turns; the first is the floor.
fn compare<'a>(
    what: &str,
    spans: u64,
    request: &Request,
    servers: impl Iterator<Item = &'a Server>,
    delivered: &Delivered,
    length: Duration,
) {
    let mut costs: Vec<_> = servers.map(|server| (server, Cost::default())).collect();
    for _ in 0..ROUNDS {
        for (at, (server, cost)) in costs.iter_mut().enumerate() {
            let delivered = (at > 0).then_some(delivered);
            load::offer(server, request, delivered, WARM);
            let before = server.cpu();
            let offered = load::offer(server, request, delivered, length);
            cost.cpu += server.cpu() - before;
            cost.requests += offered.accepted;
            cost.refused += offered.refused;
        }
    }
    let micros = |cost: &Cost| cost.cpu.as_secs_f64() * 1e6 / cost.requests as f64;
    for (server, cost) in &costs {
        println!(
            "{:<26}{:<14}{:>10}{:>10}{:>14.1}{:>13.0}{:>13.2}",
            format!("{what}, {spans} spans"),
            server.name,
            cost.requests,
            cost.refused,
            micros(cost),
            micros(cost) * 1e3 / spans as f64,
            micros(cost) / micros(&costs[0].1),
        );
    }
}
