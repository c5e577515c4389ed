//! The JSON door against the generated code's own JSON as an oracle, the official examples, and
//! the rules of the specification one by one.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::Span;
use proptest::prelude::*;
use prost::Message as _;
use serde::Serialize;

use super::*;
use crate::memory::Budget;
use crate::samples;

const MAX: usize = 1 << 20;

fn protobuf(signal: Signal, json: &str) -> Result<Vec<u8>, Refusal> {
    let mut buffer = Buffer::new(&Budget::new(MAX), MAX).expect("nothing yet");
    transcode(signal, json.as_bytes(), &mut buffer)?;
    Ok(buffer.as_slice().to_vec())
}

fn returns<R>(signal: Signal, request: &R)
where
    R: prost::Message + Default + PartialEq + Serialize + fmt::Debug,
{
    let json = serde_json::to_string(request).expect("serializes");
    let bytes = protobuf(signal, &json).expect("transcodes");
    assert_eq!(R::decode(bytes.as_slice()).as_ref(), Ok(request), "{json}");
}

#[test]
fn every_field_of_every_message_comes_through() {
    returns(Signal::Traces, &samples::full_traces());
    returns(Signal::Metrics, &samples::full_metrics());
    returns(Signal::Logs, &samples::full_logs());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn traces_come_through(request in samples::traces()) {
        returns(Signal::Traces, &request);
    }

    #[test]
    fn metrics_come_through(request in samples::metrics()) {
        returns(Signal::Metrics, &request);
    }

    #[test]
    fn logs_come_through(request in samples::logs()) {
        returns(Signal::Logs, &request);
    }

    #[test]
    fn no_text_makes_it_panic(
        signal in prop::sample::select(Signal::ALL.to_vec()),
        text in r#"([\[\]{}:,"0-9eE+.-]|null|true|"resourceSpans":|"scopeSpans":|"spans":){0,40}"#,
    ) {
        let _ = protobuf(signal, &text);
    }
}

#[test]
fn the_official_examples_come_through() {
    let traces = include_str!("../../tests/data/trace.json");
    let bytes = protobuf(Signal::Traces, traces).expect("transcodes");
    let request = ExportTraceServiceRequest::decode(bytes.as_slice()).expect("decodes");
    assert_eq!(request, serde_json::from_str(traces).expect("the oracle reads it"));

    let metrics = include_str!("../../tests/data/metrics.json");
    let bytes = protobuf(Signal::Metrics, metrics).expect("transcodes");
    let request = ExportMetricsServiceRequest::decode(bytes.as_slice()).expect("decodes");
    assert_eq!(request, serde_json::from_str(metrics).expect("the oracle reads it"));

    for logs in
        [include_str!("../../tests/data/logs.json"), include_str!("../../tests/data/events.json")]
    {
        let bytes = protobuf(Signal::Logs, logs).expect("transcodes");
        let request = ExportLogsServiceRequest::decode(bytes.as_slice()).expect("decodes");
        assert_eq!(request, serde_json::from_str(logs).expect("the oracle reads it"));
    }
}

#[test]
fn the_official_examples_scan_with_all_their_records() {
    for (signal, json, records) in [
        (Signal::Traces, include_str!("../../tests/data/trace.json"), 1),
        (Signal::Metrics, include_str!("../../tests/data/metrics.json"), 4),
        (Signal::Logs, include_str!("../../tests/data/logs.json"), 1),
        (Signal::Logs, include_str!("../../tests/data/events.json"), 1),
    ] {
        let bytes = protobuf(signal, json).expect("transcodes");
        let scanned = crate::scan::Scanned::of(signal, &bytes).expect("well formed");
        assert_eq!((scanned.records, scanned.rejected), (records, 0), "{signal:?}");
        let mut names = Vec::new();
        scanned.each(|found| names.push(found.identity.name));
        assert_eq!(names, [Some("my.service")]);
    }
}

/// The span that has `fields`.
fn span(fields: &str) -> Result<Span, Refusal> {
    let json = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{fields}}}]}}]}}]}}"#);
    let bytes = protobuf(Signal::Traces, &json)?;
    let mut request = ExportTraceServiceRequest::decode(bytes.as_slice()).expect("decodes");
    Ok(request.resource_spans.remove(0).scope_spans.remove(0).spans.remove(0))
}

