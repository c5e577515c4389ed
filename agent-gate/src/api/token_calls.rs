//! Tokens: list, create, revoke. Operators only.
//!
//! A secret is made here, shown once and kept as a hash. Every change stands in the audit log.
//!
//! Invariant: a token that was revoked with an answer opens nothing any more, also after a
//! restart; its name is not given to another one.

use axum::extract::{Path, State};
use axum::{Extension, Json};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use watchdog_core::names::Service;

use super::Api;
use super::body::Body;
use super::refusal::Refusal;
use super::view::List;
use crate::store::{AuditEntry, TokenRow};
use crate::tokens::{Principal, Role, hash};
use crate::when::rfc3339;

/// What a secret begins with, so that it is recognised when it leaks.
const SECRET_PREFIX: &str = "hpt_";

/// Body of `POST /v1/tokens`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenBody {
    name: String,
    role: Role,
    /// For how long it is good; for ever if absent.
    #[serde(default)]
    expires_in_s: Option<u64>,
}

/// A token, without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenView {
    name: String,
    role: String,
    created_at: String,
    created_at_ms: u64,
    expires_at: Option<String>,
    expires_at_ms: Option<u64>,
    revoked_at: Option<String>,
    revoked_at_ms: Option<u64>,
}

/// A new token with its secret, shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenCreated {
    /// To be sent as `Authorization: Bearer TOKEN`.
    token: String,
    #[serde(flatten)]
    view: TokenView,
}

pub async fn list(State(api): State<Api>) -> Result<Json<List<TokenView>>, Refusal> {
    let items = api.reader.tokens().await?.iter().map(view).collect();
    Ok(Json(List { items, next: None }))
}

pub async fn create(
    State(api): State<Api>,
    Extension(by): Extension<Principal>,
    Body(body): Body<TokenBody>,
) -> Result<(StatusCode, Json<TokenCreated>), Refusal> {
    let name = Service::new(body.name)
        .map_err(|error| Refusal::bad_request(format!("name: {error}")))?
        .to_string();
    if api.shared.tokens.named(&name).is_some() {
        return Err(Refusal::conflict(
            "token_exists",
            format!("there is a token named {name:?}, alive or revoked"),
            "choose another name; a name stands in the audit log for one token",
        ));
    }
    let secret = format!("{SECRET_PREFIX}{}", (api.secret)());
    let now = (api.wall_ms)();
    let lifetime = body.expires_in_s.map(|seconds| seconds.saturating_mul(1000));
    let row = TokenRow {
        name,
        role: body.role.to_string(),
        sha256: hash(&secret),
        created_ms: now,
        expires_ms: lifetime.map(|ms| now.saturating_add(ms)),
        revoked_ms: None,
    };
    let view = view(&row);
    api.keep_token(row.clone(), entry(&by, "token_created", &row, now)).await?;
    Ok((StatusCode::CREATED, Json(TokenCreated { token: secret, view })))
}

pub async fn revoke(
    State(api): State<Api>,
    Extension(by): Extension<Principal>,
    Path(name): Path<String>,
) -> Result<Json<TokenView>, Refusal> {
    let known = api.shared.tokens.named(&name);
    let known = known.ok_or_else(|| Refusal::not_found("token", &name))?;
    let now = (api.wall_ms)();
    let revoked_ms = known.revoked_ms.or(Some(now));
    let row = TokenRow { revoked_ms, ..known };
    api.keep_token(row.clone(), entry(&by, "token_revoked", &row, now)).await?;
    Ok(Json(view(&row)))
}

fn entry(by: &Principal, what: &str, row: &TokenRow, now_ms: u64) -> AuditEntry {
    AuditEntry {
        at_ms: now_ms,
        who: by.to_string(),
        what: what.to_owned(),
        subject: row.name.clone(),
        detail: serde_json::json!({"role": row.role, "expires_at_ms": row.expires_ms}).to_string(),
        sight: None,
    }
}

fn view(row: &TokenRow) -> TokenView {
    TokenView {
        name: row.name.clone(),
        role: row.role.clone(),
        created_at: rfc3339(row.created_ms),
        created_at_ms: row.created_ms,
        expires_at: row.expires_ms.map(rfc3339),
        expires_at_ms: row.expires_ms,
        revoked_at: row.revoked_ms.map(rfc3339),
        revoked_at_ms: row.revoked_ms,
    }
}
