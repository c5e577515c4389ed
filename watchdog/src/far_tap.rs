//! The far tap of a collector that is not ours: OTLP/HTTP in, probes looked for, all else let fall.
//!
//! Its exporter is pointed here (beside the backend), and what of a probe comes out of its pipeline
//! is judged like an echo of our own collector's tally. It runs with the other senders and never
//! on the thread that hears beats.
//!
//! Invariant: a request that cannot be read is refused with the reason and is no evidence: neither
//! a right answer nor a wrong one.

use std::io::Read as _;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use flate2::read::GzDecoder;
use front_door::Limits;
use tokio_util::sync::CancellationToken;
use watchdog_core::tally::Signal;

use crate::inbox::Inbox;
use crate::probes::Ledger;

mod wire;

/// The largest request, before and after it is inflated, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
const PROTOBUF: &str = "application/x-protobuf";

/// What the routes share.
#[derive(Clone)]
pub struct FarTap {
    pub ledger: Arc<Ledger>,
    pub inbox: Arc<Inbox>,
}

impl FarTap {
    /// Serves `listener` until `shutdown`.
    pub async fn run(self, listener: std::net::TcpListener, shutdown: CancellationToken) {
        let listener = tokio::net::TcpListener::from_std(listener);
        let listener = listener.expect("it was made nonblocking, and a runtime runs");
        let routes = Router::new()
            .route("/v1/traces", post(traces))
            .route("/v1/metrics", post(metrics))
            .route("/v1/logs", post(logs))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(self)
            .into_service();
        front_door::serve(listener, routes, Limits::default(), shutdown).await;
    }

    fn take(&self, signal: Signal, headers: &HeaderMap, body: &Bytes) -> Response {
        let inflated;
        let plain = match value(headers, header::CONTENT_ENCODING) {
            None | Some("identity") => &body[..],
            Some("gzip") => match inflate(body) {
                Ok(bytes) => {
                    inflated = bytes;
                    &inflated[..]
                }
                Err(error) => return refuse(&error),
            },
            Some(other) => return refuse(&format!("{other} is not read here; use gzip or none")),
        };
        if value(headers, header::CONTENT_TYPE) != Some(PROTOBUF) {
            return refuse("the far tap reads protobuf alone: set `encoding: proto`");
        }
        match wire::probes(signal, plain) {
            Ok(echoes) => {
                echoes.iter().for_each(|echo| self.ledger.returned(echo, &self.inbox));
                ([(header::CONTENT_TYPE, PROTOBUF)], Bytes::new()).into_response()
            }
            Err(wire::Malformed) => refuse("the body is no OTLP request"),
        }
    }
}

async fn traces(State(tap): State<FarTap>, headers: HeaderMap, body: Bytes) -> Response {
    tap.take(Signal::Traces, &headers, &body)
}

async fn metrics(State(tap): State<FarTap>, headers: HeaderMap, body: Bytes) -> Response {
    tap.take(Signal::Metrics, &headers, &body)
}

async fn logs(State(tap): State<FarTap>, headers: HeaderMap, body: Bytes) -> Response {
    tap.take(Signal::Logs, &headers, &body)
}

fn value(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn inflate(body: &[u8]) -> Result<Vec<u8>, String> {
    let mut plain = Vec::new();
    let limit = u64::try_from(BODY_BYTES_MAX).expect("64 MiB fit") + 1;
    let read = GzDecoder::new(body).take(limit).read_to_end(&mut plain);
    read.map_err(|error| format!("the body is not gzip: {error}"))?;
    if plain.len() > BODY_BYTES_MAX {
        return Err(format!("the body is larger than {BODY_BYTES_MAX} bytes"));
    }
    Ok(plain)
}

fn refuse(words: &str) -> Response {
    (StatusCode::BAD_REQUEST, words.to_owned()).into_response()
}
