//! A metrics page as an export request.
//!
//! | on the page | in OTLP |
//! |---|---|
//! | counter | cumulative monotonic sum, since the role's start; named without `_total` |
//! | gauge | gauge |
//! | histogram | cumulative histogram with explicit bounds |
//! | no type | `otelcol_*` as the OpenTelemetry Collector sends them: sums, but for its gauges |
//!
//! Units are UCUM: `seconds` is `s`, `bytes` is `By`, also where only the name says so. A backend
//! that writes OTLP as Prometheus does gets the names of the page again.
//!
//! Invariant: whole numbers stay whole, so a count is exact however large it is.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::page::{Family, Sample, Type, read};

const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;
/// What the OpenTelemetry Collector counts has no type on the page, for the sake of its names.
const PEERS: &str = "otelcol_";
/// Those of its metrics that go up and down.
const PEER_GAUGES: [&str; 3] = ["queue_size", "queue_capacity", "memory_rss"];

/// When a page was taken.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// The start of what counts, in nanoseconds since 1970.
    pub started: u64,
    pub now: u64,
}

/// The request for `page`, and how many points it has; none if it has none.
pub fn request(
    page: &str,
    resource: Resource,
    scope: InstrumentationScope,
    span: Span,
) -> Option<(ExportMetricsServiceRequest, u64)> {
    let metrics: Vec<Metric> =
        read(page).iter().filter_map(|family| metric(family, span)).collect();
    let points = metrics.iter().filter_map(|metric| metric.data.as_ref()).map(points).sum();
    if points == 0 {
        return None;
    }
    let scope_metrics =
        vec![ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }];
    let resource = Some(resource);
    let resource_metrics =
        vec![ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }];
    Some((ExportMetricsServiceRequest { resource_metrics }, points))
}

fn points(data: &Data) -> u64 {
    let points = match data {
        Data::Gauge(gauge) => gauge.data_points.len(),
        Data::Sum(sum) => sum.data_points.len(),
        Data::Histogram(histogram) => histogram.data_points.len(),
        Data::ExponentialHistogram(histogram) => histogram.data_points.len(),
        Data::Summary(summary) => summary.data_points.len(),
    };
    points as u64
}

fn metric(family: &Family<'_>, span: Span) -> Option<Metric> {
    let is_peers = family.name.starts_with(PEERS);
    let is_gauge = PEER_GAUGES.iter().any(|name| family.name.ends_with(name));
    let data = match family.r#type {
        Type::Counter => sum(family, "_total", span),
        Type::Other if is_peers && !is_gauge => sum(family, "", span),
        Type::Gauge | Type::Other => Data::Gauge(Gauge { data_points: numbers(family, "", span) }),
        Type::Histogram => Data::Histogram(Histogram {
            data_points: histograms(family, span),
            aggregation_temporality: CUMULATIVE,
        }),
    };
    (points(&data) > 0).then(|| Metric {
        name: family.name.to_owned(),
        description: family.help.to_owned(),
        unit: unit(family).to_owned(),
        data: Some(data),
        ..Metric::default()
    })
}

/// The unit as UCUM writes it; none where the name says what is counted.
fn unit(family: &Family<'_>) -> &'static str {
    let is = |unit: &str| family.unit == unit || family.name.ends_with(&format!("_{unit}"));
    let is_memory = family.name.ends_with("memory_rss") || family.name.contains("_queue_");
    if is("seconds") || family.name == "otelcol_process_uptime" {
        "s"
    } else if is("bytes") || (family.name.starts_with(PEERS) && is_memory) {
        "By"
    } else {
        ""
    }
}

fn sum(family: &Family<'_>, suffix: &str, span: Span) -> Data {
    let mut data_points = numbers(family, suffix, span);
    for point in &mut data_points {
        point.start_time_unix_nano = span.started;
    }
    Data::Sum(Sum { data_points, aggregation_temporality: CUMULATIVE, is_monotonic: true })
}

fn numbers(family: &Family<'_>, suffix: &str, span: Span) -> Vec<NumberDataPoint> {
    let of_suffix = family.samples.iter().filter(|sample| sample.suffix == suffix);
    let point = |sample: &Sample<'_>| {
        let value = match sample.value.parse() {
            Ok(whole) => number_data_point::Value::AsInt(whole),
            Err(_) => number_data_point::Value::AsDouble(sample.value.parse().ok()?),
        };
        Some(NumberDataPoint {
            attributes: attributes(sample),
            time_unix_nano: span.now,
            value: Some(value),
            ..NumberDataPoint::default()
        })
    };
    of_suffix.filter_map(point).collect()
}

/// The buckets on the page are sums up to their bound; those of OTLP are apart.
fn histograms(family: &Family<'_>, span: Span) -> Vec<HistogramDataPoint> {
    let mut points: Vec<HistogramDataPoint> = Vec::new();
    for sample in &family.samples {
        let attributes = attributes(sample);
        let at = points.iter().position(|point| point.attributes == attributes);
        let at = at.unwrap_or_else(|| {
            let (start_time_unix_nano, time_unix_nano) = (span.started, span.now);
            let times = HistogramDataPoint {
                start_time_unix_nano,
                time_unix_nano,
                ..HistogramDataPoint::default()
            };
            points.push(HistogramDataPoint { attributes, ..times });
            points.len() - 1
        });
        let point = &mut points[at];
        match sample.suffix {
            "_sum" => point.sum = sample.value.parse().ok(),
            "_count" => point.count = sample.value.parse().unwrap_or(point.count),
            "_bucket" => {
                let Ok(up_to) = sample.value.parse::<u64>() else { continue };
                let before: u64 = point.bucket_counts.iter().sum();
                point.bucket_counts.push(up_to.saturating_sub(before));
                let bound = sample.labels.iter().find(|(name, _)| *name == "le");
                let bound = bound.and_then(|(_, bound)| bound.parse::<f64>().ok());
                point.explicit_bounds.extend(bound.filter(|bound| bound.is_finite()));
            }
            _ => {}
        }
    }
    points
}

fn attributes(sample: &Sample<'_>) -> Vec<KeyValue> {
    let labels = sample.labels.iter().filter(|(name, _)| *name != "le");
    labels.map(|(name, value)| text(name, value)).collect()
}

/// An attribute whose value is a text.
pub fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

#[cfg(test)]
mod tests;
