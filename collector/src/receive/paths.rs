//! The paths of OTLP, here and at every backend.
//!
//! Invariant: what the receiver takes under a path, the exporters send to the same one.

use watchdog_core::tally::Signal;

use crate::kind::Kind;

/// The path of `kind` over HTTP.
pub(crate) const fn http(kind: Kind) -> &'static str {
    match kind {
        Kind::Tallied(Signal::Traces) => "/v1/traces",
        Kind::Tallied(Signal::Metrics) => "/v1/metrics",
        Kind::Tallied(Signal::Logs) => "/v1/logs",
        Kind::Profiles => "/v1development/profiles",
    }
}

/// The path of `kind` over gRPC.
pub(crate) const fn grpc(kind: Kind) -> &'static str {
    match kind {
        Kind::Tallied(Signal::Traces) => {
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
        }
        Kind::Tallied(Signal::Metrics) => {
            "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
        }
        Kind::Tallied(Signal::Logs) => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        Kind::Profiles => {
            "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export"
        }
    }
}

/// The kind whose path by `path_of` is `path`.
pub(super) fn find(path: &str, path_of: impl Fn(Kind) -> &'static str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| path_of(*kind) == path)
}
