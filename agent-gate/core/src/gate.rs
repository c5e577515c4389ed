//! The gate: the machine that permits, freezes and reverts. The main path; read it first.
//!
//! ```text
//!            event, now                          effects
//! driver ───────────────► Gate::step ──────────────────────────► driver
//!                           │    ▲
//!              sight (volatile)  ledger (durable)
//!         what watchdogs attested   rollouts, freezes, epoch, budget
//! ```
//!
//! A step first takes in what the event says about sight, then resolves what is in sight for the
//! services that matter into an [`Entry`], and applies that entry to the ledger. The ledger never
//! looks at sight itself: the journal of entries is all there is to know.
//!
//! Invariant: a permit comes only from [`decide`](decision::decide) on inputs that are recorded
//! whole; silence of anything takes it away without a message.
//!
//! # Transitions
#![doc = include_str!("gate/transitions.md")]

pub mod admission;
mod answer;
pub(crate) mod approvals;
pub mod bake;
pub mod clock;
pub mod decision;
mod dissent;
mod drift;
pub mod effect;
pub mod event;
pub mod freeze;
pub mod ledger;
pub mod quorum;
mod request;
pub mod revert;
pub mod rollout;
pub mod rule;
pub mod sight;
mod turn;
pub mod waiver;
pub mod wake;

use std::collections::{BTreeMap, BTreeSet};

use watchdog_core::names::Service;
use watchdog_core::tick::Tick;

use crate::gate::effect::{Answer, Effect, Record, Refusal};
use crate::gate::event::{Entry, Event};
use crate::gate::ledger::{Ledger, Step};
use crate::gate::sight::{Evidence, Sight, Snapshot, Untaken};
use crate::gate::wake::{Due, Wake};
use crate::policy::PolicySet;

/// The whole gate: what survives a restart, and what must not.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    pub ledger: Ledger,
    pub sight: Sight,
    /// When it was last stepped.
    turned: Tick,
    due: Due,
}

impl Gate {
    /// A gate on a stored ledger. It sees nothing; step it with [`Event::GateStarted`] first.
    #[must_use]
    pub fn new(ledger: Ledger) -> Self {
        Self { ledger, sight: Sight::default(), turned: Tick(0), due: Due::default() }
    }

    /// Takes in one event and says what to do, in order. A `now` that went back is taken for the
    /// last one.
    pub fn step(&mut self, event: Event, now: Tick, policy: &PolicySet) -> Vec<Effect> {
        let mut effects = Vec::new();
        let now = now.max(self.turned);
        // A driver may come late. What was lost between two events was lost at its own time, and
        // clocks must stand from then on, not from now on.
        while let Some((lapse, _)) = self.edge().filter(|(lapse, _)| *lapse < now) {
            self.turned = lapse;
            self.apply(Event::Turn, lapse, policy, &mut effects);
        }
        // A call about one rollout looks at that one alone. What time does to the others by now is
        // done first, so that it meets them as they are.
        let is_due = |at: Option<(Tick, Wake)>| at.is_some_and(|(at, _)| at <= now);
        if event.is_about_one() && is_due(self.due.after(self.turned)) {
            self.turned = now;
            self.apply(Event::Turn, now, policy, &mut effects);
        }
        self.turned = now;
        self.sight.forget(now, policy.fleet.watchdog_forget_ms);
        match event {
            Event::Attested(attestation) => {
                let watchdog = attestation.watchdog.clone();
                let answer = match self.sight.attest(
                    attestation,
                    now,
                    policy.fleet.attestation_ttl_max_ms,
                ) {
                    Ok(()) => {
                        self.compare(&watchdog, now);
                        Answer::Attested
                    }
                    Err(Untaken::Overtaken { last }) => {
                        Answer::Refused(Refusal::OldSequence { last })
                    }
                    Err(Untaken::BaseUnknown) => Answer::Refused(Refusal::UnknownBase),
                };
                self.apply(Event::Turn, now, policy, &mut effects);
                effects.push(Effect::Answer(Box::new(answer)));
            }
            Event::GateStarted { .. } | Event::ClockJumped => {
                self.sight.clear();
                self.apply(event, now, policy, &mut effects);
            }
            Event::Request { .. }
            | Event::Renew { .. }
            | Event::Applied { .. }
            | Event::Report { .. }
            | Event::Conclude { .. }
            | Event::Abort { .. }
            | Event::Approve { .. }
            | Event::Reject { .. }
            | Event::Settle { .. }
            | Event::Freeze { .. }
            | Event::Thaw { .. }
            | Event::Waive { .. }
            | Event::EndWaiver { .. }
            | Event::Committed { .. }
            | Event::Fenced { .. }
            | Event::DryRunDone { .. }
            | Event::RevertDone { .. }
            | Event::Turn => self.apply(event, now, policy, &mut effects),
        }
        effects
    }

    /// When the gate must be stepped with [`Event::Turn`] at the latest, and why.
    #[must_use]
    pub fn deadline(&self) -> Option<(Tick, Wake)> {
        // Nobody's clock stands still when nothing is in flight.
        let lapse = self
            .edge()
            .filter(|(_, wake)| *wake == Wake::WaiverTurns || self.ledger.open().next().is_some());
        self.due.after(self.turned).into_iter().chain(lapse).min()
    }

    /// When sight changes next without a word from anybody.
    fn edge(&self) -> Option<(Tick, Wake)> {
        let lapse = self.sight.lapse(self.turned).map(|at| (at, Wake::SightLapses));
        let turn = self.ledger.waiver_edge(self.turned).map(|at| (at, Wake::WaiverTurns));
        lapse.into_iter().chain(turn).min()
    }

