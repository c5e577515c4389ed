//! Whether the collector does its work: derived from what moved, never from being there.
//!
//! | condition | fails when |
//! |---|---|
//! | `pipeline` | what carries telemetry has not turned for a second |
//! | `exporter` | records wait or were dropped, and none was delivered for `stall_ms` |
//! | `line` | the next request would be refused: the queue or the spool is full |
//! | `spool` | the spool cannot be written |
//! | `ledger` | records are lost or doubled |
//! | `probe` | probes come in, and for `stall_ms` none of them reached the far tap |
//!
//! It is looked at once a second, and whenever somebody asks; both see the same.
//!
//! Invariant: no condition is met by default. A backend that was never sent anything is not ill,
//! but nothing that should have left and did not is ever overlooked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tracing::{error, info};
use watchdog_core::tick::Tick;

use crate::driver;
use crate::kind::Kind;
use crate::pipeline::Pipeline;
use crate::rounds::Rounds;
use crate::spool::Spool;

/// Without a complete round for this long the collector hangs.
const STILL_MS_MAX: u64 = 1_000;
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What must hold; the value of `condition` in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Condition {
    Pipeline,
    Exporter,
    Line,
    Spool,
    Ledger,
    Probe,
}

/// A condition that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Trouble {
    pub(crate) condition: Condition,
    pub(crate) what: String,
    /// For how long it has not held.
    pub(crate) for_ms: u64,
}

/// Remembers since when something does not hold.
#[derive(Debug, Default)]
pub(crate) struct Monitor(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    since: BTreeMap<Condition, Tick>,
    /// By the place of the exporter at the line.
    exporters: BTreeMap<usize, Progress>,
}

/// What one exporter had done when it last delivered something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Progress {
    forwarded: u64,
    dropped: u64,
    /// Since when something should have left and did not.
    owing_since: Option<Tick>,
}

impl Progress {
    /// Takes the counts of now; for how long the exporter has owed something.
    fn follow(&mut self, forwarded: u64, dropped: u64, waiting: u64, now: Tick) -> u64 {
        if forwarded != self.forwarded {
            *self = Self { forwarded, dropped, owing_since: None };
        }
        if waiting == 0 && dropped == self.dropped {
            self.owing_since = None;
            return 0;
        }
        now.since_ms(*self.owing_since.get_or_insert(now))
    }
}

/// Looks for ever, and says what changes.
pub(crate) async fn look(
    monitor: Arc<Monitor>,
    pipeline: watch::Receiver<Arc<Pipeline>>,
    rounds: Arc<Rounds>,
) {
    let mut every = tokio::time::interval(LOOK_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut known: Vec<Condition> = Vec::new();
    loop {
        every.tick().await;
        let pipeline = Arc::clone(&pipeline.borrow());
        let troubles = monitor.troubles(&pipeline, &rounds, driver::now());
        pipeline.metrics.is_healthy(troubles.is_empty());
        for Trouble { condition, what, for_ms } in &troubles {
            if !known.contains(condition) {
                error!(?condition, for_ms, what, "the collector is not healthy");
            }
        }
        if troubles.is_empty() && !known.is_empty() {
            info!("the collector is healthy again");
        }
        known = troubles.iter().map(|trouble| trouble.condition).collect();
    }
}

impl Monitor {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every condition that does not hold at `now`.
    pub(crate) fn troubles(&self, pipeline: &Pipeline, rounds: &Rounds, now: Tick) -> Vec<Trouble> {
        let mut memory = self.memory();
        let mut troubles = memory.exporters(pipeline, now);
        let still_ms = now.since_ms(rounds.complete_at());
        if still_ms > STILL_MS_MAX {
            let what = "what carries telemetry has not turned".to_owned();
            troubles.push(Trouble { condition: Condition::Pipeline, what, for_ms: still_ms });
        }
        if let Some((signal, for_ms)) = pipeline.tally.probes_unanswered(now)
            && for_ms > pipeline.stall_ms
        {
            let signal = signal.as_str();
            let what = format!("probes of {signal} come in, and none of them gets through");
            troubles.push(Trouble { condition: Condition::Probe, what, for_ms });
        }
        let spool = pipeline.line.spool();
        let is_failing = spool.is_some_and(Spool::is_failing);
        let imbalance = pipeline.line.books().1.imbalance();
        let at_once = [
            (Condition::Spool, is_failing, "the spool cannot be written".to_owned()),
            (
                Condition::Line,
                !is_failing && pipeline.line.is_full(),
                match spool {
                    Some(_) => "the spool is full: requests are refused".to_owned(),
                    None => "the queue to a backend is full: requests are refused".to_owned(),
                },
            ),
            (
                Condition::Ledger,
                imbalance > 0,
                format!("{imbalance} records are lost or doubled; see /v1/ledger"),
            ),
        ];
        for (condition, fails, what) in at_once {
            if fails {
                let since = *memory.since.entry(condition).or_insert(now);
                troubles.push(Trouble { condition, what, for_ms: now.since_ms(since) });
            } else {
                memory.since.remove(&condition);
            }
        }
        troubles
    }
}

impl Memory {
    /// The exporters whose records do not leave.
    fn exporters(&mut self, pipeline: &Pipeline, now: Tick) -> Vec<Trouble> {
        let (names, ledger) = pipeline.line.books();
        let why: BTreeMap<String, String> = pipeline
            .line
            .seats()
            .into_iter()
            .filter_map(|(seat, _)| {
                let (_, why) = seat.metrics.health.trouble(now)?;
                Some((seat.name.clone(), why))
            })
            .collect();
        let mut troubles = Vec::new();
        for (who, ((name, is_retired), outgo)) in names.iter().zip(&ledger.outgo).enumerate() {
            if *is_retired {
                continue;
            }
            // A backend may well not know profiles; that says nothing about its health.
            let (mut forwarded, mut dropped, mut waiting) = (0, 0, 0);
            for (_, outgo) in outgo.iter().filter(|(kind, _)| *kind != Kind::Profiles) {
                forwarded += outgo.forwarded;
                dropped += outgo.dropped;
                waiting += outgo.waiting;
            }
            let start = Progress { forwarded, dropped: 0, owing_since: None };
            let progress = self.exporters.entry(who).or_insert(start);
            let for_ms = progress.follow(forwarded, dropped, waiting, now);
            if for_ms > pipeline.stall_ms {
                let why = why.get(name).map_or("no answer", String::as_str);
                let what = format!("nothing gets through to {name}: {why}");
                troubles.push(Trouble { condition: Condition::Exporter, what, for_ms });
            }
        }
        troubles
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_what_is_delivered_and_not_what_is_dropped() {
        let mut progress = Progress { forwarded: 0, dropped: 0, owing_since: None };
        let mut at = |ms, forwarded, dropped, waiting| {
            progress.follow(forwarded, dropped, waiting, Tick(ms))
        };
        assert_eq!(at(0, 0, 0, 0), 0, "never asked is not ill");
        assert_eq!(at(10, 0, 0, 5), 0);
        assert_eq!(at(30, 0, 0, 5), 20);
        assert_eq!(at(40, 1, 0, 5), 0, "one is through");
        assert_eq!(at(60, 1, 0, 5), 20);
        assert_eq!(at(70, 1, 5, 0), 30, "what was dropped did not leave");
        assert_eq!(at(90, 1, 5, 0), 50, "nor is it forgotten");
        assert_eq!(at(100, 2, 5, 0), 0);
    }
}
