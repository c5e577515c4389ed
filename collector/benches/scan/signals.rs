//! Logs and metrics of the size that services send: about 360 bytes a log, 200 a data point.
//!
//! Invariant: the same number of records is the same bytes, in every run.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
    metric::Data, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::requests::{number, text};

const START_NANOS: u64 = 1_700_000_000_000_000_000;
/// Points of one metric.
const POINTS: u64 = 10;

fn resource() -> Option<Resource> {
    let attributes = vec![
        text("service.name", "shop"),
        text("service.instance.id", "shop-7d4b9c-x2x9z"),
        text("service.version", "2.14.0"),
        text("host.name", "node-17.internal"),
    ];
    Some(Resource { attributes, ..Resource::default() })
}

/// `records` log lines of one service, every tenth an error.
pub fn logs(records: u64) -> ExportLogsServiceRequest {
    let scope_logs =
        vec![ScopeLogs { log_records: (0..records).map(log).collect(), ..ScopeLogs::default() }];
    let resource = resource();
    let resource_logs = vec![ResourceLogs { resource, scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }
}

fn log(index: u64) -> LogRecord {
    let line = format!("cart {index:08} of customer {:06} has 3 items, checkout took 41 ms", index);
    let (severity_number, severity_text) =
        if index.is_multiple_of(10) { (17, "ERROR") } else { (9, "INFO") };
    LogRecord {
        time_unix_nano: START_NANOS + index,
        observed_time_unix_nano: START_NANOS + index + 1,
        severity_number,
        severity_text: severity_text.to_owned(),
        body: Some(AnyValue { value: Some(Value::StringValue(line)) }),
        attributes: vec![
            text("code.function.name", "shop::checkout::take"),
            text("code.file.path", "src/checkout.rs"),
            number("code.line.number", 217),
            text("thread.name", "tokio-runtime-worker"),
            text("url.path", "/carts/checkout"),
        ],
        flags: 1,
        trace_id: (u128::from(index) + 1).to_be_bytes().to_vec(),
        span_id: (index + 1).to_be_bytes().to_vec(),
        ..LogRecord::default()
    }
}

/// `points` data points of one service, half of them numbers and half histograms.
pub fn metrics(points: u64) -> ExportMetricsServiceRequest {
    let metrics = (0..points / POINTS).map(metric).collect();
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    let resource = resource();
    let resource_metrics =
        vec![ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }
}

fn metric(index: u64) -> Metric {
    let points = index * POINTS..(index + 1) * POINTS;
    let data = if index.is_multiple_of(2) {
        let data_points = points.map(sum_point).collect();
        Data::Sum(Sum { data_points, aggregation_temporality: 2, is_monotonic: true })
    } else {
        let data_points = points.map(histogram_point).collect();
        Data::Histogram(Histogram { data_points, aggregation_temporality: 2 })
    };
    Metric {
        name: format!("http.server.requests.{index}"),
        description: "Requests that were answered".to_owned(),
        unit: "{request}".to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn attributes(index: u64) -> Vec<KeyValue> {
    vec![
        text("http.request.method", "GET"),
        text("http.route", &format!("/carts/{index:04}")),
        number("http.response.status_code", 200),
        text("server.address", "shop.example.com"),
    ]
}

fn sum_point(index: u64) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(index),
        start_time_unix_nano: START_NANOS,
        time_unix_nano: START_NANOS + 60_000_000_000,
        value: Some(number_data_point::Value::AsInt(index as i64)),
        ..NumberDataPoint::default()
    }
}

fn histogram_point(index: u64) -> HistogramDataPoint {
    HistogramDataPoint {
        attributes: attributes(index),
        start_time_unix_nano: START_NANOS,
        time_unix_nano: START_NANOS + 60_000_000_000,
        count: 12 * index,
        sum: Some(0.25 * index as f64),
        bucket_counts: vec![index; 12],
        explicit_bounds: (0..11).map(f64::from).collect(),
        ..HistogramDataPoint::default()
    }
}
