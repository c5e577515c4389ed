//! The single writer: it owns the gate and the store, reads the clocks and gives the orders.
//!
//! ```text
//! take what waits ─► step each ─► commit once ─► clear the latch, answer, act
//!            ▲                 └ shut the latch at once            │
//!            └──────────── outcomes of reverts and dry runs ◄──────┘
//! ```
//!
//! A commit that fails ends the driver: it shuts the latch, answers nobody, and the process ends
//! with an error. Never is a failed write tried again, because after a failed fsync the pages may
//! be gone while they look written.
//!
//! Invariant: shut before you write, write before you act, clear and answer only after you wrote.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_gate_core::gate::Gate;
use agent_gate_core::gate::decision::DecisionRecord;
use agent_gate_core::gate::effect::{Answer, Effect, Record};
use agent_gate_core::gate::event::Event;
use agent_gate_core::gate::freeze::{Freeze, Stage};
use agent_gate_core::ids::{Epoch, FreezeId};
use agent_gate_core::latch::Latch;
use agent_gate_core::policy::PolicySet;
use outside::Outside;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use watchdog_core::tick::Tick;

use crate::attest::Seen;
use crate::fences::Fences;
use crate::metrics::{DecisionLabels, Metrics};
use crate::store::{Store, StoreError, TokenRow};
use crate::tokens::TokenBook;

pub mod act;
mod after;
mod clock;
pub mod command;
mod gauges;
pub mod hold;
mod journal;
mod rows;
#[cfg(test)]
mod tests;

use act::{Actor, Ended};
use after::After;
use clock::{Clock, Reading};
use command::{Command, Reply, RolloutReply};
use gauges::Gauges;
use hold::Hold;
use rows::Rows;

/// Commands that share one commit.
const BATCH_MAX: usize = 256;
/// Commands that wait for the driver; more get no decision.
pub const QUEUE_MAX: usize = 1024;
/// The longest sleep: a clock jump is noticed within it.
const SLEEP_MAX: Duration = Duration::from_millis(250);
/// How often the store learns that the gate is alive, with and without rollouts in flight. What
/// lies between the last note and a restart counts as a gap.
const ALIVE_BUSY_MS: u64 = 1_000;
const ALIVE_IDLE_MS: u64 = 10_000;

/// Milliseconds since 1970 by the wall clock.
#[must_use]
pub fn wall_ms() -> u64 {
    clock_ms(ClockId::Realtime)
}

/// Milliseconds on the clock that runs on through a suspend.
#[must_use]
pub fn boot_tick() -> Tick {
    Tick(clock_ms(ClockId::Boottime))
}

/// How long something takes, for histograms.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    #[must_use]
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// 32 random bytes in hex: the secret of a token.
#[must_use]
pub fn secret() -> String {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes once it has booted");
    hex::encode(bytes)
}

fn clock_ms(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    // A clock before its own origin is read as the origin.
    let seconds = u64::try_from(time.tv_sec).unwrap_or(u64::MIN);
    let ms = u64::try_from(time.tv_nsec / 1_000_000).unwrap_or(u64::MIN);
    seconds.saturating_mul(1000).saturating_add(ms)
}

fn read_clocks() -> Reading {
    Reading { wall_ms: wall_ms(), boot_ms: boot_tick().0, mono_ms: clock_ms(ClockId::Monotonic) }
}

/// What the driver shares with the API.
#[derive(Debug, Clone)]
pub struct Shared {
    pub policy: Arc<PolicySet>,
    pub latch: Arc<Latch>,
    pub tokens: TokenBook,
    pub metrics: Arc<Metrics>,
    /// For how long what was decided may leave.
    pub hold: Arc<Hold>,
    /// The fences at the targets.
    pub fences: Arc<Fences>,
    /// The client towards what the gate calls: webhooks, and where it tells of things.
    pub outside: Outside,
}

/// See the module's head.
pub struct Driver {
    gate: Gate,
    store: Box<dyn Store>,
    shared: Shared,
    clock: Clock,
    seen: Seen,
    actor: Actor,
    commands: mpsc::Receiver<Command>,
    ended: mpsc::UnboundedReceiver<Ended>,
    alive_noted: Tick,
    gauges: Gauges,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("now", &self.clock.now()).finish_non_exhaustive()
    }
}

/// Steps that share one commit.
#[derive(Debug, Default)]
struct Batch {
    rows: Rows,
    /// The last latch order of the batch: `Some(None)` is shut, `Some(Some(epoch))` clear.
    latch: Option<Option<Epoch>>,
    after: Vec<After>,
    frozen: Vec<FreezeId>,
    steps: u32,
}

