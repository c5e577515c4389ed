//! The durable half of the gate: rollouts, freezes, the epoch, the budget, what is blocked.
//!
//! It changes by [`Ledger::apply`] alone, from journal entries that carry their own evidence.
//! What changed is told in a `Step`, so that the shell writes those rows and no others.
//!
//! Invariant: folding the journal gives the ledger. An entry that changes nothing is not
//! journaled, so a quiet gate writes nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use watchdog_core::names::{Revision, Service};
use watchdog_core::tick::Tick;

use crate::gate::decision::{Block, DecisionRecord, Readiness};
use crate::gate::effect::{Answer, Effect, Record};
use crate::gate::freeze::Freeze;
use crate::gate::rollout::{Moment, Proof, Rollout, State, StateName, TIMELINE_MAX};
use crate::gate::sight::Snapshot;
use crate::gate::waiver::Waiver;
use crate::ids::{
    ChangeId, DecisionId, Digest, EffectId, Epoch, FreezeId, PermitId, RolloutId, WaiverId,
};
use crate::policy::{Policy, PolicySet};
use crate::scope::Scope;

/// The counters and the few words that stand once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub epoch: Epoch,
    pub rollouts: u64,
    pub freezes: u64,
    pub decisions: u64,
    pub effects: u64,
    pub permits: u64,
    #[serde(default)]
    pub waivers: u64,
    /// How often the budget was doubled since the last failure.
    pub ramp: u32,
    /// Whether a freeze was made for the mass silence that stands.
    pub mass_alarmed: bool,
    /// When the ledger last changed; `None` before it ever did.
    pub touched: Option<Tick>,
    /// What services run that no permit led to.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub drifted: BTreeMap<Service, Revision>,
    /// Watchdogs whose word about a service stands alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dissent: BTreeMap<Service, String>,
}

/// The durable state. See the module's head.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Parts", into = "Parts")]
pub struct Ledger {
    pub(crate) head: Head,
    pub(crate) rollouts: BTreeMap<RolloutId, Rollout>,
    pub(crate) freezes: BTreeMap<FreezeId, Freeze>,
    pub(crate) blocked: BTreeMap<Digest, Block>,
    pub(crate) readiness: BTreeMap<Service, Readiness>,
    pub(crate) waivers: BTreeMap<WaiverId, Waiver>,
    index: Index,
}

/// What the store loads and saves.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Parts {
    pub head: Head,
    pub rollouts: Vec<Rollout>,
    pub freezes: Vec<Freeze>,
    pub blocked: Vec<(Digest, Block)>,
    pub readiness: Vec<(Service, Readiness)>,
    #[serde(default)]
    pub waivers: Vec<Waiver>,
}

/// What can be found without walking the ledger; derived from it.
#[derive(Debug, Clone, Default, PartialEq)]
struct Index {
    open: BTreeSet<RolloutId>,
    by_change: BTreeMap<ChangeId, RolloutId>,
    confirmed: BTreeMap<Service, RolloutId>,
    in_force: BTreeSet<FreezeId>,
    by_service: BTreeMap<Service, BTreeSet<RolloutId>>,
}

impl From<Parts> for Ledger {
    fn from(parts: Parts) -> Self {
        let Parts { head, rollouts, freezes, blocked, readiness, waivers } = parts;
        let mut ledger = Self {
            head,
            rollouts: rollouts.into_iter().map(|each| (each.id, each)).collect(),
            freezes: freezes.into_iter().map(|each| (each.id, each)).collect(),
            blocked: blocked.into_iter().collect(),
            readiness: readiness.into_iter().collect(),
            waivers: waivers.into_iter().map(|each| (each.id, each)).collect(),
            index: Index::default(),
        };
        ledger.index = Index::of(&ledger.rollouts, &ledger.freezes);
        ledger
    }
}

impl From<Ledger> for Parts {
    fn from(ledger: Ledger) -> Self {
        Self {
            head: ledger.head,
            rollouts: ledger.rollouts.into_values().collect(),
            freezes: ledger.freezes.into_values().collect(),
            blocked: ledger.blocked.into_iter().collect(),
            readiness: ledger.readiness.into_iter().collect(),
            waivers: ledger.waivers.into_values().collect(),
        }
    }
}

