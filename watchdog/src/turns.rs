//! One turn of the verdict loop: drain, find out how late we are, judge, publish, order.
//!
//! ```text
//! delivery ─► gap or clock step? ─► Watch::step for each fact ─► Turn ─► snapshot ─► orders
//! ```
//!
//! The watch is never told a time up to which the sockets are not known to be empty, so a beat that
//! waits in a buffer while this machine is busy is not taken for a beat that is missing. If the
//! listening thread states nothing for long, that is an observer gap, and no verdict is drawn.
//!
//! Invariant: what is ordered was published before: a kill comes after the freeze.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};
use watchdog_core::tick::Tick;
use watchdog_core::verdict::{ProbeState, Stage};
use watchdog_core::watch::{Conviction as Charge, Effect, Event, Remembered, Watch};

use crate::inbox::{Delivery, Fact};
use crate::kick::Kicks;
use crate::metrics::{Gap, Metrics};
use crate::publish::{Publisher, Reader, Snapshot};
use crate::supervise::{Blame, Conviction, Custody};

/// The loop turns at least this often, in milliseconds.
const TURN_MS_MAX: u64 = 50;
/// How often it looks again while it waits for the sockets to be empty, in milliseconds.
const LOOK_MS: u64 = 5;
/// After a turn with facts in it the loop rests so long, or until a deadline, in milliseconds:
/// under load it makes one turn of many facts.
const REST_MS: u64 = 20;
/// The lateness that is told to the watch at all, in milliseconds; it knows which counts.
const LATE_MS_MIN: u64 = 20;
/// The listening thread states twice in so many milliseconds that its sockets are empty.
const DRAIN_LATE_MS: u64 = 50;
/// How long the listening thread may state nothing, in milliseconds.
const DRAIN_LAG_MS_MAX: u64 = 500;
/// A fleet of up to so many services is shown anew each time, as it is told to the gate.
const WHOLE_MAX: usize = crate::attest::WHOLE_MAX;
/// Of a larger one so many are shown anew each time: as many as are told to the gate.
const SHOWN_MAX: usize = 200;
/// How often the figures of the detectors are published, and what is to be remembered is told, in
/// milliseconds.
const LIVENESS_MS: u64 = 1_000;
/// The step of the wall clock against the boot clock that counts, in milliseconds.
const STEP_MS_MIN: u64 = 1_000;

/// What the loop needs besides facts and time.
#[derive(Debug)]
pub struct Surroundings {
    pub publisher: Publisher,
    pub reader: Reader,
    pub metrics: Metrics,
    /// How often a snapshot is published when nothing changes, in milliseconds.
    pub interval_ms: u64,
    /// A probe older than this no longer proves that probes return, in milliseconds.
    pub proof_ms: u64,
    pub orders: mpsc::Sender<Conviction>,
    pub custody: watch::Receiver<Custody>,
    pub probes: watch::Sender<bool>,
    /// Who is told that the loop turns.
    pub kicks: Kicks,
    /// What the next watchdog must know.
    pub memory: watch::Sender<Vec<Remembered>>,
}

/// What the loop does until its next turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// First it rests, whatever comes.
    pub rest: Duration,
    /// Then it waits for so long at most.
    pub wait: Duration,
}

/// The state of the loop between two turns.
#[derive(Debug)]
pub struct Turns {
    watch: Watch,
    around: Surroundings,
    /// The time the watch was told last; the watch's time never goes back.
    judged: Tick,
    /// When the loop asked to be woken; waking later is lateness.
    planned: Tick,
    /// Wall clock minus boot clock, in milliseconds, at the turn before.
    wall_ahead_ms: Option<u64>,
    started: Tick,
    published: Option<Tick>,
    measured: Option<Tick>,
    remembered: Option<Tick>,
    seq: u64,
}

