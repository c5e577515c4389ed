//! `[telemetry]`: where the roles send what they say of themselves.
//!
//! Invariant: nothing outside this table turns own telemetry on or points it somewhere; the
//! variables `OTEL_*` are for what is forwarded.

use std::collections::{BTreeMap, BTreeSet};

use collector::{Compression, ExporterConfig, HeaderSource, Outlet, Protocol, TlsConfig};
use serde::{Deserialize, Serialize};
use watchdog_core::tally::Signal;

/// The keys of `[telemetry]`; those of the way there mean what they mean for an exporter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// The backend's base URL; none: nothing is sent, and nothing runs for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    pub protocol: Protocol,
    pub compression: Compression,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, HeaderSource>,
    #[serde(skip_serializing_if = "is_unset")]
    pub tls: TlsConfig,
    /// One request takes at most this long.
    pub timeout_ms: u64,
    pub signals: BTreeSet<Signal>,
    /// How often the metrics are sent.
    pub interval_ms: u64,
    /// Spans of what happens often, at most; what happens seldom always has one.
    pub spans_per_s: u32,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            endpoint: None,
            protocol: Protocol::default(),
            compression: Compression::default(),
            headers: BTreeMap::new(),
            tls: TlsConfig::default(),
            timeout_ms: 5_000,
            signals: BTreeSet::from(Signal::ALL),
            interval_ms: 10_000,
            spans_per_s: 10,
        }
    }
}

fn is_unset(tls: &TlsConfig) -> bool {
    *tls == TlsConfig::default()
}

impl TelemetryConfig {
    /// The way to the backend, if there is one.
    #[must_use]
    pub fn way(&self) -> Option<ExporterConfig> {
        Some(ExporterConfig {
            compression: self.compression,
            headers: self.headers.clone(),
            tls: self.tls.clone(),
            timeout_ms: self.timeout_ms,
            ..ExporterConfig::new(self.endpoint.clone()?, self.protocol)
        })
    }

    /// What is wrong beside a collector that runs as `collector` says, as key and explanation.
    #[must_use]
    pub fn mistakes(&self, collector: &collector::Config) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        match self.way() {
            Some(way) => found.extend(Outlet::mistakes(&way)),
            None if !self.headers.is_empty() || !is_unset(&self.tls) => {
                found.push(("endpoint", "is missing: headers and tls are of no use".to_owned()));
            }
            None => {}
        }
        if let Some(endpoint) = self.endpoint.as_ref().filter(|it| collector.listens_at(it)) {
            found.push(("endpoint", leads_back(endpoint)));
        }
        if self.compression == Compression::AsReceived {
            let text = "\"as-received\" is for what is forwarded; name a compression";
            found.push(("compression", text.to_owned()));
        }
        if self.signals.is_empty() {
            found.push(("signals", "are none; leave out the endpoint instead".to_owned()));
        }
        if !(100..=3_600_000).contains(&self.interval_ms) {
            let text = format!("{} is not between 100 and 3600000", self.interval_ms);
            found.push(("interval_ms", text));
        }
        if self.spans_per_s > 1_000 {
            found.push(("spans_per_s", format!("{} is more than 1000", self.spans_per_s)));
        }
        found
    }
}

/// Why an endpoint cannot be.
pub fn leads_back(endpoint: &str) -> String {
    format!(
        "`{endpoint}` is the collector of this configuration: what it says of itself would be in \
         what it says next, for ever. Name a backend, or another collector"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(telemetry: &TelemetryConfig) -> Vec<&'static str> {
        let found = telemetry.mistakes(&collector::Config::default());
        found.into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn the_collectors_own_ports_are_refused_and_others_are_not() {
        let at = |endpoint: &str| TelemetryConfig {
            endpoint: Some(endpoint.to_owned()),
            ..TelemetryConfig::default()
        };
        for own in ["http://127.0.0.1:4318", "http://localhost:4317", "http://127.0.0.1:7060/x"] {
            assert_eq!(keys(&at(own)), ["endpoint"], "{own}");
        }
        for other in ["http://127.0.0.1:4319", "https://otlp.example:4318", "http://[::1]:4318"] {
            assert_eq!(keys(&at(other)), [""; 0], "{other}");
        }
    }

    #[test]
    fn every_mistake_is_named_by_its_key() {
        assert_eq!(keys(&TelemetryConfig::default()), [""; 0]);
        let bad = TelemetryConfig {
            endpoint: Some("nowhere".to_owned()),
            compression: Compression::AsReceived,
            timeout_ms: 0,
            signals: BTreeSet::new(),
            interval_ms: 1,
            spans_per_s: 1_001,
            ..TelemetryConfig::default()
        };
        let expected =
            ["endpoint", "timeout_ms", "compression", "signals", "interval_ms", "spans_per_s"];
        assert_eq!(keys(&bad), expected);
    }
}