/// The value of an attribute that is `value`.
fn value(value: &str) -> Result<Option<Value>, Refusal> {
    let mut span = span(&format!(r#""attributes":[{{"key":"k","value":{value}}}]"#))?;
    Ok(span.attributes.remove(0).value.expect("a value").value)
}

fn is_malformed<T: std::fmt::Debug>(read: Result<T, Refusal>) -> bool {
    matches!(read, Err(Refusal::Malformed(_)))
}

#[test]
fn ids_are_hex_in_any_case() {
    let ids = span(r#""traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"eee19b7ec3c1b174""#);
    let ids = ids.expect("valid");
    assert_eq!(ids.trace_id[..2], [0x5b, 0x8e]);
    assert_eq!(ids.span_id[7], 0x74);
    assert_eq!(span(r#""traceId":"""#).expect("valid").trace_id, b"");
    assert!(is_malformed(span(r#""traceId":"W47/95gDgQPSabYzgT/GDA==""#)), "base64 is no id");
    assert!(is_malformed(span(r#""traceId":"eee19b7ec3c1b174""#)), "a span id is no trace id");
    assert!(is_malformed(span(r#""spanId":"eee19b7ec3c1b1740a""#)));
}

#[test]
fn integers_are_numbers_or_strings_and_keep_all_their_bits() {
    for time in ["18446744073709551615", r#""18446744073709551615""#] {
        let span = span(&format!(r#""startTimeUnixNano":{time}"#)).expect("valid");
        assert_eq!(span.start_time_unix_nano, u64::MAX);
    }
    for int in ["-9223372036854775808", r#""-9223372036854775808""#] {
        let int = value(&format!(r#"{{"intValue":{int}}}"#)).expect("valid");
        assert_eq!(int, Some(Value::IntValue(i64::MIN)));
    }
    assert_eq!(value(r#"{"intValue":1e3}"#), Ok(Some(Value::IntValue(1000))));
    assert_eq!(value(r#"{"intValue":"0"}"#), Ok(Some(Value::IntValue(0))), "0 is not absent");
    assert_eq!(span(r#""flags":"257""#).expect("valid").flags, 257);
    for bad in ["1.5", r#""x""#, "true", "9223372036854775808", "1e300", r#""""#, "{}", "[]"] {
        assert!(is_malformed(value(&format!(r#"{{"intValue":{bad}}}"#))), "{bad}");
    }
    assert!(is_malformed(span(r#""flags":4294967296"#)));
    assert!(is_malformed(span(r#""flags":-1"#)));
}

#[test]
fn doubles_may_be_words() {
    let double = |text: &str| match value(&format!(r#"{{"doubleValue":{text}}}"#)) {
        Ok(Some(Value::DoubleValue(value))) => Ok(value),
        Ok(other) => panic!("{other:?}"),
        Err(refusal) => Err(refusal),
    };
    assert_eq!(double("1"), Ok(1.0));
    assert_eq!(double("-2"), Ok(-2.0));
    assert_eq!(double(r#""1.5e3""#), Ok(1500.0));
    assert_eq!(double(r#""-Infinity""#), Ok(f64::NEG_INFINITY));
    assert!(double(r#""NaN""#).expect("valid").is_nan());
    for bad in [r#""inf""#, r#""nan""#, r#""""#, "true"] {
        assert!(is_malformed(double(bad)), "{bad}");
    }
}

#[test]
fn enums_are_integers() {
    assert_eq!(span(r#""kind":2"#).expect("valid").kind, 2);
    assert_eq!(span(r#""kind":"2""#).expect("valid").kind, 2);
    assert_eq!(span(r#""kind":-1"#).expect("valid").kind, -1, "open enums keep what they get");
    assert!(is_malformed(span(r#""kind":"SPAN_KIND_SERVER""#)));
}

#[test]
fn null_is_the_default_and_unknown_keys_are_ignored() {
    let read = span(r#""name":null,"attributes":null,"status":null,"new":{"a":[1,{"b":2}]}"#);
    assert_eq!(read, Ok(Span::default()));
    assert_eq!(span(r#""start_time_unix_nano":7"#), Ok(Span::default()), "snake case is unknown");
    assert_eq!(value("{}"), Ok(None));
    assert!(is_malformed(span(r#""attributes":[null]"#)));
}

#[test]
fn bytes_are_base64_of_either_alphabet() {
    for text in ["AP8+", "AP8-"] {
        let bytes = value(&format!(r#"{{"bytesValue":"{text}"}}"#));
        assert_eq!(bytes, Ok(Some(Value::BytesValue(vec![0, 255, 62]))), "{text}");
    }
    for text in ["aGk=", "aGk"] {
        let bytes = value(&format!(r#"{{"bytesValue":"{text}"}}"#));
        assert_eq!(bytes, Ok(Some(Value::BytesValue(b"hi".to_vec()))), "{text}");
    }
    assert!(is_malformed(value(r#"{"bytesValue":"!"}"#)));
}

#[test]
fn numbers_in_lists_are_packed() {
    let point = r#"{"bucketCounts":["1",2],"explicitBounds":[0.5]}"#;
    let json = format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[
            {{"histogram":{{"dataPoints":[{point}]}}}}]}}]}}]}}"#
    );
    let bytes = protobuf(Signal::Metrics, &json).expect("transcodes");
    let request = ExportMetricsServiceRequest::decode(bytes.as_slice()).expect("decodes");
    let data = &request.resource_metrics[0].scope_metrics[0].metrics[0].data;
    let Some(Data::Histogram(histogram)) = data else { panic!("{data:?}") };
    assert_eq!(histogram.data_points[0].bucket_counts, [1, 2]);
    assert_eq!(histogram.data_points[0].explicit_bounds, [0.5]);
}

#[test]
fn mistakes_are_told_with_their_place() {
    for json in ["", "[]", "null", "{}}", r#"{"resourceSpans":{}}"#, r#"{"resourceSpans":[1]}"#] {
        assert!(is_malformed(protobuf(Signal::Traces, json)), "{json}");
    }
    let refusal = span(r#""name":5"#).expect_err("no text").to_string();
    assert!(refusal.contains("`name`") && refusal.contains("line 1 column"), "{refusal}");
}

#[test]
fn deep_nesting_is_an_error_and_not_a_stack_overflow() {
    let deep = |n: usize| {
        let (open, close) = (r#"{"arrayValue":{"values":["#.repeat(n), "]}}".repeat(n));
        value(&format!("{open}{close}"))
    };
    assert!(deep(30).is_ok());
    assert!(is_malformed(deep(100_000)));
}

#[test]
fn output_beyond_the_limit_is_refused() {
    let json = r#"{"resourceSpans":[{"schemaUrl":"0123456789"}]}"#;
    let budget = Budget::new(MAX);
    let mut buffer = Buffer::new(&budget, 10).expect("nothing yet");
    assert_eq!(
        transcode(Signal::Traces, json.as_bytes(), &mut buffer),
        Err(Refusal::TooLarge { max: 10 })
    );
}
