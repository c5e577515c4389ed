//! A way to a backend for what a role says of itself: the exporters' client without their line.
//!
//! Own telemetry speaks to a backend exactly as forwarded telemetry does (TLS, headers from files,
//! HTTP and gRPC, bounded answers), and shares nothing else with it: no queue, no breaker, no
//! counts. What is sent here is not in the ledger, because nobody sent it to the collector.
//!
//! Invariant: a request is sent once, and waits for its answer no longer than `timeout_ms`.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;
use watchdog_core::tally::Signal;

use crate::config::{ExporterConfig, ExporterKind};
use crate::export::circle;
use crate::export::outward::{Client, Failure, Sealed};
use crate::kind::Kind;
use crate::payload::{Form, compress};
use crate::receive::paths;
use crate::{Addresses, config};

/// A backend that takes OTLP; clones share its connections.
#[derive(Debug, Clone)]
pub struct Outlet {
    client: Client,
    timeout: Duration,
}

/// Why a backend did not take a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untaken {
    /// It may take it later, after so long if it said so.
    #[error("{why}")]
    Later { why: String, after: Option<Duration> },
    /// Sending it again cannot help.
    #[error("{why}")]
    Never { why: String },
}

impl Outlet {
    /// A way to the backend of `config`.
    ///
    /// # Errors
    /// What is wrong with it: files that cannot be read, certificates that do not fit.
    pub fn new(config: &ExporterConfig) -> Result<Self, String> {
        let timeout = Duration::from_millis(config.timeout_ms);
        Ok(Self { client: Client::new(config)?, timeout })
    }

    /// What is wrong with `config` although every key is well formed, by key.
    #[must_use]
    pub fn mistakes(config: &ExporterConfig) -> Vec<(&'static str, String)> {
        debug_assert_eq!(config.kind, ExporterKind::Otlp);
        let of_whole = config.mistakes(config::Config::default().max_request_bytes);
        let bare = |key: &'static str| key.strip_prefix("exporter.").unwrap_or(key);
        of_whole.into_iter().map(|(key, text)| (bare(key), text)).collect()
    }

    /// The signal whose path over HTTP is the end of `path`.
    #[must_use]
    pub fn signal(path: &str) -> Option<Signal> {
        let is_its = |signal: &Signal| path.ends_with(paths::http(Kind::Tallied(*signal)));
        Signal::ALL.into_iter().find(is_its)
    }

    /// Sends `request`, an export request in protobuf, and says how many of its records were
    /// rejected.
    ///
    /// # Errors
    /// [`Untaken`] if the backend did not take it.
    pub async fn send(&self, signal: Signal, request: Bytes) -> Result<u64, Untaken> {
        let form = self.client.form(Form::Plain);
        let bytes = match form {
            Form::Plain => request,
            Form::Gzip | Form::Zstd => compress(form, &request),
        };
        let attempt = self.client.attempt(Kind::Tallied(signal), Sealed { form, bytes });
        match timeout(self.timeout, attempt).await {
            Ok(Ok(outcome)) => Ok(outcome.rejected),
            Ok(Err(Failure::Never { why })) => Err(Untaken::Never { why }),
            Ok(Err(Failure::Later { why, after })) => {
                Err(Untaken::Later { why, after: after.map(Duration::from_millis) })
            }
            Err(_) => Err(Untaken::Later { why: "no answer in time".to_owned(), after: None }),
        }
    }
}

impl Addresses {
    /// Whether `endpoint` is one of these ports.
    pub async fn are_reached_by(self, endpoint: &str) -> bool {
        circle::leads_to(endpoint, &[self.grpc, self.http, self.admin]).await
    }
}
