//! The collector's life: start everything, serve, change when it is asked to, and stop in the order
//! of the path.
//!
//! Invariant: on a stop nothing that was acknowledged is abandoned before its time: first the
//! receivers answer what is in flight, then the exporters deliver what is queued, then the tally
//! is shown a last time and the beat says that it leaves.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use front_door::Counts as DoorCounts;
use tokio::net::UnixDatagram;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, info_span, warn};
use watchdog_core::names::Boot;

use crate::beat::{self, Beater};
use crate::config::{Acknowledge, Config};
use crate::export::{self, Exporter, Exporters, Renewal};
use crate::health::{self, Monitor};
use crate::line::Line;
use crate::memory::Budget;
use crate::metrics::Metrics;
use crate::pipeline::Pipeline;
use crate::ports::{Ports, Serving};
use crate::receive::cors::Cors;
use crate::receive::guard::Guard;
use crate::reload::{self, Source, Standing};
use crate::rounds::Rounds;
use crate::rules::Rules;
use crate::spool::{Limits, Recovered, Spool};
use crate::tally::Tally;
use crate::{Addresses, BeatTarget, Bound, ReloadError, RunError, SpoolError, driver};

/// A file of the spool is deleted as a whole: small enough to go soon, big enough to be few.
const SPOOL_FILE_BYTES: u64 = 16 << 20;
/// The share of the memory in which spooled requests stay for exporters that keep up.
const RESIDENT: usize = 4;

/// What runs, and can be changed while it does.
#[derive(Debug)]
pub(crate) struct Running {
    /// The configuration in force.
    pub(crate) config: Config,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) standing: Arc<Standing>,
    line: Arc<Line>,
    rounds: Arc<Rounds>,
    /// The pipeline in which requests begin now.
    pipeline: watch::Sender<Arc<Pipeline>>,
    ports: Ports,
    exporting: JoinSet<()>,
    stop_exporters: CancellationToken,
}

pub(crate) async fn run(
    bound: Bound,
    watchdog: BeatTarget,
    mut source: Source,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let Bound { config, boot, guard, listeners, spool, page, also_shown } = bound;
    // A promise of the disk that is kept in memory would be found out by the first crash.
    if config.acknowledge == Acknowledge::Spooled && spool.is_none() {
        return Err(RunError::NoSpool);
    }
    let doors = [(); 4].map(|()| Arc::new(DoorCounts::default()));
    let [grpc, http, admin, unix] = doors.clone();
    let doors_shown = [("grpc", grpc), ("http", http), ("admin", admin), ("unix", unix)];
    let metrics = Arc::new(Metrics::new(doors_shown, also_shown));
    let backend = !config.exporters.is_empty();
    let tally = Arc::new(Tally::new(boot.clone(), config.tally_rows_max, backend));
    let renewal = Renewal::of(&config.exporters, &Exporters::default());
    let renewal = renewal.map_err(RunError::Exporters)?;
    let line = Line::new(spool, config.memory_bytes / RESIDENT, Arc::clone(&tally));
    let (exporters, tasks) = renewal.take_effect(&line, |config| metrics.exporter(config));
    for (kind, records) in line.begun() {
        metrics.disowned(kind, records);
    }
    let rounds = Rounds::new(driver::now());
    let standing = Arc::new(Standing::new(std::mem::take(&mut source.version)));
    let first = pipeline(&config, guard.clone(), &line, &metrics, exporters, None);
    let pipeline = watch::Sender::new(Arc::new(first));
    page.begins(pipeline.subscribe());

    let beating = (watchdog, boot, Arc::clone(&rounds), Arc::clone(&metrics));
    let (beats, stop_beats, asked) = beat(beating)?;
    let mut turning = JoinSet::new();
    turning.spawn(beat::turn(rounds.join(), asked, Arc::clone(&tally)));
    let health = Arc::new(Monitor::default());
    turning.spawn(health::look(Arc::clone(&health), pipeline.subscribe(), Arc::clone(&rounds)));

    let closing = CancellationToken::new();
    let serving = Serving {
        pipeline: pipeline.subscribe(),
        standing: Arc::clone(&standing),
        rounds: Arc::clone(&rounds),
        health,
        stopping: shutdown.clone(),
        closing: closing.clone(),
    };
    let ports = Ports::open(listeners, &config, &guard, serving, doors);
    let at = ports.addresses();
    info!(grpc = %at.grpc, http = %at.http, admin = %at.admin, "the collector takes OTLP");
    let mut running = Running {
        config,
        metrics,
        standing,
        line,
        rounds,
        pipeline,
        ports,
        exporting: JoinSet::new(),
        stop_exporters: CancellationToken::new(),
    };
    running.start(tasks);
    tokio::select! {
        () = reload::take(&mut running, &mut source.proposals) => {}
        () = shutdown.cancelled() => {}
    }

    running.ports.received().await;
    running.drain().await;
    closing.cancel();
    running.ports.closed().await;
    drop(stop_beats);
    let _ = tokio::task::spawn_blocking(move || beats.join()).await;
    info!("the collector has stopped");
    Ok(())
}

