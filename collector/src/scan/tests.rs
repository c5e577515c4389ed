//! The scan against the generated code of `opentelemetry-proto` as an oracle.

use std::fmt::Debug;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::samples;

mod probes;
mod rejected;

/// What is compared: who, and the counts.
#[derive(Debug, Default, PartialEq)]
struct Told {
    service: Option<String>,
    instance: Option<String>,
    records: u64,
    rejected: u64,
    ended: u64,
    not_finite: u64,
    requests: u64,
    errors: u64,
    durations: u64,
    newest_ns: u64,
}

fn by_scan(signal: Signal, bytes: &[u8]) -> Result<Vec<Told>, Malformed> {
    let mut told = Vec::new();
    scan(signal, bytes, &mut Sightings::lend(), &mut |found| {
        told.push(Told {
            service: found.identity.name.map(str::to_owned),
            instance: found.identity.instance.map(str::to_owned),
            records: found.counts.records,
            rejected: found.counts.rejected,
            ended: found.counts.ended,
            not_finite: found.counts.not_finite,
            requests: found.counts.requests,
            errors: found.counts.errors,
            durations: found.counts.durations.iter().sum(),
            newest_ns: found.counts.newest_ns,
        });
    })?;
    Ok(told)
}

fn identity(resource: Option<&samples::Resource>) -> Told {
    let text = |key| resource.and_then(|resource| samples::text_attribute(resource, key));
    Told { service: text("service.name"), instance: text("service.instance.id"), ..Told::default() }
}

fn of_traces(request: &ExportTraceServiceRequest) -> Vec<Told> {
    let told = |resource: &opentelemetry_proto::tonic::trace::v1::ResourceSpans| {
        let mut told = identity(resource.resource.as_ref());
        for span in resource.scope_spans.iter().flat_map(|scope| &scope.spans) {
            if !rejected::is_good_span(span) {
                told.rejected += 1;
                continue;
            }
            told.records += 1;
            told.newest_ns = told.newest_ns.max(span.end_time_unix_nano);
            if span.kind == 2 || span.kind == 5 {
                told.requests += 1;
                told.errors += u64::from(span.status.as_ref().is_some_and(|s| s.code == 2));
                let (start, end) = (span.start_time_unix_nano, span.end_time_unix_nano);
                told.durations += u64::from(start > 0 && end >= start);
            }
        }
        told
    };
    request.resource_spans.iter().map(told).collect()
}

/// Of each data point: whether its ids are good, its flags, its time, and a value or sum.
fn points(data: Option<&Data>) -> Vec<(bool, u32, u64, f64)> {
    use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
    let good = rejected::are_good_exemplars;
    let number = |p: &opentelemetry_proto::tonic::metrics::v1::NumberDataPoint| {
        let value = match p.value {
            Some(Value::AsDouble(value)) => value,
            Some(Value::AsInt(_)) | None => 0.0,
        };
        (good(&p.exemplars), p.flags, p.time_unix_nano, value)
    };
    match data {
        Some(Data::Gauge(d)) => d.data_points.iter().map(number).collect(),
        Some(Data::Sum(d)) => d.data_points.iter().map(number).collect(),
        Some(Data::Histogram(d)) => {
            let point = |p: &opentelemetry_proto::tonic::metrics::v1::HistogramDataPoint| {
                (good(&p.exemplars), p.flags, p.time_unix_nano, p.sum.unwrap_or(0.0))
            };
            d.data_points.iter().map(point).collect()
        }
        Some(Data::ExponentialHistogram(d)) => {
            let point =
                |p: &opentelemetry_proto::tonic::metrics::v1::ExponentialHistogramDataPoint| {
                    (good(&p.exemplars), p.flags, p.time_unix_nano, p.sum.unwrap_or(0.0))
                };
            d.data_points.iter().map(point).collect()
        }
        Some(Data::Summary(d)) => {
            d.data_points.iter().map(|p| (true, p.flags, p.time_unix_nano, p.sum)).collect()
        }
        None => Vec::new(),
    }
}

fn of_metrics(request: &ExportMetricsServiceRequest) -> Vec<Told> {
    let told = |resource: &opentelemetry_proto::tonic::metrics::v1::ResourceMetrics| {
        let mut told = identity(resource.resource.as_ref());
        for metric in resource.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
            for (is_good, flags, time, values) in points(metric.data.as_ref()) {
                if !is_good {
                    told.rejected += 1;
                } else if flags & 1 == 1 {
                    told.ended += 1;
                } else {
                    told.records += 1;
                    told.newest_ns = told.newest_ns.max(time);
                    told.not_finite += u64::from(!values.is_finite());
                }
            }
        }
        told
    };
    request.resource_metrics.iter().map(told).collect()
}

