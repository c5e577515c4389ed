//! A gate that stands by passes on what needs a decision, so that any gate can be asked.
//!
//! The caller was checked here, and is checked again where it arrives. What the deciding gate
//! answers goes back as it is: a permit that comes this way passed that gate's latch and hold.
//!
//! Invariant: a call is passed on once; two gates that take each other for the deciding one end
//! it with a refusal.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue};
use watchdog_core::attestation::SIGNATURE_HEADER;

use super::refusal::Refusal;
use super::roles::{Call, Operation};
use super::{Api, body};
use crate::attest::BODY_BYTES_MAX;
use crate::lead::Lead;

/// Says that a call was passed on already.
const PASSED_ON: HeaderName = HeaderName::from_static("x-holdpoint-passed-on");
/// Above what the deciding gate itself waits for its store.
const ANSWER_MAX: Duration = Duration::from_secs(8);
const READY_MAX: Duration = Duration::from_secs(1);

/// The client for calls between gates.
pub fn peers() -> reqwest::Client {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .expect("a client without TLS has nothing to fail on")
}

/// Serves the call here, or passes it on if it needs the gate that decides.
pub async fn pass(
    State((api, operation)): State<(Api, Operation)>,
    request: Request,
    next: Next,
) -> Response {
    match api.desk.lead() {
        Lead::Others { url } if needs_decider(operation.call) => {
            pass_on(&api, &url, request).await.unwrap_or_else(IntoResponse::into_response)
        }
        Lead::Own(_) | Lead::Others { .. } => next.run(request).await,
    }
}

/// Whether the gate at `url` decides now.
///
/// # Errors
/// A refusal if it does not say so.
pub async fn is_ready(api: &Api, url: &str, headers: &HeaderMap) -> Result<(), Refusal> {
    if url.is_empty() || headers.contains_key(PASSED_ON) {
        return Err(Refusal::standby(url));
    }
    let asked = api.peers.get(format!("{url}/readyz")).header(PASSED_ON, "1").timeout(READY_MAX);
    match asked.send().await {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(_) | Err(_) => Err(Refusal::standby(url)),
    }
}

async fn pass_on(api: &Api, url: &str, request: Request) -> Result<Response, Refusal> {
    if url.is_empty() || request.headers().contains_key(PASSED_ON) {
        return Err(Refusal::standby(url));
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let mut asked = api.peers.request(request.method().clone(), format!("{url}{path}"));
    for name in [AUTHORIZATION, CONTENT_TYPE, HeaderName::from_static(SIGNATURE_HEADER)] {
        if let Some(value) = request.headers().get(&name) {
            asked = asked.header(name, value);
        }
    }
    let bytes = body::read(request, BODY_BYTES_MAX).await?;
    let asked = asked.header(PASSED_ON, "1").body(bytes).timeout(ANSWER_MAX);
    let silent = |error: reqwest::Error| {
        tracing::warn!(%error, decides = %url, "pass a call on");
        Refusal::no_decision(format!("the gate that decides, {url}, does not answer"))
    };
    let answer = asked.send().await.map_err(silent)?;
    let status = answer.status();
    let kept: Vec<(HeaderName, HeaderValue)> = [CONTENT_TYPE, RETRY_AFTER]
        .into_iter()
        .filter_map(|name| Some((name.clone(), answer.headers().get(&name)?.clone())))
        .collect();
    let mut response = Response::new(Body::from(answer.bytes().await.map_err(silent)?));
    *response.status_mut() = status;
    response.headers_mut().extend(kept);
    Ok(response)
}

/// Lists and look-ups of what is stored are answered anywhere.
const fn needs_decider(call: Call) -> bool {
    match call {
        Call::Healthz
        | Call::Readyz
        | Call::Metrics
        | Call::OpenApi
        | Call::ListRollouts
        | Call::ReadRollout
        | Call::ListFreezes
        | Call::ListDecisions
        | Call::ReadDecision
        | Call::ListAudit
        | Call::ListTokens => false,
        Call::RequestRollout
        | Call::Renew
        | Call::Applied
        | Call::Report
        | Call::Conclude
        | Call::Abort
        | Call::Approve
        | Call::Reject
        | Call::Settle
        | Call::Freeze
        | Call::Thaw
        | Call::ListWaivers
        | Call::Waive
        | Call::EndWaiver
        | Call::ListFences
        | Call::PollFence
        | Call::ListServices
        | Call::Attest
        | Call::CreateToken
        | Call::RevokeToken => true,
    }
}
