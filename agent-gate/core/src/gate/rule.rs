//! Which rule a reason comes from: the key of the policy, and the table in which it stands.
//!
//! Invariant: every reason of a decision names one rule. What no key changes is named as built in,
//! so that nobody looks for a key that would.

use serde::{Deserialize, Serialize};

use crate::gate::bake::Ruling;
use crate::gate::decision::{Code, Decision};
use crate::gate::rollout::Inconclusive;
use crate::policy::{Table, Tables};

/// The rule behind one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    pub table: Table,
    /// The key of the policy; of a rule that is built in, the reason's code.
    pub key: String,
}

/// Names the rule of each reason, by the tables of the policy that was used.
pub(crate) fn name(decision: &mut Decision, tables: &Tables) {
    let ruling = decision.ruling;
    for reason in &mut decision.reasons {
        let (table, key) = match key(reason.code, ruling) {
            Some(key) => (tables.of(key), key),
            None => (Table::built_in(), reason.code.as_str()),
        };
        reason.rule = Some(Rule { table, key: key.to_owned() });
    }
}

/// The key that says when `code` is the reason.
const fn key(code: Code, ruling: Option<Ruling>) -> Option<&'static str> {
    match code {
        Code::Dwell => Some("dwell_ms"),
        Code::Budget => Some("budget_max"),
        Code::AgentNotAllowed => Some("agents"),
        Code::ApprovalNeeded => Some("approval"),
        Code::SecondPerson => Some("approvals"),
        Code::Drift => Some("on_drift"),
        Code::RevertUntested => Some("dry_run_ttl_ms"),
        Code::RevertDryRunFailed => Some("dry_run_retry_ms"),
        Code::PermitEnded => Some("permit_ttl_ms"),
        Code::Baking => Some("bake_ms"),
        Code::NotAppeared => Some("appear_ms"),
        Code::ThinEvidence => Some("evidence_min"),
        Code::Regressed | Code::RecordsLost | Code::BetterThanPossible => Some("alpha"),
        Code::Slower => Some("slow_tolerance"),
        Code::Inconclusive => match ruling {
            Some(Ruling::Inconclusive { why }) => given_up(why),
            Some(
                Ruling::Watch
                | Ruling::Stand
                | Ruling::Confirm
                | Ruling::TakeBack { .. }
                | Ruling::Regressed,
            )
            | None => Some("on_inconclusive"),
        },
        Code::Confirmed => Some("bake_ms"),
        Code::Expired => Some("held_ttl_ms"),
        Code::Clear
        | Code::Idle
        | Code::Unknown
        | Code::HeartbeatLost
        | Code::Lossy
        | Code::TelemetryFrozen
        | Code::Forged
        | Code::TelemetryLost
        | Code::Down
        | Code::Frozen
        | Code::Waived
        | Code::ServiceBusy
        | Code::TelemetryChange
        | Code::NoRevert
        | Code::FromUnknown
        | Code::FromNotRunning
        | Code::SameRevision
        | Code::Approved
        | Code::Rejected
        | Code::BasedOnUnproven
        | Code::BasedOnFailed
        | Code::BlockedDigest
        | Code::Reverting
        | Code::Reverted
        | Code::Stuck
        | Code::Violation
        | Code::Abandoned
        | Code::Settled
        | Code::Aborted => None,
    }
}

/// The key that ends the wait for a judgement.
const fn given_up(why: Inconclusive) -> Option<&'static str> {
    match why {
        Inconclusive::NotAppeared => Some("appear_ms"),
        Inconclusive::Gap | Inconclusive::AgentSilent => Some("gap_max_ms"),
        Inconclusive::Patience | Inconclusive::Thin => Some("patience_ms"),
        Inconclusive::Blocked => None,
    }
}
