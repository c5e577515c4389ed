//! One place to forward to, `[[collector.exporter]]`.
//!
//! Invariant: a key that is set and belongs to another type of exporter is a mistake, not ignored.

use std::collections::BTreeMap;
use std::path::PathBuf;

use http::Uri;
use http::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use watchdog_core::tally::Signal;

use super::MIB;
use super::secret::HeaderSource;
use crate::kind::Kind;

/// One place to forward to, `[[collector.exporter]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExporterConfig {
    /// What kind of place it is; most other keys belong to one kind only.
    #[serde(rename = "type")]
    pub kind: ExporterKind,
    /// What it gets; empty: everything. JSON files never get profiles, which have no JSON.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<Exported>,
    /// Base URL, as `https://otlp.example:4318`; `http` is in the clear. Over HTTP `/v1/traces`
    /// and so on are appended to its path.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub endpoint: String,
    /// Over HTTP, whether the endpoint is the whole URL, with nothing appended.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub endpoint_is_whole: bool,
    pub protocol: Protocol,
    pub compression: Compression,
    /// Sent with every request, for example an API key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, HeaderSource>,
    /// How an `https` endpoint is trusted, and who we are to it.
    #[serde(skip_serializing_if = "TlsConfig::is_unset")]
    pub tls: TlsConfig,
    /// One attempt takes at most this long.
    pub timeout_ms: u64,
    /// A request that could not be delivered for this long is dropped, and counted as dropped.
    pub retry_for_ms: u64,
    /// Bytes that may wait for this backend. A full queue refuses new requests.
    pub queue_bytes: usize,
    /// Requests to the backend at a time.
    pub concurrency: usize,
    /// Failed attempts in a row after which the backend is left in peace and asked again by one
    /// request at a time; 0 is never.
    pub breaker_failures: u32,
    /// The longest rest between two such requests, and so about the longest time that a backend
    /// is back without being noticed.
    pub breaker_rest_ms: u64,
    /// Smaller requests wait for others and travel with them, up to this size; 0 is never.
    pub batch_bytes: usize,
    /// The longest wait; with 0 only what waits anyhow travels together.
    pub batch_ms: u64,
    /// Whether the backend reads gzip of several members and zstd of several frames, so that
    /// compressed requests can be put together as they are. Not every backend does.
    pub batch_compressed: bool,
    /// The file to append to.
    pub path: Option<PathBuf>,
    pub format: FileFormat,
    /// A file that would grow beyond this is renamed to end in `.1`, an older one in `.2`; 0 is
    /// never.
    pub rotate_bytes: u64,
    /// Renamed files that are kept.
    pub rotate_files: u32,
    /// Lines that are printed in a second; what passes beside them is counted in the next line.
    pub lines_per_s: u32,
}

impl Default for ExporterConfig {
    fn default() -> Self {
        Self {
            kind: ExporterKind::default(),
            signals: Vec::new(),
            endpoint: String::new(),
            endpoint_is_whole: false,
            protocol: Protocol::default(),
            compression: Compression::default(),
            headers: BTreeMap::new(),
            tls: TlsConfig::default(),
            timeout_ms: 10_000,
            retry_for_ms: 86_400_000,
            queue_bytes: 128 * MIB,
            concurrency: 4,
            breaker_failures: 5,
            breaker_rest_ms: 1_000,
            batch_bytes: 0,
            batch_ms: 200,
            batch_compressed: false,
            path: None,
            format: FileFormat::default(),
            rotate_bytes: 100 * MIB as u64,
            rotate_files: 10,
            lines_per_s: 5,
        }
    }
}

impl ExporterConfig {
    /// A backend with all defaults.
    #[must_use]
    pub fn new(endpoint: impl Into<String>, protocol: Protocol) -> Self {
        Self { endpoint: endpoint.into(), protocol, ..Self::default() }
    }

    /// How metrics and logs name it: by its endpoint, or the path of its file.
    pub(crate) fn label(&self) -> String {
        match (&self.kind, &self.path) {
            (ExporterKind::File, Some(path)) => path.display().to_string(),
            (ExporterKind::File, None) => "file".to_owned(),
            (ExporterKind::Debug, _) => "debug".to_owned(),
            (ExporterKind::Otlp, _) => self.endpoint.clone(),
        }
    }

