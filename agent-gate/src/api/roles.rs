//! The table of the API: every call, where it is, and who may make it.
//!
//! It stands once. The router takes path and guard of each call from here, `/openapi.json` is
//! written from it, and a test walks the document with every role. A call that is not in the table
//! does not exist.
//!
//! Invariant: an agent moves only towards safety. No call that approves, thaws, settles or touches
//! tokens lists [`Role::Agent`].

use crate::tokens::Role;

/// Who may make a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody who reaches the port: health, metrics and the description of the API.
    Public,
    /// The bearer of a token with one of these roles.
    Roles(&'static [Role]),
}

impl Access {
    /// Whether a caller with `role` may pass; `None` is a caller without a token.
    #[must_use]
    pub fn admits(self, role: Option<Role>) -> bool {
        match (self, role) {
            (Self::Public, _) => true,
            (Self::Roles(_), None) => false,
            (Self::Roles(roles), Some(role)) => roles.contains(&role),
        }
    }
}

/// The methods the API uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Get,
    Post,
    Delete,
}

/// What a call does; the router has one function for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Healthz,
    Readyz,
    Metrics,
    OpenApi,
    RequestRollout,
    ListRollouts,
    ReadRollout,
    Renew,
    Applied,
    Report,
    Conclude,
    Abort,
    Approve,
    Reject,
    Settle,
    ListFreezes,
    Freeze,
    Thaw,
    ListServices,
    ListDecisions,
    ReadDecision,
    ListAudit,
    Attest,
    ListTokens,
    CreateToken,
    RevokeToken,
}

/// One call of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    pub call: Call,
    pub verb: Verb,
    pub path: &'static str,
    pub access: Access,
    /// `operationId` of OpenAPI.
    pub id: &'static str,
    pub summary: &'static str,
}

const ANY: Access = Access::Roles(&Role::ALL);
const AGENT: Access = Access::Roles(&[Role::Agent]);
const OPERATOR: Access = Access::Roles(&[Role::Operator]);
const AGENT_OR_OPERATOR: Access = Access::Roles(&[Role::Agent, Role::Operator]);
const WATCHDOG: Access = Access::Roles(&[Role::Watchdog]);

/// All calls.
#[rustfmt::skip]
pub const OPERATIONS: &[Operation] = &[
    op(Call::Healthz, Verb::Get, "/healthz", Access::Public, "healthz", "Whether the process turns"),
    op(Call::Readyz, Verb::Get, "/readyz", Access::Public, "readyz", "Whether decisions can be made"),
    op(Call::Metrics, Verb::Get, "/metrics", Access::Public, "metrics", "OpenMetrics"),
    op(Call::OpenApi, Verb::Get, "/openapi.json", Access::Public, "openapi", "This document"),
    op(Call::RequestRollout, Verb::Post, "/v1/rollouts", AGENT, "requestRollout", "Ask for a rollout; change_id is the idempotency key"),
    op(Call::ListRollouts, Verb::Get, "/v1/rollouts", ANY, "listRollouts", "Rollouts, newest first"),
    op(Call::ReadRollout, Verb::Get, "/v1/rollouts/{id}", ANY, "readRollout", "One rollout with its decisions and timeline"),
    op(Call::Renew, Verb::Post, "/v1/rollouts/{id}/renew", AGENT, "renewRollout", "Ask for a permit or a new expiry of it"),
    op(Call::Applied, Verb::Post, "/v1/rollouts/{id}/applied", AGENT, "reportApplied", "Say that the revision is in place"),
    op(Call::Report, Verb::Post, "/v1/rollouts/{id}/report", AGENT, "reportClaim", "The agent's own reading, kept beside the gate's"),
    op(Call::Conclude, Verb::Post, "/v1/rollouts/{id}/conclude", AGENT, "concludeRollout", "End the agent's part"),
    op(Call::Abort, Verb::Post, "/v1/rollouts/{id}/abort", AGENT_OR_OPERATOR, "abortRollout", "Call it off; after applying this reverts"),
    op(Call::Approve, Verb::Post, "/v1/rollouts/{id}/approve", OPERATOR, "approveRollout", "Approve exactly this digest"),
    op(Call::Reject, Verb::Post, "/v1/rollouts/{id}/reject", OPERATOR, "rejectRollout", "Refuse exactly this digest"),
    op(Call::Settle, Verb::Post, "/v1/rollouts/{id}/settle", OPERATOR, "settleRollout", "Settle what is inconclusive or stuck"),
    op(Call::ListFreezes, Verb::Get, "/v1/freezes", ANY, "listFreezes", "Freezes in force; ?all=true for all"),
    op(Call::Freeze, Verb::Post, "/v1/freezes", AGENT_OR_OPERATOR, "freeze", "Stop the line; in force before the answer"),
    op(Call::Thaw, Verb::Post, "/v1/freezes/{id}/thaw", OPERATOR, "thaw", "Lift a freeze"),
    op(Call::ListServices, Verb::Get, "/v1/services", ANY, "listServices", "Services, configured or heard, as the gate sees them"),
    op(Call::ListDecisions, Verb::Get, "/v1/decisions", ANY, "listDecisions", "Decisions, newest first"),
    op(Call::ReadDecision, Verb::Get, "/v1/decisions/{id}", ANY, "readDecision", "One decision with all it rested on"),
    op(Call::ListAudit, Verb::Get, "/v1/audit", ANY, "listAudit", "The hash-chained audit log, oldest first"),
    op(Call::Attest, Verb::Post, "/v1/attestations", WATCHDOG, "attest", "A watchdog's signed statement"),
    op(Call::ListTokens, Verb::Get, "/v1/tokens", OPERATOR, "listTokens", "Tokens, without their secrets"),
    op(Call::CreateToken, Verb::Post, "/v1/tokens", OPERATOR, "createToken", "Create a token; its secret is shown once"),
    op(Call::RevokeToken, Verb::Delete, "/v1/tokens/{name}", OPERATOR, "revokeToken", "Revoke a token"),
];

const fn op(
    call: Call,
    verb: Verb,
    path: &'static str,
    access: Access,
    id: &'static str,
    summary: &'static str,
) -> Operation {
    Operation { call, verb, path, access, id, summary }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_without_a_token_passes_only_what_is_public() {
        assert!(Access::Public.admits(None));
        assert!(!ANY.admits(None));
        assert!(ANY.admits(Some(Role::Viewer)));
        assert!(!OPERATOR.admits(Some(Role::Agent)));
    }
}
