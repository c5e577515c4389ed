//! Request bodies: bounded, strict JSON.
//!
//! Strict, because a misspelt field that is silently ignored is a safety setting that silently
//! does not hold. The content type is not asked for: the bearer token already keeps browsers'
//! cross-site forms out.
//!
//! Invariant: no call buffers more than its limit.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use http::StatusCode;
use http::request::Parts;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::refusal::Refusal;

/// The largest body of an ordinary call, in bytes.
pub const BODY_BYTES_MAX: usize = 256 * 1024;

/// A body that was read as `T`; unknown fields are refused if `T` says so.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Refusal> {
        let bytes = read(request, BODY_BYTES_MAX).await?;
        parse(&bytes).map(Self)
    }
}

/// Query parameters that were read as `T`; unknown ones are refused if `T` says so.
#[derive(Debug)]
pub struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(error) => Err(Refusal::bad_request(error.body_text())),
        }
    }
}

/// The bytes of `request`'s body, at most `bytes_max`.
///
/// # Errors
/// 413 if it is longer, 400 if it breaks off.
pub async fn read(request: Request, bytes_max: usize) -> Result<Bytes, Refusal> {
    let body = Limited::new(request.into_body(), bytes_max);
    match body.collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            format!("the body is longer than {bytes_max} bytes"),
            "send less; long texts belong behind a link",
        )),
        Err(error) => Err(Refusal::bad_request(format!("the body broke off: {error}"))),
    }
}

/// `bytes` as `T`.
///
/// # Errors
/// 400 if they are none.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    if bytes.trim_ascii().is_empty() {
        return Err(Refusal::bad_request("the body is empty; this call takes a JSON object"));
    }
    serde_json::from_slice(bytes).map_err(|error| Refusal::bad_request(format!("body: {error}")))
}
