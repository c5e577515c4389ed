//! `OTEL_EXPORTER_OTLP_*`: where to forward to, if the configuration names nothing.
//!
//! Source: OpenTelemetry specification, "OpenTelemetry Protocol Exporter", Configuration Options.
//! Without an endpoint nothing is forwarded: its default is the address of a collector on this
//! machine, which is us. One exporter stands for all signals; a signal that has variables of its
//! own gets one of its own, whose endpoint is the whole URL.
//!
//! Invariant: a variable that is set and cannot be honoured is a mistake, never ignored.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Compression, Exported, ExporterConfig, Protocol, TlsConfig};

const PREFIX: &str = "OTEL_EXPORTER_OTLP_";
const SIGNALS: [(Exported, &str); 3] =
    [(Exported::Traces, "TRACES_"), (Exported::Metrics, "METRICS_"), (Exported::Logs, "LOGS_")];

/// An exporter from the environment, and by which variable each of its keys was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromEnvironment {
    pub exporter: ExporterConfig,
    pub origins: BTreeMap<&'static str, String>,
}

/// The exporters that the variables ask for; none if they name no endpoint. Variables are asked
/// for by `get`; an empty one counts as unset.
///
/// # Errors
/// Every variable that cannot be honoured, and why.
pub fn exporters_of(
    get: impl Fn(&str) -> Option<String>,
) -> Result<Vec<FromEnvironment>, Vec<String>> {
    let get = |name: &str| get(name).filter(|value| !value.trim().is_empty());
    let has_own = |own: &str| {
        let names = ["ENDPOINT", "PROTOCOL", "HEADERS", "COMPRESSION", "TIMEOUT", "CERTIFICATE"];
        let more = ["CLIENT_CERTIFICATE", "CLIENT_KEY", "INSECURE"];
        names.iter().chain(&more).any(|name| get(&format!("{PREFIX}{own}{name}")).is_some())
    };
    let mut exporters = Vec::new();
    let mut mistakes = Vec::new();
    let mut shared = Vec::new();
    for (signal, own) in SIGNALS {
        if has_own(own) {
            let reading =
                Reading { get: &get, own, origins: BTreeMap::new(), mistakes: &mut mistakes };
            exporters.extend(reading.exporter(vec![signal]));
        } else {
            shared.push(signal);
        }
    }
    let signals = if shared.len() == SIGNALS.len() { Vec::new() } else { shared.clone() };
    if !shared.is_empty() {
        let reading =
            Reading { get: &get, own: "", origins: BTreeMap::new(), mistakes: &mut mistakes };
        exporters.extend(reading.exporter(signals));
    }
    if mistakes.is_empty() { Ok(exporters) } else { Err(mistakes) }
}

/// The variables of one exporter: a signal's own come before those of all.
struct Reading<'a, G> {
    get: &'a G,
    own: &'static str,
    origins: BTreeMap<&'static str, String>,
    mistakes: &'a mut Vec<String>,
}

