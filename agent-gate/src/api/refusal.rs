//! How the API says no: one form of error for every call.
//!
//! `{error: {code, message, hint}}` with the right status. 503 with `Retry-After` means that no
//! decision could be made, and it is the only status that does.
//!
//! Invariant: a refusal never carries a secret, and always a hint what to do.

use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

/// When a caller that got no decision may ask again.
pub const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);

/// An error answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
    pub hint: String,
    /// When to ask again, where that is known.
    pub retry_after: Option<Duration>,
}

/// The body of an error answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    error: ErrorText,
}

#[derive(Debug, Serialize, ToSchema)]
struct ErrorText {
    /// A word for programs.
    code: &'static str,
    /// What is wrong, for people.
    message: String,
    /// What to do about it.
    hint: String,
}

impl Refusal {
    pub fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        let (message, hint) = (message.into(), hint.into());
        Self { status, code, message, hint, retry_after: None }
    }

    /// 400: the request itself is wrong.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "bad_request",
            message,
            "see /openapi.json for the fields of this call",
        )
    }

    /// 404: `kind` has no `id`.
    pub fn not_found(kind: &str, id: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            format!("there is no {kind} {id:?}"),
            format!("list what there is with GET /v1/{kind}s"),
        )
    }

    /// 409: the request is well formed and does not fit the state.
    pub fn conflict(
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::new(StatusCode::CONFLICT, code, message, hint)
    }

    /// 503: no decision can be made now. It never means "go".
    pub fn no_decision(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no_decision",
            message,
            "nothing is allowed meanwhile; ask again after the time in Retry-After",
        )
    }

    /// 503: another gate decides, the one at `url` if it is known.
    pub fn standby(url: &str) -> Self {
        let (message, hint) = if url.is_empty() {
            ("no gate of this database decides now".to_owned(), "ask again in a moment".to_owned())
        } else {
            (format!("this gate stands by; the one at {url} decides"), format!("ask {url}"))
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "standby", message, hint)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let text = ErrorText { code: self.code, message: self.message, hint: self.hint };
        let mut response = (self.status, Json(ErrorBody { error: text })).into_response();
        let headers = response.headers_mut();
        let known = (self.status == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY_AFTER_DEFAULT);
        if let Some(after) = self.retry_after.or(known) {
            let whole_s = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_s));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
