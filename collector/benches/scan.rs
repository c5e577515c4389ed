//! What it costs to look into a request: `cargo bench -p collector --bench scan`.
//!
//! The scan of each signal against a full decode of the same bytes by the generated code of
//! `opentelemetry-proto`, and the JSON transcoder against that code's own JSON, in one run.
//! A `memcpy` of the same bytes is the floor: nothing that reads them all is faster. Rounds take
//! turns, and the median of them counts, so that a burst of other work on the machine falls on
//! all. The allocator counts; that slows an allocation by a few nanoseconds, which the decoders,
//! who allocate, pay and the scan does not.
//!
//! Invariant: what is timed here succeeds, and finds as many records as there are.

use std::hint::black_box;
use std::time::{Duration, Instant};

use collector::bench;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use watchdog_core::tally::Signal;

#[path = "forward/requests.rs"]
mod requests;
#[path = "scan/signals.rs"]
mod signals;

const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(100);
const WARM: Duration = Duration::from_millis(50);
/// Allocations are the same in every pass; a hundred show a fraction.
const COUNTED: u64 = 100;
const BYTES_MAX: usize = 64 << 20;

/// One way to look into a request.
struct Way {
    name: &'static str,
    bytes: usize,
    /// Index of the way that this one is compared with.
    base: usize,
    pass: Box<dyn Fn()>,
}

fn main() {
    // `cargo test --benches` only asks whether it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    for spans in [1_000, 5] {
        let request = requests::traces(spans);
        let json = serde_json::to_vec(&request).expect("a request serializes");
        let mut ways = protobuf::<ExportTraceServiceRequest>(Signal::Traces, spans, &request);
        ways.extend(transcoded(json, ways.len()));
        measure("span", spans, "10 attributes a span, no events, one resource", &ways);
    }
    let ways = protobuf::<ExportLogsServiceRequest>(Signal::Logs, 1_000, &signals::logs(1_000));
    measure("log", 1_000, "a line, 5 attributes, both ids, one resource", &ways);
    let ways =
        protobuf::<ExportMetricsServiceRequest>(Signal::Metrics, 1_000, &signals::metrics(1_000));
    measure("point", 1_000, "4 attributes, half sums, half histograms of 12 buckets", &ways);
}

/// The ways to look into `request`, which holds `records`.
fn protobuf<R: Message + Default + 'static>(signal: Signal, records: u64, request: &R) -> Vec<Way> {
    let bytes = request.encode_to_vec();
    let (length, copied, decoded) = (bytes.len(), bytes.clone(), bytes.clone());
    let scan = move || {
        assert_eq!(bench::scan(signal, black_box(&bytes)), Some(records));
    };
    let room = std::cell::RefCell::new(vec![0; length]);
    let copy = move || {
        room.borrow_mut().copy_from_slice(black_box(&copied));
        black_box(&room);
    };
    let decode = move || {
        let decoded = R::decode(black_box(decoded.as_slice()));
        black_box(decoded.expect("the bytes were encoded by the same code"));
    };
    vec![
        Way { name: "scan", bytes: length, base: 0, pass: Box::new(scan) },
        Way { name: "memcpy", bytes: length, base: 0, pass: Box::new(copy) },
        Way { name: "prost decode", bytes: length, base: 0, pass: Box::new(decode) },
    ]
}

/// The ways to look into `json`, the first of them at index `base`.
fn transcoded(json: Vec<u8>, base: usize) -> Vec<Way> {
    let (length, parsed) = (json.len(), json.clone());
    let transcode = move || {
        let written = bench::transcode(Signal::Traces, black_box(&json), BYTES_MAX);
        assert!(written >= Some(json.len() / 4), "nothing is left out");
    };
    let parse = move || {
        let parsed = serde_json::from_slice::<ExportTraceServiceRequest>(black_box(&parsed));
        black_box(parsed.expect("the text was written by the same code"));
    };
    vec![
        Way { name: "JSON transcode", bytes: length, base, pass: Box::new(transcode) },
        Way { name: "serde_json decode", bytes: length, base, pass: Box::new(parse) },
    ]
}

fn measure(record: &str, records: u64, shape: &str, ways: &[Way]) {
    let allocations: Vec<u64> = ways.iter().map(|way| allocations(&way.pass)).collect();
    for way in ways {
        time(WARM, &way.pass);
    }
    let mut rounds = vec![Vec::new(); ways.len()];
    for _ in 0..ROUNDS {
        for (way, nanos) in ways.iter().zip(&mut rounds) {
            nanos.push(time(ROUND, &way.pass));
        }
    }
    let nanos: Vec<f64> = rounds.into_iter().map(median).collect();

    let each = ways[0].bytes as f64 / records as f64;
    println!("\n{records} {record}s a request of {each:.0} bytes each: {shape}");
    println!(
        "{:<20}{:>10}{:>10}{:>10}{:>22}{:>12}",
        "", "ns each", "ns/KB", "MB/s", "allocations/request", "times ours"
    );
    for (index, way) in ways.iter().enumerate() {
        println!(
            "{:<20}{:>10.1}{:>10.1}{:>10.0}{:>22.1}{:>12.1}",
            way.name,
            nanos[index] / records as f64,
            nanos[index] * 1e3 / way.bytes as f64,
            way.bytes as f64 * 1e3 / nanos[index],
            allocations[index] as f64 / COUNTED as f64,
            nanos[index] / nanos[way.base],
        );
    }
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
