//! One backend, `[[collector.exporter]]`.
//!
//! Invariant: what passes [`ExporterConfig::mistakes`] can be run.

use std::collections::BTreeMap;

use http::Uri;
use http::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use super::MIB;

/// One backend, `[[collector.exporter]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExporterConfig {
    /// Base URL, as `http://127.0.0.1:4319`. HTTP appends `/v1/traces` and so on to its path.
    pub endpoint: String,
    #[serde(default)]
    pub protocol: Protocol,
    #[serde(default)]
    pub compression: Compression,
    /// Sent with every request, for example an API key.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
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

impl ExporterConfig {
    /// An exporter with all defaults.
    #[must_use]
    pub fn new(endpoint: impl Into<String>, protocol: Protocol) -> Self {
        Self {
            endpoint: endpoint.into(),
            protocol,
            compression: Compression::default(),
            headers: BTreeMap::new(),
            timeout_ms: default_timeout_ms(),
            retry_for_ms: default_retry_for_ms(),
            queue_bytes: default_queue_bytes(),
            concurrency: default_concurrency(),
        }
    }
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
        if let Err(text) = self.header_map() {
            mistakes.push(("exporter.headers", text));
        }
        if self.timeout_ms == 0 {
            mistakes.push(("exporter.timeout_ms", "0 would fail every attempt".to_owned()));
        }
        if !(1..=256).contains(&self.concurrency) {
            let text = format!("{} is not between 1 and 256", self.concurrency);
            mistakes.push(("exporter.concurrency", text));
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
            (Some("http"), Some(_)) if uri.query().is_none() => Ok(uri),
            (Some("https"), _) => Err(format!(
                "`{endpoint}`: TLS is not supported; forward to a local proxy that adds it"
            )),
            _ => Err(format!("`{endpoint}` is not of the form http://HOST:PORT[/PATH]")),
        }
    }

    /// The extra headers, checked.
    pub(crate) fn header_map(&self) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
        let parse = |(name, value): (&String, &String)| {
            let parsed =
                HeaderName::try_from(name).map_err(|_| format!("`{name}` is not a header name"))?;
            let mut value = HeaderValue::try_from(value)
                .map_err(|_| format!("the value of `{name}` is not a header value"))?;
            value.set_sensitive(true);
            Ok((parsed, value))
        };
        self.headers.iter().map(parse).collect()
    }
}