impl Index {
    fn of(rollouts: &BTreeMap<RolloutId, Rollout>, freezes: &BTreeMap<FreezeId, Freeze>) -> Self {
        let mut index = Self::default();
        // In order of confirmation, so that the last one of a service stays.
        let mut confirmed: Vec<&Rollout> = Vec::new();
        for rollout in rollouts.values() {
            index.by_change.insert(rollout.request.change_id.clone(), rollout.id);
            let service = rollout.request.service.clone();
            index.by_service.entry(service).or_default().insert(rollout.id);
            if !rollout.state.name().is_terminal() {
                index.open.insert(rollout.id);
            }
            if rollout.state.name() == StateName::Confirmed {
                confirmed.push(rollout);
            }
        }
        confirmed.sort_by_key(|rollout| (rollout.since, rollout.id));
        for rollout in confirmed {
            index.confirmed.insert(rollout.request.service.clone(), rollout.id);
        }
        index.in_force.extend(freezes.values().filter(|each| each.thawed.is_none()).map(|f| f.id));
        index
    }
}

/// Reading.
impl Ledger {
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.head.epoch
    }

    #[must_use]
    pub fn rollout(&self, id: RolloutId) -> Option<&Rollout> {
        self.rollouts.get(&id)
    }

    #[must_use]
    pub fn by_change(&self, change: &ChangeId) -> Option<&Rollout> {
        self.index.by_change.get(change).and_then(|id| self.rollouts.get(id))
    }

    /// All rollouts, oldest first.
    pub fn rollouts(&self) -> impl DoubleEndedIterator<Item = &Rollout> {
        self.rollouts.values()
    }

    /// Rollouts that are not over, oldest first.
    pub fn open(&self) -> impl Iterator<Item = &Rollout> {
        self.index.open.iter().filter_map(|id| self.rollouts.get(id))
    }

    /// The rollouts of `service`, newest first.
    pub fn of(&self, service: &Service) -> impl Iterator<Item = &Rollout> {
        let ids = self.index.by_service.get(service).into_iter().flatten().rev();
        ids.filter_map(|id| self.rollouts.get(id))
    }

    /// The last confirmed rollout of every service.
    pub fn confirmed(&self) -> impl Iterator<Item = (&Service, &Rollout)> {
        let found = |(service, id)| Some((service, self.rollouts.get(id)?));
        self.index.confirmed.iter().filter_map(found)
    }

    /// The last confirmed rollout of `service`.
    #[must_use]
    pub fn confirmed_of(&self, service: &Service) -> Option<&Rollout> {
        self.index.confirmed.get(service).and_then(|id| self.rollouts.get(id))
    }

    #[must_use]
    pub fn freeze(&self, id: FreezeId) -> Option<&Freeze> {
        self.freezes.get(&id)
    }

    /// All freezes, oldest first.
    pub fn freezes(&self) -> impl DoubleEndedIterator<Item = &Freeze> {
        self.freezes.values()
    }

    /// Freezes in force, oldest first.
    pub fn in_force(&self) -> impl Iterator<Item = &Freeze> {
        self.index.in_force.iter().filter_map(|id| self.freezes.get(id))
    }

    /// Freezes in force that cover `rollout`.
    pub fn freezes_over<'a>(
        &'a self,
        rollout: &'a Rollout,
        policy: &'a PolicySet,
    ) -> impl Iterator<Item = &'a Freeze> {
        self.in_force().filter(|freeze| {
            policy.covers(&freeze.scope, &rollout.request.service, &rollout.request.agent)
        })
    }

    /// Whether the whole fleet is frozen.
    #[must_use]
    pub fn is_fleet_frozen(&self) -> bool {
        self.in_force().any(|freeze| freeze.scope == Scope::Fleet)
    }

    #[must_use]
    pub fn blocked(&self, digest: &Digest) -> Option<&Block> {
        self.blocked.get(digest)
    }

    /// What is known about the way back of `service`.
    #[must_use]
    pub fn readiness(&self, service: &Service) -> &Readiness {
        self.readiness.get(service).unwrap_or(&Readiness::NotTried)
    }

    /// How many unproven rollouts may be in flight now.
    #[must_use]
    pub fn budget(&self, fleet: &Policy) -> u32 {
        let doubled = u64::from(fleet.budget_start) << self.head.ramp.min(31);
        u32::try_from(doubled).unwrap_or(u32::MAX).min(fleet.budget_max)
    }
}

