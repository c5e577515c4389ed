//! What must be true after every step, whatever happened.
//!
//! The history is an independent memory: it hears the same attestations and keeps its own account
//! of sight, so that the gate's bookkeeping is checked against another one.

use std::collections::BTreeMap;

use agent_gate_core::Gate;
use agent_gate_core::gate::effect::{Answer, Effect, Record, RevertOrder};
use agent_gate_core::gate::event::{Event, Role};
use agent_gate_core::gate::ledger::Ledger;
use agent_gate_core::gate::rollout::{Proof, State, StateName, reverts};
use agent_gate_core::ids::{EffectId, Generation, PermitId, RolloutId};
use agent_gate_core::policy::PolicySet;
use watchdog_core::names::Service;
use watchdog_core::tick::Tick;
use watchdog_core::verdict::VerdictKind;

use crate::world::{NEW, revision};

#[derive(Clone, Default)]
pub struct History {
    seen: BTreeMap<Service, Seen>,
    heard_since: Option<Tick>,
    permits: BTreeMap<PermitId, Tick>,
    reverts: BTreeMap<(RolloutId, Generation), EffectId>,
    checked: Option<Tick>,
    /// Milliseconds each service was watched live, ever, and had been when a rollout was applied.
    watched_ms: BTreeMap<Service, u64>,
    watched_before: BTreeMap<RolloutId, u64>,
}

#[derive(Clone)]
struct Seen {
    kind: VerdictKind,
    until: Tick,
    live_since: Option<Tick>,
    new_runs: bool,
}

impl History {
    /// A gate that starts has seen nothing.
    pub fn restarted(&mut self) {
        self.seen.clear();
        self.heard_since = None;
    }

    /// Counts the time since the last check that was watched: as far as its lease reached.
    fn watch(&mut self, now: Tick, policy: &PolicySet) {
        let since = self.checked.replace(now).unwrap_or(now);
        for (service, seen) in &self.seen {
            if self.is_proven(service, since, policy.of(service).dwell_ms) {
                let watched_ms = now.min(seen.until).since_ms(since);
                *self.watched_ms.entry(service.clone()).or_default() += watched_ms;
            }
        }
    }

    fn hear(&mut self, event: &Event, now: Tick) {
        let Event::Attested(attestation) = event else {
            if matches!(event, Event::ClockJumped) {
                self.restarted();
            }
            return;
        };
        let unbroken = self.seen.values().next().is_some_and(|seen| now < seen.until);
        if !unbroken {
            self.restarted();
        }
        self.heard_since.get_or_insert(now);
        for item in &attestation.items {
            let before = self.seen.get(&item.service).and_then(|seen| seen.live_since);
            let is_live = item.verdict == VerdictKind::Live;
            let new = item.revisions.iter().find(|seen| seen.revision == revision(NEW));
            let seen = Seen {
                kind: item.verdict,
                until: now.plus_ms(attestation.ttl_ms),
                live_since: is_live.then(|| before.unwrap_or(now)),
                new_runs: new.is_some_and(|seen| seen.instances > 0),
            };
            self.seen.insert(item.service.clone(), seen);
        }
    }

    /// For how long the service has been live in unbroken sight, if it is.
    fn live_ms(&self, service: &Service, now: Tick) -> Option<u64> {
        let seen = self.seen.get(service).filter(|seen| now < seen.until)?;
        seen.live_since.map(|since| now.since_ms(since))
    }

    /// Live, and the watchdog has been heard for the dwell.
    fn is_proven(&self, service: &Service, now: Tick, dwell_ms: u64) -> bool {
        self.live_ms(service, now).is_some()
            && self.heard_since.is_some_and(|since| now.since_ms(since) >= dwell_ms)
    }

    fn is_bad(&self, service: &Service, now: Tick) -> bool {
        self.seen.get(service).is_some_and(|seen| now < seen.until && reverts(seen.kind))
    }
}

/// Checks one step from `before` to `after`.
pub fn check(
    before: &Ledger,
    event: &Event,
    effects: &[Effect],
    after: &Gate,
    now: Tick,
    policy: &PolicySet,
    history: &mut History,
) {
    history.watch(now, policy);
    history.hear(event, now);
    effects_come_in_order(effects);
    the_latch_follows(before, effects, after);
    permits_need_sight(before, event, effects, after, now, policy, history);
    confirmation_needs_sight(before, after, now, policy, history);
    agents_only_move_towards_safety(before, event, after);
    freezes_stay(before, after);
    reverts_keep_their_effect(effects, history);
    terminal_states_stay(before, event, after);
    bad_news_takes_back(before, after, now, history);
    time_never_spins(after, now, policy);
}