impl Turns {
    /// A loop that begins at `now`.
    #[must_use]
    pub const fn new(watch: Watch, around: Surroundings, now: Tick) -> Self {
        Self {
            watch,
            around,
            judged: now,
            planned: now,
            wall_ahead_ms: None,
            started: now,
            published: None,
            measured: None,
            remembered: None,
            seq: 0,
        }
    }

    /// Takes what waited, at `now`, and says how long the loop may sleep.
    pub fn turn(&mut self, delivery: Delivery, now: Tick, wall_ns: u64) -> Pause {
        self.around.metrics.turn();
        self.around.metrics.shed(delivery.shed);
        let mut effects = Vec::new();
        let busy = !delivery.facts.is_empty();
        let before = self.judged;
        let late = self.step_observer(&delivery, now, wall_ns, &mut effects);
        // What waited while the loop was late is fresh evidence for the time after.
        let from = if late { self.judged } else { before };
        for Fact { at, event } in delivery.facts {
            let at = at.map_or(self.judged, |at| at.clamp(from, self.judged));
            effects.append(&mut self.watch.step(event, at));
        }
        effects.append(&mut self.watch.step(Event::Turn, self.judged));

        let changed = effects.iter().any(|e| !matches!(e, Effect::ConvictCollector { .. }));
        let due = self.published.is_none_or(|at| now.since_ms(at) >= self.around.interval_ms);
        let convicted = effects.iter().any(|e| matches!(e, Effect::ConvictCollector { .. }));
        if changed || due || convicted {
            self.publish(now);
        }
        for effect in effects {
            self.obey(effect);
        }
        let proven = self.is_proven();
        self.around.probes.send_if_modified(|p| std::mem::replace(p, proven) != proven);
        self.pause(now, busy)
    }

    /// Whether a probe of every signal that is probed has just come back right.
    fn is_proven(&self) -> bool {
        let probes = self.watch.probe_evidence(self.judged);
        !probes.is_empty()
            && probes.iter().all(|(_, told)| {
                let fresh = told.age_ms.is_some_and(|age_ms| age_ms <= self.around.proof_ms);
                fresh && told.state == ProbeState::Returning
            })
    }

    fn remember(&mut self) {
        let Some(remembered) = self.watch.newly_remembered() else { return };
        self.around.memory.send_if_modified(|before| {
            let grown = *before != remembered;
            *before = remembered;
            grown
        });
    }

    /// A planned end of the loop.
    pub fn end(&mut self) {
        self.around.kicks.end();
    }

    /// Advances the watch's time, and tells what this observer missed; says whether it was late.
    fn step_observer(
        &mut self,
        delivery: &Delivery,
        now: Tick,
        wall_ns: u64,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let drained = delivery.drained.unwrap_or(self.started);
        let lag_ms = now.since_ms(drained);
        let blind = lag_ms > DRAIN_LAG_MS_MAX;
        self.judged = self.judged.max(if blind { now } else { drained.min(now) });

        let lags = lag_ms >= DRAIN_LATE_MS;
        let late_ms = now.since_ms(self.planned).max(if lags { lag_ms } else { 0 });
        if late_ms >= LATE_MS_MIN {
            effects
                .append(&mut self.watch.step(Event::ObserverLate { gap_ms: late_ms }, self.judged));
        }
        if late_ms > DRAIN_LAG_MS_MAX {
            warn!(late_ms, blind, "the observer was late; no verdict is drawn across it");
            self.around.metrics.gap(Gap::Stall);
        }
        let wall_ahead_ms = (wall_ns / 1_000_000).wrapping_sub(now.0);
        let before = self.wall_ahead_ms.replace(wall_ahead_ms);
        let step_ms = before.map(|before| wall_ahead_ms.wrapping_sub(before).cast_signed());
        if let Some(step_ms) = step_ms.filter(|ms| ms.unsigned_abs() > STEP_MS_MIN) {
            warn!(step_ms, "the clock was set; no verdict is drawn across it");
            self.around.metrics.gap(Gap::ClockStep);
            effects.append(&mut self.watch.step(Event::ClockStepped, self.judged));
            return true;
        }
        late_ms >= LATE_MS_MIN
    }

