//! The paths of OTLP, here and at every backend.
//!
//! Invariant: what the receiver takes under a path, the exporters send to the same one.

use watchdog_core::tally::Signal;

/// The path of `signal` over HTTP.
pub(crate) const fn http(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "/v1/traces",
        Signal::Metrics => "/v1/metrics",
        Signal::Logs => "/v1/logs",
    }
}

/// The path of `signal` over gRPC.
pub(crate) const fn grpc(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    }
}

/// The signal whose path by `path_of` is `path`.
pub(super) fn find(path: &str, path_of: impl Fn(Signal) -> &'static str) -> Option<Signal> {
    Signal::ALL.into_iter().find(|signal| path_of(*signal) == path)
}
