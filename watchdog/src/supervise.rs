//! The owner of the collector's restarts: starts it or adopts it, and ends it when it hangs.
//!
//! What restarting cannot heal is left to [`cure`]: the last configuration that was proven good,
//! the spool put aside.
//!
//! A collector that is alive and silent is the case nobody heals, because everybody waits for an
//! exit. Here a conviction ends it: freeze, capture, SIGABRT, SIGKILL, start again with backoff.
//!
//! Invariant: one owner per restart. A conviction names the boot it judged, and touches no other:
//! a stale one cannot kill a new process. The watchdog's own death ends no collector: the next
//! watchdog adopts it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error, info, info_span, warn};
use watchdog_core::names::Boot;
use watchdog_core::tick::Tick;
use watchdog_core::watch::{Event, Remark};

use crate::driver::Clock;
use crate::inbox::Inbox;
use crate::metrics::{Metrics, StartCause};
use crate::wiring::{CollectorPlace, FindCollector, Healing, Supervise};

pub mod budget;
pub mod capture;
mod cure;
mod healing;
pub mod process;

pub use budget::Limits;

use budget::{Budget, Next};
use cure::Fall;
use healing::Healer;
use process::Process;

/// How long the kill waits for the gate to take the attestation that freezes.
const FREEZE_FIRST: Duration = Duration::from_millis(250);
/// How long a collector has to write its core after SIGABRT.
const ABORT_GRACE: Duration = Duration::from_millis(500);
/// How long a collector may drain on a planned stop.
const DRAIN: Duration = Duration::from_secs(8);
/// The same of one that is healthy and has a harmful configuration: what waits is in its spool.
const DRAIN_OF_CONDEMNED: Duration = Duration::from_secs(2);
/// The exit code of a role that refuses to start.
const REFUSED: i32 = 2;
/// How often a kill that does not take effect is complained of, and a lost collector looked for.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How often it is asked whether a started collector has said where it listens.
const LOOK_FOR_PLACE: Duration = Duration::from_millis(20);
/// How long a started collector may take to say where it listens, in milliseconds.
const APPEAR_MS: u64 = 10_000;

/// An order to end one start of the collector, because the evidence says that it hangs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conviction {
    /// The start that was judged. Another start is another process, and innocent.
    pub boot: Boot,
    pub reason: String,
    pub blame: Blame,
    /// The attestation that tells the gate; it goes first.
    pub attestation_seq: u64,
}

/// What a conviction may be laid to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// It hangs.
    Process,
    /// It works, and does with the probes what its configuration says. Another one would heal it,
    /// and a restart with the same one would not.
    Config,
    /// Nobody can tell.
    Either,
}

/// What is known of the collector's process, as `GET /v1/verdicts` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Custody {
    /// Another party starts and ends it.
    NotOurs,
    /// No process, and one will be started.
    Absent,
    /// It runs; `boot` is known once it has said where it listens.
    Running { pid: u32, boot: Option<Boot> },
    /// It is not ours, and restarted through whoever runs it.
    Elsewhere { adapter: &'static str, boot: Boot },
    /// It is being ended for a conviction.
    Ending { pid: u32 },
    /// It died too often. A person must look.
    GivenUp,
}

impl Custody {
    /// Whether it runs and has said where it listens.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        matches!(self, Self::Running { boot: Some(_), .. } | Self::Elsewhere { .. })
    }
}

/// Ends of the channels that lead to the supervisor, and what it needs of its surroundings.
pub struct Supervisor {
    pub command: Supervise,
    pub find: FindCollector,
    pub clock: Arc<dyn Clock>,
    pub metrics: Metrics,
    pub capture_dir: Option<PathBuf>,
    pub healing: Option<Healing>,
    pub limits: Limits,
    pub inbox: Arc<Inbox>,
    pub orders: mpsc::Receiver<Conviction>,
    /// The highest attestation the gate has taken.
    pub attested: watch::Receiver<u64>,
    /// Whether probes return.
    pub probes: watch::Receiver<bool>,
    pub custody: watch::Sender<Custody>,
}

