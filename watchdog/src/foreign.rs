//! A collector that is not ours: judged by what its front door says and its far tap shows, and
//! restarted through whoever runs it.
//!
//! It sends no beats of its own, so each answer of its front door to a probe is taken as one: a
//! front door that answers nothing is silence, one that answers and lets nothing through drops.
//! From there on the rules are those of our own collector (`watchdog_core::watch`).
//!
//! Invariant: one owner per restart. An order names the start that was judged and touches no other;
//! what exits by itself is left to the service manager that runs it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use watchdog_core::names::Boot;
use watchdog_core::watch::Event;

use crate::driver::Clock;
use crate::inbox::Inbox;
use crate::metrics::{Metrics, StartCause};
use crate::streak::{Streak, Turn};
use crate::supervise::budget::{Budget, Next};
use crate::supervise::{Conviction, Custody, capture};

mod adapter;
mod child;
mod command;
mod docker;
mod pulse;
mod systemd;

use adapter::Generation;
pub use adapter::{Adapter, Container, Restart};
pub use pulse::Pulse;

/// How often it is asked which start runs.
const LOOK: Duration = Duration::from_secs(1);
/// How often while a start is awaited.
const LOOK_SOON: Duration = Duration::from_millis(50);
/// How long the kill waits for the gate to take the attestation that freezes.
const FREEZE_FIRST: Duration = Duration::from_millis(250);
/// How long it has to write its core after SIGABRT.
const ABORT_GRACE: Duration = Duration::from_millis(500);
/// How long a killed one may take to be gone, and its manager to start another.
const GONE: Duration = Duration::from_secs(2);
/// How long a start may take until it is tried again.
const APPEAR: Duration = Duration::from_secs(10);
/// How long a child may drain on a planned stop.
const DRAIN: Duration = Duration::from_secs(8);

/// Nobody says which start runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unknown;

/// The owner of a foreign collector's restarts.
pub struct Steward {
    pub adapter: Adapter,
    pub clock: Arc<dyn Clock>,
    pub metrics: Metrics,
    pub inbox: Arc<Inbox>,
    pub capture_dir: Option<PathBuf>,
    pub orders: mpsc::Receiver<Conviction>,
    /// The highest attestation the gate has taken.
    pub attested: watch::Receiver<u64>,
    /// Whether probes return.
    pub probes: watch::Receiver<bool>,
    pub custody: watch::Sender<Custody>,
    pub budget: Budget,
    pub looks: Streak,
}

