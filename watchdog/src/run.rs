//! The running watchdog: its two threads, its tasks, and the order in which they end.
//!
//! ```text
//! threads:  beats (listen)   verdicts (driver, turns)
//! tasks:    tally · probes · attest · supervise        on the caller's runtime
//! ```
//!
//! Invariant: on a planned stop the verdict loop and the attestations end before the collector
//! does. Otherwise the last thing the gate hears of a drained collector is that all is lost.

use std::collections::HashSet;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};
use watchdog_core::admission::Bounds;
use watchdog_core::names::Service;
use watchdog_core::watch::{COLLECTOR_SERVICE, Remembered, Watch};

use crate::attest::Attester;
use crate::config::{Config, ServiceConfig};
use crate::dead_man::DeadMan;
use crate::driver::{self, Clock};
use crate::echo::Echo;
use crate::far_tap::FarTap;
use crate::foreign::{Adapter, Pulse, Restart, Steward};
use crate::inbox::Inbox;
use crate::kernel::KernelWitness;
use crate::kick::Kicks;
use crate::listen::http::Shared;
use crate::listen::reception::{Parts, Reception};
use crate::listen::{self, Ears};
use crate::memory;
use crate::metrics::Metrics;
use crate::probes::readback::Readback;
use crate::probes::{FindFrontDoor, Ledger, Prober};
use crate::publish::{self, Publisher, Reader};
use crate::streak::Streak;
use crate::supervise::budget::Budget;
use crate::supervise::{Conviction, Custody, Supervisor};
use crate::tally::Intake;
use crate::turns::{Surroundings, Turns};
use crate::wiring::Wiring;
use outside::Outside;

/// How old a snapshot may be, beyond its pace, before the verdict loop counts as late.
const LATE_MS: u64 = 1_000;
/// How often it is looked whether the threads still run.
const LOOK: Duration = Duration::from_millis(200);
/// The environment in which unsigned beats never count.
const PRODUCTION: &str = "production";

/// Why the watchdog stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("run watchdog: start thread {name}: {cause}")]
    Thread { name: &'static str, cause: io::Error },
    #[error("run watchdog: thread {name} ended before it was told to: {reason}")]
    Ended { name: &'static str, reason: String },
}

/// Everything that runs. Dropped, it ends all but the collector.
pub struct Running {
    beats: JoinHandle<io::Result<()>>,
    verdicts: JoinHandle<()>,
    tasks: JoinSet<()>,
    supervisor: JoinSet<()>,
    drain: CancellationToken,
    ends: Ends,
}

/// What is judged, by which clock, and what is counted of it.
pub struct Judged {
    pub config: Config,
    pub services: Vec<ServiceConfig>,
    pub clock: Arc<dyn Clock>,
    pub metrics: Metrics,
}

/// What was opened before the run.
#[derive(Debug)]
pub struct Open {
    pub ears: Ears,
    pub kicks: Kicks,
    /// Where the exporter of a foreign collector brings what it carries.
    pub far_tap: Option<TcpListener>,
    /// The client towards what is not on this machine.
    pub outside: Outside,
}

/// Ends the threads and tasks, told or dropped.
struct Ends {
    inbox: Arc<Inbox>,
    _stop: DropGuard,
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.inbox.close();
    }
}

/// What all parts of one run share.
struct Common {
    config: Config,
    wiring: Wiring,
    clock: Arc<dyn Clock>,
    inbox: Arc<Inbox>,
    metrics: Metrics,
    reader: Reader,
    outside: Outside,
    stop: CancellationToken,
}

/// What the verdict loop speaks to.
struct Outlets {
    publisher: Publisher,
    kicks: Kicks,
    orders: mpsc::Sender<Conviction>,
    probes: watch::Sender<bool>,
    memory: watch::Sender<Vec<Remembered>>,
}

/// The channels between the verdict loop and the supervisor.
struct Channels {
    orders: mpsc::Receiver<Conviction>,
    attested: watch::Receiver<u64>,
    probes: watch::Receiver<bool>,
    custody: watch::Sender<Custody>,
}

