//! Measures any OTLP server by the conformance suite of this repository:
//!
//! ```text
//! cargo run --example conformance -- --http 127.0.0.1:4318 --grpc 127.0.0.1:4317 [-o json]
//! ```
//!
//! Prints each probe and what was seen where it failed, then a summary by family. Exit code 0:
//! every MUST and SHOULD holds; 1: some do not; 2: the server could not be reached.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, ValueEnum};

#[path = "../tests/conformance"]
mod conformance {
    pub mod suite;
}

use conformance::suite::http::PATIENCE;
use conformance::suite::sink::Sink;
use conformance::suite::target::{LIMIT_BYTES, Target};
use conformance::suite::{self, report};

#[derive(Debug, Parser)]
#[command(about = "Measure an OTLP server by the conformance suite")]
struct Args {
    /// Where OTLP/HTTP is served.
    #[arg(long, default_value = "127.0.0.1:4318")]
    http: SocketAddr,
    /// Where OTLP/gRPC is served.
    #[arg(long, default_value = "127.0.0.1:4317")]
    grpc: SocketAddr,
    /// Also look behind the server: listen here for what it exports (OTLP/HTTP, protobuf).
    #[arg(long)]
    sink: Option<SocketAddr>,
    /// The size limit the server is configured for; a larger request must be refused.
    #[arg(long, default_value_t = LIMIT_BYTES)]
    limit_bytes: usize,
    /// Only probes whose id starts so, for example `json.` or `size.gzip`.
    #[arg(long, default_value = "")]
    only: String,
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Output {
    Table,
    Json,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("start the HTTP/2 client: {error}");
            return ExitCode::from(2);
        }
    };
    for address in [args.http, args.grpc] {
        if let Err(error) = suite::http::Line::open(address) {
            eprintln!("{error}; start the server first, or name it with --http and --grpc");
            return ExitCode::from(2);
        }
    }
    let sink = args.sink.map(|address| Sink::start(runtime.handle(), address, PATIENCE));
    let sink = match sink.transpose() {
        Ok(sink) => sink,
        Err(error) => {
            eprintln!("start the sink: {error}");
            return ExitCode::from(2);
        }
    };
    let mut probes = suite::probes();
    if let Some(sink) = &sink {
        eprintln!("the sink listens on {}", sink.address());
        probes.extend_from_slice(suite::delivery::PROBES);
    }
    let target = Target {
        http: args.http,
        grpc: args.grpc,
        limit_bytes: args.limit_bytes,
        runtime: runtime.handle().clone(),
        sink,
        numbers: Arc::default(),
    };
    probes.retain(|probe| probe.id.starts_with(&args.only));
    let findings = report::run(&target, &probes);
    match args.output {
        Output::Table => print!("{}", report::table(&findings)),
        Output::Json => println!("{}", report::json(&findings)),
    }
    ExitCode::from(u8::from(!report::faults(&findings).is_empty()))
}