fn of_logs(request: &ExportLogsServiceRequest) -> Vec<Told> {
    let told = |resource: &opentelemetry_proto::tonic::logs::v1::ResourceLogs| {
        let mut told = identity(resource.resource.as_ref());
        for record in resource.scope_logs.iter().flat_map(|scope| &scope.log_records) {
            if rejected::is_good_log(record) {
                told.records += 1;
                let (own, observed) = (record.time_unix_nano, record.observed_time_unix_nano);
                told.newest_ns = told.newest_ns.max(if own == 0 { observed } else { own });
                told.errors += u64::from(record.severity_number >= 17);
            } else {
                told.rejected += 1;
            }
        }
        told
    };
    request.resource_logs.iter().map(told).collect()
}

/// Scan and oracle agree about any bytes: both refuse, or both count the same; only nesting has a
/// closer limit here. Where records are rejected, the oracle takes the whole and counts the rest.
fn agree<R: Message + Default>(
    signal: Signal,
    bytes: &[u8],
    tell: impl Fn(&R) -> Vec<Told>,
) -> Result<(), TestCaseError> {
    match (by_scan(signal, bytes), R::decode(bytes)) {
        (Ok(told), Ok(_)) if told.iter().any(|resource| resource.rejected > 0) => {
            let rest = R::decode(rejected::cut(signal, bytes).as_slice());
            let rest = rest.map_err(|error| TestCaseError::fail(error.to_string()))?;
            let good = told.into_iter().map(|resource| Told { rejected: 0, ..resource });
            prop_assert_eq!(good.collect::<Vec<_>>(), tell(&rest));
        }
        (Ok(told), Ok(request)) => prop_assert_eq!(told, tell(&request)),
        (Err(why), Ok(_)) => prop_assert_eq!(why, Malformed::Depth),
        (Ok(_), Err(error)) => prop_assert!(false, "accepted, but: {error}"),
        (Err(_), Err(_)) => {}
    }
    Ok(())
}

fn agree_of(signal: Signal, bytes: &[u8]) -> Result<(), TestCaseError> {
    match signal {
        Signal::Traces => agree(signal, bytes, of_traces),
        Signal::Metrics => agree(signal, bytes, of_metrics),
        Signal::Logs => agree(signal, bytes, of_logs),
    }
}

