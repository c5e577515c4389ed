//! Export requests for tests: strategies for property tests, and full ones with every field set.
//!
//! Invariant: what is built here is valid OTLP.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList, any_value::Value,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram,
    HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary,
    SummaryDataPoint, exemplar, exponential_histogram_data_point::Buckets, metric::Data,
    number_data_point, summary_data_point::ValueAtQuantile,
};
pub use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span, Status,
    span::{Event, Link},
};
use proptest::prelude::*;
use prost::Message;
use watchdog_core::probe;
use watchdog_core::tally::Signal;

/// A length-delimited field, by hand.
pub fn field(number: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, &mut out);
    prost::encoding::encode_varint(bytes.len() as u64, &mut out);
    out.extend_from_slice(bytes);
    out
}

/// The last attribute `key` of `resource`, if its value is a text that is not empty.
pub fn text_attribute(resource: &Resource, key: &str) -> Option<String> {
    let attribute = resource.attributes.iter().rfind(|attribute| attribute.key == key)?;
    let Value::StringValue(text) = attribute.value.as_ref()?.value.as_ref()? else { return None };
    Some(text.clone()).filter(|text| !text.is_empty())
}

pub fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

/// A resource of `service`, with instance and revision.
pub fn resource(service: &str) -> Resource {
    let attributes = vec![
        text("service.name", service),
        text("service.instance.id", "i-1"),
        text("service.version", "v1"),
    ];
    Resource { attributes, ..Resource::default() }
}

/// A request of `service` with `n` server spans of 7 ms, each `failed` one an error.
pub fn spans(service: &str, n: u64, failed: u64) -> ExportTraceServiceRequest {
    let span = |i: u64| Span {
        trace_id: vec![7; 16],
        span_id: i.to_be_bytes().to_vec(),
        name: "GET /".to_owned(),
        kind: 2,
        start_time_unix_nano: 1_000_000_000,
        end_time_unix_nano: 1_007_000_000,
        status: (i < failed).then(|| Status { code: 2, ..Status::default() }),
        ..Span::default()
    };
    traces_of(resource(service), (0..n).map(span).collect())
}

/// A probe, as the watchdog sends it, of `run` and `seq`; its MAC is not a right one.
pub fn probe(run: &str, seq: u64) -> ExportTraceServiceRequest {
    let attributes = vec![
        text(probe::ATTR_RUN, run),
        text(probe::ATTR_SEQ, &seq.to_string()),
        text(probe::ATTR_VALUE, "42"),
        text(probe::ATTR_MAC, "00ff"),
    ];
    let span = Span { name: "probe".to_owned(), attributes, ..Span::default() };
    traces_of(resource(probe::PROBE_SERVICE), vec![span])
}

fn traces_of(resource: Resource, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans =
        vec![ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }
}

/// A gauge with one point.
pub fn gauge(value: f64, time: u64) -> ExportMetricsServiceRequest {
    let point = NumberDataPoint {
        time_unix_nano: time,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    };
    let data = Some(Data::Gauge(Gauge { data_points: vec![point] }));
    metrics_of(resource("shop"), vec![Metric { name: "g".to_owned(), data, ..Metric::default() }])
}

fn metrics_of(resource: Resource, metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics {
        resource: Some(resource),
        scope_metrics,
        ..ResourceMetrics::default()
    }];
    ExportMetricsServiceRequest { resource_metrics }
}

/// `n` log records of `service`.
pub fn log_lines(service: &str, n: usize) -> ExportLogsServiceRequest {
    let line = LogRecord { time_unix_nano: 5, severity_number: 9, ..LogRecord::default() };
    logs_of(resource(service), vec![line; n])
}