impl Steward {
    /// Keeps watch until `shutdown`. What somebody else runs outlives it; a child is drained.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut known: Option<Boot> = None;
        if !self.adapter.restarts_itself() {
            match self.adapter.start("the first start").await {
                Ok(()) => self.metrics.started(StartCause::First),
                Err(words) => error!(words, "the collector cannot be started"),
            }
        }
        loop {
            let seen = self.look(&mut known).await;
            if seen == Ok(None) && !self.adapter.restarts_itself() {
                if !self.start("it ended", &shutdown).await {
                    return;
                }
                continue;
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(order) = self.orders.recv() => {
                    if !self.obey(order, &mut known, &shutdown).await {
                        break;
                    }
                }
                () = sleep(LOOK) => {}
            }
            self.budget.probes(*self.probes.borrow(), self.clock.now());
        }
        if !self.adapter.restarts_itself() {
            self.drain().await;
        }
    }

    /// Asks which start runs, and tells of one that is new. Not to know is no reason to believe
    /// that it is gone.
    async fn look(&mut self, known: &mut Option<Boot>) -> Result<Option<Generation>, Unknown> {
        let found = self.adapter.generation().await;
        let told = self.looks.note(found.is_ok());
        let found = match found {
            Ok(found) => found,
            Err(words) => {
                if told == Some(Turn::ToFailing) {
                    warn!(words, "nobody says whether the collector runs");
                }
                return Err(Unknown);
            }
        };
        let boot = found.as_ref().map(|generation| generation.boot.clone());
        if boot != *known {
            *known = boot.clone();
            let adapter = self.adapter.word();
            match boot {
                Some(boot) => {
                    info!(adapter, %boot, "a collector runs");
                    self.inbox.put(Event::CollectorStarted { boot: boot.clone() });
                    self.custody.send_replace(Custody::Elsewhere { adapter, boot });
                }
                None => {
                    warn!(adapter, "no collector runs");
                    self.custody.send_replace(Custody::Absent);
                }
            }
        }
        Ok(found)
    }

    /// The start that runs, asked until somebody says it: without a fence nothing is ended.
    async fn fence(&mut self, known: &mut Option<Boot>) -> Option<Generation> {
        loop {
            match self.look(known).await {
                Ok(found) => return found,
                Err(Unknown) => sleep(LOOK).await,
            }
        }
    }

    /// Carries an order out; `false` on shutdown.
    async fn obey(
        &mut self,
        order: Conviction,
        known: &mut Option<Boot>,
        shutdown: &CancellationToken,
    ) -> bool {
        let told = self.attested.wait_for(|seq| *seq >= order.attestation_seq);
        let gate_told = timeout(FREEZE_FIRST, told).await.is_ok();
        let running = tokio::select! {
            () = shutdown.cancelled() => return false,
            running = self.fence(known) => running,
        };
        if let Some(running) = running.as_ref().filter(|running| running.boot != order.boot) {
            info!(?order, running = %running.boot, "a conviction names another start");
            return true;
        }
        let capture = match running.as_ref().and_then(|running| running.pid) {
            Some(pid) => capture::capture(pid).await,
            None => None,
        };
        warn!(
            adapter = self.adapter.word(),
            boot = %order.boot,
            reason = order.reason,
            gate_told,
            state = capture.as_ref().and_then(|c| c.state.as_deref()),
            "the collector hangs and is ended"
        );
        self.keep(capture.as_ref());
        self.metrics.convicted();
        if running.is_some() && self.adapter.takes_signals() {
            let stopped = capture.is_some_and(|c| c.stopped());
            if self.end(known, &order.boot, stopped).await {
                // Whoever runs it has started another already.
                return true;
            }
        }
        self.start(&order.reason, shutdown).await
    }

    /// SIGABRT and SIGKILL; says whether another start runs already.
    async fn end(&mut self, known: &mut Option<Boot>, boot: &Boot, stopped: bool) -> bool {
        for (signal, grace) in [(Signal::ABORT, ABORT_GRACE), (Signal::KILL, GONE)] {
            // A stopped process acts on nothing but SIGKILL, so there is no core to wait for.
            if stopped && signal == Signal::ABORT {
                continue;
            }
            if let Err(words) = self.adapter.signal(signal).await {
                warn!(words, "the collector cannot be signalled");
            }
            let gone = async {
                while self.fence(known).await.is_some_and(|running| running.boot == *boot) {
                    sleep(LOOK_SOON).await;
                }
            };
            if timeout(grace, gone).await.is_ok() {
                break;
            }
        }
        known.as_ref().is_some_and(|now| now != boot)
    }

    /// Starts another until one runs; `false` on shutdown.
    async fn start(&mut self, reason: &str, shutdown: &CancellationToken) -> bool {
        loop {
            let wait = match self.budget.take(self.clock.now()) {
                Next::StartAfter(wait_ms) => Duration::from_millis(wait_ms),
                Next::CallAPerson => return self.wait_for_a_person(shutdown).await,
            };
            tokio::select! {
                () = shutdown.cancelled() => return false,
                () = sleep(wait) => {}
            }
            let before = self.adapter.generation().await.ok().flatten();
            match self.adapter.start(reason).await {
                Ok(()) => self.metrics.started(StartCause::Restart),
                Err(words) => {
                    error!(words, adapter = self.adapter.word(), "the collector is not started");
                    continue;
                }
            }
            if self.appears(before).await {
                return true;
            }
            warn!(adapter = self.adapter.word(), "the collector was started and does not run");
        }
    }

    /// Waits until another start than `before` runs.
    async fn appears(&mut self, before: Option<Generation>) -> bool {
        let appears = async {
            loop {
                let now = self.adapter.generation().await.ok().flatten();
                if now.is_some() && now != before {
                    return;
                }
                sleep(LOOK_SOON).await;
            }
        };
        timeout(APPEAR, appears).await.is_ok()
    }

    async fn wait_for_a_person(&mut self, shutdown: &CancellationToken) -> bool {
        error!(
            adapter = self.adapter.word(),
            "the collector is restarted too often and not any more; a person must look: read its \
             log, restart it by hand, or restart the watchdog"
        );
        self.custody.send_replace(Custody::GivenUp);
        self.metrics.given_up(true);
        let before = self.adapter.generation().await.ok().flatten();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return false,
                () = sleep(LOOK) => {}
            }
            let now = self.adapter.generation().await.ok().flatten();
            if now.is_some() && now != before {
                self.metrics.given_up(false);
                return true;
            }
        }
    }

    fn keep(&self, capture: Option<&capture::Capture>) {
        let (Some(directory), Some(capture)) = (&self.capture_dir, capture) else { return };
        let path = directory.join(format!("collector-{}.txt", self.clock.now().0));
        if let Err(error) = std::fs::write(&path, &capture.text) {
            warn!(path = %path.display(), %error, "the state of the collector is not kept");
        }
    }

    async fn drain(&mut self) {
        for (signal, grace) in [(Signal::TERM, DRAIN), (Signal::KILL, GONE)] {
            if let Err(words) = self.adapter.signal(signal).await {
                warn!(words, "the collector cannot be signalled");
            }
            let gone = async {
                while self.adapter.generation().await.ok().flatten().is_some() {
                    sleep(LOOK_SOON).await;
                }
            };
            if timeout(grace, gone).await.is_ok() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
