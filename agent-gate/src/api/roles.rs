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
    ListWaivers,
    Waive,
    EndWaiver,
    ListFences,
    PollFence,
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
}

impl Operation {
    /// `operationId` of OpenAPI, and the name of the call in metrics.
    #[must_use]
    pub const fn id(&self) -> &'static str {
        super::openapi::words(self.call).0
    }
}

const PUBLIC: Access = Access::Public;
const ANY: Access = Access::Roles(&Role::ALL);
const AGENT: Access = Access::Roles(&[Role::Agent]);
const OPERATOR: Access = Access::Roles(&[Role::Operator]);
const AGENT_OR_OPERATOR: Access = Access::Roles(&[Role::Agent, Role::Operator]);
const WATCHDOG: Access = Access::Roles(&[Role::Watchdog]);

/// All calls.
#[rustfmt::skip]
pub const OPERATIONS: &[Operation] = &[
    op(Call::Healthz,        Verb::Get,   "/healthz",                   PUBLIC),
    op(Call::Readyz,         Verb::Get,   "/readyz",                    PUBLIC),
    op(Call::Metrics,        Verb::Get,   "/metrics",                   PUBLIC),
    op(Call::OpenApi,        Verb::Get,   "/openapi.json",              PUBLIC),
    op(Call::RequestRollout, Verb::Post,  "/v1/rollouts",               AGENT),
    op(Call::ListRollouts,   Verb::Get,   "/v1/rollouts",               ANY),
    op(Call::ReadRollout,    Verb::Get,   "/v1/rollouts/{id}",          ANY),
    op(Call::Renew,          Verb::Post,  "/v1/rollouts/{id}/renew",    AGENT),
    op(Call::Applied,        Verb::Post,  "/v1/rollouts/{id}/applied",  AGENT),
    op(Call::Report,         Verb::Post,  "/v1/rollouts/{id}/report",   AGENT),
    op(Call::Conclude,       Verb::Post,  "/v1/rollouts/{id}/conclude", AGENT),
    op(Call::Abort,          Verb::Post,  "/v1/rollouts/{id}/abort",    AGENT_OR_OPERATOR),
    op(Call::Approve,        Verb::Post,  "/v1/rollouts/{id}/approve",  OPERATOR),
    op(Call::Reject,         Verb::Post,  "/v1/rollouts/{id}/reject",   OPERATOR),
    op(Call::Settle,         Verb::Post,  "/v1/rollouts/{id}/settle",   OPERATOR),
    op(Call::ListFreezes,    Verb::Get,   "/v1/freezes",                ANY),
    op(Call::Freeze,         Verb::Post,  "/v1/freezes",                AGENT_OR_OPERATOR),
    op(Call::Thaw,           Verb::Post,  "/v1/freezes/{id}/thaw",      OPERATOR),
    op(Call::ListWaivers,    Verb::Get,   "/v1/waivers",                ANY),
    op(Call::Waive,          Verb::Post,  "/v1/waivers",                OPERATOR),
    op(Call::EndWaiver,      Verb::Post,  "/v1/waivers/{id}/end",       OPERATOR),
    op(Call::ListFences,     Verb::Get,   "/v1/fences",                 ANY),
    op(Call::PollFence,      Verb::Post,  "/v1/fences/{name}",          AGENT_OR_OPERATOR),
    op(Call::ListServices,   Verb::Get,   "/v1/services",               ANY),
    op(Call::ListDecisions,  Verb::Get,   "/v1/decisions",              ANY),
    op(Call::ReadDecision,   Verb::Get,   "/v1/decisions/{id}",         ANY),
    op(Call::ListAudit,      Verb::Get,   "/v1/audit",                  ANY),
    op(Call::Attest,         Verb::Post,  "/v1/attestations",           WATCHDOG),
    op(Call::ListTokens,     Verb::Get,   "/v1/tokens",                 OPERATOR),
    op(Call::CreateToken,    Verb::Post,  "/v1/tokens",                 OPERATOR),
    op(Call::RevokeToken,    Verb::Delete,"/v1/tokens/{name}",          OPERATOR),
];

const fn op(call: Call, verb: Verb, path: &'static str, access: Access) -> Operation {
    Operation { call, verb, path, access }
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
