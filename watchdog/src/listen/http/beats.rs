//! `POST /v1/beats/{service}` and the URL forms of healthchecks.io.
//!
//! Invariant: 202 is said only for a beat that is on its way to the verdict loop.

use std::net::IpAddr;

use axum::Extension;
use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use front_door::Peer;
use serde_json::json;
use watchdog_core::attestation::SIGNATURE_HEADER;
use watchdog_core::beat::BeatBody;
use watchdog_core::names::Service;

use super::{Shared, refuse};
use crate::listen::reception::{Arrival, Rejection};
use crate::metrics::{Refused, Transport};

/// The longest body of a beat, in bytes.
const BODY_BYTES_MAX: usize = 4 * 1024;

/// A beat, with or without a body.
pub async fn beat(
    State(shared): State<Shared>,
    Path(service): Path<String>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let arrival = match read(&service, &parts.headers, body).await {
        Ok((service, body, signature)) => {
            let transport = Transport::Http;
            Arrival { transport, service, body, signature, peer: Some(peer.ip()) }
        }
        Err(rejection) => {
            let peer = Some(peer.ip());
            return answer(Err(shared.reception.refuse(Transport::Http, rejection, None, peer)));
        }
    };
    answer(shared.reception.receive(arrival, shared.reception.now()))
}

type Read = (Service, Option<BeatBody>, Option<(String, Vec<u8>)>);

async fn read(service: &str, headers: &HeaderMap, body: Body) -> Result<Read, Rejection> {
    from_no_page(headers)?;
    let service = Service::new(service)
        .map_err(|e| Rejection::malformed(format!("the service in the path: {e}")))?;
    let bytes = to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| Rejection {
        reason: Refused::TooLarge,
        message: format!("the body is longer than {BODY_BYTES_MAX} bytes, or was cut off"),
    })?;
    if bytes.is_empty() {
        return Ok((service, None, None));
    }
    let body = serde_json::from_slice(&bytes)
        .map_err(|e| Rejection::malformed(format!("the body is not a beat: {e}")))?;
    let signature = headers.get(SIGNATURE_HEADER).map(|text| {
        // A header that is not text is a signature that does not verify.
        (String::from_utf8_lossy(text.as_bytes()).into_owned(), bytes.to_vec())
    });
    Ok((service, Some(body), signature))
}

/// `/ping/{key}`: a beat without witness of the service of that name.
pub async fn ping(
    State(shared): State<Shared>,
    Path(key): Path<String>,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
) -> Response {
    pinged(&shared, key, peer.ip(), &headers)
}

/// `/ping/{key}/{slug}`, and `/start`, `/fail`, `/log` or an exit code in the place of the slug.
pub async fn ping_slug(
    State(shared): State<Shared>,
    Path((key, slug)): Path<(String, String)>,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
) -> Response {
    // Who reports a failure is alive, and a beat says no more than that.
    let says_how = matches!(slug.as_str(), "start" | "fail" | "log") || slug.parse::<u8>().is_ok();
    let name = if says_how { key } else { format!("{key}/{slug}") };
    pinged(&shared, name, peer.ip(), &headers)
}

fn pinged(shared: &Shared, name: String, peer: IpAddr, headers: &HeaderMap) -> Response {
    let transport = Transport::Http;
    let named = from_no_page(headers).and_then(|()| {
        Service::new(name).map_err(|e| Rejection::malformed(format!("the name in the path: {e}")))
    });
    let received = match named {
        Ok(service) => {
            let arrival =
                Arrival { transport, service, body: None, signature: None, peer: Some(peer) };
            shared.reception.receive(arrival, shared.reception.now())
        }
        Err(rejection) => Err(shared.reception.refuse(transport, rejection, None, Some(peer))),
    };
    match received {
        // Clients of healthchecks.io look for these two characters.
        Ok(_) => (StatusCode::OK, "OK").into_response(),
        Err(rejection) => answer(Err(rejection)),
    }
}

/// Only a browser sends an origin. A page that a person visits must not beat for a service.
fn from_no_page(headers: &HeaderMap) -> Result<(), Rejection> {
    if headers.contains_key(header::ORIGIN) {
        let message = "beats do not come from web pages".to_owned();
        return Err(Rejection { reason: Refused::Forbidden, message });
    }
    Ok(())
}

fn answer(received: Result<u64, Rejection>) -> Response {
    match received {
        Ok(seq) => (StatusCode::ACCEPTED, Json(json!({ "seq": seq }))).into_response(),
        Err(Rejection { reason, message }) => {
            let (status, hint) = explain(reason);
            refuse(status, reason.as_str(), &message, hint)
        }
    }
}

const fn explain(reason: Refused) -> (StatusCode, &'static str) {
    match reason {
        Refused::Malformed => (
            StatusCode::BAD_REQUEST,
            "send {instance, boot, seq, token, requests?, errors?, revision?, leaving?} or nothing",
        ),
        Refused::BootWithoutStart => {
            (StatusCode::BAD_REQUEST, "begin boot with the start time in Unix milliseconds")
        }
        Refused::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "a beat is a few hundred bytes"),
        Refused::BadMac => {
            (StatusCode::UNAUTHORIZED, "sign service, line feed and the exact body: v1=HEX")
        }
        Refused::Unsigned => (
            StatusCode::UNAUTHORIZED,
            "sign the body in X-Holdpoint-Signature; an unsigned beat counts on loopback only, \
             and only until the service has signed one",
        ),
        Refused::Forbidden => (StatusCode::FORBIDDEN, "send beats from the service itself"),
        Refused::Replayed => (StatusCode::CONFLICT, "seq grows by one with every beat of a boot"),
        Refused::OlderBoot => {
            (StatusCode::CONFLICT, "give every process that runs at once an instance of its own")
        }
        Refused::TooManyServices | Refused::TooManyInstances => (
            StatusCode::TOO_MANY_REQUESTS,
            "raise services_max or instances_max in [watchdog.judge]",
        ),
    }
}