impl Driver {
    /// A driver on what `store` holds. The gate has started, and its first step is committed.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read or written.
    pub async fn start(
        mut store: Box<dyn Store>,
        shared: Shared,
        commands: mpsc::Receiver<Command>,
        actions: act::Actions,
        tokens: impl FnOnce(&TokenBook, Tick) -> Vec<TokenRow>,
    ) -> Result<Self, StoreError> {
        let loaded = store.load().await?;
        let rows::Found { ledger, alive, seen } = rows::found(&loaded)?;
        shared.tokens.put(loaded.tokens);
        let clock = Clock::new(read_clocks(), alive);
        let now = clock.now();
        let (sender, ended) = mpsc::unbounded_channel();
        let actor = Actor::new(actions, shared.outside.clone(), sender);
        let mut driver = Self {
            gate: Gate::new(ledger),
            store,
            shared,
            clock,
            seen,
            actor,
            commands,
            ended,
            alive_noted: now,
            gauges: Gauges::default(),
        };
        let mut batch = Batch::default();
        for row in tokens(&driver.shared.tokens, now) {
            driver.shared.tokens.put([row.clone()]);
            batch.rows.audit(journal::token_installed(&row, now));
            batch.rows.token(row);
        }
        driver.step(Event::GateStarted { last_alive: alive }, now, &mut batch, None);
        driver.forget_overtaken(&loaded.effects, now, &mut batch);
        batch.rows.alive(now, &mut driver.seen);
        driver.commit(batch, now).await?;
        Ok(driver)
    }