fn logs_of(resource: Resource, log_records: Vec<LogRecord>) -> ExportLogsServiceRequest {
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    let resource_logs =
        vec![ResourceLogs { resource: Some(resource), scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }
}

fn any_value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        Just(None),
        ".{0,8}".prop_map(|text| Some(Value::StringValue(text))),
        any::<bool>().prop_map(|value| Some(Value::BoolValue(value))),
        any::<i64>().prop_map(|value| Some(Value::IntValue(value))),
        (-1e300..1e300).prop_map(|value| Some(Value::DoubleValue(value))),
        prop::collection::vec(any::<u8>(), 0..8).prop_map(|bytes| Some(Value::BytesValue(bytes))),
    ]
    .prop_map(|value| AnyValue { value });
    leaf.prop_recursive(4, 16, 3, |inner| {
        let list = prop::collection::vec(("[a-z]{0,3}", inner.clone()), 0..3).prop_map(|items| {
            let pair = |(key, value)| KeyValue { key, value: Some(value), ..KeyValue::default() };
            Value::KvlistValue(KeyValueList { values: items.into_iter().map(pair).collect() })
        });
        let array = prop::collection::vec(inner, 0..3)
            .prop_map(|values| Value::ArrayValue(ArrayValue { values }));
        prop_oneof![list, array].prop_map(|value| AnyValue { value: Some(value) })
    })
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let pair = ("[a-z.]{0,6}", prop::option::of(any_value())).prop_map(|(key, value)| KeyValue {
        key,
        value,
        ..KeyValue::default()
    });
    prop::collection::vec(pair, 0..4)
}

fn any_resource() -> impl Strategy<Value = Resource> {
    let name = prop::option::of("[a-z]{0,4}");
    (attributes(), name, prop::option::of("[a-z]{0,4}"), 0..3u32).prop_map(
        |(mut attributes, name, instance, dropped)| {
            attributes.extend(name.map(|name| text("service.name", &name)));
            attributes.extend(instance.map(|name| text("service.instance.id", &name)));
            Resource { attributes, dropped_attributes_count: dropped, ..Resource::default() }
        },
    )
}

fn span() -> impl Strategy<Value = Span> {
    let status =
        prop::option::of((0..4, ".{0,4}").prop_map(|(code, message)| Status { code, message }));
    let times = (0..3_000_000_000u64, 0..3_000_000_000u64);
    (prop::collection::vec(any::<u8>(), 8), ".{0,8}", -1..7, times, attributes(), status).prop_map(
        |(span_id, name, kind, (start, end), attributes, status)| Span {
            trace_id: vec![1; 16],
            span_id,
            name,
            kind,
            start_time_unix_nano: start,
            end_time_unix_nano: end,
            events: vec![Event { attributes: attributes.clone(), ..Event::default() }],
            attributes,
            status,
            ..Span::default()
        },
    )
}

/// Any trace request.
pub fn traces() -> impl Strategy<Value = ExportTraceServiceRequest> {
    let resource = (prop::option::of(any_resource()), prop::collection::vec(span(), 0..4));
    prop::collection::vec(resource, 0..3).prop_map(|resources| {
        let resource = |(resource, spans): (Option<Resource>, Vec<Span>)| {
            let mut request = traces_of(resource.clone().unwrap_or_default(), spans);
            let mut spans = request.resource_spans.remove(0);
            spans.resource = resource;
            spans
        };
        ExportTraceServiceRequest { resource_spans: resources.into_iter().map(resource).collect() }
    })
}

fn number_points() -> impl Strategy<Value = Vec<NumberDataPoint>> {
    let value = prop_oneof![
        Just(None),
        any::<i64>().prop_map(|value| Some(number_data_point::Value::AsInt(value))),
        (-1e9..1e9).prop_map(|value| Some(number_data_point::Value::AsDouble(value))),
    ];
    let point =
        (value, 0..4u32, attributes()).prop_map(|(value, flags, attributes)| NumberDataPoint {
            value,
            flags,
            attributes,
            time_unix_nano: 3,
            ..NumberDataPoint::default()
        });
    prop::collection::vec(point, 0..4)
}

fn metric() -> impl Strategy<Value = Metric> {
    let buckets = prop::collection::vec(any::<u64>(), 0..4);
    let data = prop_oneof![
        Just(None),
        number_points().prop_map(|data_points| Some(Data::Gauge(Gauge { data_points }))),
        number_points()
            .prop_map(|data_points| Some(Data::Sum(Sum { data_points, ..Sum::default() }))),
        (buckets.clone(), 0..2u32).prop_map(|(bucket_counts, flags)| {
            let point =
                HistogramDataPoint { bucket_counts, flags, ..HistogramDataPoint::default() };
            Some(Data::Histogram(Histogram {
                data_points: vec![point],
                aggregation_temporality: 2,
            }))
        }),
        (buckets, 0..2u32).prop_map(|(bucket_counts, flags)| {
            let positive = Some(Buckets { offset: -3, bucket_counts });
            let point = ExponentialHistogramDataPoint {
                positive,
                flags,
                ..ExponentialHistogramDataPoint::default()
            };
            Some(Data::ExponentialHistogram(ExponentialHistogram {
                data_points: vec![point],
                aggregation_temporality: 1,
            }))
        }),
    ];
    (".{0,5}", data).prop_map(|(name, data)| Metric { name, data, ..Metric::default() })
}

