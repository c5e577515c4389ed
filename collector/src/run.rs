//! The collector's life: start everything, serve, and stop in the order of the path.
//!
//! Invariant: on a stop nothing that was acknowledged is abandoned before its time: first the
//! receivers answer what is in flight, then the exporters deliver what is queued, then the tally
//! is shown a last time and the beat says that it leaves.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use front_door::{Counts as DoorCounts, Limits, serve_counted};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::service_fn;
use tracing::{info, warn};
use watchdog_core::pulse::Pulse;

use crate::admin::{self, Admin};
use crate::beat::{self, Beater};
use crate::export::{self, Exporter};
use crate::memory::Budget;
use crate::metrics::Metrics;
use crate::pipeline::Pipeline;
use crate::receive::{self, cors::Cors};
use crate::tally::Tally;
use crate::{BeatTarget, Bound, RunError, driver};

pub(crate) async fn run(
    bound: Bound,
    watchdog: BeatTarget,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let doors = [(); 3].map(|()| Arc::new(DoorCounts::default()));
    let [grpc_door, http_door, admin_door] = doors.clone();
    let (pipeline, exporters) = pipeline(&bound, doors)?;

    let pulse = Arc::new(Pulse::new(driver::now()));
    let workers = u8::try_from(1 + exporters.len()).expect("the configuration was checked");
    let beater = Beater {
        target: watchdog,
        boot: bound.boot,
        pulse: Arc::clone(&pulse),
        workers,
        metrics: Arc::clone(&pipeline.metrics),
    };
    let (beating, stop_beating) = mpsc::channel();
    let thread = std::thread::Builder::new().name("beat".to_owned());
    let beats = thread.spawn(move || beater.run(&stop_beating)).map_err(RunError::BeatThread)?;

    let mut tasks = JoinSet::new();
    tasks.spawn(beat::turn(Arc::clone(&pulse), Arc::clone(&pipeline.tally)));
    let stop_exporters = CancellationToken::new();
    let mut exporting = start(exporters, &pulse, &stop_exporters);

    let closing = CancellationToken::new();
    let admin = Admin {
        pipeline: Arc::clone(&pipeline),
        stopping: shutdown.clone(),
        closing: closing.clone(),
    };
    let admin = tokio::spawn(serve_counted(
        bound.admin,
        admin::router(admin).into_service(),
        Limits::default(),
        closing.clone(),
        admin_door,
    ));

    info!(grpc = %bound.addresses.grpc, http = %bound.addresses.http,
        admin = %bound.addresses.admin, "the collector takes OTLP");
    tokio::join!(
        otlp(bound.grpc, Arc::clone(&pipeline), shutdown.clone(), grpc_door),
        otlp(bound.http, Arc::clone(&pipeline), shutdown, http_door),
    );

    stop_exporters.cancel();
    let patience = Duration::from_millis(bound.config.drain_timeout_ms);
    drain(&mut exporting, patience, &pipeline.tally).await;
    closing.cancel();
    // A server that panicked has stopped, which is all that is wanted here.
    let _ = admin.await;
    drop(beating);
    let _ = tokio::task::spawn_blocking(move || beats.join()).await;
    info!("the collector has stopped");
    Ok(())
}

fn pipeline(
    bound: &Bound,
    doors: [Arc<DoorCounts>; 3],
) -> Result<(Arc<Pipeline>, Vec<Exporter>), RunError> {
    let config = &bound.config;
    let [grpc, http, admin] = doors;
    let metrics = Arc::new(Metrics::new([("grpc", grpc), ("http", http), ("admin", admin)]));
    let exporters = config.exporters.iter();
    let exporters = exporters.map(|config| (config.clone(), metrics.exporter(config))).collect();
    let (exporters, tasks) = export::exporters(exporters).map_err(RunError::Exporters)?;
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let pipeline = Pipeline {
        budget: Budget::new(config.memory_bytes),
        max_request_bytes: config.max_request_bytes,
        exporters,
        tally: Arc::new(Tally::new(bound.boot.clone(), config.tally_rows_max, !tasks.is_empty())),
        metrics,
        cors: Cors::new(config.cors_origins.clone()),
        big: Semaphore::new(processors),
    };
    Ok((Arc::new(pipeline), tasks))
}

fn start(exporters: Vec<Exporter>, pulse: &Arc<Pulse>, stop: &CancellationToken) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for (who, exporter) in (1..).zip(exporters) {
        tasks.spawn(exporter.run(who, Arc::clone(pulse), stop.clone()));
    }
    tasks
}

/// Serves OTLP at `listener` until `shutdown`, and what is in flight then.
async fn otlp(
    listener: TcpListener,
    pipeline: Arc<Pipeline>,
    shutdown: CancellationToken,
    counts: Arc<DoorCounts>,
) {
    let service = service_fn(move |request| receive::answer(Arc::clone(&pipeline), request));
    serve_counted(listener, service, Limits::default(), shutdown, counts).await;
}

/// Waits until the queues are empty, or for `patience`; what is left is then counted as dropped.
async fn drain(exporting: &mut JoinSet<()>, patience: Duration, tally: &Tally) {
    let drained = async { while exporting.join_next().await.is_some() {} };
    if tokio::time::timeout(patience, drained).await.is_err() {
        let records = tally.size().queued_records;
        warn!(records, "the backends did not take everything before the stop; the rest is dropped");
        exporting.shutdown().await;
    }
}