impl Running {
    /// Starts threads and tasks.
    pub fn start(judged: Judged, open: Open, wiring: Wiring) -> Result<Self, RunError> {
        let Judged { config, services, clock, metrics } = judged;
        let Open { ears, kicks, far_tap, outside } = open;
        let stale_ms = config.attest_interval_ms + config.judge.observer_gap_ms;
        let (name, boot) = (wiring.name.clone(), wiring.boot.clone());
        let (publisher, reader) = publish::channel(name, boot, Arc::clone(&clock), stale_ms);
        let common = Common {
            config,
            wiring,
            clock,
            inbox: Arc::default(),
            metrics,
            reader,
            outside,
            stop: CancellationToken::new(),
        };
        common.metrics.watch(common.reader.clone());
        let ours = common.heals();
        let (order, orders) = mpsc::channel(1);
        let (attest, attested) = watch::channel(0);
        let (prove, probes) = watch::channel(false);
        let (custody, held) = watch::channel(if ours { Custody::Absent } else { Custody::NotOurs });
        let ends =
            Ends { inbox: Arc::clone(&common.inbox), _stop: common.stop.clone().drop_guard() };

        let at = ears.tcp.local_addr();
        let beats = common.hear(ears, &services, held.clone())?;
        let (memory, remembered) = watch::channel(common.wiring.recalled.clone());
        let outlets = Outlets { publisher, kicks, orders: order, probes: prove, memory };
        let verdicts = common.judge(&services, outlets, held.clone())?;
        let mut tasks = JoinSet::new();
        common.spawn_senders(&mut tasks, attest, held, far_tap);
        common.spawn_dead_man(&mut tasks, probes.clone());
        common.spawn_kernel(&mut tasks, &services);
        if let Ok(at) = at {
            common.spawn_echo(&mut tasks, at);
        }
        let keep = Arc::clone(&common.wiring.keep);
        tasks.spawn(memory::run(keep, remembered, common.stop.clone()));
        let drain = CancellationToken::new();
        let channels = Channels { orders, attested, probes, custody };
        let supervisor = common.supervise(channels, &drain);
        Ok(Self { beats, verdicts, tasks, supervisor, drain, ends })
    }

    /// Runs until `shutdown` or until a part fails.
    pub async fn until(mut self, shutdown: CancellationToken) -> Result<(), RunError> {
        let failed = loop {
            tokio::select! {
                () = shutdown.cancelled() => break None,
                () = tokio::time::sleep(LOOK) => {
                    if self.beats.is_finished() {
                        break Some("beats");
                    }
                    if self.verdicts.is_finished() {
                        break Some("verdicts");
                    }
                }
            }
        };
        // The opinion ends first, the collector last.
        drop(self.ends);
        self.tasks.shutdown().await;
        self.drain.cancel();
        while self.supervisor.join_next().await.is_some() {}
        let joined = tokio::task::spawn_blocking(move || (self.beats.join(), self.verdicts.join()));
        let reason = match joined.await {
            Ok((Ok(Ok(())), Ok(()))) => "it returned".to_owned(),
            Ok((Ok(Err(error)), _)) => error.to_string(),
            Ok(_) => "it panicked".to_owned(),
            Err(error) => error.to_string(),
        };
        failed.map_or(Ok(()), |name| Err(RunError::Ended { name, reason }))
    }
}

impl Common {
    fn hear(
        &self,
        ears: Ears,
        services: &[ServiceConfig],
        custody: watch::Receiver<Custody>,
    ) -> Result<JoinHandle<io::Result<()>>, RunError> {
        let judge = &self.config.judge;
        let strict = services.iter().filter(|s| s.environment.as_str() == PRODUCTION);
        let collector = Service::new(COLLECTOR_SERVICE).expect("a constant that is a name");
        let known: HashSet<Service> = services.iter().map(|s| s.name.clone()).collect();
        let reception = Arc::new(Reception::new(Parts {
            keys: Arc::clone(&self.wiring.beat_key),
            clock: Arc::clone(&self.clock),
            inbox: Arc::clone(&self.inbox),
            metrics: self.metrics.clone(),
            reader: self.reader.clone(),
            unsigned_loopback: self.config.unsigned_loopback,
            strict: strict.map(|s| s.name.clone()).collect(),
            known: known.into_iter().chain([collector.clone()]).collect(),
            // A collector of ours behind a foreign one is not the one that is judged.
            untold: self.config.foreign.is_some().then_some(collector),
            bounds: Bounds { services: judge.services_max, instances: judge.instances_max },
            boot: self.wiring.boot.clone(),
        }));
        let shared = Shared {
            reception,
            reader: self.reader.clone(),
            custody,
            late_ms: LATE_MS + self.config.attest_interval_ms,
            shutdown: self.stop.clone(),
        };
        listen::start(ears, shared).map_err(|cause| RunError::Thread { name: "beats", cause })
    }

