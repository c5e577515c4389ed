//! Who passes: the check in front of every call that is not public.
//!
//! 401 without a token or with one that is unknown, revoked or expired; 403 with a role that the
//! table does not list; 429 for a token that calls too often. The answer does not tell which
//! tokens exist.
//!
//! Invariant: a call runs only after its row of the table admitted the caller.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};

use super::Api;
use super::refusal::Refusal;
use super::roles::{Access, Operation};
use crate::tokens::{Principal, Role};

/// Lets the request pass, with its [`Principal`] in the extensions, or refuses it.
pub async fn check(
    State((api, operation)): State<(Api, Operation)>,
    mut request: Request,
    next: Next,
) -> Response {
    let roles = match operation.access {
        Access::Public => return next.run(request).await,
        Access::Roles(roles) => roles,
    };
    let secret = bearer(request.headers());
    let principal = secret.and_then(|secret| api.shared.tokens.principal(secret, (api.wall_ms)()));
    let Some(principal) = principal else {
        return unauthorized(secret.is_some()).into_response();
    };
    if !operation.access.admits(Some(principal.role)) {
        return forbidden(&principal, operation, roles).into_response();
    }
    if let Err(refusal) = api.pace.take(&principal.name, operation.call) {
        return refusal.into_response();
    }
    request.extensions_mut().insert(principal);
    next.run(request).await
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, secret) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

fn unauthorized(has_token: bool) -> Refusal {
    let message = if has_token {
        "the bearer token is unknown, expired or revoked"
    } else {
        "this call needs a bearer token"
    };
    Refusal::new(
        StatusCode::UNAUTHORIZED,
        "unauthorized",
        message,
        "send Authorization: Bearer TOKEN; tokens stand in tokens/ROLE.token of the data directory",
    )
}

fn forbidden(principal: &Principal, operation: Operation, roles: &[Role]) -> Refusal {
    let roles: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
    Refusal::new(
        StatusCode::FORBIDDEN,
        "forbidden",
        format!("role {} may not call {}", principal.role, operation.id()),
        format!("this call is for: {}", roles.join(", ")),
    )
}
