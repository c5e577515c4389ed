//! Good requests of all three signals, small and with every field, for probes to send or to spoil.

use super::answer::Encoding;
use super::http::Ask;
use super::wire::{bytes, double, fixed32, fixed64, message, string, varint, varint_field};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Traces,
    Metrics,
    Logs,
}

pub const SIGNALS: [Signal; 3] = [Signal::Traces, Signal::Metrics, Signal::Logs];

impl Signal {
    pub fn path(self) -> &'static str {
        match self {
            Signal::Traces => "/v1/traces",
            Signal::Metrics => "/v1/metrics",
            Signal::Logs => "/v1/logs",
        }
    }

    pub fn method(self) -> &'static str {
        match self {
            Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        }
    }
}

pub const TIME: u64 = 1_790_000_000_000_000_000;
pub const TRACE_ID: [u8; 16] = *b"\x5b\x8e\xff\xf7\x98\x03\x81\x03\xd2\x69\xb6\x33\x81\x3f\xc6\x0c";
pub const SPAN_ID: [u8; 8] = *b"\xee\xe1\x9b\x7e\xc3\xc1\xb1\x74";

pub fn ask(signal: Signal, encoding: Encoding, body: impl Into<Vec<u8>>) -> Ask {
    Ask::post(signal.path()).header("Content-Type", encoding.media_type()).body(body)
}

/// `KeyValue` of a string.
pub fn attribute(field: u32, key: &str, value: &str) -> Vec<u8> {
    message(field, &[string(1, key), message(2, &[string(1, value)])])
}

/// `KeyValue` of any `AnyValue`.
pub fn any_attribute(field: u32, key: &str, any: &[u8]) -> Vec<u8> {
    message(field, &[string(1, key), bytes(2, any)])
}

pub fn resource() -> Vec<u8> {
    message(1, &[attribute(1, "service.name", "conformance")])
}

/// A request of any signal that holds these records in one resource and one scope.
pub fn request(records: &[Vec<u8>]) -> Vec<u8> {
    message(1, &[resource(), message(2, records)])
}

/// The fields of a span that make it valid.
pub fn span_fields() -> Vec<u8> {
    [
        bytes(1, &TRACE_ID),
        bytes(2, &SPAN_ID),
        string(5, "GET /cart"),
        varint_field(6, 2),
        fixed64(7, TIME),
        fixed64(8, TIME + 1_000_000),
    ]
    .concat()
}

/// A request of one valid span with more fields after the usual ones.
pub fn with_span(more: &[u8]) -> Vec<u8> {
    request(&[bytes(2, &[&span_fields(), more].concat())])
}

/// A request of one span with one attribute of this `AnyValue`.
pub fn with_any(any: &[u8]) -> Vec<u8> {
    with_span(&any_attribute(9, "probe", any))
}

/// A request of one metric: its name and the fields of its `data` oneof.
pub fn with_metric(fields: &[u8]) -> Vec<u8> {
    request(&[bytes(2, &[&string(1, "probe"), fields].concat())])
}

/// A request of one histogram point with more fields after time and count.
pub fn with_histogram_point(more: &[u8]) -> Vec<u8> {
    let point = [fixed64(3, TIME), fixed64(4, 3), more.to_vec()].concat();
    with_metric(&message(9, &[bytes(1, &point), varint_field(2, 2)]))
}

pub fn with_log(more: &[u8]) -> Vec<u8> {
    let record = [fixed64(1, TIME), varint_field(2, 9), more.to_vec()].concat();
    request(&[bytes(2, &record)])
}

pub fn small(signal: Signal) -> Vec<u8> {
    match signal {
        Signal::Traces => with_span(&[]),
        Signal::Metrics => with_metric(&message(5, &[gauge_point(1.5)])),
        Signal::Logs => with_log(&message(5, &[string(1, "a line")])),
    }
}

pub fn gauge_point(value: f64) -> Vec<u8> {
    message(1, &[fixed64(3, TIME), double(4, value)])
}

/// Every field of the signal's messages, as the schema of OTLP 1.11 has them.
pub fn full(signal: Signal) -> Vec<u8> {
    let records = match signal {
        Signal::Traces => vec![bytes(2, &full_span())],
        Signal::Metrics => full_metrics(),
        Signal::Logs => vec![bytes(2, &full_log())],
    };
    let scope = [
        string(1, "scope"),
        string(2, "1.0"),
        attribute(3, "scope.attribute", "x"),
        varint_field(4, 1),
    ];
    let resource = [
        attribute(1, "service.name", "conformance"),
        varint_field(2, 1),
        message(3, &[string(1, "url"), string(2, "service"), string(3, "service.name")]),
    ];
    let scoped = [vec![message(1, &scope)], records, vec![string(3, "https://schema")]].concat();
    message(1, &[message(1, &resource), message(2, &scoped), string(3, "https://schema")])
}

fn full_span() -> Vec<u8> {
    let event = [fixed64(1, TIME), string(2, "event"), attribute(3, "k", "v"), varint_field(4, 1)];
    let link = [
        bytes(1, &TRACE_ID),
        bytes(2, &SPAN_ID),
        string(3, "a=b"),
        attribute(4, "k", "v"),
        varint_field(5, 1),
        fixed32(6, 0x301),
    ];
    [
        span_fields(),
        string(3, "ot=th:8"),
        bytes(4, &SPAN_ID),
        attributes_of_all_kinds(9),
        varint_field(10, 1),
        message(11, &event),
        varint_field(12, 1),
        message(13, &link),
        varint_field(14, 1),
        message(15, &[string(2, "boom"), varint_field(3, 2)]),
        fixed32(16, 0x101),
    ]
    .concat()
}