    fn judge(
        &self,
        services: &[ServiceConfig],
        outlets: Outlets,
        custody: watch::Receiver<Custody>,
    ) -> Result<JoinHandle<()>, RunError> {
        let now = self.clock.now();
        let expected = services.iter().map(ServiceConfig::expected).collect();
        let mut watch = Watch::new(self.config.watch(), expected, now);
        watch.recall(self.wiring.recalled.clone(), now);
        let Outlets { publisher, kicks, orders, probes, memory } = outlets;
        let around = Surroundings {
            publisher,
            reader: self.reader.clone(),
            metrics: self.metrics.clone(),
            interval_ms: self.config.attest_interval_ms,
            // Metrics and logs are probed half as often as traces.
            proof_ms: 2 * self.config.probe_interval_ms + self.config.probe_timeout_ms,
            orders,
            custody,
            probes,
            kicks,
            memory,
        };
        let turns = Turns::new(watch, around, now);
        driver::start(turns, Arc::clone(&self.inbox), Arc::clone(&self.clock))
            .map_err(|cause| RunError::Thread { name: "verdicts", cause })
    }

    /// Starts what talks to the collector and to the gate.
    fn spawn_senders(
        &self,
        tasks: &mut JoinSet<()>,
        attested: watch::Sender<u64>,
        custody: watch::Receiver<Custody>,
        far_tap: Option<TcpListener>,
    ) {
        let run = self.wiring.boot.to_string();
        let clock = Arc::clone(&self.clock);
        let ledger = Arc::new(Ledger::new(self.wiring.probe_key, run, clock, self.metrics.clone()));
        let intake = Intake {
            find: Arc::clone(&self.wiring.collector),
            clock: Arc::clone(&self.clock),
            inbox: Arc::clone(&self.inbox),
            ledger: Arc::clone(&ledger),
            metrics: self.metrics.clone(),
            custody: custody.clone(),
            announce: !self.heals() && self.config.foreign.is_none(),
        };
        let pulse = Pulse::new(Arc::clone(&self.inbox), custody.clone());
        self.spawn_readback(tasks, &ledger);
        let prober = Prober {
            ledger: Arc::clone(&ledger),
            find: self.front_door(),
            pulse: self.config.foreign.is_some().then(|| pulse.clone()),
            inbox: Arc::clone(&self.inbox),
            custody,
            signals: self.config.probe_signals.clone(),
            interval_ms: self.config.probe_interval_ms,
            timeout_ms: self.config.probe_timeout_ms,
        };
        let attester = Attester {
            reader: self.reader.clone(),
            key: SigningKey::from_bytes(&self.wiring.signing_key),
            ttl_ms: self.config.attest_ttl_ms,
            gate: Arc::clone(&self.wiring.gate),
            metrics: self.metrics.clone(),
            attested,
        };
        match far_tap {
            Some(listener) => {
                let tap = FarTap { ledger, inbox: Arc::clone(&self.inbox) };
                tasks.spawn(tap.run(listener, self.stop.clone()));
            }
            None => {
                tasks.spawn(intake.run(self.stop.clone()));
            }
        }
        tasks.spawn(prober.run(self.stop.clone()));
        tasks.spawn(attester.run(self.stop.clone()));
    }

    /// Whether this watchdog restarts the collector.
    fn heals(&self) -> bool {
        match &self.config.foreign {
            Some(foreign) => foreign.restart.is_some(),
            None => self.wiring.supervise.is_some(),
        }
    }