/// Starts the beat; dropping the sender ends it. Through the socket it asks the runtime.
fn beat(
    (target, boot, rounds, metrics): (BeatTarget, Boot, Arc<Rounds>, Arc<Metrics>),
) -> Result<(JoinHandle<()>, mpsc::Sender<()>, UnixDatagram), RunError> {
    let (asking, asked) = beat::asking().map_err(RunError::BeatThread)?;
    let beater = Beater { target, boot, rounds, metrics, asking };
    let (beating, stop) = mpsc::channel();
    let thread = std::thread::Builder::new().name("beat".to_owned());
    let beats = thread.spawn(move || beater.run(&stop)).map_err(RunError::BeatThread)?;
    Ok((beats, beating, asked))
}

/// The spool of `config` in `dir`, if requests are to be kept in one.
pub(crate) fn open_spool(
    dir: &Path,
    config: &Config,
) -> Result<Option<(Spool, Recovered)>, SpoolError> {
    match config.acknowledge {
        Acknowledge::Spooled => {}
        Acknowledge::Delivered | Acknowledge::Queued => return Ok(None),
    }
    let _span = info_span!("spool_recovery").entered();
    let limits = Limits { bytes: config.spool_bytes, file_bytes: SPOOL_FILE_BYTES, direct: true };
    let owners = config.exporters.iter().map(export::owner).collect();
    Spool::open(dir, limits, owners).map(Some)
}

/// The pipeline of `config`, with what it shares with the one `before`.
fn pipeline(
    config: &Config,
    guard: Guard,
    line: &Arc<Line>,
    metrics: &Arc<Metrics>,
    exporters: Exporters,
    before: Option<&Pipeline>,
) -> Pipeline {
    for warning in config.warnings() {
        warn!("{warning}");
    }
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let budget = before.map(|before| &before.budget);
    let wanted = Budget::reserving(config.memory_bytes, config.max_request_bytes);
    let budget = budget.filter(|budget| budget.is_as(&wanted));
    Pipeline {
        budget: budget.cloned().unwrap_or(wanted),
        max_request_bytes: config.max_request_bytes,
        acknowledge: config.acknowledge,
        exporters,
        line: Arc::clone(line),
        tally: Arc::clone(line.tally()),
        metrics: Arc::clone(metrics),
        guard,
        cors: Cors::new(config.cors_origins.clone()),
        stall_ms: config.stall_ms,
        taps: before.map_or_else(Arc::default, |before| Arc::clone(&before.taps)),
        rules: Rules::new(&config.drop, &config.resource_attributes),
        big: Semaphore::new(processors),
    }
}

impl Running {
    pub(crate) const fn addresses(&self) -> Addresses {
        self.ports.addresses()
    }

    /// Puts `config` in force, or changes nothing.
    ///
    /// # Errors
    /// What does not come up.
    pub(crate) async fn renew(&mut self, mut config: Config) -> Result<(), ReloadError> {
        config.tally_rows_max = self.config.tally_rows_max;
        config.acknowledge = self.config.acknowledge;
        config.spool_bytes = self.config.spool_bytes;
        config.unix_listen.clone_from(&self.config.unix_listen);
        let before = Arc::clone(&self.pipeline.borrow());
        let renewal = Renewal::of(&config.exporters, &before.exporters);
        let renewal = renewal.map_err(ReloadError::Exporters)?;
        let guard = Guard::of(&config).await;
        let guard = guard.map_err(|(key, text)| ReloadError::Guard { key, text })?;
        let moved = self.ports.bind_moved(&config).await.map_err(ReloadError::Bind)?;

        // From here on nothing can fail.
        let metrics = |config: &_| self.metrics.exporter(config);
        let (exporters, tasks) = renewal.take_effect(&self.line, metrics);
        self.line.tally().has_backend(!config.exporters.is_empty());
        self.ports.secure(&guard);
        let next = pipeline(&config, guard, &self.line, &self.metrics, exporters, Some(&before));
        self.pipeline.send_replace(Arc::new(next));
        self.start(tasks);
        self.ports.take_over(moved, &config);
        self.config = config;
        Ok(())
    }

    fn start(&mut self, exporters: Vec<Exporter>) {
        for exporter in exporters {
            let (turns, stop) = (self.rounds.join(), self.stop_exporters.clone());
            self.exporting.spawn(exporter.run(turns, stop));
        }
    }

    /// Waits until nothing waits for a backend, or for `drain_timeout_ms`; what is left is then
    /// in the spool, or counted as dropped.
    async fn drain(&mut self) {
        self.stop_exporters.cancel();
        let patience = Duration::from_millis(self.config.drain_timeout_ms);
        let exporting = &mut self.exporting;
        let drained = async { while exporting.join_next().await.is_some() {} };
        if tokio::time::timeout(patience, drained).await.is_err() {
            let records = self.line.tally().size().queued_records;
            if self.line.spool().is_some() {
                info!(records, "what the backends did not take before the stop is in the spool");
            } else {
                let why = "the backends did not take everything before the stop";
                warn!(records, "{why}; the rest is dropped");
            }
            self.exporting.shutdown().await;
        }
    }
}