/// Shut before you write, write before you act, open only after you wrote.
fn effects_come_in_order(effects: &[Effect]) {
    let mut wrote = false;
    let mut acted = false;
    let mut answers = 0;
    for effect in effects {
        match effect {
            // Several entries may be applied in one step; each shuts before it writes.
            Effect::ShutLatch => (wrote, acted) = (false, false),
            Effect::Record(record) => {
                if matches!(record.as_ref(), Record::Journal(_)) {
                    acted = false;
                }
                assert!(!acted, "written after it was acted on: {effects:#?}");
                wrote = true;
            }
            Effect::Answer(answer) => {
                answers += 1;
                if let Answer::Rollout(answer) = answer.as_ref() {
                    assert!(wrote || answer.decision.permit.is_none() || answers == 1);
                }
                acted = true;
            }
            Effect::ClearLatch { .. }
            | Effect::Revert(_)
            | Effect::DryRun(_)
            | Effect::CallPerson(_) => {
                assert!(wrote, "acted on before it was written: {effects:#?}");
                acted = true;
            }
        }
    }
    assert!(answers <= 1, "one answer at most");
}

/// What raises the epoch shuts the latch first, and a frozen fleet leaves it shut.
fn the_latch_follows(before: &Ledger, effects: &[Effect], after: &Gate) {
    let shuts = effects.contains(&Effect::ShutLatch);
    let raised = after.ledger.epoch() > before.epoch();
    assert_eq!(shuts, raised, "the latch is shut for every new epoch");
    let clears = effects.iter().any(|effect| matches!(effect, Effect::ClearLatch { .. }));
    assert!(!(clears && after.ledger.is_fleet_frozen()), "cleared under a frozen fleet");
    let stays_shut = after.ledger.is_fleet_frozen();
    assert!(!shuts || clears || stays_shut, "shut for no freeze of the fleet");
}

fn permits_need_sight(
    before: &Ledger,
    event: &Event,
    effects: &[Effect],
    after: &Gate,
    now: Tick,
    policy: &PolicySet,
    history: &mut History,
) {
    for effect in effects {
        let Effect::Answer(answer) = effect else { continue };
        let Answer::Rollout(answer) = answer.as_ref() else { continue };
        let Some(terms) = &answer.decision.permit else { continue };
        let rollout = after.ledger.rollout(answer.rollout).expect("the answer is about it");
        let terms_of = policy.of(&terms.service);
        let fresh = !history.permits.contains_key(&terms.id);
        let live_ms = history.live_ms(&terms.service, now).expect("a permit only in live sight");
        assert!(history.is_proven(&terms.service, now, terms_of.dwell_ms), "before the dwell");
        if fresh && before.rollout(rollout.id).is_none_or(|r| r.applied_at.is_none()) {
            let begins = rollout.state.name() == StateName::Allowed;
            assert!(!begins || live_ms >= terms_of.dwell_ms, "before the service's dwell");
        }
        assert!(now < terms.expires && terms.expires <= now.plus_ms(terms_of.permit_ttl_ms));
        let over = after.ledger.freezes_over(rollout, policy).next();
        assert!(over.is_none(), "a permit under {over:?}");
        assert!(after.ledger.blocked(&terms.digest).is_none(), "a permit for a blocked digest");
        assert!(matches!(rollout.state.name(), StateName::Allowed | StateName::Applying));
        if let Some(expired) = history.permits.get(&terms.id) {
            assert!(now < *expired, "permit {} was dead and came back", terms.id);
            let renewed = matches!(event, Event::Renew { .. });
            assert!(renewed || terms.expires == *expired, "only a renewal prolongs: {event:?}");
        }
        let needs = policy.needs_approval(&terms.service);
        let approved = rollout.approvals.iter().any(|given| given.by == "ada");
        assert!(!needs || approved, "a permit without approval");
        if fresh {
            let unproven = after.ledger.open().filter(|r| r.state.name() != StateName::Held);
            let limit = before.budget(&policy.fleet).max(after.ledger.budget(&policy.fleet));
            assert!(unproven.count() <= limit as usize, "the budget is exceeded");
        }
        history.permits.insert(terms.id, terms.expires);
    }
}

fn confirmation_needs_sight(
    before: &Ledger,
    after: &Gate,
    now: Tick,
    policy: &PolicySet,
    history: &mut History,
) {
    for rollout in after.ledger.rollouts() {
        let was = before.rollout(rollout.id).map(|before| before.state.name());
        let service = &rollout.request.service;
        let watched_ms = history.watched_ms.get(service).copied().unwrap_or_default();
        if was != Some(rollout.state.name()) && rollout.state.name() == StateName::Baking {
            history.watched_before.insert(rollout.id, watched_ms);
        }
        let State::Confirmed { proof: Proof::Live, .. } = &rollout.state else { continue };
        if was == Some(StateName::Confirmed) {
            continue;
        }
        assert_eq!(was, Some(StateName::Baking), "only a bake confirms");
        assert!(history.is_proven(service, now, policy.of(service).dwell_ms), "in live sight");
        let baked_ms = watched_ms - history.watched_before[&rollout.id];
        assert!(baked_ms >= policy.of(service).bake_ms, "after a whole bake, not {baked_ms} ms");
        assert!(history.seen.get(service).is_some_and(|seen| seen.new_runs), "on the new one");
    }
}