impl<G: Fn(&str) -> Option<String>> Reading<'_, G> {
    /// The value of a variable for `key`, and its name.
    fn value(&mut self, key: &'static str, name: &str) -> Option<(String, String)> {
        let names = [format!("{PREFIX}{}{name}", self.own), format!("{PREFIX}{name}")];
        let (variable, value) =
            names.into_iter().find_map(|name| Some((name.clone(), (self.get)(&name)?)))?;
        self.origins.insert(key, variable.clone());
        Some((variable, value))
    }

    fn exporter(mut self, signals: Vec<Exported>) -> Option<FromEnvironment> {
        let (named_by, endpoint) = self.value("endpoint", "ENDPOINT")?;
        let protocol = self.protocol();
        let is_own = !self.own.is_empty() && named_by.contains(self.own);
        let exporter = ExporterConfig {
            signals,
            endpoint: self.with_scheme(endpoint.trim().to_owned(), protocol),
            endpoint_is_whole: is_own && protocol == Protocol::Http,
            compression: self.compression(),
            timeout_ms: self.timeout_ms(),
            tls: self.tls(),
            ..ExporterConfig::new("", protocol)
        };
        let exporter = self.headers(exporter);
        for (key, text) in exporter.mistakes(0) {
            let key = key.strip_prefix("exporter.").unwrap_or(key);
            let by = self.origins.get(key).unwrap_or(&named_by);
            self.mistakes.push(format!("{by}: {key} {text}"));
        }
        Some(FromEnvironment { exporter, origins: self.origins })
    }

    fn protocol(&mut self) -> Protocol {
        match self.value("protocol", "PROTOCOL") {
            None => Protocol::Http,
            Some((_, value)) if value == "grpc" => Protocol::Grpc,
            Some((_, value)) if value == "http/protobuf" => Protocol::Http,
            Some((name, value)) => {
                self.mistakes
                    .push(format!("{name}: `{value}` is not supported; set grpc or http/protobuf"));
                Protocol::Http
            }
        }
    }

    /// gRPC endpoints may be without a scheme; `INSECURE` says which is meant.
    fn with_scheme(&mut self, endpoint: String, protocol: Protocol) -> String {
        if protocol != Protocol::Grpc || endpoint.contains("://") {
            return endpoint;
        }
        let insecure = self.value("endpoint_scheme", "INSECURE");
        let is_insecure = insecure.is_some_and(|(_, value)| value.eq_ignore_ascii_case("true"));
        format!("{}://{endpoint}", if is_insecure { "http" } else { "https" })
    }

    fn compression(&mut self) -> Compression {
        match self.value("compression", "COMPRESSION") {
            None => Compression::None,
            Some((_, value)) if value == "none" => Compression::None,
            Some((_, value)) if value == "gzip" => Compression::Gzip,
            Some((_, value)) if value == "zstd" => Compression::Zstd,
            Some((name, value)) => {
                self.mistakes
                    .push(format!("{name}: `{value}` is not supported; set none, gzip or zstd"));
                Compression::None
            }
        }
    }

    fn timeout_ms(&mut self) -> u64 {
        let default = ExporterConfig::default().timeout_ms;
        let Some((name, value)) = self.value("timeout_ms", "TIMEOUT") else { return default };
        value.trim().parse().unwrap_or_else(|_| {
            self.mistakes.push(format!("{name}: `{value}` is not a number of milliseconds"));
            default
        })
    }

    fn tls(&mut self) -> TlsConfig {
        let mut file = |name| self.value("tls", name).map(|(_, value)| PathBuf::from(value));
        TlsConfig {
            ca_file: file("CERTIFICATE"),
            cert_file: file("CLIENT_CERTIFICATE"),
            key_file: file("CLIENT_KEY"),
            server_name: None,
        }
    }

    /// `key1=value1,key2=value2`, values percent-encoded.
    fn headers(&mut self, mut exporter: ExporterConfig) -> ExporterConfig {
        let Some((name, list)) = self.value("headers", "HEADERS") else { return exporter };
        for pair in list.split(',').filter(|pair| !pair.trim().is_empty()) {
            let value =
                pair.split_once('=').map(|(key, value)| (key.trim(), decoded(value.trim())));
            match value {
                Some((key, Some(value))) if !key.is_empty() => {
                    exporter.headers.insert(key.to_lowercase(), value.as_str().into());
                }
                // The text may be a secret, so it is not repeated.
                Some(_) | None => self.mistakes.push(format!(
                    "{name}: is not of the form key=value,key=value with values percent-encoded"
                )),
            }
        }
        exporter
    }
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        if *byte == b'%' {
            let (digits, after) = after.split_first_chunk::<2>()?;
            let mut decoded = [0];
            hex::decode_to_slice(digits, &mut decoded).ok()?;
            bytes.push(decoded[0]);
            rest = after;
        } else {
            bytes.push(*byte);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HeaderSource;

    fn of(variables: &[(&str, &str)]) -> Result<Vec<FromEnvironment>, Vec<String>> {
        let prefixed = |name: &str| name.strip_prefix(PREFIX).map(str::to_owned);
        exporters_of(|name| {
            let name = prefixed(name)?;
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn exporters(variables: &[(&str, &str)]) -> Vec<ExporterConfig> {
        let found = of(variables).expect("no mistakes");
        found.into_iter().map(|found| found.exporter).collect()
    }

    #[test]
    fn without_an_endpoint_nothing_is_forwarded() {
        assert_eq!(exporters(&[]), []);
        assert_eq!(exporters(&[("ENDPOINT", ""), ("PROTOCOL", "grpc")]), []);
        assert_eq!(exporters(&[("TRACES_TIMEOUT", "7")]), []);
    }

    #[test]
    fn one_endpoint_takes_all_signals_with_all_that_is_set() {
        let [exporter] = exporters(&[
            ("ENDPOINT", "https://otlp.example:4318/base"),
            ("HEADERS", "api-key=a%20b, X-Tenant=t=1"),
            ("COMPRESSION", "gzip"),
            ("TIMEOUT", "2500"),
            ("CERTIFICATE", "/ca.pem"),
            ("CLIENT_CERTIFICATE", "/cert.pem"),
            ("CLIENT_KEY", "/key.pem"),
        ])
        .try_into()
        .expect("one");
        let ExporterConfig { signals, endpoint_is_whole, compression, timeout_ms, .. } = &exporter;
        assert_eq!((signals.len(), *endpoint_is_whole), (0, false));
        assert_eq!((*compression, *timeout_ms), (Compression::Gzip, 2_500));
        assert_eq!(exporter.headers["api-key"], HeaderSource::Text("a b".to_owned()));
        assert_eq!(exporter.headers["x-tenant"], HeaderSource::Text("t=1".to_owned()));
        assert_eq!(exporter.tls.key_file, Some(PathBuf::from("/key.pem")));
    }

    #[test]
    fn a_signal_with_variables_of_its_own_gets_an_exporter_of_its_own() {
        let both = exporters(&[
            ("ENDPOINT", "http://all:4318"),
            ("TRACES_ENDPOINT", "http://traces:9999/whole"),
            ("LOGS_TIMEOUT", "1"),
        ]);
        let [traces, logs, rest] = both.try_into().expect("three");
        assert_eq!(traces.signals, [Exported::Traces]);
        assert!(traces.endpoint_is_whole);
        assert_eq!(traces.endpoint, "http://traces:9999/whole");
        assert_eq!((logs.endpoint.as_str(), logs.timeout_ms), ("http://all:4318", 1));
        assert!(!logs.endpoint_is_whole, "it is the endpoint of all");
        assert_eq!(rest.signals, [Exported::Metrics]);
    }

    #[test]
    fn grpc_endpoints_may_be_without_a_scheme() {
        let endpoint = |insecure| {
            let variables =
                [("ENDPOINT", "otlp:4317"), ("PROTOCOL", "grpc"), ("INSECURE", insecure)];
            exporters(&variables)[0].endpoint.clone()
        };
        assert_eq!(endpoint("true"), "http://otlp:4317");
        assert_eq!(endpoint("false"), "https://otlp:4317");
    }

    #[test]
    fn every_mistake_names_its_variable_and_no_secret() {
        let mistakes = of(&[
            ("ENDPOINT", "otlp:4318"),
            ("PROTOCOL", "http/json"),
            ("COMPRESSION", "br"),
            ("TIMEOUT", "10s"),
            ("HEADERS", "s3cret"),
            ("CLIENT_KEY", "/key.pem"),
        ])
        .expect_err("all of them");
        let names: Vec<_> =
            mistakes.iter().map(|text| text.split(':').next().expect("a name")).collect();
        let expected = ["PROTOCOL", "COMPRESSION", "TIMEOUT", "HEADERS", "ENDPOINT", "CLIENT_KEY"];
        assert_eq!(names, expected.map(|name| format!("{PREFIX}{name}")));
        assert!(mistakes.iter().all(|text| !text.contains("s3cret")), "{mistakes:?}");
    }
}
