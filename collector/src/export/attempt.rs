//! What a backend's answer means: taken, come back later, or never.
//!
//! | answer | means |
//! |---|---|
//! | HTTP 2xx, gRPC `OK` | taken; `partial_success` says how many records were not |
//! | HTTP 429, 502, 503, 504 | later, after `Retry-After` if it is there |
//! | gRPC 1, 4, 10, 11, 14, 15 (`CANCELLED` to `DATA_LOSS`) | later, after `RetryInfo` if there |
//! | gRPC `RESOURCE_EXHAUSTED` 8 | later if `RetryInfo` is there, else never |
//! | no connection, no answer in time | later |
//! | anything else | never |
//!
//! Source: OTLP specification 1.11, "Failures", "Throttling" and "Partial success".
//!
//! Invariant: an answer that cannot be read is no success.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode, response};

use crate::driver;
use crate::wire::{Malformed, Reader};

/// A backend's answer, read whole.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) head: response::Parts,
    pub(super) trailers: Option<HeaderMap>,
    pub(super) body: Bytes,
}

/// The backend took the request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Records that it did not take.
    pub(crate) rejected: u64,
    /// What it said about them.
    pub(crate) message: String,
}

/// The backend did not take the request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It may take it later, after so many milliseconds if it said so.
    Later { why: String, after: Option<u64> },
    /// Trying again cannot help.
    Never { why: String },
}

pub(super) fn http(answer: &Answer) -> Result<Outcome, Failure> {
    let status = answer.head.status;
    if status.is_success() {
        return Ok(outcome(&answer.body));
    }
    let why = match status_message(&answer.body) {
        Some(message) => format!("{status}: {message}"),
        None => status.to_string(),
    };
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => {
            Err(Failure::Later { why, after: retry_after_ms(&answer.head.headers) })
        }
        _ => Err(Failure::Never { why }),
    }
}

pub(super) fn grpc(answer: &Answer) -> Result<Outcome, Failure> {
    if answer.head.status != StatusCode::OK {
        // A proxy answered; it knows HTTP only.
        return match http(answer) {
            Ok(_) => Err(Failure::Never { why: format!("no gRPC: {}", answer.head.status) }),
            Err(failure) => Err(failure),
        };
    }
    let header = |name: &str| {
        let trailers = answer.trailers.as_ref().and_then(|trailers| trailers.get(name));
        trailers.or_else(|| answer.head.headers.get(name)).and_then(|value| value.to_str().ok())
    };
    let Some(code) = header("grpc-status").and_then(|code| code.parse::<u32>().ok()) else {
        return Err(Failure::Later {
            why: "an answer without grpc-status".to_owned(),
            after: None,
        });
    };
    if code == 0 {
        return Ok(outcome(answer.body.get(5..).unwrap_or_default()));
    }
    let why = format!("gRPC status {code}: {}", header("grpc-message").unwrap_or("no message"));
    let after = header("grpc-status-details-bin").and_then(retry_info_ms);
    match (code, after) {
        (1 | 4 | 10 | 11 | 14 | 15, after) | (8, after @ Some(_)) => {
            Err(Failure::Later { why, after })
        }
        _ => Err(Failure::Never { why }),
    }
}

/// `Export…ServiceResponse { partial_success = 1 { rejected = 1, error_message = 2 } }`. JSON is
/// not asked for; a success whose body is something else is still a success.
fn outcome(body: &[u8]) -> Outcome {
    let read = || -> Result<Outcome, Malformed> {
        let mut outcome = Outcome { rejected: 0, message: String::new() };
        each(body, 1, |partial| {
            each_field(partial, |number, value| {
                match number {
                    1 => outcome.rejected = value.varint()?,
                    2 => outcome.message = String::from_utf8_lossy(value.bytes()?).into_owned(),
                    _ => {}
                }
                Ok(())
            })
        })?;
        Ok(outcome)
    };
    read().unwrap_or(Outcome { rejected: 0, message: String::new() })
}

/// The message of a `google.rpc.Status`, if the body is one; cut to what fits a log line.
fn status_message(body: &[u8]) -> Option<String> {
    let mut message = None;
    each(body, 2, |bytes| {
        message = std::str::from_utf8(bytes).ok().map(|text| text.chars().take(200).collect());
        Ok(())
    })
    .ok()?;
    message
}

/// Seconds or an HTTP date.
fn retry_after_ms(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(seconds.saturating_mul(1_000));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    let at = at.duration_since(std::time::UNIX_EPOCH).ok()?;
    u64::try_from(at.saturating_sub(driver::unix_time()).as_millis()).ok()
}

/// The delay in the `RetryInfo` of a `google.rpc.Status` in base64.
fn retry_info_ms(details: &str) -> Option<u64> {
    let status = STANDARD_NO_PAD.decode(details).or_else(|_| STANDARD.decode(details)).ok()?;
    let mut delay_ms = None;
    each(&status, 3, |any| {
        let (mut is_retry_info, mut value) = (false, None);
        each_field(any, |number, field| {
            match number {
                1 => is_retry_info = field.bytes()?.ends_with(b"/google.rpc.RetryInfo"),
                2 => value = Some(field.bytes()?),
                _ => {}
            }
            Ok(())
        })?;
        if is_retry_info && let Some(retry_info) = value {
            each(retry_info, 1, |duration| {
                let (mut seconds, mut nanos) = (0, 0);
                each_field(duration, |number, field| {
                    match number {
                        1 => seconds = field.varint()?,
                        2 => nanos = field.varint()?,
                        _ => {}
                    }
                    Ok(())
                })?;
                delay_ms = Some(seconds.saturating_mul(1_000).saturating_add(nanos / 1_000_000));
                Ok(())
            })?;
        }
        Ok(())
    })
    .ok()?;
    delay_ms
}

fn each_field<'a>(
    message: &'a [u8],
    mut visit: impl FnMut(u32, crate::wire::Value<'a>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let mut reader = Reader::new(message);
    while let Some((number, value)) = reader.next()? {
        visit(number, value)?;
    }
    Ok(())
}

fn each<'a>(
    message: &'a [u8],
    wanted: u32,
    mut visit: impl FnMut(&'a [u8]) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    each_field(
        message,
        |number, value| {
            if number == wanted { visit(value.bytes()?) } else { Ok(()) }
        },
    )
}
