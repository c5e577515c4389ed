//! What a probe carries, read back out of the request that brought it.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point};
use prost::Message as _;
use watchdog_core::probe::{
    ATTR_MAC, ATTR_RUN, ATTR_SEQ, ATTR_VALUE, POINT_RUN, POINT_WAY, ProbeEcho,
};
use watchdog_core::tally::Signal;

/// The probes in a request of one signal.
pub fn echoes(signal: Signal, body: &[u8]) -> Vec<ProbeEcho> {
    match signal {
        Signal::Traces => {
            let request = ExportTraceServiceRequest::decode(body).expect("probes are OTLP");
            let scopes = request.resource_spans.iter().flat_map(|r| &r.scope_spans);
            let spans = scopes.flat_map(|s| &s.spans);
            spans.map(|span| marked(signal, &span.attributes)).collect()
        }
        Signal::Logs => {
            let request = ExportLogsServiceRequest::decode(body).expect("probes are OTLP");
            let scopes = request.resource_logs.iter().flat_map(|r| &r.scope_logs);
            let records = scopes.flat_map(|s| &s.log_records);
            records.map(|record| marked(signal, &record.attributes)).collect()
        }
        Signal::Metrics => {
            let request = ExportMetricsServiceRequest::decode(body).expect("probes are OTLP");
            metric_values(&request).into_iter().map(pointed).collect()
        }
    }
}

/// Run and value of each metric probe in a request.
pub fn metric_values(request: &ExportMetricsServiceRequest) -> Vec<(String, i64)> {
    let found = metric_values_by_way(request).into_iter();
    found.map(|(_, run, value)| (run, value)).collect()
}

/// Way, run and value of each metric probe in a request.
pub fn metric_values_by_way(request: &ExportMetricsServiceRequest) -> Vec<(String, String, i64)> {
    let scopes = request.resource_metrics.iter().flat_map(|r| &r.scope_metrics);
    let points = scopes.flat_map(|s| &s.metrics).flat_map(|metric| {
        let Some(Data::Gauge(gauge)) = &metric.data else { panic!("{metric:?}") };
        &gauge.data_points
    });
    points
        .map(|point| {
            let Some(number_data_point::Value::AsInt(value)) = point.value else {
                panic!("{point:?}")
            };
            let word = |key| text(&point.attributes, key);
            (word(POINT_WAY), word(POINT_RUN), value)
        })
        .collect()
}

fn pointed((run, value): (String, i64)) -> ProbeEcho {
    let (seq, mac) = (String::new(), String::new());
    ProbeEcho { signal: Signal::Metrics, run, seq, value: value.to_string(), mac, age_ms: 0 }
}

/// The echo of a probe in a span or log record.
fn marked(signal: Signal, attributes: &[KeyValue]) -> ProbeEcho {
    ProbeEcho {
        signal,
        run: text(attributes, ATTR_RUN),
        seq: text(attributes, ATTR_SEQ),
        value: text(attributes, ATTR_VALUE),
        mac: text(attributes, ATTR_MAC),
        age_ms: 0,
    }
}

fn text(attributes: &[KeyValue], name: &str) -> String {
    let value = attributes.iter().find(|a| a.key == name).and_then(|a| a.value.clone()?.value);
    let Some(Value::StringValue(text)) = value else { panic!("the probe has no {name}") };
    text
}