/// Any metrics request.
pub fn metrics() -> impl Strategy<Value = ExportMetricsServiceRequest> {
    (any_resource(), prop::collection::vec(metric(), 0..4))
        .prop_map(|(resource, metrics)| metrics_of(resource, metrics))
}

/// Any logs request.
pub fn logs() -> impl Strategy<Value = ExportLogsServiceRequest> {
    let record = (any::<u64>(), attributes(), prop::option::of(any_value())).prop_map(
        |(time_unix_nano, attributes, body)| LogRecord {
            time_unix_nano,
            attributes,
            body,
            ..LogRecord::default()
        },
    );
    (any_resource(), prop::collection::vec(record, 0..4))
        .prop_map(|(resource, records)| logs_of(resource, records))
}

/// Any request of any signal, encoded.
pub fn encoded() -> impl Strategy<Value = (Signal, Vec<u8>)> {
    prop_oneof![
        traces().prop_map(|request| (Signal::Traces, request.encode_to_vec())),
        metrics().prop_map(|request| (Signal::Metrics, request.encode_to_vec())),
        logs().prop_map(|request| (Signal::Logs, request.encode_to_vec())),
    ]
}

fn every_value() -> Vec<KeyValue> {
    let values = [
        Value::StringValue("text".to_owned()),
        Value::BoolValue(true),
        Value::IntValue(-5),
        Value::DoubleValue(2.5),
        Value::BytesValue(vec![0, 255, 62]),
    ];
    let any: Vec<_> = values.map(|value| AnyValue { value: Some(value) }).into();
    let pair = |(i, value): (usize, AnyValue)| KeyValue {
        key: format!("k{i}"),
        value: Some(value),
        ..KeyValue::default()
    };
    let mut pairs: Vec<_> = any.iter().cloned().enumerate().map(pair).collect();
    let list = Value::KvlistValue(KeyValueList { values: pairs.clone() });
    let array = Value::ArrayValue(ArrayValue { values: any });
    for (i, value) in [list, array].into_iter().enumerate() {
        pairs.push(pair((i + 10, AnyValue { value: Some(value) })));
    }
    pairs
}

fn full_resource() -> Resource {
    let mut resource = resource("shop");
    resource.attributes.push(text("service.namespace", "eu"));
    resource.attributes.extend(every_value());
    resource.dropped_attributes_count = 1;
    resource.entity_refs.push(EntityRef {
        schema_url: "u".to_owned(),
        r#type: "service".to_owned(),
        id_keys: vec!["service.name".to_owned()],
        description_keys: vec!["k0".to_owned()],
    });
    resource
}

fn full_scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope {
        name: "scope".to_owned(),
        version: "1".to_owned(),
        attributes: every_value(),
        dropped_attributes_count: 2,
    })
}

/// A trace request with every field set.
pub fn full_traces() -> ExportTraceServiceRequest {
    let span = Span {
        trace_id: vec![0xab; 16],
        span_id: vec![0xcd; 8],
        trace_state: "a=b".to_owned(),
        parent_span_id: vec![1; 8],
        flags: 257,
        name: "GET".to_owned(),
        kind: 2,
        start_time_unix_nano: u64::MAX - 1,
        end_time_unix_nano: u64::MAX,
        attributes: every_value(),
        dropped_attributes_count: 1,
        events: vec![Event {
            time_unix_nano: 9,
            name: "e".to_owned(),
            attributes: every_value(),
            dropped_attributes_count: 3,
        }],
        dropped_events_count: 2,
        links: vec![Link {
            trace_id: vec![2; 16],
            span_id: vec![3; 8],
            trace_state: "c=d".to_owned(),
            attributes: every_value(),
            dropped_attributes_count: 4,
            flags: 1,
        }],
        dropped_links_count: 3,
        status: Some(Status { message: "bad".to_owned(), code: 2 }),
    };
    let mut request = traces_of(full_resource(), vec![span]);
    request.resource_spans[0].schema_url = "r".to_owned();
    request.resource_spans[0].scope_spans[0].schema_url = "s".to_owned();
    request.resource_spans[0].scope_spans[0].scope = full_scope();
    request
}

