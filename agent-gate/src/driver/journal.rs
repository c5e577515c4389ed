//! The journal as people read it: who did what to what.
//!
//! Every entry that changed something stands in the audit log with its whole event, so that the
//! log is evidence and the journal of the core at once.
//!
//! Invariant: each event has a word, and an entry without a caller is the gate's own.

use std::collections::BTreeMap;

use agent_gate_core::gate::effect::Record;
use agent_gate_core::gate::event::{Caller, Entry, Event};
use agent_gate_core::gate::rollout::StateName;
use serde::Serialize;
use serde_json::json;
use watchdog_core::tick::Tick;

use super::rows;
use crate::store::{AuditEntry, TokenRow};
use crate::tokens::Role;

/// What a step changed, by id.
#[derive(Debug, Default)]
pub struct Changed {
    rollouts: Vec<(String, StateName)>,
    freezes: Vec<String>,
}

impl Changed {
    #[must_use]
    pub fn of(records: &[Record]) -> Self {
        let mut changed = Self::default();
        for record in records {
            match record {
                Record::Rollout(rollout) => {
                    changed.rollouts.push((rollout.id.to_string(), rollout.state.name()));
                }
                Record::Freeze(freeze) => changed.freezes.push(freeze.id.to_string()),
                Record::Journal(_)
                | Record::Decision(_)
                | Record::Blocked(..)
                | Record::Readiness(..)
                | Record::Waiver(_)
                | Record::Head(_) => {}
            }
        }
        changed
    }

    /// The audit entry of `entry`, whose step changed this.
    #[must_use]
    pub fn entry(&self, entry: &Entry) -> AuditEntry {
        let rollouts = self.rollouts.iter().map(|(id, state)| (id.as_str(), state.as_str()));
        let detail =
            Detail { event: &entry.event, freezes: &self.freezes, rollouts: rollouts.collect() };
        AuditEntry {
            at_ms: entry.at.0,
            who: caller(&entry.event).map_or_else(|| "gate".to_owned(), who),
            what: what(&entry.event).to_owned(),
            subject: self.subject(&entry.event),
            detail: rows::json(&detail),
            sight: Some(rows::json(&entry.sight)),
        }
    }

    /// What the event names, or else the first thing that it changed.
    fn subject(&self, event: &Event) -> String {
        named(event)
            .or_else(|| self.freezes.first().cloned())
            .or_else(|| self.rollouts.first().map(|(id, _)| id.clone()))
            .unwrap_or_else(|| "gate".to_owned())
    }
}

/// What stands in the log of an entry of the core's journal.
#[derive(Serialize)]
struct Detail<'a> {
    event: &'a Event,
    freezes: &'a [String],
    rollouts: BTreeMap<&'a str, &'static str>,
}

/// The audit entry of a token that stood in a file when the gate started.
#[must_use]
pub fn token_installed(row: &TokenRow, now: Tick) -> AuditEntry {
    AuditEntry {
        at_ms: now.0,
        who: "gate".to_owned(),
        what: "token_installed".to_owned(),
        subject: row.name.clone(),
        detail: json!({"role": row.role}).to_string(),
        sight: None,
    }
}

fn who(caller: &Caller) -> String {
    format!("{}:{}", Role::from(caller.role), caller.name)
}

fn caller(event: &Event) -> Option<&Caller> {
    match event {
        Event::Request { by, .. }
        | Event::Renew { by, .. }
        | Event::Applied { by, .. }
        | Event::Report { by, .. }
        | Event::Conclude { by, .. }
        | Event::Abort { by, .. }
        | Event::Approve { by, .. }
        | Event::Reject { by, .. }
        | Event::Settle { by, .. }
        | Event::Freeze { by, .. }
        | Event::Thaw { by, .. }
        | Event::Waive { by, .. }
        | Event::EndWaiver { by, .. } => Some(by),
        Event::Committed { .. }
        | Event::Fenced { .. }
        | Event::Attested(_)
        | Event::DryRunDone { .. }
        | Event::RevertDone { .. }
        | Event::Turn
        | Event::GateStarted { .. }
        | Event::ClockJumped => None,
    }
}

/// The word of an event in the audit log.
const fn what(event: &Event) -> &'static str {
    match event {
        Event::Request { .. } => "request",
        Event::Renew { .. } => "renew",
        Event::Applied { .. } => "applied",
        Event::Report { .. } => "report",
        Event::Conclude { .. } => "conclude",
        Event::Abort { .. } => "abort",
        Event::Approve { .. } => "approve",
        Event::Reject { .. } => "reject",
        Event::Settle { .. } => "settle",
        Event::Freeze { .. } => "freeze",
        Event::Thaw { .. } => "thaw",
        Event::Waive { .. } => "waive",
        Event::EndWaiver { .. } => "end_waiver",
        Event::Committed { .. } => "freeze_durable",
        Event::Fenced { .. } => "freeze_fenced",
        Event::Attested(_) => "attested",
        Event::DryRunDone { .. } => "dry_run_done",
        Event::RevertDone { .. } => "revert_done",
        Event::Turn => "turn",
        Event::GateStarted { .. } => "gate_started",
        Event::ClockJumped => "clock_jumped",
    }
}

fn named(event: &Event) -> Option<String> {
    match event {
        Event::Renew { rollout, .. }
        | Event::Applied { rollout, .. }
        | Event::Report { rollout, .. }
        | Event::Conclude { rollout, .. }
        | Event::Abort { rollout, .. }
        | Event::Approve { rollout, .. }
        | Event::Reject { rollout, .. }
        | Event::Settle { rollout, .. } => Some(rollout.to_string()),
        Event::Thaw { freeze, .. } | Event::Fenced { freeze, .. } => Some(freeze.to_string()),
        Event::Waive { waiver, .. } => Some(waiver.scope.to_string()),
        Event::EndWaiver { waiver, .. } => Some(waiver.to_string()),
        Event::DryRunDone { service, .. } => Some(service.to_string()),
        Event::GateStarted { .. } | Event::ClockJumped => Some("gate".to_owned()),
        // A request is about the rollout that it made.
        Event::Request { .. }
        | Event::Freeze { .. }
        | Event::Committed { .. }
        | Event::Attested(_)
        | Event::RevertDone { .. }
        | Event::Turn => None,
    }
}
