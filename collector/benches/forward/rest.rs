//! What is not cost a request: rest, latency at half load, and overload.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use collector::Acknowledge;

use crate::bare;
use crate::child::{Server, Told, runtime};
use crate::client::{Client, Request};
use crate::load::{Delivered, offer};

const OVERLOADING: usize = 40;
/// What the backend of the overload takes; the clients offer what two processors can.
const BACKEND_BYTES_A_SECOND: u64 = 20_000_000;
const PACED: usize = 16;

/// Memory, processor time and wake-ups at rest.
pub fn idle(servers: &[&Server], length: Duration) {
    println!("\nAt rest for {} s, before any request", length.as_secs());
    println!("{:<14}{:>12}{:>12}{:>12}", "server", "RSS MiB", "CPU %", "switches/s");
    let before: Vec<_> = servers.iter().map(|server| server.scheduled()).collect();
    thread::sleep(length);
    for (server, (cpu, switches)) in servers.iter().zip(before) {
        let now = server.scheduled();
        let share = (now.0 - cpu).as_secs_f64() / length.as_secs_f64() * 100.0;
        let switches = (now.1 - switches) as f64 / length.as_secs_f64();
        let resident = server.resident_mib().0;
        println!("{:<14}{resident:>12.1}{share:>12.3}{switches:>12.0}", server.name);
    }
}

/// Times from the moment at which a request was due to its answer, at `rate` requests a second:
/// an open loop, so a pause of the server counts for every request that it delays.
fn latencies(server: &Server, request: &Request, rate: f64, length: Duration) -> Vec<Duration> {
    let begun = Instant::now();
    let total = (rate * length.as_secs_f64()) as u64;
    let next = AtomicU64::new(0);
    let mut times: Vec<Duration> = thread::scope(|scope| {
        let clients: Vec<_> = (0..PACED)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = Client::connect(server, request);
                    let mut times = Vec::new();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= total {
                            return times;
                        }
                        let due = begun + Duration::from_secs_f64(number as f64 / rate);
                        thread::sleep(due.saturating_duration_since(Instant::now()));
                        if client.is_taken(request) {
                            times.push(due.elapsed());
                        }
                    }
                })
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().expect("no panic")).collect()
    });
    times.sort_unstable();
    times
}

/// Latency at half of what `servers.1` can take, against the floor `servers.0` at the same rate.
pub fn latency(servers: [&Server; 2], request: &Request, delivered: &Delivered, length: Duration) {
    let full = offer(servers[1], request, Some(delivered), length).accepted;
    let rate = full as f64 / length.as_secs_f64() / 2.0;
    println!("\nLatency at half load, open loop at {rate:.0} requests a second, milliseconds");
    println!("{:<14}{:>10}{:>10}{:>10}{:>10}", "server", "requests", "p50", "p99", "p99.9");
    let rows = servers.map(|server| latencies(server, request, rate, length));
    let at = |times: &[Duration], share: f64| {
        times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3
    };
    let shares = [0.5, 0.99, 0.999];
    for (server, times) in servers.iter().zip(&rows) {
        let [p50, p99, p999] = shares.map(|share| at(times, share));
        println!("{:<14}{:>10}{p50:>10.2}{p99:>10.2}{p999:>10.2}", server.name, times.len());
    }
    let [p50, p99, p999] = shares.map(|share| at(&rows[1], share) - at(&rows[0], share));
    println!("{:<14}{:>10}{p50:>10.2}{p99:>10.2}{p999:>10.2}", "added", "");
}

/// A backend that takes less than a tenth of what is offered: how much of what it could take it
/// gets, and what memory the collector takes for it.
pub fn overload(request: &Request, acknowledge: Acknowledge, length: Duration) {
    let runtime = runtime();
    let delivered = Arc::new(AtomicU64::new(0));
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"));
    let listener = listener.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let count = Arc::clone(&delivered);
    runtime.spawn(bare::serve_at_most(listener, count, BACKEND_BYTES_A_SECOND));
    let (protocol, compression) = ("http", "none");
    let told = Told { backend: address, protocol, compression, acknowledge, batches: false };
    let server = Server::collector(told);
    server.forget_peak();
    let (begun, end) = (Instant::now(), Instant::now() + length);
    let (taken, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    let (cpu, bytes) = (server.cpu(), delivered.load(Ordering::Relaxed));
    thread::scope(|scope| {
        for _ in 0..OVERLOADING {
            scope.spawn(|| {
                let mut client = Client::connect(&server, request);
                while Instant::now() < end {
                    let count = if client.is_taken(request) { &taken } else { &refused };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let seconds = begun.elapsed().as_secs_f64();
    let got = (delivered.load(Ordering::Relaxed) - bytes) as f64 / seconds;
    let (taken, refused) = (taken.into_inner(), refused.into_inner());
    let offered = (taken + refused) as f64 * request.content_bytes() as f64 / seconds;
    let name = server.name;
    println!(
        "\nOverload for {seconds:.0} s, {name}: a backend that takes 20 MB/s, \
         {OVERLOADING} clients"
    );
    println!("offered {:.0} MB/s, {taken} requests taken, {refused} refused", offered / 1e6);
    let share = got / BACKEND_BYTES_A_SECOND as f64 * 100.0;
    println!("goodput {share:.1} % of what the backend takes");
    let (now, peak) = server.resident_mib();
    println!("RSS {now:.0} MiB, at most {peak:.0} MiB, with a budget of 256 MiB");
    let cpu = (server.cpu() - cpu).as_secs_f64() / seconds * 100.0;
    println!("CPU {cpu:.0} % of a processor");
}