fn exemplars() -> Vec<Exemplar> {
    vec![Exemplar {
        filtered_attributes: every_value(),
        time_unix_nano: 4,
        span_id: vec![5; 8],
        trace_id: vec![6; 16],
        value: Some(exemplar::Value::AsInt(-1)),
    }]
}

fn full_data() -> Vec<Data> {
    let number = |value| NumberDataPoint {
        attributes: every_value(),
        start_time_unix_nano: 1,
        time_unix_nano: 2,
        exemplars: exemplars(),
        flags: 1,
        value: Some(value),
    };
    let (int, double) =
        (number_data_point::Value::AsInt(i64::MIN), number_data_point::Value::AsDouble(0.1));
    let histogram = HistogramDataPoint {
        attributes: every_value(),
        start_time_unix_nano: 1,
        time_unix_nano: 2,
        count: 3,
        sum: Some(-4.5),
        bucket_counts: vec![1, 2, u64::MAX],
        explicit_bounds: vec![0.5, 1.5],
        exemplars: exemplars(),
        flags: 2,
        min: Some(0.1),
        max: Some(9.0),
    };
    let buckets = || Some(Buckets { offset: -7, bucket_counts: vec![0, 300, u64::MAX] });
    let exponential = ExponentialHistogramDataPoint {
        attributes: every_value(),
        start_time_unix_nano: 1,
        time_unix_nano: 2,
        count: 3,
        sum: Some(1.0),
        scale: -2,
        zero_count: 1,
        positive: buckets(),
        negative: buckets(),
        flags: 0,
        exemplars: exemplars(),
        min: Some(-1.0),
        max: Some(1.0),
        zero_threshold: 0.25,
    };
    let summary = SummaryDataPoint {
        attributes: every_value(),
        start_time_unix_nano: 1,
        time_unix_nano: 2,
        count: 3,
        sum: 5.0,
        quantile_values: vec![ValueAtQuantile { quantile: 0.5, value: 2.0 }],
        flags: 0,
    };
    vec![
        Data::Gauge(Gauge { data_points: vec![number(int), number(double)] }),
        Data::Sum(Sum {
            data_points: vec![number(int)],
            aggregation_temporality: 2,
            is_monotonic: true,
        }),
        Data::Histogram(Histogram { data_points: vec![histogram], aggregation_temporality: 1 }),
        Data::ExponentialHistogram(ExponentialHistogram {
            data_points: vec![exponential],
            aggregation_temporality: 2,
        }),
        Data::Summary(Summary { data_points: vec![summary] }),
    ]
}

/// A metrics request with every field set, in every kind of metric.
pub fn full_metrics() -> ExportMetricsServiceRequest {
    let metric = |data| Metric {
        name: "m".to_owned(),
        description: "d".to_owned(),
        unit: "s".to_owned(),
        metadata: every_value(),
        data: Some(data),
    };
    let mut request = metrics_of(full_resource(), full_data().into_iter().map(metric).collect());
    request.resource_metrics[0].schema_url = "r".to_owned();
    request.resource_metrics[0].scope_metrics[0].scope = full_scope();
    request
}

/// A logs request with every field set.
pub fn full_logs() -> ExportLogsServiceRequest {
    let record = LogRecord {
        time_unix_nano: 1,
        observed_time_unix_nano: 2,
        severity_number: 17,
        severity_text: "ERROR".to_owned(),
        body: Some(AnyValue { value: Some(Value::StringValue("line".to_owned())) }),
        attributes: every_value(),
        dropped_attributes_count: 5,
        flags: 1,
        trace_id: vec![8; 16],
        span_id: vec![9; 8],
        event_name: "ev".to_owned(),
    };
    let mut request = logs_of(full_resource(), vec![record]);
    request.resource_logs[0].scope_logs[0].scope = full_scope();
    request
}

/// The full request of `signal`, encoded.
pub fn full(signal: Signal) -> Vec<u8> {
    match signal {
        Signal::Traces => full_traces().encode_to_vec(),
        Signal::Metrics => full_metrics().encode_to_vec(),
        Signal::Logs => full_logs().encode_to_vec(),
    }
}