fn agents_only_move_towards_safety(before: &Ledger, event: &Event, after: &Gate) {
    let role = match event {
        Event::Approve { by, .. } | Event::Thaw { by, .. } | Event::Settle { by, .. } => {
            Some(by.role)
        }
        _ => None,
    };
    for freeze in after.ledger.freezes() {
        let was = before.freeze(freeze.id).and_then(|before| before.thawed.as_ref());
        if was.is_none() && freeze.thawed.is_some() {
            assert_eq!(role, Some(Role::Operator), "only a person thaws: {event:?}");
        }
    }
    for rollout in after.ledger.rollouts() {
        let was = before.rollout(rollout.id).map_or(&[][..], |before| &before.approvals);
        if was != rollout.approvals {
            assert_eq!(role, Some(Role::Operator), "only a person approves: {event:?}");
        }
        if let State::Confirmed { proof: Proof::Person, .. } = &rollout.state
            && before.rollout(rollout.id).map(|r| r.state.name()) != Some(StateName::Confirmed)
        {
            assert_eq!(role, Some(Role::Operator), "only a person settles: {event:?}");
        }
    }
}

fn freezes_stay(before: &Ledger, after: &Gate) {
    assert!(after.ledger.epoch() >= before.epoch(), "the epoch went back");
    for freeze in before.freezes() {
        let now = after.ledger.freeze(freeze.id).expect("a freeze is never lost");
        assert_eq!(
            (&now.scope, &now.cause, now.epoch),
            (&freeze.scope, &freeze.cause, freeze.epoch)
        );
        assert!(now.stage >= freeze.stage, "a stage went back");
        assert!(freeze.thawed.is_none() || now.thawed == freeze.thawed, "a thaw was undone");
    }
    for freeze in after.ledger.freezes() {
        if before.freeze(freeze.id).is_none() {
            assert!(freeze.epoch > before.epoch(), "a freeze raises the epoch");
        }
    }
}

fn reverts_keep_their_effect(effects: &[Effect], history: &mut History) {
    for effect in effects {
        let Effect::Revert(order) = effect else { continue };
        let RevertOrder { rollout, generation, effect, .. } = order;
        let first = *history.reverts.entry((*rollout, *generation)).or_insert(*effect);
        assert_eq!(first, *effect, "one effect id for {rollout} generation {generation}");
        let uses = history.reverts.values().filter(|used| *used == effect).count();
        assert_eq!(uses, 1, "effect {effect} stands for one generation");
    }
}

fn terminal_states_stay(before: &Ledger, event: &Event, after: &Gate) {
    for was in before.rollouts().filter(|rollout| rollout.state.name().is_terminal()) {
        let now = after.ledger.rollout(was.id).expect("a rollout is never lost");
        if now.state.name() == was.state.name() {
            continue;
        }
        // Two facts that words cannot undo: it was applied all the same, and a person takes it
        // back.
        let excused = match event {
            Event::Applied { rollout, .. } => *rollout == was.id,
            Event::Settle { rollout, by, .. } => *rollout == was.id && by.role == Role::Operator,
            _ => false,
        };
        assert!(excused, "{} left {} by {event:?}", was.id, was.state.name());
        assert!(matches!(now.state.name(), StateName::Reverting | StateName::Stuck));
    }
}

/// Sight lost during apply or bake: frozen and on the way back, in the same step.
fn bad_news_takes_back(before: &Ledger, after: &Gate, now: Tick, history: &History) {
    for rollout in after.ledger.open() {
        let service = &rollout.request.service;
        if !history.is_bad(service, now) {
            continue;
        }
        match rollout.state.name() {
            StateName::Applying | StateName::Baking | StateName::Allowed => {
                panic!("{} goes on while {service} is blind", rollout.id)
            }
            StateName::Reverting | StateName::Stuck => {
                let was = before.rollout(rollout.id).map(|r| r.state.name());
                let watched = [Some(StateName::Applying), Some(StateName::Baking)].contains(&was);
                let frozen = after.ledger.in_force().any(|f| f.cause.service() == Some(service));
                assert!(!watched || frozen, "taken back without a freeze");
            }
            _ => {}
        }
    }
}

/// After a step every deadline lies ahead, and a turn at the same time changes nothing.
fn time_never_spins(after: &Gate, now: Tick, policy: &PolicySet) {
    if let Some((at, why)) = after.deadline() {
        assert!(at > now, "{why:?} at {at} is not after {now}");
    }
    let mut again = after.clone();
    let effects = again.step(Event::Turn, now, policy);
    assert!(effects.is_empty(), "a second turn does something: {effects:#?}");
    assert_eq!(again, *after, "a second turn changes something");
}