    /// Where probes go in.
    fn front_door(&self) -> FindFrontDoor {
        match &self.config.foreign {
            Some(foreign) => {
                let front_door = foreign.front_door.clone();
                Arc::new(move || Some(front_door.clone()))
            }
            None => {
                let find = Arc::clone(&self.wiring.collector);
                Arc::new(move || find().map(|place| place.http.to_string()))
            }
        }
    }

    /// Starts what asks the backend, if it is to be asked.
    fn spawn_readback(&self, tasks: &mut JoinSet<()>, ledger: &Arc<Ledger>) {
        let Some(promql) = self.config.readback.promql.clone() else { return };
        let readback = Readback {
            config: self.config.readback.clone(),
            outside: self.outside.clone(),
            promql,
            ledger: Arc::clone(ledger),
            inbox: Arc::clone(&self.inbox),
        };
        tasks.spawn(readback.run(self.stop.clone()));
    }

    /// Starts what asks the kernel, if a service names ports.
    fn spawn_kernel(&self, tasks: &mut JoinSet<()>, services: &[ServiceConfig]) {
        let named = services.iter().filter_map(|s| Some((s.name.clone(), s.witness.clone()?)));
        let witness = KernelWitness {
            services: named.collect(),
            clock: Arc::clone(&self.clock),
            inbox: Arc::clone(&self.inbox),
            metrics: self.metrics.clone(),
        };
        if !witness.services.is_empty() {
            tasks.spawn(witness.run(self.stop.clone()));
        }
    }

    /// Starts what asks this watchdog's own port.
    fn spawn_echo(&self, tasks: &mut JoinSet<()>, at: SocketAddr) {
        let echo = Echo {
            at,
            clock: Arc::clone(&self.clock),
            inbox: Arc::clone(&self.inbox),
            metrics: self.metrics.clone(),
        };
        tasks.spawn(echo.run(self.stop.clone()));
    }

    fn spawn_dead_man(&self, tasks: &mut JoinSet<()>, proven: watch::Receiver<bool>) {
        let Some(url) = self.config.dead_man_url.clone() else { return };
        let dead_man = DeadMan {
            url,
            outside: self.outside.clone(),
            interval_ms: self.config.dead_man_interval_ms,
            late_ms: LATE_MS + self.config.attest_interval_ms,
            reader: self.reader.clone(),
            clock: Arc::clone(&self.clock),
            key: SigningKey::from_bytes(&self.wiring.signing_key),
            metrics: self.metrics.clone(),
            proven,
        };
        tasks.spawn(dead_man.run(self.stop.clone()));
    }

    fn supervise(&self, channels: Channels, drain: &CancellationToken) -> JoinSet<()> {
        let mut supervisor = JoinSet::new();
        if let Some(foreign) = &self.config.foreign {
            if let Some(restart) = &foreign.restart {
                let steward = self.steward(restart, channels);
                supervisor.spawn(steward.run(drain.clone()));
            }
            return supervisor;
        }
        let Some(command) = self.wiring.supervise.clone() else { return supervisor };
        let Channels { orders, attested, probes, custody } = channels;
        let parts = Supervisor {
            command,
            find: Arc::clone(&self.wiring.collector),
            clock: Arc::clone(&self.clock),
            metrics: self.metrics.clone(),
            capture_dir: self.config.capture_dir.clone(),
            healing: self.wiring.healing.clone(),
            limits: self.config.healing,
            inbox: Arc::clone(&self.inbox),
            orders,
            attested,
            probes,
            custody,
        };
        supervisor.spawn(parts.run(drain.clone()));
        supervisor
    }

    fn steward(&self, restart: &Restart, channels: Channels) -> Steward {
        let Channels { orders, attested, probes, custody } = channels;
        Steward {
            adapter: Adapter::new(restart),
            clock: Arc::clone(&self.clock),
            metrics: self.metrics.clone(),
            inbox: Arc::clone(&self.inbox),
            capture_dir: self.config.capture_dir.clone(),
            orders,
            attested,
            probes,
            custody,
            budget: Budget::new(self.config.healing),
            looks: Streak::default(),
        }
    }
}