proptest! {
    #[test]
    fn traces_are_counted_as_the_oracle_counts_them(request in samples::traces()) {
        agree_of(Signal::Traces, &request.encode_to_vec())?;
    }

    #[test]
    fn metrics_are_counted_as_the_oracle_counts_them(request in samples::metrics()) {
        agree_of(Signal::Metrics, &request.encode_to_vec())?;
    }

    #[test]
    fn logs_are_counted_as_the_oracle_counts_them(request in samples::logs()) {
        agree_of(Signal::Logs, &request.encode_to_vec())?;
    }

    #[test]
    fn any_bytes_are_judged_as_the_oracle_judges_them(
        signal in prop::sample::select(Signal::ALL.to_vec()),
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        agree_of(signal, &bytes)?;
    }

    #[test]
    fn mutated_requests_are_judged_as_the_oracle_judges_them(
        (signal, mut bytes) in samples::encoded(),
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        for (at, byte) in hits {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        agree_of(signal, &bytes)?;
    }
}

#[test]
fn every_truncation_is_judged_as_the_oracle_judges_it() {
    for signal in Signal::ALL {
        let whole = samples::full(signal);
        assert!(by_scan(signal, &whole).is_ok());
        for end in 0..whole.len() {
            agree_of(signal, &whole[..end]).expect("scan and oracle agree");
        }
    }
}

#[test]
fn two_requests_in_a_row_are_one() {
    let one = samples::full(Signal::Traces);
    let two = [one.clone(), one.clone()].concat();
    let told = by_scan(Signal::Traces, &two).expect("concatenation is merging");
    assert_eq!(told.len(), 2 * by_scan(Signal::Traces, &one).expect("valid").len());
}

#[test]
fn values_nest_as_deep_as_the_limit_and_no_deeper() {
    let nested = |levels: usize| {
        let mut value = Vec::new();
        for _ in 0..levels {
            // AnyValue { array_value: ArrayValue { values: [value] } }
            value = samples::field(5, &samples::field(1, &value));
        }
        let attribute = samples::field(2, &value);
        let span = samples::field(9, &attribute);
        samples::field(1, &samples::field(2, &samples::field(2, &span)))
    };
    let limit = DEPTH_MAX as usize - 1;
    assert!(by_scan(Signal::Traces, &nested(limit)).is_ok());
    assert_eq!(by_scan(Signal::Traces, &nested(limit + 1)), Err(Malformed::Depth));
    assert_eq!(by_scan(Signal::Traces, &nested(100_000)), Err(Malformed::Depth));
}

#[test]
fn a_text_that_is_not_utf8_is_malformed_and_bytes_may_be_anything() {
    let attribute = |key: &[u8], kind: u32| {
        let value = samples::field(2, &samples::field(kind, b"\xff"));
        let attribute = [samples::field(1, key), value].concat();
        samples::field(1, &samples::field(1, &samples::field(1, &attribute)))
    };
    let judge = |bytes: &[u8]| by_scan(Signal::Logs, bytes).map(|told| told.len());
    assert_eq!(judge(&attribute(b"service.name", 1)), Err(Malformed::Utf8));
    assert_eq!(judge(&attribute(b"host.name", 1)), Err(Malformed::Utf8));
    assert_eq!(judge(&attribute(b"host.name", 7)), Ok(1));
    assert_eq!(judge(&attribute(b"\xff", 7)), Err(Malformed::Utf8));
}

#[test]
fn a_fingerprint_follows_values_and_not_times() {
    let fingerprint = |value, time| {
        let mut all = Vec::new();
        let bytes = samples::gauge(value, time).encode_to_vec();
        scan(Signal::Metrics, &bytes, &mut Sightings::lend(), &mut |found| {
            all.push(found.counts.fingerprint)
        })
        .expect("valid");
        all
    };
    assert_eq!(fingerprint(1.5, 1), fingerprint(1.5, 2));
    assert_ne!(fingerprint(1.5, 1), fingerprint(1.25, 1));
}

#[test]
fn a_metric_has_the_kind_that_comes_last() {
    let point = samples::field(1, b"");
    let metric = |kinds: &[u32]| {
        let metric: Vec<u8> = kinds.iter().flat_map(|kind| samples::field(*kind, &point)).collect();
        samples::field(1, &samples::field(2, &samples::field(2, &metric)))
    };
    for (kinds, records) in [([5, 7].as_slice(), 1), (&[5, 5], 2), (&[9, 9, 5], 1), (&[11], 1)] {
        let bytes = metric(kinds);
        agree_of(Signal::Metrics, &bytes).expect("scan and oracle agree");
        assert_eq!(by_scan(Signal::Metrics, &bytes).expect("valid")[0].records, records);
    }
}

#[test]
fn a_duration_on_a_bound_belongs_to_the_bucket_it_ends() {
    assert_eq!(traces::bucket(0), 0);
    assert_eq!(traces::bucket(1_000_000), 0);
    assert_eq!(traces::bucket(1_000_001), 1);
    assert_eq!(traces::bucket(60_000_000_000), 14);
    assert_eq!(traces::bucket(60_000_000_001), 15);
    assert_eq!(traces::bucket(u64::MAX), 15);
}

#[test]
fn a_probe_is_found_with_all_its_attributes() {
    let bytes = samples::probe("r1", 7).encode_to_vec();
    let found = Scanned::of(Signal::Traces, &bytes).expect("valid").probes;
    let [probe] = found.as_slice() else { panic!("one probe, not {found:?}") };
    assert_eq!((probe.run.as_str(), probe.seq.as_str()), ("r1", "7"));
}

#[test]
fn a_request_of_very_many_resources_is_given_whole_in_bounded_memory() {
    for resources in [FOUND_MAX, FOUND_MAX + 1, 10_000] {
        let bytes = samples::log_lines("shop", 1).encode_to_vec().repeat(resources);
        let scanned = Scanned::of(Signal::Logs, &bytes).expect("valid");
        let mut records = 0;
        scanned.each(|found| records += found.counts.records);
        assert_eq!((scanned.records, records), (resources as u64, resources as u64));
        assert!(scanned.found.len() <= FOUND_MAX);
    }
}

#[test]
fn a_scan_of_a_few_resources_allocates_nothing() {
    for signal in Signal::ALL {
        for resources in 1..=FOUND_INLINE {
            let bytes = samples::full(signal).repeat(resources);
            // The list of sightings stays with the thread from the first scan on.
            assert!(Scanned::of(signal, &bytes).is_ok());
            let counted = allocation_counter::measure(|| {
                assert!(Scanned::of(signal, &bytes).is_ok());
            });
            assert_eq!(counted.count_total, 0, "{signal:?}, {resources} resources");
        }
    }
    let bytes = samples::full(Signal::Logs).repeat(FOUND_INLINE + 1);
    let counted = allocation_counter::measure(|| drop(Scanned::of(Signal::Logs, &bytes)));
    assert_eq!(counted.count_total, 1, "the counter counts");
}