    /// The evidence about `service` at `now`, by what is waived.
    #[must_use]
    pub fn look(&self, service: &Service, now: Tick, policy: &PolicySet) -> Evidence {
        let waivers = self.ledger.waivers_for(service, now, policy);
        self.sight.look(service, now, policy, &waivers)
    }

    /// Compares what `watchdog` sees run with what was granted.
    fn compare(&mut self, watchdog: &str, now: Tick) {
        let ledger = &self.ledger;
        self.sight.compare(watchdog, now, |service, revision| {
            ledger.is_granted(service, revision) != Some(false)
        });
    }

    fn apply(&mut self, event: Event, now: Tick, policy: &PolicySet, effects: &mut Vec<Effect>) {
        let sight = self.snapshot(&event, now, policy);
        let is_start = matches!(event, Event::GateStarted { .. });
        let entry = Entry { at: now, event, sight };
        let done = self.ledger.apply(entry, policy);
        if is_start {
            self.due = Due::of(&self.ledger, policy);
        }
        self.due.follow(&done, policy);
        effects.extend(done);
    }

    /// What is in sight for the services that `event` and the ledger are about.
    fn snapshot(&self, event: &Event, now: Tick, policy: &PolicySet) -> Snapshot {
        let mut services: BTreeSet<&Service> = self.ledger.concerns(event).into_iter().collect();
        let mut strange = BTreeMap::new();
        if !event.is_about_one() {
            strange = self.sight.strange(now);
            services.extend(self.ledger.head().drifted.keys());
            services.extend(self.ledger.open().map(|rollout| &rollout.request.service));
            // A service that goes blind soon after a confirmed rollout puts that one under
            // suspicion.
            services.extend(self.sight.lost(now).filter(|service| {
                self.ledger.confirmed_of(service).is_some() || self.sight.is_disputed(service)
            }));
            services.extend(self.ledger.head().dissent.keys());
        }
        Snapshot {
            services: services
                .into_iter()
                .map(|service| (service.clone(), self.look(service, now, policy)))
                .collect(),
            mass_silence: self.sight.mass_silence(now) && !self.ledger.is_silence_waived(now),
            strange,
        }
    }
}

impl Ledger {
    /// Folds one entry in. The journal of all entries that changed something gives this ledger.
    pub fn apply(&mut self, entry: Entry, policy: &PolicySet) -> Vec<Effect> {
        let mut step = Step::new(self, entry.at, &entry.sight, policy);
        // What time and sight have done comes first, so that no call meets a permit that has
        // ended or a verdict that has turned.
        // A gate that starts must first mark its outage.
        if !matches!(entry.event, Event::GateStarted { .. }) {
            self.turn(&mut step);
        }
        // After one turn, a second at the same time and sight changes nothing.
        if !matches!(entry.event, Event::Turn | Event::Attested(_)) {
            self.take(&mut step, &entry.event);
            self.turn(&mut step);
        }
        if step.changed(self) {
            self.head.touched = Some(entry.at);
        }
        let records = if step.changed(self) { step.records(self) } else { Vec::new() };
        let Step { shut, clear, answer, orders, .. } = step;
        let journal = (!records.is_empty()).then_some(Record::Journal(entry));
        let order = |record| Effect::Record(Box::new(record));
        let clears = (shut || clear) && !self.is_fleet_frozen();
        shut.then_some(Effect::ShutLatch)
            .into_iter()
            .chain(journal.into_iter().chain(records).map(order))
            .chain(clears.then_some(Effect::ClearLatch { epoch: self.head.epoch }))
            .chain(answer.map(|answer| Effect::Answer(Box::new(answer))))
            .chain(orders)
            .collect()
    }

    /// The one match on events.
    fn take(&mut self, step: &mut Step<'_>, event: &Event) {
        let answer = match event {
            Event::Request { request, by } => self.request(step, request, by),
            Event::Renew { rollout, epoch, step: _, by } => self.renew(step, *rollout, *epoch, by),
            Event::Applied { rollout, epoch, revision, by } => {
                self.applied(step, *rollout, *epoch, revision.as_ref(), by)
            }
            Event::Report { rollout, epoch, claim, by } => {
                self.report(step, *rollout, *epoch, claim, by)
            }
            Event::Conclude { rollout, outcome, by } => self.conclude(step, *rollout, *outcome, by),
            Event::Abort { rollout, reason, by } => self.abort(step, *rollout, reason, by),
            Event::Approve { rollout, digest, reason, expires_in_ms, by } => {
                self.approve(step, *rollout, digest, reason, *expires_in_ms, by)
            }
            Event::Reject { rollout, digest, reason, by } => {
                self.reject(step, *rollout, digest, reason, by)
            }
            Event::Settle { rollout, to, reason, by } => {
                self.settle(step, *rollout, *to, reason, by)
            }
            Event::Freeze { scope, reason, by } => self.ask_freeze(step, scope, reason, by),
            Event::Thaw { freeze, reason, override_cause, by } => {
                self.thaw(step, *freeze, reason, *override_cause, by)
            }
            Event::Waive { waiver, by } => self.waive(step, waiver, by),
            Event::EndWaiver { waiver, reason, by } => self.end_waiver(step, *waiver, reason, by),
            Event::Committed { freezes } => return self.committed(step, freezes),
            Event::Fenced { freeze, fenced } => return self.fenced(step, *freeze, *fenced),
            Event::DryRunDone { service, effect, result } => {
                return self.dry_run_done(step, service, *effect, result);
            }
            Event::RevertDone { effect, generation, result } => {
                return self.revert_done(step, *effect, *generation, result);
            }
            Event::GateStarted { last_alive } => return self.started(step, *last_alive),
            Event::ClockJumped => return self.void_leases(step),
            Event::Attested(_) | Event::Turn => return,
        };
        step.answer = Some(answer.unwrap_or_else(Answer::Refused));
    }
}
