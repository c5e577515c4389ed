//! What a person can set about the collector; the keys of `[collector]` in `holdpoint.toml`.
//!
//! Invariant: `Config::default()` is a good configuration, and an unknown key is an error.

mod environment;
mod exporter;
mod secret;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use front_door::TlsFiles;
use serde::{Deserialize, Serialize};

use crate::export::circle;
use crate::receive::cors;
use crate::rules::DropRule;

pub use environment::{FromEnvironment, exporters_of};
pub use exporter::{
    Compression, Exported, ExporterConfig, ExporterKind, FileFormat, Protocol, TlsConfig,
};
pub use secret::{EnvSource, FileSource, HeaderSource};

const MIB: usize = 1_024 * 1_024;
const GIB: usize = 1_024 * MIB;
/// Files of the spool go as a whole, so it needs room for some of them.
const SPOOL_BYTES_MIN: u64 = 64 * MIB as u64;
/// Each exporter's task checks in at the pulse of the beat, beside the pipeline's own.
const EXPORTERS_MAX: usize = watchdog_core::pulse::WORKERS_MAX as usize - 1;

/// Configuration of the collector role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// OTLP over gRPC.
    pub grpc_listen: SocketAddr,
    /// OTLP over HTTP.
    pub http_listen: SocketAddr,
    /// Health, metrics and tally. Off loopback, anyone who reaches it can read the tally.
    pub admin_listen: SocketAddr,
    /// OTLP over gRPC and HTTP at a Unix socket besides, open to owner and group of its file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unix_listen: Option<PathBuf>,
    /// TLS at both OTLP ports; without it they speak in the clear.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFiles>,
    /// Files with bearer tokens, one a line: clients of both OTLP ports must send one of them.
    pub bearer_token_files: Vec<PathBuf>,
    /// Origins whose web pages may send over HTTP (CORS), as `https://shop.example`; `*` is all.
    pub cors_origins: Vec<String>,
    /// The largest request, before and after decompression.
    pub max_request_bytes: usize,
    /// Bytes of requests in memory, received and queued together. Beyond it requests are refused.
    pub memory_bytes: usize,
    /// Rows of the tally. Beyond it new services, instances and revisions are not counted.
    pub tally_rows_max: usize,
    /// What an answer of success promises, if there is an exporter.
    pub acknowledge: Acknowledge,
    /// Bytes of the spool on disk. Beyond it requests are refused.
    pub spool_bytes: u64,
    /// How long a stop waits for queued requests to reach their backends.
    pub drain_timeout_ms: u64,
    /// How long records may wait for a backend, or probes for the far tap, without one getting
    /// through, until `/healthz` says so.
    pub stall_ms: u64,
    /// Whether `OTEL_EXPORTER_OTLP_*` say where to forward to, if no exporter is named here.
    pub otel_environment: bool,
    /// What is dropped instead of forwarded, and counted as dropped.
    pub drop: Vec<DropRule>,
    /// Attributes that every resource gets which has none of that name.
    pub resource_attributes: BTreeMap<String, String>,
    /// Where to forward to; none means tally only.
    #[serde(rename = "exporter")]
    pub exporters: Vec<ExporterConfig>,
}

/// When a request is answered with success, if there is an exporter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Acknowledge {
    /// When it is on disk: it survives a crash and a power cut, and backends that are away for as
    /// long as the spool has room.
    #[default]
    Spooled,
    /// When every backend took it: nothing is kept on disk, and clients wait for the backends.
    Delivered,
    /// When it is in memory: a crash loses what waits.
    Queued,
}

impl Default for Config {
    fn default() -> Self {
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            grpc_listen: loopback(4317),
            http_listen: loopback(4318),
            admin_listen: loopback(7060),
            unix_listen: None,
            tls: None,
            bearer_token_files: Vec::new(),
            cors_origins: Vec::new(),
            max_request_bytes: 64 * MIB,
            memory_bytes: 256 * MIB,
            tally_rows_max: 10_000,
            acknowledge: Acknowledge::default(),
            spool_bytes: GIB as u64,
            drain_timeout_ms: 5_000,
            stall_ms: 10_000,
            otel_environment: true,
            drop: Vec::new(),
            resource_attributes: BTreeMap::new(),
            exporters: Vec::new(),
        }
    }
}

