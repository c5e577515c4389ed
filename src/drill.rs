//! `holdpoint drill`: the recursive crash for real, and what the gate makes of it.
//!
//! Twenty HTTP services run as processes, instrumented, beating and under load. A scripted agent
//! ships a "cache optimisation" to them through the public API. The change has a race that hangs
//! the telemetry path under concurrency while the service goes on answering.
//!
//! | act | the agent | ends with |
//! |---|---|---|
//! | `naive` | ships on "no errors, low latency" | all services blind, and every reading good |
//! | `gated` | asks the gate first | one service changed, the line stopped, the change reverted |
//!
//! Invariant: nothing here is staged. The hang is the SDK's, verdicts are the watchdog's,
//! decisions are the gate's, and the exit code is 0 only if every check held.

mod service;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::exit::Ending;

/// Arguments of `holdpoint drill`.
#[derive(Debug, clap::Args)]
pub struct DrillArgs {
    /// Keep the temporary directory with configuration, database and logs.
    #[arg(long)]
    pub keep: bool,
    /// Drill one service of a running installation.
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
}

/// Arguments of the hidden `holdpoint drill-service`: one service of the fleet.
#[derive(Debug, clap::Args)]
pub struct ServiceArgs {
    #[arg(long)]
    pub name: String,
    #[arg(long)]
    pub revision: String,
    /// Where to serve HTTP; port 0 takes a free one, which standard output names.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub http: SocketAddr,
    /// The collector's OTLP gRPC address.
    #[arg(long)]
    pub otlp: SocketAddr,
    /// The watchdog's UDP address.
    #[arg(long)]
    pub beats: SocketAddr,
    #[arg(long, default_value_t = 200)]
    pub beat_interval_ms: u64,
    #[arg(long, default_value_t = 250)]
    pub traces_every_ms: u64,
    #[arg(long, default_value_t = 500)]
    pub metrics_every_ms: u64,
}

impl ServiceArgs {
    fn endpoint(&self) -> String {
        format!("http://{}", self.otlp)
    }
}

/// Arguments of the hidden `holdpoint drill-revert`: the revert action of the fleet's services.
#[derive(Debug, clap::Args)]
pub struct RevertArgs {
    /// The socket on which the drill takes reverts.
    #[arg(long)]
    pub socket: PathBuf,
}

/// Runs one service of the fleet until its standard input ends.
pub fn service(args: ServiceArgs) -> ExitCode {
    match service::run(&args) {
        Ok(()) => Ending::Done.into(),
        Err(error) => {
            eprintln!("{error}");
            Ending::Undecided.into()
        }
    }
}
