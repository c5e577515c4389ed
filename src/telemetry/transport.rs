//! How the SDK's exporters reach the backend: by the client that forwards telemetry.
//!
//! The exporters make export requests and hand them over as HTTP; what they would send them with
//! is decided here, by `[telemetry]` alone. Whatever they add to a request (headers from
//! `OTEL_EXPORTER_OTLP_HEADERS`, say) goes no further than this file.
//!
//! Invariant: a failure is said once when it begins and once when it ends, however long it lasts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use collector::{Outlet, Untaken};
use http::header::RETRY_AFTER;
use http::{Request, Response, StatusCode};
use opentelemetry_http::{HttpClient, HttpError};
use tokio::runtime::Handle;
use watchdog_core::tally::Signal;

use super::counts::Counts;

/// The backend, as all three signals ask it; clones share its connections.
#[derive(Debug, Clone)]
pub struct Backend {
    outlet: Outlet,
    endpoint: Arc<str>,
    is_failing: Arc<AtomicBool>,
}

impl Backend {
    pub fn new(outlet: Outlet, endpoint: &str) -> Self {
        Self { outlet, endpoint: endpoint.into(), is_failing: Arc::default() }
    }

    /// Sends one export request; gives back how many of its records were rejected.
    pub async fn send(&self, signal: Signal, request: Bytes) -> Result<u64, Untaken> {
        let end = self.outlet.send(signal, request).await;
        let was_failing = self.is_failing.swap(end.is_err(), Ordering::Relaxed);
        let (endpoint, signal) = (&*self.endpoint, signal.as_str());
        match &end {
            Ok(_) if was_failing => tracing::info!(endpoint, "own telemetry is taken again"),
            Err(error) if !was_failing => {
                tracing::warn!(endpoint, signal, %error, "own telemetry is not taken");
            }
            Ok(_) | Err(_) => {}
        }
        end
    }
}

/// What an exporter of the SDK sends by.
#[derive(Debug)]
pub struct Transport {
    pub backend: Backend,
    /// Where the I/O is done; the SDK's threads have no runtime.
    pub runtime: Handle,
    pub counts: Counts,
}

#[async_trait]
impl HttpClient for Transport {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let signal = Outlet::signal(request.uri().path()).ok_or("not a path of OTLP")?;
        let (backend, body) = (self.backend.clone(), request.into_body());
        let sent = self.runtime.spawn(async move { backend.send(signal, body).await }).await?;
        let mut response = Response::new(Bytes::new());
        match sent {
            Ok(rejected) => self.counts.rejected(rejected),
            Err(Untaken::Never { .. }) => *response.status_mut() = StatusCode::BAD_REQUEST,
            Err(Untaken::Later { after, .. }) => {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                if let Some(after) = after {
                    response.headers_mut().insert(RETRY_AFTER, after.as_secs().into());
                }
            }
        }
        Ok(response)
    }
}
