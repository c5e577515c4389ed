//! A revert by webhook: a signed POST to a rollout system.
//!
//! `X-Holdpoint-Signature: v1=HEX` is HMAC-SHA-256 over the exact body with the configured
//! secret. Any 2xx means the order was taken; the signals say whether the service came back.
//!
//! Invariant: the body carries the effect id and the generation, so that a receiver can tell a
//! repeated order from a new one and an old one from both.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use http::header::CONTENT_TYPE;
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
    client: &reqwest::Client,
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
    let response = client
        .post(url)
        .header(CONTENT_TYPE, "application/json")
        .header(SIGNATURE_HEADER, format!("v1={}", signature(secret, &body)))
        .timeout(timeout)
        .body(body)
        .send()
        .await;
    match response {
        Ok(response) if response.status().is_success() => {
            Outcome::done(format!("{url}: taken ({})", response.status()))
        }
        Ok(response) => {
            let status = response.status();
            let text = shown(&beginning(response).await);
            Outcome::failed(format!("{url}: {status}: {text}"))
        }
        Err(error) => Outcome::failed(format!("{url}: {}", reason(&error))),
    }
}

/// HMAC-SHA-256 over `body` in hex.
#[must_use]
pub fn signature(secret: &str, body: &[u8]) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

async fn beginning(mut response: reqwest::Response) -> Vec<u8> {
    let mut kept = Vec::new();
    while kept.len() < OUTPUT_BYTES_MAX {
        match response.chunk().await {
            Ok(Some(chunk)) => kept.extend_from_slice(&chunk),
            Ok(None) | Err(_) => break,
        }
    }
    kept.truncate(OUTPUT_BYTES_MAX);
    kept
}

/// The innermost cause: the outer ones only say that a request failed.
fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if error.is_timeout() { "no answer in time".to_owned() } else { cause.to_string() }
}
