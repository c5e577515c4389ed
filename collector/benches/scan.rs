//! What it costs to look into a request: `cargo bench -p collector --bench scan`.
//!
//! The scan against a full decode of the same bytes by the generated code of
//! `opentelemetry-proto`, and the JSON transcoder against that code's own JSON, in one run.
//! Rounds take turns, and the median of them counts, so that a burst of other work on the machine
//! falls on all four. The allocator counts; that slows an allocation by a few nanoseconds, which
//! the decoders, who allocate, pay and the scan does not.
//!
//! Invariant: what is timed here succeeds, and finds as many spans as there are.

use std::hint::black_box;
use std::time::{Duration, Instant};

use collector::bench;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use watchdog_core::tally::Signal;

#[path = "forward/requests.rs"]
mod requests;

const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(100);
const WARM: Duration = Duration::from_millis(50);
/// Allocations are the same in every pass; a hundred show a fraction.
const COUNTED: u64 = 100;
const BYTES_MAX: usize = 64 << 20;

/// One way to look into a request.
struct Way<'a> {
    name: &'static str,
    bytes: usize,
    /// Index of the way that this one is compared with.
    base: usize,
    pass: Box<dyn Fn() + 'a>,
}

fn main() {
    // `cargo test --benches` only asks whether it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    for spans in [1_000, 5] {
        measure(spans);
    }
}

fn measure(spans: u64) {
    let request = requests::traces(spans);
    let protobuf = request.encode_to_vec();
    let json = serde_json::to_vec(&request).expect("a request serializes");
    let ways = ways(spans, &protobuf, &json);
    let allocations: Vec<u64> = ways.iter().map(|way| allocations(&way.pass)).collect();
    for way in &ways {
        time(WARM, &way.pass);
    }
    let mut rounds = vec![Vec::new(); ways.len()];
    for _ in 0..ROUNDS {
        for (way, nanos) in ways.iter().zip(&mut rounds) {
            nanos.push(time(ROUND, &way.pass));
        }
    }
    let nanos: Vec<f64> = rounds.into_iter().map(median).collect();

    println!(
        "\n{spans} spans a request: {} bytes protobuf, {} bytes JSON",
        protobuf.len(),
        json.len()
    );
    println!(
        "{:<22}{:>10}{:>10}{:>22}{:>12}",
        "", "ns/span", "MB/s", "allocations/request", "times ours"
    );
    for (index, way) in ways.iter().enumerate() {
        println!(
            "{:<22}{:>10.1}{:>10.0}{:>22.1}{:>12.1}",
            way.name,
            nanos[index] / spans as f64,
            way.bytes as f64 * 1e3 / nanos[index],
            allocations[index] as f64 / COUNTED as f64,
            nanos[index] / nanos[way.base],
        );
    }
}

fn ways<'a>(spans: u64, protobuf: &'a [u8], json: &'a [u8]) -> Vec<Way<'a>> {
    let scan = move || {
        assert_eq!(bench::scan(Signal::Traces, black_box(protobuf)), Some(spans));
    };
    let decode = move || {
        let decoded = ExportTraceServiceRequest::decode(black_box(protobuf));
        black_box(decoded.expect("the bytes were encoded by the same code"));
    };
    let transcode = move || {
        let written = bench::transcode(Signal::Traces, black_box(json), BYTES_MAX);
        assert!(written >= Some(protobuf.len()), "nothing is left out");
    };
    let parse = move || {
        let parsed = serde_json::from_slice::<ExportTraceServiceRequest>(black_box(json));
        black_box(parsed.expect("the text was written by the same code"));
    };
    vec![
        Way { name: "scan", bytes: protobuf.len(), base: 0, pass: Box::new(scan) },
        Way { name: "prost decode", bytes: protobuf.len(), base: 0, pass: Box::new(decode) },
        Way { name: "JSON transcode", bytes: json.len(), base: 2, pass: Box::new(transcode) },
        Way { name: "serde_json decode", bytes: json.len(), base: 2, pass: Box::new(parse) },
    ]
}

fn allocations(pass: &dyn Fn()) -> u64 {
    allocation_counter::measure(|| (0..COUNTED).for_each(|_| pass())).count_total
}

/// Nanoseconds a pass, over passes for about `length`.
fn time(length: Duration, pass: &dyn Fn()) -> f64 {
    let start = Instant::now();
    let mut passes = 0_u32;
    loop {
        // The clock is read once in 16 passes: a pass over 5 spans takes little more than it.
        (0..16).for_each(|_| pass());
        passes += 16;
        let took = start.elapsed();
        if took >= length {
            return took.as_nanos() as f64 / f64::from(passes);
        }
    }
}

fn median(mut nanos: Vec<f64>) -> f64 {
    nanos.sort_by(f64::total_cmp);
    nanos[nanos.len() / 2]
}