/// Why watching over a process stopped.
enum Outcome {
    Ended(Fall),
    Convicted(Conviction),
    /// Another configuration heals it.
    Condemned(Conviction),
    /// People have written another file.
    Mended,
    ShutDown,
}

/// What the supervisor remembers from start to start.
struct Memory {
    budget: Budget,
    healer: Healer,
}

impl Supervisor {
    /// Keeps a collector running until `shutdown`, then drains it.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let healer = Healer::new(
            self.healing.clone(),
            self.limits.dwell_ms,
            self.metrics.clone(),
            Arc::clone(&self.inbox),
        );
        let mut memory = Memory { budget: Budget::new(self.limits), healer };
        let mut found = self.first(&mut memory, &shutdown).await;
        while let Some(mut process) = found {
            self.custody.send_replace(Custody::Running { pid: process.pid(), boot: None });
            let outcome = self.watch_over(&mut process, &mut memory, &shutdown).await;
            match outcome {
                Outcome::Ended(how) => memory.healer.fell(how),
                Outcome::Convicted(conviction) => {
                    let span = info_span!("collector_end", pid = process.pid());
                    self.end(&mut process, &conviction).instrument(span).await;
                    memory.healer.fell(match conviction.blame {
                        Blame::Process => Fall::Died,
                        Blame::Config | Blame::Either => Fall::Swallowed,
                    });
                }
                Outcome::Condemned(conviction) => {
                    self.custody.send_replace(Custody::Ending { pid: process.pid() });
                    self.tell_gate_first(&conviction).await;
                    drain(&mut process, DRAIN_OF_CONDEMNED).await;
                    memory.healer.fell(Fall::Swallowed);
                }
                Outcome::Mended => drain(&mut process, DRAIN_OF_CONDEMNED).await,
                Outcome::ShutDown => {
                    drain(&mut process, DRAIN).await;
                    self.custody.send_replace(Custody::Absent);
                    return;
                }
            }
            self.custody.send_replace(Custody::Absent);
            let span = info_span!("collector_restart");
            found = self.replace(&mut memory, &shutdown).instrument(span).await;
        }
    }

    async fn first(&self, memory: &mut Memory, shutdown: &CancellationToken) -> Option<Process> {
        if let Some(process) = self.adopt() {
            return Some(process);
        }
        match self.start(&mut memory.healer, StartCause::First) {
            Some(process) => Some(process),
            None => self.replace(memory, shutdown).await,
        }
    }

    /// Gets another process after one is gone; `None` only on shutdown.
    async fn replace(&self, memory: &mut Memory, shutdown: &CancellationToken) -> Option<Process> {
        loop {
            let wait = match memory.budget.take(self.clock.now()) {
                Next::StartAfter(wait_ms) => Duration::from_millis(wait_ms),
                Next::CallAPerson => {
                    return self.wait_for_a_person(&mut memory.healer, shutdown).await;
                }
            };
            info!(wait_ms = wait.as_millis(), "the collector is started again");
            tokio::select! {
                () = shutdown.cancelled() => return None,
                () = tokio::time::sleep(wait) => {}
            }
            // Whoever started one meanwhile has settled it: two would fight for the ports.
            let start = || self.start(&mut memory.healer, StartCause::Restart);
            if let Some(process) = self.adopt().or_else(start) {
                return Some(process);
            }
        }
    }

    async fn wait_for_a_person(
        &self,
        healer: &mut Healer,
        shutdown: &CancellationToken,
    ) -> Option<Process> {
        error!(
            restarts = self.limits.restarts_max,
            period_ms = self.limits.period_ms,
            "the collector dies too often and is not started again; a person must look: \
             read its log, mend the configuration, start it by hand, or restart the watchdog"
        );
        self.custody.send_replace(Custody::GivenUp);
        self.give_up(true);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return None,
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
            let mut found = self.adopt();
            if found.is_none() && healer.is_mended(true) {
                found = self.start(healer, StartCause::Restart);
            }
            if found.is_some() {
                self.give_up(false);
                return found;
            }
        }
    }

    fn give_up(&self, on: bool) {
        self.metrics.given_up(on);
        self.inbox.put(Event::CollectorTended { remark: Remark::GivenUp, on });
    }

    fn adopt(&self) -> Option<Process> {
        let place = (self.find)()?;
        match Process::adopt(place.pid, place.start_ticks) {
            Ok(Some(process)) => {
                info!(pid = place.pid, boot = %place.boot, "the running collector is adopted");
                self.metrics.started(StartCause::Adopted);
                Some(process)
            }
            Ok(None) => None,
            Err(error) => {
                warn!(pid = place.pid, %error, "the running collector cannot be adopted");
                None
            }
        }
    }

    fn start(&self, healer: &mut Healer, cause: StartCause) -> Option<Process> {
        match Process::start(&healer.command(&self.command)) {
            Ok(process) => {
                info!(pid = process.pid(), ?cause, "the collector is started");
                self.metrics.started(cause);
                Some(process)
            }
            Err(error) => {
                let program = self.command.program.display();
                error!(%program, %error, "the collector cannot be started");
                None
            }
        }
    }

    async fn watch_over(
        &mut self,
        process: &mut Process,
        memory: &mut Memory,
        shutdown: &CancellationToken,
    ) -> Outcome {
        let since = self.clock.now();
        let mut boot: Option<Boot> = None;
        loop {
            let look = if boot.is_some() { LOOK_AGAIN } else { LOOK_FOR_PLACE };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Outcome::ShutDown,
                ended = process.ended() => {
                    warn!(pid = process.pid(), ?ended, "the collector ended");
                    let code = ended.ok().flatten().and_then(|status| status.code());
                    let refused = boot.is_none() && code == Some(REFUSED);
                    return Outcome::Ended(if refused { Fall::Refused } else { Fall::Died });
                }
                Some(conviction) = self.orders.recv() => {
                    if boot.as_ref() != Some(&conviction.boot) {
                        // It was meant for a process that is gone; this one may be healthy.
                        info!(?conviction, ?boot, "a conviction names another start");
                        continue;
                    }
                    if let Some(outcome) = self.weigh(conviction, process, memory).await {
                        return outcome;
                    }
                }
                () = tokio::time::sleep(look) => {
                    let now = self.clock.now();
                    let returning = *self.probes.borrow();
                    memory.budget.probes(returning, now);
                    if boot.is_none() {
                        match self.appear(process, since, now) {
                            Ok(appeared) => boot = appeared,
                            Err(conviction) => return Outcome::Convicted(conviction),
                        }
                    } else if !returning {
                        // It is not asked either: who hangs must not hold up its own end.
                        memory.healer.lost();
                    } else if let Some(place) = self.place_of(process) {
                        memory.healer.look(&place, returning, now).await;
                    }
                    if memory.healer.is_mended(false) {
                        info!("the configuration was written anew and is tried");
                        return Outcome::Mended;
                    }
                }
            }
        }
    }

    fn place_of(&self, process: &Process) -> Option<CollectorPlace> {
        (self.find)().filter(|place| place.pid == process.pid())
    }

    /// What follows from a conviction; `None` if nothing would heal.
    async fn weigh(
        &self,
        conviction: Conviction,
        process: &Process,
        memory: &mut Memory,
    ) -> Option<Outcome> {
        if conviction.blame == Blame::Process {
            return Some(Outcome::Convicted(conviction));
        }
        let place = self.place_of(process);
        let heals = memory.healer.would_heal(place.as_ref(), self.clock.now()).await;
        match (conviction.blame, heals) {
            (Blame::Process | Blame::Either | Blame::Config, true) => {
                Some(Outcome::Condemned(conviction))
            }
            (Blame::Process | Blame::Either, false) => Some(Outcome::Convicted(conviction)),
            (Blame::Config, false) => {
                error!(
                    reason = conviction.reason,
                    "the collector's configuration drops the probes, and no other was proven; a \
                     restart would not heal it; a person must look at [[collector.drop]]"
                );
                None
            }
        }
    }

    /// Freeze before kill: while the collector restarts nothing may pass the gate.
    async fn tell_gate_first(&mut self, conviction: &Conviction) -> bool {
        let told = self.attested.wait_for(|seq| *seq >= conviction.attestation_seq);
        timeout(FREEZE_FIRST, told).await.is_ok()
    }

    /// Looks whether the process has said which boot it is; a process that does not say so for
    /// long hangs before it could beat, and nobody else would ever notice.
    fn appear(
        &self,
        process: &Process,
        since: Tick,
        now: Tick,
    ) -> Result<Option<Boot>, Conviction> {
        let pid = process.pid();
        if let Some(place) = self.place_of(process).filter(|p| process::runs(pid, p.start_ticks)) {
            let boot = place.boot;
            self.custody.send_replace(Custody::Running { pid, boot: Some(boot.clone()) });
            self.inbox.put(Event::CollectorStarted { boot: boot.clone() });
            return Ok(Some(boot));
        }
        if now.since_ms(since) < APPEAR_MS {
            return Ok(None);
        }
        let reason = format!("did not say where it listens within {APPEAR_MS} ms");
        let boot = Boot::new("0").expect("a digit is a name");
        Err(Conviction { boot, reason, blame: Blame::Process, attestation_seq: 0 })
    }

    /// The ladder. It returns when the process is gone, and never before: a second collector
    /// beside one that still holds the ports heals nothing.
    async fn end(&mut self, process: &mut Process, conviction: &Conviction) {
        let pid = process.pid();
        self.custody.send_replace(Custody::Ending { pid });
        let gate_told = self.tell_gate_first(conviction).await;
        let capture = capture::capture(pid).await;
        warn!(
            pid,
            boot = %conviction.boot,
            reason = conviction.reason,
            gate_told,
            state = capture.as_ref().and_then(|c| c.state.as_deref()),
            proc = capture.as_ref().map(|c| c.text.as_str()),
            "the collector hangs and is ended"
        );
        self.keep(pid, capture.as_ref());
        self.metrics.convicted();
        // A stopped process acts on nothing but SIGKILL, so there is no core to wait for.
        if !capture.is_some_and(|c| c.stopped()) {
            complain(pid, "SIGABRT", process.signal(Signal::ABORT));
            if timeout(ABORT_GRACE, process.ended()).await.is_ok() {
                return;
            }
        }
        complain(pid, "SIGKILL", process.signal(Signal::KILL));
        while timeout(LOOK_AGAIN, process.ended()).await.is_err() {
            error!(pid, "the collector does not die of SIGKILL: it waits in the kernel");
        }
    }

    fn keep(&self, pid: u32, capture: Option<&capture::Capture>) {
        let (Some(directory), Some(capture)) = (&self.capture_dir, capture) else { return };
        let path = directory.join(format!("collector-{pid}-{}.txt", self.clock.now().0));
        if let Err(error) = std::fs::write(&path, &capture.text) {
            warn!(path = %path.display(), %error, "the state of the collector is not kept");
        }
    }
}

async fn drain(process: &mut Process, limit: Duration) {
    let pid = process.pid();
    complain(pid, "SIGTERM", process.signal(Signal::TERM));
    if timeout(limit, process.ended()).await.is_ok() {
        info!(pid, "the collector has drained");
        return;
    }
    warn!(pid, drain_ms = limit.as_millis(), "the collector does not drain and is killed");
    complain(pid, "SIGKILL", process.signal(Signal::KILL));
    if timeout(LOOK_AGAIN, process.ended()).await.is_err() {
        error!(pid, "the collector does not die of SIGKILL: it waits in the kernel");
    }
}

fn complain(pid: u32, signal: &str, sent: std::io::Result<()>) {
    if let Err(error) = sent {
        warn!(pid, signal, %error, "the collector cannot be signalled");
    }
}
