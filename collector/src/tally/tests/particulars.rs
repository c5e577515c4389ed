//! What is counted beside arrivals, from whole requests.

use opentelemetry_proto::tonic::metrics::v1::{
    Histogram, HistogramDataPoint, Metric, Sum, metric::Data,
};
use watchdog_core::tally::Particulars;

use super::*;

fn particulars(tally: &Tally) -> Particulars {
    let rows = tally.page(0, Tick(9)).rows;
    let [row] = rows.as_slice() else { panic!("one row, not {rows:?}") };
    row.particulars.clone().expect("counted")
}

#[test]
fn a_sampled_span_stands_for_those_that_were_not_kept() {
    let tally = tally(10);
    let mut request = samples::spans("shop", 4, 1);
    let spans = &mut request.resource_spans[0].scope_spans[0].spans;
    spans[0].trace_state = "ot=th:8".to_owned();
    spans[1].trace_state = "vendor=1,ot=th:c;rv:ffffffffffffff".to_owned();
    add(&tally, Signal::Traces, &request, 1);
    let counted = particulars(&tally);
    assert_eq!(counted.adjusted_requests_milli, 2_000 + 4_000 + 1_000 + 1_000);
    assert_eq!(counted.adjusted_errors_milli, 2_000);
}

#[test]
fn logs_of_severity_error_and_above_are_errors() {
    let tally = tally(10);
    let mut request = samples::log_lines("shop", 4);
    for (record, severity) in
        request.resource_logs[0].scope_logs[0].log_records.iter_mut().zip([16, 17, 21, -1])
    {
        record.severity_number = severity;
    }
    add(&tally, Signal::Logs, &request, 1);
    assert_eq!(particulars(&tally).error_logs, 2);
}

/// A request with `http.server.request.duration`, counted to `count` between `start` and `time`.
fn durations(
    temporality: i32,
    start: u64,
    time: u64,
    count: u64,
    error: bool,
) -> impl prost::Message {
    let mut request = samples::gauge(f64::NAN, 1);
    let attributes = if error { vec![samples::text("error.type", "500")] } else { Vec::new() };
    let point = HistogramDataPoint {
        attributes,
        start_time_unix_nano: start,
        time_unix_nano: time,
        count,
        sum: Some(0.5),
        ..HistogramDataPoint::default()
    };
    let data = Histogram { data_points: vec![point], aggregation_temporality: temporality };
    request.resource_metrics[0].scope_metrics[0].metrics.push(Metric {
        name: "http.server.request.duration".to_owned(),
        data: Some(Data::Histogram(data)),
        ..Metric::default()
    });
    request
}

#[test]
fn server_durations_count_requests_and_streams_are_told_apart() {
    let tally = tally(10);
    for (start, time, count, error) in
        [(1, 10, 100, false), (1, 10, 5, true), (1, 20, 130, false), (1, 20, 9, true)]
    {
        add(&tally, Signal::Metrics, &durations(2, start, time, count, error), time);
    }
    let counted = particulars(&tally);
    assert_eq!((counted.metric_requests, counted.metric_errors), (30 + 4, 4));
    assert_eq!((counted.streams.cumulative, counted.streams.delta), (4, 0));
    assert_eq!(counted.streams.not_finite, 4, "the NaN of each gauge");
    add(&tally, Signal::Metrics, &durations(2, 25, 30, 7, false), 30);
    add(&tally, Signal::Metrics, &durations(1, 30, 40, 7, false), 40);
    let counted = particulars(&tally);
    assert_eq!((counted.streams.resets, counted.streams.gaps, counted.streams.mixed), (1, 1, 1));
}

#[test]
fn a_series_that_ended_is_counted_and_is_no_arrival() {
    let tally = tally(10);
    let mut request = samples::gauge(1.0, 1);
    let data = &mut request.resource_metrics[0].scope_metrics[0].metrics[0].data;
    let Some(Data::Gauge(gauge)) = data else { panic!("a gauge") };
    gauge.data_points[0].flags = 1;
    let sum = Data::Sum(Sum { data_points: gauge.data_points.clone(), ..Sum::default() });
    add(&tally, Signal::Metrics, &request, 1);
    assert!(tally.page(0, Tick(9)).rows.is_empty(), "no row for what only ended");
    add(&tally, Signal::Metrics, &samples::gauge(1.0, 2), 2);
    *data_of(&mut request) = Some(sum);
    add(&tally, Signal::Metrics, &request, 3);
    let row = &tally.page(0, Tick(9)).rows[0];
    assert_eq!(row.metrics.as_ref().expect("arrived").arrivals, 1);
    assert_eq!(row.particulars.as_ref().expect("counted").streams.ended, 1);
}

fn data_of(
    request: &mut opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest,
) -> &mut Option<Data> {
    &mut request.resource_metrics[0].scope_metrics[0].metrics[0].data
}
