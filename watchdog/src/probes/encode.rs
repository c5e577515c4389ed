//! A probe as an OTLP request, encoded by hand: a few nested messages need no code generator.
//!
//! Field numbers are those of `opentelemetry/proto/{trace,metrics,logs,resource,common}/v1`.
//!
//! Invariant: to the collector a probe is an ordinary request with one ordinary record.

use watchdog_core::probe::{
    ATTR_MAC, ATTR_RUN, ATTR_SEQ, ATTR_VALUE, ATTR_WAY, POINT_RUN, POINT_WAY, PROBE_METRIC,
    PROBE_SERVICE,
};
use watchdog_core::tally::Signal;

use super::answer::{ProbeKey, Question};

const WIRE_FIXED64: u8 = 1;
const WIRE_BYTES: u8 = 2;
const KIND_INTERNAL: u8 = 1;
const SEVERITY_INFO: u8 = 9;

/// The body of `POST /v1/{traces,metrics,logs}` for a probe that leaves at `wall_ns` of the Unix
/// epoch.
pub fn request(key: &ProbeKey, asked: Question<'_>, wall_ns: u64) -> Vec<u8> {
    let record = match asked.signal {
        Signal::Traces => span(key, asked, wall_ns),
        Signal::Metrics => metric(key, asked, wall_ns),
        Signal::Logs => log(key, asked, wall_ns),
    };
    // The three signals share the upper levels: request, resource, scope.
    let mut resource = Vec::new();
    bytes(&mut resource, 1, &attribute("service.name", PROBE_SERVICE));
    let mut of_scope = Vec::with_capacity(record.len() + 8);
    bytes(&mut of_scope, 2, &record);
    let mut of_resource = Vec::with_capacity(of_scope.len() + resource.len() + 16);
    bytes(&mut of_resource, 1, &resource);
    bytes(&mut of_resource, 2, &of_scope);
    let mut request = Vec::with_capacity(of_resource.len() + 8);
    bytes(&mut request, 1, &of_resource);
    request
}

fn span(key: &ProbeKey, asked: Question<'_>, wall_ns: u64) -> Vec<u8> {
    let value: u64 = key.value(asked).parse().expect("it is a number in decimal");
    let mut span = Vec::with_capacity(448);
    bytes(&mut span, 1, &trace_id(value, asked.seq));
    bytes(&mut span, 2, &value.to_be_bytes());
    bytes(&mut span, 5, b"probe");
    span.extend([6 << 3, KIND_INTERNAL]);
    fixed64(&mut span, 7, wall_ns);
    fixed64(&mut span, 8, wall_ns);
    marks(&mut span, 9, key, asked);
    span
}

fn log(key: &ProbeKey, asked: Question<'_>, wall_ns: u64) -> Vec<u8> {
    let mut record = Vec::with_capacity(448);
    fixed64(&mut record, 1, wall_ns);
    record.extend([2 << 3, SEVERITY_INFO]);
    bytes(&mut record, 3, b"INFO");
    bytes(&mut record, 5, &any("probe"));
    marks(&mut record, 6, key, asked);
    fixed64(&mut record, 11, wall_ns);
    record
}

fn metric(key: &ProbeKey, asked: Question<'_>, wall_ns: u64) -> Vec<u8> {
    let value: u64 = key.value(asked).parse().expect("it is a number in decimal");
    let mut point = Vec::with_capacity(192);
    fixed64(&mut point, 3, wall_ns);
    fixed64(&mut point, 6, value);
    bytes(&mut point, 7, &attribute(POINT_RUN, asked.run));
    bytes(&mut point, 7, &attribute(POINT_WAY, asked.way.as_str()));
    let mut gauge = Vec::with_capacity(point.len() + 8);
    bytes(&mut gauge, 1, &point);
    let mut metric = Vec::with_capacity(gauge.len() + 128);
    bytes(&mut metric, 1, PROBE_METRIC.as_bytes());
    bytes(&mut metric, 2, b"Known answers of the watchdog; not a measurement");
    bytes(&mut metric, 5, &gauge);
    metric
}

/// What a span or log record carries as attributes, in field `number`.
fn marks(record: &mut Vec<u8>, number: u8, key: &ProbeKey, asked: Question<'_>) {
    for (name, text) in [
        (ATTR_RUN, asked.run),
        (ATTR_WAY, asked.way.as_str()),
        (ATTR_SEQ, &asked.seq.to_string()),
        (ATTR_VALUE, &key.value(asked)),
        (ATTR_MAC, &key.mac(asked)),
    ] {
        bytes(record, number, &attribute(name, text));
    }
}

fn trace_id(value: u64, seq: u64) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&value.to_be_bytes());
    id[8..].copy_from_slice(&seq.to_be_bytes());
    id
}

/// `KeyValue { key, value: AnyValue { string_value } }`.
fn attribute(name: &str, text: &str) -> Vec<u8> {
    let any = any(text);
    let mut pair = Vec::with_capacity(name.len() + any.len() + 8);
    bytes(&mut pair, 1, name.as_bytes());
    bytes(&mut pair, 2, &any);
    pair
}

