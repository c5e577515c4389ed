//! What must hold for any bytes whatever. The fuzz targets and the test `fuzz` share this file.
//!
//! The oracles are the generated code of `opentelemetry-proto` for scan and transcoder, and flate2
//! for gzip. The first byte of an input chooses the signal.
//!
//! Invariant: a property that does not hold panics, and says where the two sides part.

use std::io::Read as _;

use collector::bench::{self, Look};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest as Logs;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest as Metrics;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest as Traces;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use prost::Message;
use watchdog_core::tally::Signal;

/// No input may become larger than this.
const BYTES_MAX: usize = 1 << 20;

fn signal_of(input: &[u8]) -> Option<(Signal, &[u8])> {
    let (first, rest) = input.split_first()?;
    Some((Signal::ALL[usize::from(*first) % Signal::ALL.len()], rest))
}

/// The scan takes what a strict decoder takes, up to its own limit of nesting, and counts the
/// same. Where it rejects records, the decoder takes the whole, and counts what is left when they
/// are cut out.
pub fn scan(input: &[u8]) {
    let Some((signal, request)) = signal_of(input) else { return };
    match (bench::look(signal, request), decoded(signal, request)) {
        (Look::Good { records, ended, rejected }, Ok(_)) if rejected > 0 => {
            let rest = bench::without_rejected(signal, request).expect("there is room");
            let good = Look::Good { records, ended, rejected: 0 };
            assert_eq!(bench::look(signal, &rest), good, "{signal:?}");
            assert_eq!(decoded(signal, &rest), Ok(records + ended), "{signal:?}");
        }
        (Look::Good { records, ended, .. }, count) => {
            assert_eq!(count, Ok(records + ended), "{signal:?}: taken");
        }
        (Look::TooDeep, _) | (Look::Malformed, Err(_)) => {}
        (Look::Malformed, Ok(count)) => panic!("{signal:?}: refused, {count} records by decoder"),
    }
}

/// The records that the generated code finds in `request`.
fn decoded(signal: Signal, request: &[u8]) -> Result<u64, prost::DecodeError> {
    match signal {
        Signal::Traces => Traces::decode(request).map(|it| spans(&it)),
        Signal::Metrics => Metrics::decode(request).map(|it| points(&it)),
        Signal::Logs => Logs::decode(request).map(|it| lines(&it)),
    }
}

fn spans(request: &Traces) -> u64 {
    let scopes = request.resource_spans.iter().flat_map(|it| &it.scope_spans);
    scopes.map(|it| it.spans.len() as u64).sum()
}

fn lines(request: &Logs) -> u64 {
    let scopes = request.resource_logs.iter().flat_map(|it| &it.scope_logs);
    scopes.map(|it| it.log_records.len() as u64).sum()
}

fn points(request: &Metrics) -> u64 {
    let scopes = request.resource_metrics.iter().flat_map(|it| &it.scope_metrics);
    let count = |data: &Data| match data {
        Data::Gauge(it) => it.data_points.len(),
        Data::Sum(it) => it.data_points.len(),
        Data::Histogram(it) => it.data_points.len(),
        Data::ExponentialHistogram(it) => it.data_points.len(),
        Data::Summary(it) => it.data_points.len(),
    };
    let metrics = scopes.flat_map(|it| &it.metrics);
    metrics.filter_map(|it| it.data.as_ref()).map(|data| count(data) as u64).sum()
}

/// What the transcoder takes, the scan and a strict decoder take too, with no record rejected; and
/// it is the same request when the generated code writes it as JSON and it comes through again.
pub fn transcode(input: &[u8]) {
    let Some((signal, json)) = signal_of(input) else { return };
    let Some(protobuf) = bench::transcoded(signal, json, BYTES_MAX) else { return };
    match bench::look(signal, &protobuf) {
        Look::Good { rejected, .. } => assert_eq!(rejected, 0, "{signal:?}"),
        Look::TooDeep => return,
        Look::Malformed => panic!("{signal:?}: what was transcoded does not scan"),
    }
    match signal {
        Signal::Traces => comes_back::<Traces>(signal, &protobuf),
        Signal::Metrics => comes_back::<Metrics>(signal, &protobuf),
        Signal::Logs => comes_back::<Logs>(signal, &protobuf),
    }
}

fn comes_back<R>(signal: Signal, protobuf: &[u8])
where
    R: Message + Default + serde::Serialize + std::fmt::Debug,
{
    let first = R::decode(protobuf).expect("what scans decodes");
    let json = serde_json::to_vec(&first).expect("a request serializes");
    let again = bench::transcoded(signal, &json, 4 * BYTES_MAX).expect("what was written is OTLP");
    let second = R::decode(again.as_slice()).expect("what scans decodes");
    if first.encode_to_vec() != second.encode_to_vec() {
        let first = format!("{first:?}");
        // The generated code writes numbers that JSON does not have as null.
        let is_unwritten = ["NaN", "inf"].iter().any(|word| first.contains(word));
        assert!(is_unwritten, "{first}\nis not\n{second:?}");
    }
}

/// What is inflated is what another decoder inflates, and never more than the limit.
pub fn gunzip(gzip: &[u8]) {
    const LIMIT: usize = 64 * 1_024;

    let mut theirs = Vec::new();
    let decoder = flate2::bufread::MultiGzDecoder::new(gzip);
    let read = decoder.take(LIMIT as u64 + 1).read_to_end(&mut theirs);
    if let Some(ours) = bench::gunzipped(gzip, LIMIT) {
        assert!(ours.len() <= LIMIT);
        // What stands behind the content may be refused there and ignored here.
        let (ours_len, theirs_len) = (ours.len(), theirs.len());
        assert!(ours == theirs, "{ours_len} bytes are not the {theirs_len} bytes, {read:?}");
    }
}