    /// Whether it gets requests of `kind`.
    pub(crate) fn takes(&self, kind: Kind) -> bool {
        let exported = match kind {
            Kind::Tallied(Signal::Traces) => Exported::Traces,
            Kind::Tallied(Signal::Metrics) => Exported::Metrics,
            Kind::Tallied(Signal::Logs) => Exported::Logs,
            Kind::Profiles => Exported::Profiles,
        };
        let has_form = kind != Kind::Profiles
            || self.kind != ExporterKind::File
            || self.format != FileFormat::Json;
        has_form && (self.signals.is_empty() || self.signals.contains(&exported))
    }
}

/// The kind of place that an exporter forwards to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExporterKind {
    /// A backend that takes OTLP.
    #[default]
    Otlp,
    /// A file on this machine.
    File,
    /// The log, as a summary of what passes.
    Debug,
}

/// What an exporter can be limited to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exported {
    Traces,
    Metrics,
    Logs,
    Profiles,
}

/// How requests stand in a file; both are read by the reference collector.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileFormat {
    /// A request in OTLP/JSON a line.
    #[default]
    Json,
    /// Requests in protobuf, each after its length in four bytes, the highest first.
    Proto,
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

impl TlsConfig {
    fn is_unset(&self) -> bool {
        self == &Self::default()
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
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    #[default]
    None,
    /// A request that arrived in gzip is forwarded as it came.
    Gzip,
    /// A request that arrived in zstd is forwarded as it came.
    Zstd,
    /// As the client did it, with no work at all, for a backend that knows both.
    AsReceived,
}

impl ExporterConfig {
    pub(crate) fn mistakes(&self, max_request_bytes: usize) -> Vec<(&'static str, String)> {
        let mut mistakes = self.misplaced();
        match self.kind {
            ExporterKind::Otlp => {
                if let Err(text) = self.base() {
                    mistakes.push(("exporter.endpoint", text));
                }
            }
            ExporterKind::File if self.path.is_none() => {
                mistakes.push(("exporter.path", "is missing: where is the file?".to_owned()));
            }
            ExporterKind::File | ExporterKind::Debug => {}
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
        if self.batch_bytes > max_request_bytes.max(MIB) {
            let text = format!("{} is more than max_request_bytes", self.batch_bytes);
            mistakes.push(("exporter.batch_bytes", text));
        }
        if self.batch_ms > 60_000 {
            let text = format!("{} is more than 60000", self.batch_ms);
            mistakes.push(("exporter.batch_ms", text));
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

    /// Keys that are set and belong to another type.
    fn misplaced(&self) -> Vec<(&'static str, String)> {
        let unset = Self::default();
        let of_otlp = [
            ("exporter.endpoint", self.endpoint != unset.endpoint),
            ("exporter.endpoint_is_whole", self.endpoint_is_whole),
            ("exporter.protocol", self.protocol != unset.protocol),
            ("exporter.compression", self.compression != unset.compression),
            ("exporter.headers", self.headers != unset.headers),
            ("exporter.tls", self.tls != unset.tls),
            ("exporter.timeout_ms", self.timeout_ms != unset.timeout_ms),
            ("exporter.batch_bytes", self.batch_bytes != unset.batch_bytes),
            ("exporter.batch_ms", self.batch_ms != unset.batch_ms),
            ("exporter.batch_compressed", self.batch_compressed),
            ("exporter.concurrency", self.concurrency != unset.concurrency),
        ];
        let of_file = [
            ("exporter.path", self.path != unset.path),
            ("exporter.format", self.format != unset.format),
            ("exporter.rotate_bytes", self.rotate_bytes != unset.rotate_bytes),
            ("exporter.rotate_files", self.rotate_files != unset.rotate_files),
        ];
        let of_debug = [("exporter.lines_per_s", self.lines_per_s != unset.lines_per_s)];
        let belong = |keys: &[(&'static str, bool)], kind: ExporterKind, name: &str| {
            let wrong = keys.iter().filter(|(_, is_set)| *is_set && self.kind != kind);
            let text = format!("belongs to an exporter of type \"{name}\"");
            wrong.map(|(key, _)| (*key, text.clone())).collect::<Vec<_>>()
        };
        let mut wrong = belong(&of_otlp, ExporterKind::Otlp, "otlp");
        wrong.extend(belong(&of_file, ExporterKind::File, "file"));
        wrong.extend(belong(&of_debug, ExporterKind::Debug, "debug"));
        wrong
    }

    /// The endpoint as a checked URL.
    pub(crate) fn base(&self) -> Result<Uri, String> {
        let endpoint = &self.endpoint;
        if endpoint.is_empty() {
            return Err("is missing: where is the backend, as http://HOST:PORT?".to_owned());
        }
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
