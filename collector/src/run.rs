//! The collector's life: start everything, serve, change when it is asked to, and stop in the order
//! of the path.
//!
//! Invariant: on a stop nothing that was acknowledged is abandoned before its time: first the
//! receivers answer what is in flight, then the exporters deliver what is queued, then the tally
//! is shown a last time and the beat says that it leaves.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use front_door::Counts as DoorCounts;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::beat::{self, Beater};
use crate::config::Config;
use crate::export::{Exporter, Renewal};
use crate::memory::Budget;
use crate::metrics::Metrics;
use crate::pipeline::Pipeline;
use crate::ports::{Ports, Serving};
use crate::receive::cors::Cors;
use crate::reload::{self, Source, Standing};
use crate::rounds::Rounds;
use crate::tally::Tally;
use crate::{Addresses, BeatTarget, Bound, ReloadError, RunError, driver};

/// What runs, and can be changed while it does.
#[derive(Debug)]
pub(crate) struct Running {
    /// The configuration in force.
    pub(crate) config: Config,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) standing: Arc<Standing>,
    tally: Arc<Tally>,
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
    let Bound { config, boot, listeners } = bound;
    let doors = [(); 3].map(|()| Arc::new(DoorCounts::default()));
    let [grpc, http, admin] = doors.clone();
    let metrics = Arc::new(Metrics::new([("grpc", grpc), ("http", http), ("admin", admin)]));
    let backend = !config.exporters.is_empty();
    let tally = Arc::new(Tally::new(boot.clone(), config.tally_rows_max, backend));
    let renewal = Renewal::of(&config.exporters, None, |config| metrics.exporter(config))
        .map_err(RunError::Exporters)?;
    let (exporters, tasks) = renewal.take_effect();
    let rounds = Rounds::new(driver::now());
    let standing = Arc::new(Standing::new(std::mem::take(&mut source.version)));
    let first = pipeline(&config, &tally, &metrics, exporters, None);
    let pipeline = watch::Sender::new(Arc::new(first));

    let beater = Beater {
        target: watchdog,
        boot,
        rounds: Arc::clone(&rounds),
        metrics: Arc::clone(&metrics),
    };
    let (beats, stop_beats) = beat(beater)?;
    let mut turning = JoinSet::new();
    turning.spawn(beat::turn(rounds.join(), Arc::clone(&tally)));

    let closing = CancellationToken::new();
    let serving = Serving {
        pipeline: pipeline.subscribe(),
        standing: Arc::clone(&standing),
        rounds: Arc::clone(&rounds),
        stopping: shutdown.clone(),
        closing: closing.clone(),
    };
    let ports = Ports::open(listeners, &config, serving, doors);
    let at = ports.addresses();
    info!(grpc = %at.grpc, http = %at.http, admin = %at.admin, "the collector takes OTLP");
    let mut running = Running {
        config,
        metrics,
        standing,
        tally,
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

/// Starts the beat; dropping the sender ends it.
fn beat(beater: Beater) -> Result<(JoinHandle<()>, mpsc::Sender<()>), RunError> {
    let (beating, stop) = mpsc::channel();
    let thread = std::thread::Builder::new().name("beat".to_owned());
    let beats = thread.spawn(move || beater.run(&stop)).map_err(RunError::BeatThread)?;
    Ok((beats, beating))
}

/// The pipeline of `config`, with what it shares with the one `before`.
fn pipeline(
    config: &Config,
    tally: &Arc<Tally>,
    metrics: &Arc<Metrics>,
    exporters: crate::export::Exporters,
    before: Option<&Pipeline>,
) -> Pipeline {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let budget = before.map(|before| &before.budget);
    let budget = budget.filter(|budget| budget.bytes() == config.memory_bytes);
    Pipeline {
        budget: budget.cloned().unwrap_or_else(|| Budget::new(config.memory_bytes)),
        max_request_bytes: config.max_request_bytes,
        exporters,
        tally: Arc::clone(tally),
        metrics: Arc::clone(metrics),
        cors: Cors::new(config.cors_origins.clone()),
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
        let before = Arc::clone(&self.pipeline.borrow());
        let renewal = Renewal::of(&config.exporters, Some(&before.exporters), |config| {
            self.metrics.exporter(config)
        })
        .map_err(ReloadError::Exporters)?;
        let moved = self.ports.bind_moved(&config).await.map_err(ReloadError::Bind)?;

        // From here on nothing can fail.
        let (exporters, tasks) = renewal.take_effect();
        self.tally.has_backend(!config.exporters.is_empty());
        let next = pipeline(&config, &self.tally, &self.metrics, exporters, Some(&before));
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

    /// Waits until the queues are empty, or for `drain_timeout_ms`; what is left is then counted
    /// as dropped.
    async fn drain(&mut self) {
        self.stop_exporters.cancel();
        let patience = Duration::from_millis(self.config.drain_timeout_ms);
        let exporting = &mut self.exporting;
        let drained = async { while exporting.join_next().await.is_some() {} };
        if tokio::time::timeout(patience, drained).await.is_err() {
            let records = self.tally.size().queued_records;
            warn!(
                records,
                "the backends did not take everything before the stop; the rest is dropped"
            );
            self.exporting.shutdown().await;
        }
    }
}
