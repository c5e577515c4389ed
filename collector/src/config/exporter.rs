//! One backend, `[[collector.exporter]]`.
//!
//! Invariant: what passes [`ExporterConfig::mistakes`] can be run.

use std::collections::BTreeMap;
use std::path::PathBuf;

use http::Uri;
use http::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use super::MIB;
use super::secret::HeaderSource;

/// One backend, `[[collector.exporter]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExporterConfig {
    /// Base URL, as `https://otlp.example:4318`; `http` is in the clear. Over HTTP `/v1/traces`
    /// and so on are appended to its path.
    pub endpoint: String,
    #[serde(default)]
    pub protocol: Protocol,
    #[serde(default)]
    pub compression: Compression,
    /// Sent with every request, for example an API key.
    #[serde(default)]
    pub headers: BTreeMap<String, HeaderSource>,
    /// How an `https` endpoint is trusted, and who we are to it.
    #[serde(default)]
    pub tls: TlsConfig,
    /// One attempt takes at most this long.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
    /// A request that could not be delivered for this long is dropped, and counted as dropped.
    #[serde(default = "default_retry_for_ms")]
    pub retry_for_ms: u64,
    /// Bytes that may wait for this backend. A full queue refuses new requests.
    #[serde(default = "default_queue_bytes")]
    pub queue_bytes: usize,
    /// Requests to the backend at a time.
    #[serde(default = "default_concurrency")]
    pub concurrency: usize,
    /// Failed attempts in a row after which the backend is left in peace and asked again by one
    /// request at a time; 0 is never.
    #[serde(default = "default_breaker_failures")]
    pub breaker_failures: u32,
    /// The longest rest between two such requests, and so about the longest time that a backend
    /// is back without being noticed.
    #[serde(default = "default_breaker_rest_ms")]
    pub breaker_rest_ms: u64,
}

const fn default_timeout_ms() -> u64 {
    10_000
}

const fn default_retry_for_ms() -> u64 {
    300_000
}

const fn default_queue_bytes() -> usize {
    128 * MIB
}

const fn default_concurrency() -> usize {
    4
}

const fn default_breaker_failures() -> u32 {
    5
}

const fn default_breaker_rest_ms() -> u64 {
    1_000
}

impl ExporterConfig {
    /// An exporter with all defaults.
    #[must_use]
    pub fn new(endpoint: impl Into<String>, protocol: Protocol) -> Self {
        Self {
            endpoint: endpoint.into(),
            protocol,
            compression: Compression::default(),
            headers: BTreeMap::new(),
            tls: TlsConfig::default(),
            timeout_ms: default_timeout_ms(),
            retry_for_ms: default_retry_for_ms(),
            queue_bytes: default_queue_bytes(),
            concurrency: default_concurrency(),
            breaker_failures: default_breaker_failures(),
            breaker_rest_ms: default_breaker_rest_ms(),
        }
    }
}

/// `tls` of a backend.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// Certificate authorities that the backend is trusted by, in PEM; unset: the system's.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate chain and its key in PEM, for a backend that asks who we are.
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    /// The name in the backend's certificate, if it is not the host of the endpoint.
    pub server_name: Option<String>,
}

/// How to speak to a backend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// OTLP/HTTP with protobuf bodies.
    #[default]
    Http,
    /// OTLP/gRPC.
    Grpc,
}

/// How requests to a backend are compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    #[default]
    None,
    /// A request that arrived in gzip is forwarded as it came.
    Gzip,
}

impl ExporterConfig {
    pub(super) fn mistakes(&self, max_request_bytes: usize) -> Vec<(&'static str, String)> {
        let mut mistakes = Vec::new();
        if let Err(text) = self.base() {
            mistakes.push(("exporter.endpoint", text));
        }
        mistakes.extend(self.header_mistakes().map(|text| ("exporter.headers", text)));
        if let Some(text) = self.tls_mistake() {
            mistakes.push(("exporter.tls", text));
        }
        if self.timeout_ms == 0 {
            mistakes.push(("exporter.timeout_ms", "0 would fail every attempt".to_owned()));
        }
        if !(1..=256).contains(&self.concurrency) {
            let text = format!("{} is not between 1 and 256", self.concurrency);
            mistakes.push(("exporter.concurrency", text));
        }
        if !(10..=600_000).contains(&self.breaker_rest_ms) {
            let text = format!("{} is not between 10 and 600000", self.breaker_rest_ms);
            mistakes.push(("exporter.breaker_rest_ms", text));
        }
        if self.queue_bytes < max_request_bytes {
            let text = format!(
                "{} is less than max_request_bytes ({max_request_bytes}): the largest request \
                 could never be queued",
                self.queue_bytes
            );
            mistakes.push(("exporter.queue_bytes", text));
        }
        mistakes
    }

    /// The endpoint as a checked URL.
    pub(crate) fn base(&self) -> Result<Uri, String> {
        let endpoint = &self.endpoint;
        let uri: Uri =
            endpoint.parse().map_err(|error| format!("`{endpoint}` is not a URL: {error}"))?;
        match (uri.scheme_str(), uri.authority()) {
            (Some("http" | "https"), Some(_)) if uri.query().is_none() => Ok(uri),
            _ => Err(format!("`{endpoint}` is not of the form http://HOST:PORT[/PATH]")),
        }
    }

    fn header_mistakes(&self) -> impl Iterator<Item = String> {
        self.headers.iter().filter_map(|(name, source)| {
            if HeaderName::try_from(name).is_err() {
                return Some(format!("`{name}` is not a header name"));
            }
            match source {
                HeaderSource::Text(text) if HeaderValue::try_from(text).is_err() => {
                    Some(format!("the value of `{name}` is not a header value"))
                }
                HeaderSource::Text(_) | HeaderSource::File(_) | HeaderSource::Env(_) => {
                    source.mistake().map(|text| format!("`{name}` {text}"))
                }
            }
        })
    }

    fn tls_mistake(&self) -> Option<String> {
        let tls = &self.tls;
        if tls != &TlsConfig::default() && self.endpoint.starts_with("http://") {
            return Some(format!("`{}` is in the clear; write https://", self.endpoint));
        }
        match (&tls.cert_file, &tls.key_file) {
            (Some(_), None) => Some("cert_file needs a key_file".to_owned()),
            (None, Some(_)) => Some("key_file needs a cert_file".to_owned()),
            (Some(_), Some(_)) | (None, None) => None,
        }
    }
}
