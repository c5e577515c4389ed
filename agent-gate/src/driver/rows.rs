//! From the core's records to the store's rows and back.
//!
//! Invariant: what [`found`] reads is what [`Rows::step`] wrote. A row that cannot be read stops
//! the start: a gate that forgot a freeze is worse than one that does not run.

use std::collections::BTreeMap;

use agent_gate_core::gate::decision::DecisionRecord;
use agent_gate_core::gate::effect::{DryRunOrder, Record, RevertOrder};
use agent_gate_core::gate::ledger::{Ledger, Parts};
use agent_gate_core::ids::{FreezeId, RolloutId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use watchdog_core::tick::Tick;

use super::journal::Changed;
use crate::attest::{Mark, Seen};
use crate::store::{
    AuditEntry, Batch, DecisionRow, EffectRow, FreezeRow, Loaded, RolloutRow, Settled, StoreError,
    TokenRow,
};

const HEAD: &str = "head";
const ALIVE: &str = "alive_ms";
/// What earlier versions kept of all watchdogs in one value.
const ATTESTED: &str = "attested";
const ATTESTED_BY: &str = "attested/";
const BLOCKED: &str = "blocked/";
const READINESS: &str = "readiness/";
const WAIVER: &str = "waiver/";

/// The rows of one commit. A rollout that many steps of a batch changed is written once.
#[derive(Debug, Default)]
pub struct Rows {
    meta: BTreeMap<String, String>,
    rollouts: BTreeMap<RolloutId, RolloutRow>,
    freezes: BTreeMap<FreezeId, FreezeRow>,
    decisions: Vec<DecisionRow>,
    audit: Vec<AuditEntry>,
    tokens: Vec<TokenRow>,
    effects: Vec<EffectRow>,
    settled: Vec<Settled>,
}

impl Rows {
    /// Adds what one step wants kept.
    pub fn step(&mut self, records: Vec<Record>, now: Tick) {
        let changed = Changed::of(&records);
        for record in records {
            self.add(record, &changed, now);
        }
    }

    fn add(&mut self, record: Record, changed: &Changed, now: Tick) {
        match record {
            Record::Journal(entry) => self.audit.push(changed.entry(&entry)),
            Record::Decision(decision) => self.decisions.push(decision_row(&decision)),
            Record::Rollout(rollout) => {
                let row = RolloutRow {
                    id: rollout.id.to_string(),
                    change_id: rollout.request.change_id.to_string(),
                    service: rollout.request.service.to_string(),
                    state: rollout.state.name().to_string(),
                    body: json(&rollout),
                    updated_ms: now.0,
                };
                self.rollouts.insert(rollout.id, row);
            }
            Record::Freeze(freeze) => {
                let row = FreezeRow {
                    id: freeze.id.to_string(),
                    scope: freeze.scope.to_string(),
                    in_force: freeze.thawed.is_none(),
                    body: json(&freeze),
                    at_ms: freeze.at.0,
                };
                self.freezes.insert(freeze.id, row);
            }
            Record::Blocked(digest, block) => {
                self.meta.insert(format!("{BLOCKED}{digest}"), json(&block));
            }
            Record::Readiness(service, readiness) => {
                self.meta.insert(format!("{READINESS}{service}"), json(&readiness));
            }
            Record::Waiver(waiver) => {
                self.meta.insert(format!("{WAIVER}{}", waiver.id), json(&waiver));
            }
            Record::Head(head) => {
                self.meta.insert(HEAD.to_owned(), json(&head));
            }
        }
    }

    pub fn audit(&mut self, entry: AuditEntry) {
        self.audit.push(entry);
    }

    pub fn token(&mut self, row: TokenRow) {
        self.tokens.push(row);
    }

    pub fn revert(&mut self, order: &RevertOrder, now: Tick) {
        self.effects.push(EffectRow {
            id: order.effect.to_string(),
            rollout: order.rollout.to_string(),
            generation: u64::from(order.generation.0),
            body: json(order),
            issued_ms: now.0,
        });
    }

    pub fn dry_run(&mut self, order: &DryRunOrder, now: Tick) {
        self.effects.push(EffectRow {
            id: order.effect.to_string(),
            rollout: order.rollout.to_string(),
            generation: 0,
            body: json(order),
            issued_ms: now.0,
        });
    }

    pub fn settled(&mut self, effect: String, outcome: String, now: Tick) {
        self.settled.push(Settled { effect, at_ms: now.0, outcome });
    }

    /// When the gate last turned, and what it last heard.
    pub fn alive(&mut self, now: Tick, seen: &mut Seen) {
        self.meta.insert(ALIVE.to_owned(), json(&now));
        for (watchdog, mark) in seen.changed() {
            self.meta.insert(format!("{ATTESTED_BY}{watchdog}"), json(mark));
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.meta.is_empty()
            && self.rollouts.is_empty()
            && self.freezes.is_empty()
            && self.decisions.is_empty()
            && self.audit.is_empty()
            && self.tokens.is_empty()
            && self.effects.is_empty()
            && self.settled.is_empty()
    }

    /// As the store takes it.
    #[must_use]
    pub fn into_batch(self) -> Batch {
        Batch {
            meta: self.meta.into_iter().collect(),
            rollouts: self.rollouts.into_values().collect(),
            freezes: self.freezes.into_values().collect(),
            decisions: self.decisions,
            audit: self.audit,
            tokens: self.tokens,
            effects: self.effects,
            settled: self.settled,
        }
    }
}

fn decision_row(record: &DecisionRecord) -> DecisionRow {
    let first = record.decision.reasons.first();
    DecisionRow {
        id: record.id.to_string(),
        rollout: record.inputs.rollout.to_string(),
        service: record.inputs.request.service.to_string(),
        decision: record.decision.kind.as_str().to_owned(),
        reason: first.map_or("none", |reason| reason.code.as_str()).to_owned(),
        body: json(record),
        at_ms: record.inputs.now.0,
    }
}

/// What a start finds in the store.
#[derive(Debug)]
pub struct Found {
    pub ledger: Ledger,
    pub alive: Option<Tick>,
    pub seen: Seen,
}

/// The state in `loaded`.
///
/// # Errors
/// [`StoreError::Row`] if a row is not what this version writes.
pub fn found(loaded: &Loaded) -> Result<Found, StoreError> {
    let mut parts = Parts::default();
    let mut alive = None;
    let mut seen = Seen::default();
    for (key, value) in &loaded.meta {
        if let Some(digest) = key.strip_prefix(BLOCKED) {
            let digest = digest.to_owned().try_into().map_err(|error| row("meta", key, error))?;
            parts.blocked.push((digest, read("meta", key, value)?));
        } else if let Some(service) = key.strip_prefix(READINESS) {
            let service = service.to_owned().try_into().map_err(|error| row("meta", key, error))?;
            parts.readiness.push((service, read("meta", key, value)?));
        } else if key.starts_with(WAIVER) {
            parts.waivers.push(read("meta", key, value)?);
        } else if key == HEAD {
            parts.head = read("meta", key, value)?;
        } else if key == ALIVE {
            alive = Some(read("meta", key, value)?);
        } else if key == ATTESTED {
            for (watchdog, mark) in read::<BTreeMap<String, Mark>>("meta", key, value)? {
                seen.found(&watchdog, mark);
            }
        } else if let Some(watchdog) = key.strip_prefix(ATTESTED_BY) {
            // Read after the value of an earlier version, whose key sorts first.
            seen.found(watchdog, read("meta", key, value)?);
        } else {
            return Err(row("meta", key, "no such key is known"));
        }
    }
    for body in &loaded.rollouts {
        parts.rollouts.push(read("rollouts", body.get(..40).unwrap_or(body), body)?);
    }
    for body in &loaded.freezes {
        parts.freezes.push(read("freezes", body.get(..40).unwrap_or(body), body)?);
    }
    Ok(Found { ledger: parts.into(), alive, seen })
}

fn read<T: DeserializeOwned>(table: &'static str, id: &str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| row(table, id, error))
}

fn row(table: &'static str, id: &str, reason: impl std::fmt::Display) -> StoreError {
    StoreError::Row { table, id: id.to_owned(), reason: reason.to_string() }
}

pub(super) fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("the core's types have text keys and finite numbers")
}
