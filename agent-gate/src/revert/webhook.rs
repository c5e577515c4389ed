//! A revert by webhook: a signed POST to a rollout system.
//!
//! `X-Holdpoint-Signature: v1=HEX` is HMAC-SHA-256 over the exact body with the configured
//! secret. Any 2xx means the order was taken; the signals say whether the service came back.
//!
//! Invariant: the body carries the effect id and the generation, so that a receiver can tell a
//! repeated order from a new one and an old one from both.

use std::time::Duration;

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::Request;
use http::header::CONTENT_TYPE;
use http_body_util::Full;
use outside::Outside;
use serde::Serialize;
use sha2::Sha256;
use watchdog_core::attestation::SIGNATURE_HEADER;

use super::{OUTPUT_BYTES_MAX, Order, Outcome, shown};

/// The body of the POST.
#[derive(Debug, Serialize)]
struct Body<'a> {
    effect_id: &'a str,
    generation: u64,
    rollout: &'a str,
    service: &'a str,
    from: &'a str,
    to: &'a str,
    dry_run: bool,
}

/// Posts `order` to `url`.
pub async fn post(
    outside: &Outside,
    url: &str,
    secret: &str,
    order: &Order,
    timeout: Duration,
) -> Outcome {
    let body = Body {
        effect_id: &order.effect,
        generation: order.generation,
        rollout: &order.rollout,
        service: &order.service,
        from: &order.from,
        to: &order.to,
        dry_run: order.dry_run,
    };
    let body = serde_json::to_vec(&body).expect("texts and numbers are JSON");
    let request = match signed(url, secret, body) {
        Ok(request) => request,
        Err(why) => return Outcome::failed(format!("{url}: {why}")),
    };
    match outside.send(request, timeout).await {
        Ok(answer) if answer.status.is_success() => {
            Outcome::done(format!("{url}: taken ({})", answer.status))
        }
        Ok(answer) => {
            let beginning = &answer.body[..answer.body.len().min(OUTPUT_BYTES_MAX)];
            Outcome::failed(format!("{url}: {}: {}", answer.status, shown(beginning)))
        }
        Err(why) => Outcome::failed(format!("{url}: {why}")),
    }
}

/// A POST of `body`, JSON, signed with `secret`.
///
/// # Errors
/// If `url` is none.
pub fn signed(url: &str, secret: &str, body: Vec<u8>) -> Result<Request<Full<Bytes>>, String> {
    Request::post(url)
        .header(CONTENT_TYPE, "application/json")
        .header(SIGNATURE_HEADER, format!("v1={}", signature(secret, &body)))
        .body(Full::new(body.into()))
        .map_err(|error| error.to_string())
}

/// HMAC-SHA-256 over `body` in hex.
#[must_use]
pub fn signature(secret: &str, body: &[u8]) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}
