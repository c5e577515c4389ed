//! Orders to the outside, on their way: which run, and how they ended.
//!
//! Each order runs as a task of its own and reports back once. An order that is given again while
//! the same one still runs is not started twice: the first one's end answers both.
//!
//! Invariant: an order without an action to carry it out ends as failed, not silently.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use agent_gate_core::gate::effect::{DryRunOrder, RevertOrder};
use agent_gate_core::gate::event::{EffectResult, Event};
use agent_gate_core::ids::EffectId;
use outside::Outside;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use watchdog_core::names::Service;

use crate::config::RevertAction;
use crate::metrics::{EffectLabels, Metrics};
use crate::revert::{self, Order, Outcome};

/// The configured revert action of each service.
pub type Actions = Arc<BTreeMap<Service, RevertAction>>;

/// An order that ended.
#[derive(Debug)]
pub enum Ended {
    Revert { order: RevertOrder, outcome: Outcome },
    DryRun { order: DryRunOrder, outcome: Outcome },
}

impl Ended {
    #[must_use]
    pub const fn effect(&self) -> EffectId {
        match self {
            Self::Revert { order, .. } => order.effect,
            Self::DryRun { order, .. } => order.effect,
        }
    }

    const fn word(&self) -> &'static str {
        match self {
            Self::Revert { .. } => "revert",
            Self::DryRun { .. } => "dry_run",
        }
    }

    const fn ended(&self) -> &Outcome {
        match self {
            Self::Revert { outcome, .. } | Self::DryRun { outcome, .. } => outcome,
        }
    }

    /// One line for the store.
    #[must_use]
    pub fn outcome(&self) -> String {
        let outcome = self.ended();
        let word = if outcome.is_done { "done" } else { "failed" };
        format!("{word}: {}", outcome.detail)
    }

    /// The event that tells the gate.
    #[must_use]
    pub fn into_event(self) -> Event {
        match self {
            Self::Revert { order, outcome } => Event::RevertDone {
                effect: order.effect,
                generation: order.generation,
                result: result(outcome),
            },
            Self::DryRun { order, outcome } => Event::DryRunDone {
                service: order.service,
                effect: order.effect,
                result: result(outcome),
            },
        }
    }
}

fn result(outcome: Outcome) -> EffectResult {
    if outcome.is_done { EffectResult::Done } else { EffectResult::Failed(outcome.detail) }
}

/// See the module's head.
#[derive(Debug)]
pub struct Actor {
    actions: Actions,
    outside: Outside,
    running: BTreeSet<EffectId>,
    /// Dropped with the driver, and with it every task: their process groups die, and the next
    /// gate gives the same orders again.
    tasks: JoinSet<()>,
    ended: mpsc::UnboundedSender<Ended>,
}

impl Actor {
    #[must_use]
    pub fn new(actions: Actions, outside: Outside, ended: mpsc::UnboundedSender<Ended>) -> Self {
        Self { actions, outside, running: BTreeSet::new(), tasks: JoinSet::new(), ended }
    }

    /// Carries out a revert.
    pub fn revert(&mut self, order: RevertOrder) {
        tracing::info!(
            rollout = %order.rollout, service = %order.service, from = %order.from,
            to = %order.to, generation = order.generation.0, effect = %order.effect,
            attempt = order.attempt, "revert"
        );
        let carried = Order {
            effect: order.effect.to_string(),
            rollout: order.rollout.to_string(),
            service: order.service.to_string(),
            from: order.from.to_string(),
            to: order.to.to_string(),
            generation: u64::from(order.generation.0),
            dry_run: false,
        };
        let service = order.service.clone();
        let ends = |outcome| Ended::Revert { order, outcome };
        self.start(carried, &service, ends);
    }

    /// Tries whether a revert would work.
    pub fn dry_run(&mut self, order: DryRunOrder) {
        let carried = Order {
            effect: order.effect.to_string(),
            rollout: order.rollout.to_string(),
            service: order.service.to_string(),
            from: order.from.to_string(),
            // Nobody knows it yet; a dry run must not need it.
            to: order.to.as_ref().map(ToString::to_string).unwrap_or_default(),
            generation: 0,
            dry_run: true,
        };
        let service = order.service.clone();
        let ends = |outcome| Ended::DryRun { order, outcome };
        self.start(carried, &service, ends);
    }

    fn start(
        &mut self,
        order: Order,
        service: &Service,
        ends: impl FnOnce(Outcome) -> Ended + Send + 'static,
    ) {
        let effect = order.effect.parse().expect("an order carries its effect's own text");
        if !self.running.insert(effect) {
            return;
        }
        let (outside, ended) = (self.outside.clone(), self.ended.clone());
        let action = self.actions.get(service).cloned();
        self.tasks.spawn(async move {
            let outcome = match action {
                Some(action) => revert::carry_out(&action, &order, &outside).await,
                None => Outcome {
                    is_done: false,
                    detail: "no revert action is configured any more".to_owned(),
                },
            };
            // The driver is gone only when the process ends; the next one starts the order again.
            let _gone = ended.send(ends(outcome));
        });
    }

    /// Notes that an order ended.
    pub fn end(&mut self, end: &Ended, metrics: &Metrics) {
        self.running.remove(&end.effect());
        while self.tasks.try_join_next().is_some() {}
        let outcome = end.ended();
        let word = if outcome.is_done { "done" } else { "failed" };
        let labels = EffectLabels { effect: end.word(), outcome: word };
        metrics.effects.get_or_create(&labels).inc();
        if outcome.is_done {
            tracing::info!(effect = %end.effect(), kind = end.word(), "{}", outcome.detail);
        } else {
            tracing::warn!(effect = %end.effect(), kind = end.word(), "{}", outcome.detail);
        }
    }
}