/// `AnyValue { string_value }`.
fn any(text: &str) -> Vec<u8> {
    let mut any = Vec::with_capacity(text.len() + 4);
    bytes(&mut any, 1, text.as_bytes());
    any
}

fn bytes(out: &mut Vec<u8>, field: u8, content: &[u8]) {
    out.push(field << 3 | WIRE_BYTES);
    let mut length = content.len();
    while length >= 0x80 {
        out.push(u8::try_from(length & 0x7f).expect("seven bits fit") | 0x80);
        length >>= 7;
    }
    out.push(u8::try_from(length).expect("the loop left less than 0x80"));
    out.extend_from_slice(content);
}

fn fixed64(out: &mut Vec<u8>, field: u8, value: u64) {
    out.push(field << 3 | WIRE_FIXED64);
    out.extend(value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
    use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point};
    use opentelemetry_proto::tonic::resource::v1::Resource;
    use prost::Message as _;
    use watchdog_core::probe::Way;

    use super::*;

    fn text(attributes: &[KeyValue], name: &str) -> Option<String> {
        let value = attributes.iter().find(|a| a.key == name)?.value.clone()?.value?;
        let Value::StringValue(text) = value else { return None };
        Some(text)
    }

    const WALL_NS: u64 = 1_700_000_000_000_000_000;

    fn run() -> String {
        "1700000000000-run-with-a-name-of-some-length".repeat(4)
    }

    fn body(run: &str, signal: Signal) -> (Question<'_>, ProbeKey, Vec<u8>) {
        let key = ProbeKey::new([1; 32]);
        let asked = Question { run, way: Way::Path, signal, seq: 300 };
        let body = request(&key, asked, WALL_NS);
        (asked, key, body)
    }

    fn check_marks(attributes: &[KeyValue], key: &ProbeKey, asked: Question<'_>) {
        assert_eq!(text(attributes, ATTR_RUN).as_deref(), Some(asked.run));
        assert_eq!(text(attributes, ATTR_WAY).as_deref(), Some("path"));
        assert_eq!(text(attributes, ATTR_SEQ).as_deref(), Some("300"));
        assert_eq!(text(attributes, ATTR_MAC), Some(key.mac(asked)));
        assert_eq!(text(attributes, ATTR_VALUE), Some(key.value(asked)));
    }

    fn check_service(resource: Option<&Resource>) {
        let attributes = &resource.expect("a resource").attributes;
        assert_eq!(text(attributes, "service.name").as_deref(), Some(PROBE_SERVICE));
    }

    #[test]
    fn the_official_decoder_reads_what_was_meant_of_a_span() {
        let run = run();
        let (asked, key, body) = body(&run, Signal::Traces);
        let request = ExportTraceServiceRequest::decode(body.as_slice()).expect("it decodes");
        let spans = &request.resource_spans[0];
        check_service(spans.resource.as_ref());
        let span = &spans.scope_spans[0].spans[0];
        assert_eq!((span.name.as_str(), span.kind), ("probe", 1));
        assert_eq!((span.trace_id.len(), span.span_id.len()), (16, 8));
        assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), (WALL_NS, WALL_NS));
        check_marks(&span.attributes, &key, asked);
    }

    #[test]
    fn the_official_decoder_reads_what_was_meant_of_a_log_record() {
        let run = run();
        let (asked, key, body) = body(&run, Signal::Logs);
        let request = ExportLogsServiceRequest::decode(body.as_slice()).expect("it decodes");
        let logs = &request.resource_logs[0];
        check_service(logs.resource.as_ref());
        let record = &logs.scope_logs[0].log_records[0];
        assert_eq!((record.severity_number, record.severity_text.as_str()), (9, "INFO"));
        assert_eq!((record.time_unix_nano, record.observed_time_unix_nano), (WALL_NS, WALL_NS));
        let said = record.body.clone().and_then(|body| body.value);
        assert_eq!(said, Some(Value::StringValue("probe".into())));
        check_marks(&record.attributes, &key, asked);
    }

    #[test]
    fn the_official_decoder_reads_what_was_meant_of_a_gauge() {
        let run = run();
        let (asked, key, body) = body(&run, Signal::Metrics);
        let request = ExportMetricsServiceRequest::decode(body.as_slice()).expect("it decodes");
        let metrics = &request.resource_metrics[0];
        check_service(metrics.resource.as_ref());
        let metric = &metrics.scope_metrics[0].metrics[0];
        assert_eq!(metric.name, PROBE_METRIC);
        let Some(Data::Gauge(gauge)) = &metric.data else { panic!("{:?}", metric.data) };
        let [point] = gauge.data_points.as_slice() else { panic!("{gauge:?}") };
        let value = key.value(asked).parse().expect("a number");
        assert_eq!(point.value, Some(number_data_point::Value::AsInt(value)));
        assert_eq!(point.time_unix_nano, WALL_NS);
        assert_eq!(text(&point.attributes, POINT_RUN), Some(run.clone()));
        assert_eq!(text(&point.attributes, POINT_WAY).as_deref(), Some("path"));
        assert_eq!(point.attributes.len(), 2, "each attribute is a label in a backend");
    }
}