impl Config {
    /// Whether `endpoint` is, without looking up its host, one of the ports named here.
    #[must_use]
    pub fn listens_at(&self, endpoint: &str) -> bool {
        circle::is_said_to_lead_to(
            endpoint,
            &[self.grpc_listen, self.http_listen, self.admin_listen],
        )
    }

    /// What is allowed and yet seldom wanted.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let hides = |rule: &&DropRule| rule.hides_probes();
        let warning = "a rule in [[collector.drop]] drops the watchdog's probes: it will find that \
                       nothing gets through";
        self.drop.iter().filter(hides).map(|_| warning.to_owned()).collect()
    }

    /// What is wrong across or within fields, as key and explanation; empty if nothing is.
    #[must_use]
    pub fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut mistakes = Vec::new();
        let mut check = |good: bool, key, text: String| {
            if !good {
                mistakes.push((key, text));
            }
        };
        for origin in &self.cors_origins {
            let mistake = cors::mistake(origin);
            check(mistake.is_none(), "cors_origins", mistake.unwrap_or_default());
        }
        check(
            (1_024..=GIB).contains(&self.max_request_bytes),
            "max_request_bytes",
            format!("{} is not between 1 KiB and 1 GiB", self.max_request_bytes),
        );
        check(
            self.memory_bytes / 2 >= self.max_request_bytes,
            "memory_bytes",
            format!(
                "{} is less than twice max_request_bytes ({}): a compressed request and its \
                 content must fit",
                self.memory_bytes, self.max_request_bytes
            ),
        );
        check(
            self.spool_bytes >= SPOOL_BYTES_MIN.max(2 * self.max_request_bytes as u64),
            "spool_bytes",
            format!("{} is less than 64 MiB, or than twice max_request_bytes", self.spool_bytes),
        );
        check(self.tally_rows_max > 0, "tally_rows_max", "0 would count nothing".to_owned());
        for rule in &self.drop {
            let mistake = rule.mistake();
            check(mistake.is_none(), "drop", mistake.unwrap_or_default().to_owned());
        }
        check(
            !self.resource_attributes.contains_key(""),
            "resource_attributes",
            "an attribute has no name".to_owned(),
        );
        check(
            self.exporters.len() <= EXPORTERS_MAX,
            "exporter",
            format!("{} backends; at most {EXPORTERS_MAX} are possible", self.exporters.len()),
        );
        let mut labels = std::collections::BTreeSet::new();
        for exporter in &self.exporters {
            let label = exporter.label();
            check(
                labels.insert(label.clone()),
                "exporter",
                format!("{label} stands twice; what waits for it could not be told apart"),
            );
            for (key, text) in exporter.mistakes(self.max_request_bytes) {
                check(false, key, text);
            }
        }
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_has_no_mistakes() {
        assert_eq!(Config::default().mistakes(), []);
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let mut bad = ExporterConfig::new("ftp://x", Protocol::Http);
        bad.timeout_ms = 0;
        bad.concurrency = 0;
        bad.queue_bytes = 1;
        bad.headers.insert("a b".to_owned(), "".into());
        let config = Config {
            cors_origins: vec!["shop.example".to_owned()],
            memory_bytes: 1,
            exporters: vec![bad],
            ..Config::default()
        };
        let keys: Vec<_> = config.mistakes().into_iter().map(|(key, _)| key).collect();
        assert_eq!(
            keys,
            [
                "cors_origins",
                "memory_bytes",
                "exporter.endpoint",
                "exporter.headers",
                "exporter.timeout_ms",
                "exporter.concurrency",
                "exporter.queue_bytes"
            ]
        );
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        let error = serde_json::from_str::<Config>(r#"{"grpc_listn": "x"}"#).expect_err("unknown");
        assert!(error.to_string().contains("grpc_listn"), "{error}");
    }
}