fn full_log() -> Vec<u8> {
    [
        fixed64(1, TIME),
        varint_field(2, 17),
        string(3, "ERROR"),
        message(5, &[string(1, "a line")]),
        attributes_of_all_kinds(6),
        varint_field(7, 1),
        fixed32(8, 1),
        bytes(9, &TRACE_ID),
        bytes(10, &SPAN_ID),
        fixed64(11, TIME),
        string(12, "event.name"),
    ]
    .concat()
}

/// One attribute of each kind of `AnyValue`, the empty one included.
pub fn attributes_of_all_kinds(field: u32) -> Vec<u8> {
    let kinds = [
        Vec::new(),
        string(1, "text"),
        varint_field(2, 1),
        varint_field(3, u64::MAX),
        double(4, 0.5),
        message(5, &[message(1, &[string(1, "a")]), message(1, &[varint_field(3, 1)])]),
        message(6, &[attribute(1, "inner", "b")]),
        bytes(7, &[0, 255]),
    ];
    let named = kinds.iter().enumerate();
    named.flat_map(|(index, any)| any_attribute(field, &format!("kind.{index}"), any)).collect()
}

fn full_metrics() -> Vec<Vec<u8>> {
    let exemplar = [
        fixed64(2, TIME),
        double(3, 1.0),
        bytes(4, &SPAN_ID),
        bytes(5, &TRACE_ID),
        attribute(7, "k", "v"),
    ];
    let stamp = |attributes: u32| {
        [attribute(attributes, "k", "v"), fixed64(2, TIME), fixed64(3, TIME)].concat()
    };
    let number =
        [stamp(7), fixed64(6, u64::MAX), message(5, &exemplar), varint_field(8, 0)].concat();
    let histogram = [
        stamp(9),
        fixed64(4, 3),
        double(5, 3.5),
        bytes(6, &packed_fixed64(&[1, 2])),
        bytes(7, &1f64.to_le_bytes()),
        message(8, &exemplar),
        varint_field(10, 0),
        double(11, 0.5),
        double(12, 2.0),
    ]
    .concat();
    let buckets = [varint_field(1, 1), bytes(2, &[varint(1), varint(300)].concat())];
    let exponential = [
        attribute(1, "k", "v"),
        fixed64(2, TIME),
        fixed64(3, TIME),
        fixed64(4, 302),
        double(5, 3.5),
        varint_field(6, 3),
        fixed64(7, 1),
        message(8, &buckets),
        message(9, &buckets),
        varint_field(10, 0),
        message(11, &exemplar),
        double(12, 0.5),
        double(13, 2.0),
        double(14, 0.001),
    ]
    .concat();
    let quantile = message(6, &[double(1, 0.99), double(2, 3.0)]);
    let summary = [stamp(7), fixed64(4, 3), double(5, 3.5), quantile, varint_field(8, 0)].concat();
    let kinds = [
        message(5, &[bytes(1, &number)]),
        message(7, &[bytes(1, &number), varint_field(2, 2), varint_field(3, 1)]),
        message(9, &[bytes(1, &histogram), varint_field(2, 1)]),
        message(10, &[bytes(1, &exponential), varint_field(2, 2)]),
        message(11, &[bytes(1, &summary)]),
    ];
    let words = [string(1, "metric"), string(2, "words"), string(3, "1")].concat();
    let tail = attribute(12, "metadata", "x");
    kinds.iter().map(|kind| message(2, &[words.clone(), kind.clone(), tail.clone()])).collect()
}

pub fn packed_fixed64(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A good request as JSON.
pub fn small_json(signal: Signal) -> String {
    match signal {
        Signal::Traces => span_json(r#""name": "GET /cart""#),
        Signal::Metrics => metric_json(r#""gauge": {"dataPoints": [{"asDouble": 1.5}]}"#),
        Signal::Logs => log_json(r#""body": {"stringValue": "a line"}"#),
    }
}

fn json(resources: &str, scopes: &str, records: &str, record: &str) -> String {
    let service = r#"{"key": "service.name", "value": {"stringValue": "conformance"}}"#;
    format!(
        r#"{{"{resources}": [{{"resource": {{"attributes": [{service}]}},
            "{scopes}": [{{"scope": {{}}, "{records}": [{{{record}}}]}}]}}]}}"#
    )
}

/// One span of these members after its ids and times.
pub fn span_json(members: &str) -> String {
    let ids = r#""traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174""#;
    let times =
        r#""startTimeUnixNano": "1790000000000000000", "endTimeUnixNano": "1790000000001000000""#;
    bare_span_json(&format!("{ids}, {times}, {members}"))
}

/// One span of exactly these members.
pub fn bare_span_json(members: &str) -> String {
    json("resourceSpans", "scopeSpans", "spans", members)
}

pub fn metric_json(members: &str) -> String {
    json("resourceMetrics", "scopeMetrics", "metrics", &format!(r#""name": "probe", {members}"#))
}

/// One gauge point of these members.
pub fn point_json(members: &str) -> String {
    metric_json(&format!(r#""gauge": {{"dataPoints": [{{{members}}}]}}"#))
}

pub fn log_json(members: &str) -> String {
    json("resourceLogs", "scopeLogs", "logRecords", members)
}

/// One span with one attribute of this `AnyValue`.
pub fn any_json(any: &str) -> String {
    span_json(&format!(r#""attributes": [{{"key": "probe", "value": {any}}}]"#))
}