/// Writing. Every change goes through one of these, so that none is left out of the [`Step`].
impl Ledger {
    pub(crate) fn open_ids(&self) -> Vec<RolloutId> {
        self.index.open.iter().copied().collect()
    }

    pub(crate) fn open_in(&self, sight: &Snapshot) -> Vec<RolloutId> {
        let shown = |each: &&Rollout| sight.services.contains_key(&each.request.service);
        self.open().filter(shown).map(|each| each.id).collect()
    }

    /// The rollout, to be changed; it will be written.
    pub(crate) fn edit(&mut self, step: &mut Step<'_>, id: RolloutId) -> &mut Rollout {
        step.rollouts.insert(id);
        self.rollouts.get_mut(&id).expect("ids of rollouts are only made with the rollout")
    }

    pub(crate) fn insert(&mut self, step: &mut Step<'_>, rollout: Rollout) {
        step.rollouts.insert(rollout.id);
        self.index.open.insert(rollout.id);
        self.index.by_change.insert(rollout.request.change_id.clone(), rollout.id);
        let service = rollout.request.service.clone();
        self.index.by_service.entry(service).or_default().insert(rollout.id);
        self.rollouts.insert(rollout.id, rollout);
    }

    /// The one place where a rollout changes its state.
    pub(crate) fn enter(&mut self, step: &mut Step<'_>, id: RolloutId, state: State, why: &str) {
        let name = state.name();
        match &state {
            State::Confirmed { proof: Proof::Live, .. } => {
                self.head.ramp = (self.head.ramp + 1).min(31)
            }
            State::Reverting(_) | State::Stuck { .. } => self.head.ramp = 0,
            State::Confirmed { proof: Proof::Person, .. }
            | State::Held { .. }
            | State::Allowed { .. }
            | State::Applying { .. }
            | State::Baking(_)
            | State::Inconclusive { .. }
            | State::Reverted { .. }
            | State::Denied { .. }
            | State::Expired
            | State::Aborted { .. } => {}
        }
        let now = step.now;
        step.entered += 1;
        let rollout = self.edit(step, id);
        rollout.state = state;
        rollout.since = now;
        if rollout.timeline.len() == TIMELINE_MAX {
            rollout.timeline.remove(0);
        }
        rollout.timeline.push(Moment { at: now, state: name, why: why.to_owned() });
        let service = rollout.request.service.clone();
        if name.is_terminal() {
            self.index.open.remove(&id);
        } else {
            self.index.open.insert(id);
        }
        if name == StateName::Confirmed {
            self.index.confirmed.insert(service, id);
        } else if self.index.confirmed.get(&service) == Some(&id) {
            self.index.confirmed.remove(&service);
        }
    }

    pub(crate) fn insert_freeze(&mut self, step: &mut Step<'_>, freeze: Freeze) {
        step.freezes.insert(freeze.id);
        self.index.in_force.insert(freeze.id);
        self.freezes.insert(freeze.id, freeze);
    }

    pub(crate) fn edit_freeze(&mut self, step: &mut Step<'_>, id: FreezeId) -> Option<&mut Freeze> {
        let freeze = self.freezes.get_mut(&id)?;
        step.freezes.insert(id);
        Some(freeze)
    }

    pub(crate) fn end_freeze(&mut self, id: FreezeId) {
        self.index.in_force.remove(&id);
    }

    pub(crate) fn block(&mut self, step: &mut Step<'_>, digest: Digest, block: Block) {
        // The first to be silenced is what a person wants to read about.
        self.blocked.entry(digest.clone()).or_insert_with(|| {
            step.blocked.insert(digest);
            block
        });
    }

    pub(crate) fn set_readiness(&mut self, step: &mut Step<'_>, service: &Service, to: Readiness) {
        step.readiness.insert(service.clone());
        self.readiness.insert(service.clone(), to);
    }

