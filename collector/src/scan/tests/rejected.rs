//! Records with ids of a wrong length: told apart, and cut out of what goes on.

use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Exemplar;
use opentelemetry_proto::tonic::trace::v1::Span;

use super::*;
use crate::memory::{Budget, Buffer};

const BYTES_MAX: usize = 1 << 20;

fn is_trace_id(id: &[u8]) -> bool {
    id.is_empty() || id.len() == 16
}

fn is_span_id(id: &[u8]) -> bool {
    id.is_empty() || id.len() == 8
}

pub(super) fn is_good_span(span: &Span) -> bool {
    is_trace_id(&span.trace_id)
        && is_span_id(&span.span_id)
        && is_span_id(&span.parent_span_id)
        && span.links.iter().all(|link| is_trace_id(&link.trace_id) && is_span_id(&link.span_id))
}

pub(super) fn is_good_log(record: &LogRecord) -> bool {
    is_trace_id(&record.trace_id) && is_span_id(&record.span_id)
}

pub(super) fn are_good_exemplars(exemplars: &[Exemplar]) -> bool {
    exemplars.iter().all(|it| is_trace_id(&it.trace_id) && is_span_id(&it.span_id))
}

pub(super) fn cut(signal: Signal, request: &[u8]) -> Vec<u8> {
    let mut out = Buffer::new(&Budget::new(BYTES_MAX), BYTES_MAX).expect("nothing yet");
    without_rejected(signal, request, &mut out).expect("there is room");
    out.as_slice().to_vec()
}

/// Scans and cuts `request`, whose good part is `good`.
fn goes_on_as<R: Message + Default + PartialEq + Debug>(
    signal: Signal,
    request: &R,
    good: &R,
    rejected: u64,
) {
    let bytes = request.encode_to_vec();
    assert_eq!(Scanned::of(signal, &bytes).expect("well formed").rejected, rejected);
    let rest = cut(signal, &bytes);
    assert_eq!(R::decode(rest.as_slice()).as_ref(), Ok(good));
    assert_eq!(Scanned::of(signal, &rest).expect("well formed").rejected, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_rest_of_a_trace_request_goes_on(
        mut request in samples::traces(),
        lengths in prop::collection::vec((0..4_usize, 0..20_usize), 8),
    ) {
        let mut lengths = lengths.into_iter();
        let spans = request.resource_spans.iter_mut().flat_map(|it| &mut it.scope_spans);
        for (span, (which, length)) in spans.flat_map(|it| &mut it.spans).zip(&mut lengths) {
            let id = match which {
                0 => &mut span.trace_id,
                1 => &mut span.span_id,
                2 => &mut span.parent_span_id,
                _ => continue,
            };
            *id = vec![3; length];
        }
        let mut good = request.clone();
        let mut rejected = 0;
        for spans in good.resource_spans.iter_mut().flat_map(|it| &mut it.scope_spans) {
            rejected += spans.spans.iter().filter(|span| !is_good_span(span)).count() as u64;
            spans.spans.retain(is_good_span);
        }
        goes_on_as(Signal::Traces, &request, &good, rejected);
    }
}

#[test]
fn links_logs_and_exemplars_are_held_to_the_same_ids() {
    let mut traces = samples::full_traces();
    let spans = &mut traces.resource_spans[0].scope_spans[0].spans;
    spans.push(spans[0].clone());
    let good = traces.clone();
    let spans = &mut traces.resource_spans[0].scope_spans[0].spans;
    spans.push(spans[0].clone());
    spans[2].links[0].span_id.pop();
    goes_on_as(Signal::Traces, &traces, &good, 1);

    let good = samples::full_logs();
    let mut logs = good.clone();
    let records = &mut logs.resource_logs[0].scope_logs[0].log_records;
    records.insert(0, records[0].clone());
    records[0].trace_id.push(0);
    goes_on_as(Signal::Logs, &logs, &good, 1);

    let good = samples::full_metrics();
    let mut metrics = good.clone();
    for metric in &mut metrics.resource_metrics[0].scope_metrics[0].metrics {
        if let Some(Data::Histogram(histogram)) = &mut metric.data {
            histogram.data_points.push(histogram.data_points[0].clone());
            histogram.data_points[1].exemplars[0].trace_id.truncate(15);
        }
    }
    goes_on_as(Signal::Metrics, &metrics, &good, 1);
}

#[test]
fn what_is_cut_is_cut_within_the_budget() {
    let bytes = samples::full(Signal::Traces);
    let mut out = Buffer::new(&Budget::new(BYTES_MAX), 10).expect("nothing yet");
    assert!(without_rejected(Signal::Traces, &bytes, &mut out).is_err());
}