    fn publish(&mut self, now: Tick) {
        self.seq += 1;
        self.published = Some(now);
        let before = self.around.reader.latest();
        let whole = self.around.publisher.is_wanted() || before.items.len() <= WHOLE_MAX;
        let liveness = match self.measured {
            Some(at) if !whole || now.since_ms(at) < LIVENESS_MS => Arc::clone(&before.liveness),
            Some(_) | None => {
                self.measured = Some(now);
                Arc::new(self.watch.liveness(self.judged))
            }
        };
        if self.remembered.is_none_or(|at| now.since_ms(at) >= LIVENESS_MS) {
            self.remembered = Some(now);
            self.remember();
        }
        self.around.publisher.publish(Snapshot {
            watchdog: before.watchdog.clone(),
            boot: before.boot.clone(),
            seq: self.seq,
            at: now,
            mass_silence: self.watch.mass_silence(),
            probes: self.watch.probe_evidence(self.judged),
            readback: self.watch.readback_evidence(self.judged),
            backdrop: self.watch.backdrop(self.judged),
            items: if whole { self.watch.show() } else { self.watch.show_some(SHOWN_MAX) },
            whole,
            stood_ms: None,
            liveness,
        });
        self.around.kicks.kick(self.seq);
    }

    fn obey(&self, effect: Effect) {
        match effect {
            Effect::VerdictChanged { service } => {
                if let Some(v) = self.watch.verdict(&service, self.judged) {
                    let (verdict, stage) = (v.verdict.as_str(), v.stage.map(word));
                    info!(%service, verdict, stage, reason = &*v.reason, "verdict");
                }
            }
            Effect::MassSilence { on: true } => error!(
                "most services fell silent together: the observer, the network or the backend is \
                 suspect; nothing is restarted; a person must look"
            ),
            Effect::MassSilence { on: false } => info!("mass silence is over"),
            Effect::ConvictCollector { boot, reason } => {
                let blame = blame(reason);
                let reason = reason.as_str();
                if *self.around.custody.borrow() == Custody::NotOurs {
                    error!(%boot, reason, "the collector hangs and is not ours to restart");
                    return;
                }
                let attestation_seq = self.seq;
                let reason = reason.to_owned();
                let order = Conviction { boot, reason, blame, attestation_seq };
                // A full channel holds an order that is as good as this one.
                if let Err(refused) = self.around.orders.try_send(order) {
                    warn!(%refused, "the conviction is not passed on");
                }
            }
        }
    }

    fn pause(&mut self, now: Tick, busy: bool) -> Pause {
        let mut wait_ms = TURN_MS_MAX;
        if let Some((at, _reason)) = self.watch.deadline() {
            // A deadline that has passed by the real clock waits for the sockets to be empty.
            wait_ms = wait_ms.min(at.since_ms(now).max(LOOK_MS));
        }
        if let Some(at) = self.published {
            wait_ms = wait_ms.min(at.plus_ms(self.around.interval_ms).since_ms(now).max(1));
        }
        self.planned = now.plus_ms(wait_ms);
        let rest_ms = if busy { wait_ms.min(REST_MS) } else { 0 };
        let [rest, wait] = [rest_ms, wait_ms - rest_ms].map(Duration::from_millis);
        Pause { rest, wait }
    }
}

/// What a conviction may be laid to.
const fn blame(reason: Charge) -> Blame {
    match reason {
        Charge::Silent | Charge::Hung => Blame::Process,
        Charge::Drops => Blame::Either,
        Charge::Rules => Blame::Config,
    }
}

const fn word(stage: Stage) -> &'static str {
    match stage {
        Stage::Service => "service",
        Stage::Sdk => "sdk",
        Stage::Collector => "collector",
        Stage::Exporter => "exporter",
        Stage::Backend => "backend",
        Stage::Observer => "observer",
    }
}

#[cfg(test)]
mod tests;
