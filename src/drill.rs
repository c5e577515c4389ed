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

mod conductor;
mod failure;
mod fleet;
mod gate;
mod gated;
mod load;
mod naive;
mod report;
mod revert;
mod scene;
mod service;
mod sight;
mod stack;
mod timeline;
mod wait;
mod watch;
mod workplace;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::{Globals, Output};
use crate::exit::Ending;
use failure::DrillError;
use report::{Act, ActName, Check, Report};
use scene::Scene;
use timeline::{Shown, Timeline};
use workplace::Workplace;

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

/// Carries one revert from the gate to the drill.
pub fn revert(args: RevertArgs) -> ExitCode {
    match revert::run(&args.socket) {
        Ok(()) => Ending::Done.into(),
        Err(error) => {
            eprintln!("{error}");
            Ending::Undecided.into()
        }
    }
}

/// Runs the whole drill: exit code 0 if every check held, 1 if one did not, 2 if it could not run.
pub fn run(args: DrillArgs, globals: &Globals) -> ExitCode {
    if let Some(service) = &args.service {
        eprintln!(
            "drill --service {service}: this version drills no running installation. Run \
             `holdpoint drill` alone: it starts its own stack and fleet on free ports and \
             touches nothing else"
        );
        return Ending::Undecided.into();
    }
    let shown = match globals.output {
        Output::Table => Shown::OnStdout,
        Output::Json | Output::Yaml => Shown::OnStderr,
    };
    let timeline = Arc::new(Timeline::begin(shown));
    match perform(args.keep, &timeline) {
        Ok(report) => {
            print(&report, globals.output, &timeline);
            if report.ok { Ending::Done.into() } else { Ending::Denied.into() }
        }
        Err(error) => {
            eprintln!("{error}");
            Ending::Undecided.into()
        }
    }
}

fn print(report: &Report, output: Output, timeline: &Timeline) {
    match output {
        Output::Table => println!("{}", report.table(timeline.is_coloured())),
        Output::Json | Output::Yaml => {
            let data = serde_json::to_value(report).expect("a report is plain data");
            crate::render::print_data(output, &data);
        }
    }
}

fn perform(keep: bool, timeline: &Arc<Timeline>) -> Result<Report, DrillError> {
    let workplace = Workplace::create(keep)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(DrillError::system("build the runtime"))?;
    runtime.block_on(async {
        let stop = stop_on_signal()?;
        timeline.title("ACT 1  The agent alone: no errors and low latency, so ship to the next");
        let (naive, mut checks) = act(&workplace, ActName::Naive, timeline, &stop).await?;
        timeline.title("ACT 2  The same agent and the same change, behind the gate");
        let (gated, more) = act(&workplace, ActName::Gated, timeline, &stop).await?;
        checks.extend(more);
        Ok(Report::of(vec![naive, gated], checks))
    })
}

/// Sets a stage, plays on it, and strikes it whatever came of the play.
async fn act(
    workplace: &Workplace,
    name: ActName,
    timeline: &Arc<Timeline>,
    stop: &CancellationToken,
) -> Result<(Act, Vec<Check>), DrillError> {
    let interrupted = || Err(DrillError::Interrupted);
    let scene = tokio::select! {
        scene = Scene::set(workplace, name.as_str(), timeline) => scene?,
        () = stop.cancelled() => return interrupted(),
    };
    let played = tokio::select! {
        played = play(name, &scene) => played,
        () = stop.cancelled() => interrupted(),
    };
    scene.strike().await;
    played
}

async fn play(name: ActName, scene: &Scene) -> Result<(Act, Vec<Check>), DrillError> {
    match name {
        ActName::Naive => naive::play(scene).await,
        ActName::Gated => gated::play(scene).await,
    }
}

/// Ctrl-C and SIGTERM end the drill in order.
fn stop_on_signal() -> Result<CancellationToken, DrillError> {
    let watch = |kind| signal(kind).map_err(DrillError::system("watch for signals"));
    let (mut interrupt, mut terminate) =
        (watch(SignalKind::interrupt())?, watch(SignalKind::terminate())?);
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => (),
            _ = terminate.recv() => (),
        }
        stopping.cancel();
    });
    Ok(stop)
}
