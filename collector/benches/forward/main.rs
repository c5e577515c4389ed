//! What it costs to carry a request: `cargo bench -p collector --bench forward`.
//!
//! The collector in a process of its own, from the socket through scan and tally to a backend in
//! this process, against two floors: a bare hyper server that reads the same bytes and drops them,
//! and a bare hyper proxy that sends them on unread. Processor time is that of the measured
//! process, by the kernel's own accounting, until the last acknowledged byte is at the backend.
//! The servers take turns, so that other work on the machine falls on all: absolute values vary
//! from machine to machine, the ratios hardly do.
//!
//! | argument | |
//! |---|---|
//! | `--only PART` | `http`, `grpc`, `gzip`, `idle`, `latency` or `overload`, more than once |
//! | `--acknowledge HOW` | `spooled`, `queued`, `delivered`, more than once; first two if unset |
//! | `--batches` | small requests that wait for the backend travel together; not over gRPC |
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

use child::{Server, Told};
use client::Request;
use collector::Acknowledge;
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
    acknowledge: Vec<Acknowledge>,
    batches: bool,
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
        let acknowledge = |text: &String| child::acknowledge(text).expect("a known HOW");
        let mut acknowledge: Vec<_> = after("--acknowledge").iter().map(acknowledge).collect();
        if acknowledge.is_empty() {
            acknowledge = vec![Acknowledge::Queued, Acknowledge::Spooled];
        }
        Self {
            only: after("--only"),
            acknowledge,
            batches: arguments.iter().any(|argument| argument == "--batches"),
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
    let bench = Bench { asked, delivered, backend: address, peer, floor: Server::bare() };
    bench.idle();
    bench.costs();
    bench.latency();
    bench.overload();
}

/// What all parts of the bench use.
struct Bench {
    asked: Asked,
    delivered: Delivered,
    backend: SocketAddr,
    peer: Option<Server>,
    floor: Server,
}

impl Bench {
    /// A collector for each way to acknowledge that was asked for.
    fn collectors(&self, protocol: &str, compression: &str) -> Vec<Server> {
        let start = |acknowledge: &Acknowledge| {
            let (backend, acknowledge) = (self.backend, *acknowledge);
            let batches = self.asked.batches;
            Server::collector(Told { backend, protocol, compression, acknowledge, batches })
        };
        self.asked.acknowledge.iter().map(start).collect()
    }

    fn idle(&self) {
        if self.asked.asks("idle") {
            let collectors = self.collectors("http", "none");
            let servers: Vec<_> = [&self.floor].into_iter().chain(&collectors).collect();
            rest::idle(&servers, self.asked.length * 5);
        }
    }

    fn costs(&self) {
        if !["http", "grpc", "gzip"].iter().any(|part| self.asked.asks(part)) {
            return;
        }
        println!("\nOne backend on loopback; CPU of the server alone");
        println!(
            "{:<22}{:<13}{:>9}{:>9}{:>12}{:>13}{:>12}{:>13}",
            "", "server", "requests", "refused", "CPU us/req", "CPU ns/span", "times bare", "proxy"
        );
        let proxy = Server::proxy(self.backend);
        for spans in [1_000, 5] {
            let body = Bytes::from(requests::traces(spans).encode_to_vec());
            for (part, protocol, compression, request) in [
                ("http", "http", "none", Request::Http(body.clone(), "identity")),
                ("grpc", "grpc", "none", Request::grpc(&body)),
                ("gzip", "http", "gzip", Request::Http(gzip(&body), "gzip")),
            ] {
                if self.asked.asks(part) {
                    let collectors = self.collectors(protocol, compression);
                    let servers = [&self.floor, &proxy].into_iter().chain(&collectors);
                    let servers: Vec<_> = servers.chain(&self.peer).collect();
                    let what = format!("{part} to {part}, {spans}");
                    compare(&what, spans, &request, &servers, &self.delivered, self.asked.length);
                }
            }
        }
    }

    fn latency(&self) {
        if self.asked.asks("latency") {
            let small = Bytes::from(requests::traces(5).encode_to_vec());
            let request = Request::Http(small, "identity");
            for collector in self.collectors("http", "none") {
                let servers = [&self.floor, &collector];
                rest::latency(servers, &request, &self.delivered, self.asked.length * 2);
            }
        }
    }

    fn overload(&self) {
        if self.asked.asks("overload") {
            let body = Bytes::from(requests::traces(1_000).encode_to_vec());
            let request = Request::Http(body, "identity");
            for acknowledge in &self.asked.acknowledge {
                rest::overload(&request, *acknowledge, self.asked.length * 10);
            }
        }
    }
}

fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("memory does not fail");
    Bytes::from(encoder.finish().expect("memory does not fail"))
}

/// Measures all `servers` with `request`, in turns; the first two are the floors.
fn compare(
    what: &str,
    spans: u64,
    request: &Request,
    servers: &[&Server],
    delivered: &Delivered,
    length: Duration,
) {
    let mut costs: Vec<_> = servers.iter().map(|server| (*server, Cost::default())).collect();
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
            "{what:<22}{:<13}{:>9}{:>9}{:>12.1}{:>13.0}{:>12.2}{:>13.2}",
            server.name,
            cost.requests,
            cost.refused,
            micros(cost),
            micros(cost) * 1e3 / spans as f64,
            micros(cost) / micros(&costs[0].1),
            micros(cost) / micros(&costs[1].1),
        );
    }
}
