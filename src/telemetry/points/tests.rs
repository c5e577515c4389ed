//! Tests of a page as OTLP.

use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;

use super::*;

const SPAN: Span = Span { started: 5, now: 9 };

fn metrics(page: &str) -> Vec<Metric> {
    let made = request(page, Resource::default(), InstrumentationScope::default(), SPAN);
    let (mut request, _) = made.expect("there are points");
    request.resource_metrics.remove(0).scope_metrics.remove(0).metrics
}

#[test]
fn a_counter_is_a_cumulative_sum_since_the_start_and_stays_whole() {
    let page = "# HELP hp_request_bytes Bytes.\n# TYPE hp_request_bytes counter\n\
                hp_request_bytes_total{signal=\"logs\"} 9007199254740993\n# EOF\n";
    let [metric] = &metrics(page)[..] else { panic!() };
    let said = (metric.name.as_str(), metric.unit.as_str(), metric.description.as_str());
    assert_eq!(said, ("hp_request_bytes", "By", "Bytes."));
    let Some(Data::Sum(sum)) = &metric.data else { panic!("{metric:?}") };
    assert!(sum.is_monotonic);
    assert_eq!(sum.aggregation_temporality, CUMULATIVE);
    let [point] = &sum.data_points[..] else { panic!() };
    assert_eq!(point.value, Some(Number::AsInt(9_007_199_254_740_993)));
    assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (5, 9));
    assert_eq!(point.attributes, [text("signal", "logs")]);
}

#[test]
fn a_gauge_has_no_start_and_may_be_a_fraction() {
    let page = "# TYPE hp_age_seconds gauge\n# UNIT hp_age_seconds seconds\nhp_age_seconds 2.5\n";
    let [metric] = &metrics(page)[..] else { panic!() };
    assert_eq!(metric.unit, "s");
    let Some(Data::Gauge(gauge)) = &metric.data else { panic!("{metric:?}") };
    assert_eq!(gauge.data_points[0].value, Some(Number::AsDouble(2.5)));
    assert_eq!(gauge.data_points[0].start_time_unix_nano, 0);
}

#[test]
fn a_histogram_keeps_its_buckets_by_its_labels() {
    let page = "# TYPE hp_took histogram\n\
        hp_took_sum{a=\"1\"} 4.5\nhp_took_count{a=\"1\"} 6\n\
        hp_took_bucket{le=\"0.5\",a=\"1\"} 1\nhp_took_bucket{le=\"1.0\",a=\"1\"} 4\n\
        hp_took_bucket{le=\"+Inf\",a=\"1\"} 6\n\
        hp_took_sum{a=\"2\"} 0.1\nhp_took_count{a=\"2\"} 1\n\
        hp_took_bucket{le=\"0.5\",a=\"2\"} 1\nhp_took_bucket{le=\"1.0\",a=\"2\"} 1\n\
        hp_took_bucket{le=\"+Inf\",a=\"2\"} 1\n";
    let [metric] = &metrics(page)[..] else { panic!() };
    let Some(Data::Histogram(histogram)) = &metric.data else { panic!("{metric:?}") };
    assert_eq!(histogram.aggregation_temporality, CUMULATIVE);
    let [one, two] = &histogram.data_points[..] else { panic!("{histogram:?}") };
    assert_eq!((one.count, one.sum), (6, Some(4.5)));
    assert_eq!(one.bucket_counts, [1, 3, 2]);
    assert_eq!(one.explicit_bounds, [0.5, 1.0]);
    assert_eq!(one.attributes, [text("a", "1")]);
    assert_eq!((two.count, two.start_time_unix_nano), (1, 5));
    assert_eq!(two.bucket_counts, [1, 0, 0]);
}

#[test]
fn the_peers_names_have_the_peers_types() {
    let page = "# TYPE otelcol_receiver_accepted_spans unknown\n\
        otelcol_receiver_accepted_spans{receiver=\"otlp\"} 7.0\n\
        # TYPE otelcol_process_memory_rss unknown\notelcol_process_memory_rss 1024.0\n";
    let [accepted, memory] = &metrics(page)[..] else { panic!() };
    assert!(matches!(&accepted.data, Some(Data::Sum(sum)) if sum.is_monotonic));
    assert!(matches!(&memory.data, Some(Data::Gauge(_))));
    assert_eq!(memory.unit, "By");
}

#[test]
fn a_page_without_points_asks_for_no_request() {
    let none = request("# EOF\n", Resource::default(), InstrumentationScope::default(), SPAN);
    assert!(none.is_none());
}