    /// Runs until `stop`.
    ///
    /// # Errors
    /// [`StoreError`] if a commit fails; the latch is shut then and nobody was answered.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), StoreError> {
        let ended = self.turns(&stop).await;
        // Shut in any case: what comes after is not decided any more.
        self.shared.latch.shut();
        self.shared.hold.end();
        self.shared.metrics.latch_shut.set(1);
        if ended.is_ok() {
            self.store.close().await;
        }
        ended
    }

    async fn turns(&mut self, stop: &CancellationToken) -> Result<(), StoreError> {
        loop {
            let mut batch = Batch::default();
            let mut commands = Vec::new();
            let mut ends = Vec::new();
            let sleep = self.sleep();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(end) = self.ended.recv() => ends.push(end),
                taken = self.commands.recv_many(&mut commands, BATCH_MAX) => if taken == 0 {
                    break;
                },
                () = tokio::time::sleep(sleep) => {}
            }
            while let Ok(end) = self.ended.try_recv() {
                ends.push(end);
            }
            let now = self.advance(&mut batch);
            for end in ends {
                self.end(end, now, &mut batch);
            }
            for command in commands {
                self.take(command, now, &mut batch);
            }
            if self.gate.deadline().is_some_and(|(at, _)| at <= now) {
                self.step(Event::Turn, now, &mut batch, None);
            }
            self.note_alive(now, &mut batch);
            self.commit(batch, now).await?;
        }
        // A clean end: the next start knows how long nobody looked.
        let now = self.clock.advance(read_clocks()).0;
        let mut batch = Batch::default();
        batch.rows.alive(now, &mut self.seen);
        self.commit(batch, now).await
    }

    /// Until the gate must be stepped, at most [`SLEEP_MAX`].
    fn sleep(&self) -> Duration {
        let now = self.clock.now();
        let due = self.gate.deadline();
        due.map_or(SLEEP_MAX, |(at, _)| Duration::from_millis(at.since_ms(now))).min(SLEEP_MAX)
    }

    fn advance(&mut self, batch: &mut Batch) -> Tick {
        let (now, jumped) = self.clock.advance(read_clocks());
        if jumped {
            tracing::warn!("the clocks disagree about how much time passed: all leases are void");
            self.shared.metrics.clock_jumps.inc();
            self.step(Event::ClockJumped, now, batch, None);
        }
        now
    }

    fn note_alive(&mut self, now: Tick, batch: &mut Batch) {
        let is_busy = self.gate.ledger.open().next().is_some();
        let every = if is_busy { ALIVE_BUSY_MS } else { ALIVE_IDLE_MS };
        if !batch.rows.is_empty() || now.since_ms(self.alive_noted) >= every {
            batch.rows.alive(now, &mut self.seen);
            self.alive_noted = now;
        }
    }

    fn take(&mut self, command: Command, now: Tick, batch: &mut Batch) {
        match command {
            Command::Step { event, reply } => {
                if let Event::Attested(attestation) = event.as_ref() {
                    if let Err(error) = self.seen.take(attestation) {
                        let with = Reply::NotNew(error);
                        return batch.after.push(After::Reply { reply, with });
                    }
                    self.shared.metrics.attested(&attestation.watchdog, boot_tick());
                }
                self.step(*event, now, batch, Some(reply));
            }
            Command::Token { row, audit, reply } => {
                batch.rows.token(row.clone());
                batch.rows.audit(*audit);
                batch.after.push(After::Token { row, reply });
            }
            Command::Held => self.fence(now, batch),
            Command::Look(look) => batch.after.push(After::Look(look)),
        }
    }

    /// Takes in how a revert action ended.
    fn end(&mut self, end: Ended, now: Tick, batch: &mut Batch) {
        self.actor.end(&end, &self.shared.metrics);
        batch.rows.settled(end.effect().to_string(), end.outcome(), now);
        self.step(end.into_event(), now, batch, None);
    }

    fn step(
        &mut self,
        event: Event,
        now: Tick,
        batch: &mut Batch,
        mut reply: Option<oneshot::Sender<Reply>>,
    ) {
        batch.steps += 1;
        let mut records = Vec::new();
        for effect in self.gate.step(event, now, &self.shared.policy) {
            match effect {
                Effect::ShutLatch => {
                    // At once: a store that hangs must not leave the gate clear.
                    self.shared.latch.shut();
                    batch.latch = Some(None);
                }
                Effect::ClearLatch { epoch } => batch.latch = Some(Some(epoch)),
                Effect::Record(record) => records.push(*record),
                Effect::Answer(answer) => {
                    let with = self.reply(*answer);
                    let waiting = reply.take().map(|reply| After::Reply { reply, with });
                    batch.after.extend(waiting);
                }
                Effect::Revert(order) => {
                    batch.rows.revert(&order, now);
                    batch.after.push(After::Revert(order));
                }
                Effect::DryRun(order) => {
                    batch.rows.dry_run(&order, now);
                    batch.after.push(After::DryRun(order));
                }
                Effect::CallPerson(call) => batch.after.push(After::Person(call)),
            }
        }
        self.note(&records, batch);
        batch.rows.step(records, now);
    }

    /// Notes how far the targets hold the freezes in force.
    fn fence(&mut self, now: Tick, batch: &mut Batch) {
        let (fences, policy) = (&self.shared.fences, &self.shared.policy);
        let durable = self.gate.ledger.in_force().filter(|f| f.stage != Stage::Requested);
        let changed: Vec<_> = durable
            .filter_map(|freeze| Some((freeze, fences.over(freeze, policy)?)))
            .filter(|(freeze, fenced)| freeze.fenced != Some(*fenced))
            .map(|(freeze, fenced)| (freeze.id, fenced))
            .collect();
        for (freeze, fenced) in changed {
            self.step(Event::Fenced { freeze, fenced }, now, batch, None);
        }
    }

    fn note(&self, records: &[Record], batch: &mut Batch) {
        for record in records {
            match record {
                Record::Decision(record) => self.count(record),
                Record::Freeze(freeze) if freeze.stage == Stage::Requested => {
                    batch.frozen.push(freeze.id);
                }
                Record::Freeze(_)
                | Record::Journal(_)
                | Record::Rollout(_)
                | Record::Blocked(..)
                | Record::Readiness(..)
                | Record::Waiver(_)
                | Record::Head(_) => {}
            }
        }
    }

    fn count(&self, record: &DecisionRecord) {
        let reason = record.decision.reasons.first().map_or("none", |reason| reason.code.as_str());
        let labels = DecisionLabels { decision: record.decision.kind.as_str(), reason };
        self.shared.metrics.decisions.get_or_create(&labels).inc();
    }

    fn reply(&self, answer: Answer) -> Reply {
        match answer {
            Answer::Rollout(answer) => {
                let rollout = self.gate.ledger.rollout(answer.rollout);
                let rollout = rollout.expect("an answer names a rollout of the ledger").clone();
                let decided_at = boot_tick();
                Reply::Rollout(Box::new(RolloutReply { rollout, answer, decided_at }))
            }
            Answer::Freeze { freeze, created } => {
                // The reply leaves after the commit, and then this is true.
                let stage = freeze.stage.max(Stage::Durable);
                Reply::Freeze { freeze: Box::new(Freeze { stage, ..freeze }), created }
            }
            Answer::Waiver { waiver, created } => {
                Reply::Waiver { waiver: Box::new(waiver), created }
            }
            Answer::Attested => Reply::Attested,
            Answer::Refused(refusal) => Reply::Refused(refusal),
        }
    }

    /// Writes the batch, and then does what waited for it.
    async fn commit(&mut self, mut batch: Batch, now: Tick) -> Result<(), StoreError> {
        loop {
            let frozen = std::mem::take(&mut batch.frozen);
            self.write(std::mem::take(&mut batch.rows), batch.steps).await?;
            if let Some(Some(epoch)) = batch.latch.take() {
                self.shared.latch.clear(epoch);
            }
            self.shared.fences.tell(&self.gate.ledger);
            self.gauges.show(&self.gate, &self.shared, now);
            for after in std::mem::take(&mut batch.after) {
                self.carry_out(after, now);
            }
            if frozen.is_empty() {
                return Ok(());
            }
            batch.steps = 0;
            self.step(Event::Committed { freezes: frozen }, now, &mut batch, None);
            self.fence(now, &mut batch);
        }
    }

    async fn write(&mut self, rows: Rows, steps: u32) -> Result<(), StoreError> {
        let began = boot_tick();
        let lease = self.store.lease();
        if rows.is_empty() && !self.shared.hold.is_due(began, lease) {
            return Ok(());
        }
        let watch = Stopwatch::start();
        self.store.commit(&rows.into_batch()).await?;
        self.shared.hold.extend(began, lease);
        Metrics::observe(&self.shared.metrics.commit, watch.elapsed());
        self.shared.metrics.batch.observe(f64::from(steps));
        Ok(())
    }
}