    pub(crate) fn put_waiver(&mut self, step: &mut Step<'_>, waiver: Waiver) {
        step.waivers.insert(waiver.id);
        self.waivers.insert(waiver.id, waiver);
    }

    pub(crate) fn raise_epoch(&mut self) -> Epoch {
        self.head.epoch = self.head.epoch.next();
        self.head.epoch
    }

    pub(crate) fn next_rollout(&mut self) -> RolloutId {
        self.head.rollouts += 1;
        RolloutId(self.head.rollouts)
    }

    pub(crate) fn next_freeze(&mut self) -> FreezeId {
        self.head.freezes += 1;
        FreezeId(self.head.freezes)
    }

    pub(crate) fn next_decision(&mut self) -> DecisionId {
        self.head.decisions += 1;
        DecisionId(self.head.decisions)
    }

    pub(crate) fn next_effect(&mut self) -> EffectId {
        self.head.effects += 1;
        EffectId(self.head.effects)
    }

    /// The id the next permit gets if one is granted.
    pub(crate) fn coming_permit(&self) -> PermitId {
        PermitId(self.head.permits + 1)
    }
}

/// One application of an entry: what is in sight, and what came of it.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    pub now: Tick,
    pub policy: &'a PolicySet,
    pub sight: &'a Snapshot,
    /// Something was frozen or fenced off: no permit may leave before this is written.
    pub shut: bool,
    /// Permits may leave again once this is written, unless the fleet is frozen.
    pub clear: bool,
    /// The head before the step, to see whether it changed.
    head_before: Head,
    /// How many changes of state there were.
    pub entered: u32,
    pub rollouts: BTreeSet<RolloutId>,
    pub freezes: BTreeSet<FreezeId>,
    pub blocked: BTreeSet<Digest>,
    pub readiness: BTreeSet<Service>,
    pub waivers: BTreeSet<WaiverId>,
    pub decisions: Vec<DecisionRecord>,
    pub answer: Option<Answer>,
    /// Reverts, dry runs and calls, in order.
    pub orders: Vec<Effect>,
}

impl<'a> Step<'a> {
    pub fn new(ledger: &Ledger, now: Tick, sight: &'a Snapshot, policy: &'a PolicySet) -> Self {
        Self {
            now,
            policy,
            sight,
            shut: false,
            clear: false,
            head_before: ledger.head.clone(),
            entered: 0,
            rollouts: BTreeSet::new(),
            freezes: BTreeSet::new(),
            blocked: BTreeSet::new(),
            readiness: BTreeSet::new(),
            waivers: BTreeSet::new(),
            decisions: Vec::new(),
            answer: None,
            orders: Vec::new(),
        }
    }

    /// Whether the ledger is another one than before the step.
    pub fn changed(&self, ledger: &Ledger) -> bool {
        !(self.rollouts.is_empty()
            && self.freezes.is_empty()
            && self.blocked.is_empty()
            && self.readiness.is_empty()
            && self.waivers.is_empty()
            && self.head_before == ledger.head)
    }

    /// The rows that changed, for the store.
    pub fn records(&mut self, ledger: &Ledger) -> Vec<Record> {
        let decisions = std::mem::take(&mut self.decisions);
        let rollouts = self.rollouts.iter().filter_map(|id| ledger.rollouts.get(id));
        let freezes = self.freezes.iter().filter_map(|id| ledger.freezes.get(id));
        let blocked = self.blocked.iter().filter_map(|digest| ledger.blocked.get_key_value(digest));
        let readiness =
            self.readiness.iter().filter_map(|name| ledger.readiness.get_key_value(name));
        let waivers = self.waivers.iter().filter_map(|id| ledger.waivers.get(id));
        decisions
            .into_iter()
            .map(Record::Decision)
            .chain(rollouts.cloned().map(Record::Rollout))
            .chain(freezes.cloned().map(Record::Freeze))
            .chain(blocked.map(|(digest, block)| Record::Blocked(digest.clone(), block.clone())))
            .chain(readiness.map(|(name, is)| Record::Readiness(name.clone(), is.clone())))
            .chain(waivers.cloned().map(Record::Waiver))
            .chain(std::iter::once(Record::Head(ledger.head.clone())))
            .collect()
    }
}
