//! Values in OTLP/JSON: ids in hex, enums as integers, 64-bit numbers as text or number, and the
//! rest by the JSON mapping of protobuf.

use super::answer::Encoding;
use super::probe::{Outcome, Probe, may, must, should};
use super::requests::{
    Signal, any_json, bare_span_json, log_json, metric_json, point_json, span_json,
};
use super::target::Target;

const JSON: Encoding = Encoding::Json;

const TRACE_ID: &str = "5b8efff798038103d269b633813fc60c";
const SPAN_ID: &str = "eee19b7ec3c1b174";

pub const PROBES: &[Probe] = &[
    must("json.id.lower", "ids in lower-case hex are taken", |at| ids(at, TRACE_ID, SPAN_ID)),
    must("json.id.upper", "ids in upper-case hex are taken", |at| {
        ids(at, &TRACE_ID.to_uppercase(), &SPAN_ID.to_uppercase())
    }),
    must("json.id.mixed", "ids in mixed case are taken", |at| {
        ids(at, "5B8efFf798038103D269b633813FC60c", "EEe19B7ec3C1b174")
    }),
    must("json.id.parent", "a parentSpanId, or an empty one, is taken", |at| {
        taken(at, span_json(r#""parentSpanId": "eee19b7ec3c1b173""#))?;
        taken(at, span_json(r#""parentSpanId": """#))
    }),
    must("json.id.link", "ids of links, log records and exemplars are hex too", |at| {
        let pair = format!(r#""traceId": "{TRACE_ID}", "spanId": "{SPAN_ID}""#);
        taken(at, span_json(&format!(r#""links": [{{{pair}}}]"#)))?;
        at.json(Signal::Logs, log_json(&pair))?.taken(JSON)?;
        metric(at, &format!(r#""exemplars": [{{{pair}, "asInt": "1"}}]"#))
    }),
    must("json.id.base64", "ids in base64 are answered 400", |at| {
        bad_ids(at, "W47/95gDgQPSabYzgT/GDA==", SPAN_ID)?;
        bad_ids(at, TRACE_ID, "7uGbfsPBsXQ=")
    }),
    should("json.id.short", "ids of too few digits are answered 400", |at| {
        bad_ids(at, &TRACE_ID[2..], SPAN_ID)?;
        bad_ids(at, TRACE_ID, &SPAN_ID[2..])
    }),
    should("json.id.long", "ids of too many digits are answered 400", |at| {
        bad_ids(at, &format!("{TRACE_ID}00"), SPAN_ID)?;
        bad_ids(at, TRACE_ID, &format!("{SPAN_ID}00"))
    }),
    must("json.id.odd", "ids with half a byte are answered 400", |at| {
        bad_ids(at, &TRACE_ID[1..], SPAN_ID)?;
        bad_ids(at, TRACE_ID, &SPAN_ID[1..])
    }),
    must("json.id.not_hex", "ids with other letters are answered 400", |at| {
        bad_ids(at, &TRACE_ID.replace('b', "g"), SPAN_ID)?;
        bad_ids(at, TRACE_ID, &SPAN_ID.replace('e', " "))
    }),
    must("json.id.number", "an id that is a number is answered 400", |at| {
        malformed(at, Signal::Traces, bare_span_json(r#""traceId": 5"#))
    }),
    should("json.id.elsewhere", "bad ids of links and log records are answered 400", |at| {
        let pair = r#""traceId": "5b8e", "spanId": "eee1""#;
        malformed(at, Signal::Traces, span_json(&format!(r#""links": [{{{pair}}}]"#)))?;
        malformed(at, Signal::Logs, log_json(pair))
    }),
    must("json.enum.number", "enums as integers are taken", |at| {
        taken(at, span_json(r#""kind": 2, "status": {"code": 2}"#))?;
        at.json(Signal::Logs, log_json(r#""severityNumber": 17"#))?.taken(JSON)
    }),
    must("json.enum.unknown", "enum numbers that are not in the schema are taken", |at| {
        taken(at, span_json(r#""kind": 99, "status": {"code": 99}"#))
    }),
    should("json.enum.name.kind", "the name of a span kind is answered 400", |at| {
        malformed(at, Signal::Traces, span_json(r#""kind": "SPAN_KIND_SERVER""#))
    }),
    should("json.enum.name.status", "the name of a status code is answered 400", |at| {
        malformed(at, Signal::Traces, span_json(r#""status": {"code": "STATUS_CODE_ERROR"}"#))
    }),
    should("json.enum.name.severity", "the name of a severity is answered 400", |at| {
        malformed(at, Signal::Logs, log_json(r#""severityNumber": "SEVERITY_NUMBER_INFO""#))
    }),
    should("json.enum.name.temporality", "the name of a temporality is answered 400", |at| {
        let sum = r#""sum": {"aggregationTemporality": "AGGREGATION_TEMPORALITY_DELTA"}"#;
        malformed(at, Signal::Metrics, metric_json(sum))
    }),
    must("json.64.text", "64-bit integers as text are taken", |at| {
        times(at, r#""1790000000000000000""#)?;
        any(at, r#"{"intValue": "-9223372036854775808"}"#)?;
        metric(at, r#""asInt": "9223372036854775807""#)
    }),
    must("json.64.number", "64-bit integers as numbers are taken", |at| {
        times(at, "1790000000000000000")?;
        any(at, r#"{"intValue": -9223372036854775808}"#)?;
        metric(at, r#""asInt": 9223372036854775807"#)
    }),
    must("json.64.unsigned", "times up to 2^64 - 1 are taken, as text and number", |at| {
        times(at, r#""18446744073709551615""#)?;
        times(at, "18446744073709551615")
    }),
    must("json.64.lists", "bucket counts are taken as texts and numbers", |at| {
        let counts = r#""count": 3, "bucketCounts": [1, "2"], "explicitBounds": [1]"#;
        let histogram = format!(r#""histogram": {{"dataPoints": [{{{counts}}}]}}"#);
        at.json(Signal::Metrics, metric_json(&histogram))?.taken(JSON)?;
        let buckets = r#""scale": -1, "positive": {"offset": -2, "bucketCounts": ["1", 2]}"#;
        let histogram = format!(r#""exponentialHistogram": {{"dataPoints": [{{{buckets}}}]}}"#);
        at.json(Signal::Metrics, metric_json(&histogram))?.taken(JSON)
    }),
    must("json.64.zero", "zero is taken as text and number", |at| {
        times(at, r#""0""#)?;
        times(at, "0")?;
        any(at, r#"{"intValue": "0"}"#)
    }),
    should("json.64.overflow", "integers over 64 bits are answered 400", |at| {
        bad_any(at, r#"{"intValue": "9223372036854775808"}"#)?;
        bad_any(at, r#"{"intValue": 9223372036854775808}"#)?;
        bad_times(at, r#""18446744073709551616""#)
    }),
    should("json.64.negative", "a negative time is answered 400", |at| {
        bad_times(at, "-1")?;
        bad_times(at, r#""-1""#)
    }),
    should("json.64.fraction", "a fraction for an integer is answered 400", |at| {
        bad_any(at, r#"{"intValue": 1.5}"#)?;
        bad_any(at, r#"{"intValue": "1.5"}"#)
    }),
    must("json.64.nonsense", "text that is no integer is answered 400", |at| {
        ["abc", "", " 1", "1 ", "0x10", "1a"]
            .into_iter()
            .try_for_each(|text| bad_any(at, &format!(r#"{{"intValue": "{text}"}}"#)))
    }),
    should("json.64.exponent", "integers written 1e3 or 5.0 are taken (protobuf JSON)", |at| {
        any(at, r#"{"intValue": 1e3}"#)?;
        any(at, r#"{"intValue": 5.0}"#)
    }),
    must("json.32.number", "32-bit integers as numbers are taken", |at| {
        taken(at, span_json(r#""flags": 257, "droppedAttributesCount": 4294967295"#))
    }),
    must("json.32.text", "32-bit integers as text are taken", |at| {
        taken(at, span_json(r#""flags": "257", "droppedAttributesCount": "1""#))
    }),
    should("json.32.overflow", "32-bit integers over their range are answered 400", |at| {
        let body = span_json(r#""droppedAttributesCount": 4294967296"#);
        malformed(at, Signal::Traces, body)?;
        malformed(at, Signal::Traces, span_json(r#""droppedAttributesCount": -1"#))
    }),
    must("json.double.number", "doubles as numbers of every form are taken", |at| {
        ["0", "-0", "1.5", "-1.5e-300", "1E+10", "5", "123456789012345678901234567890"]
            .into_iter()
            .try_for_each(|number| metric(at, &format!(r#""asDouble": {number}"#)))
    }),
    must("json.double.text", "doubles as text are taken", |at| {
        metric(at, r#""asDouble": "1.5""#)?;
        any(at, r#"{"doubleValue": "-2.5e3"}"#)
    }),
    must("json.double.special", "\"NaN\", \"Infinity\" and \"-Infinity\" are doubles", |at| {
        ["NaN", "Infinity", "-Infinity"].into_iter().try_for_each(|text| {
            metric(at, &format!(r#""asDouble": "{text}""#))?;
            any(at, &format!(r#"{{"doubleValue": "{text}"}}"#))
        })
    }),
    must("json.double.nonsense", "text that is no double is answered 400", |at| {
        ["abc", "", "1.5x"]
            .into_iter()
            .try_for_each(|text| bad_any(at, &format!(r#"{{"doubleValue": "{text}"}}"#)))
    }),
    must("json.bytes", "bytes in base64 are taken", |at| {
        any(at, r#"{"bytesValue": "+/8A"}"#)?;
        any(at, r#"{"bytesValue": "AA=="}"#)?;
        any(at, r#"{"bytesValue": ""}"#)
    }),
    must("json.bytes.url", "bytes in url-safe base64 are taken", |at| {
        any(at, r#"{"bytesValue": "-_8A"}"#)
    }),
    must("json.bytes.unpadded", "base64 without padding is taken", |at| {
        any(at, r#"{"bytesValue": "AA"}"#)
    }),
    should("json.bytes.nonsense", "bytes that are no base64 are answered 400", |at| {
        bad_any(at, r#"{"bytesValue": "!!!!"}"#)?;
        bad_any(at, r#"{"bytesValue": "A"}"#)?;
        bad_any(at, r#"{"bytesValue": 5}"#)
    }),
    must("json.any.kinds", "attributes of all kinds are taken", |at| {
        let kinds = [
            r#"{"stringValue": ""}"#,
            r#"{"boolValue": false}"#,
            r#"{"intValue": "1"}"#,
            r#"{"doubleValue": 0.5}"#,
            r#"{"arrayValue": {"values": [{"intValue": 1}, {}, {"stringValue": "a"}]}}"#,
            r#"{"arrayValue": {}}"#,
            r#"{"kvlistValue": {"values": [{"key": "k", "value": {"boolValue": true}}]}}"#,
            r#"{"kvlistValue": {"values": null}}"#,
        ];
        kinds.into_iter().try_for_each(|kind| any(at, kind))
    }),
    must("json.any.empty", "an empty value is taken", |at| any(at, "{}")),
    must("json.any.two_kinds", "a value of two kinds is taken or refused", |at| {
        let body = any_json(r#"{"stringValue": "a", "intValue": "1"}"#);
        at.json(Signal::Traces, body)?.among(&[200, 400]).map(drop)
    }),
    must("json.bool", "booleans are true and false, and no number", |at| {
        any(at, r#"{"boolValue": true}"#)?;
        bad_any(at, r#"{"boolValue": 1}"#)
    }),
    must("json.metric_kinds", "metrics of all five kinds are taken", |at| {
        let quantiles = r#""quantileValues": [{"quantile": 0.5, "value": 1}]"#;
        let kinds = [
            r#""gauge": {"dataPoints": [{"asInt": "1"}]}"#.to_owned(),
            r#""sum": {"dataPoints": [{"asInt": 1}], "isMonotonic": true}"#.to_owned(),
            r#""histogram": {"dataPoints": [{"count": "0", "sum": 0}]}"#.to_owned(),
            r#""exponentialHistogram": {"dataPoints": [{"zeroThreshold": 0.1}]}"#.to_owned(),
            format!(r#""summary": {{"dataPoints": [{{"count": "1", {quantiles}}}]}}"#),
        ];
        kinds.iter().try_for_each(|kind| at.json(Signal::Metrics, metric_json(kind))?.taken(JSON))
    }),
    may("json.enum.text", "an enum integer as text is taken", |at| {
        taken(at, span_json(r#""kind": "2""#))
    }),
];

fn taken(at: &Target, body: String) -> Outcome {
    let said = format!("to {}", &body[body.len().saturating_sub(80)..]);
    let answer = at.json(Signal::Traces, body)?;
    answer.taken(JSON).map_err(|error| format!("{error} {said}"))
}

fn malformed(at: &Target, signal: Signal, body: String) -> Outcome {
    let said = format!("to {}", &body[body.len().saturating_sub(80)..]);
    let answer = at.json(signal, body)?.is(400);
    answer.map(drop).map_err(|error| format!("{error} {said}"))
}

fn ids(at: &Target, trace: &str, span: &str) -> Outcome {
    taken(at, bare_span_json(&format!(r#""traceId": "{trace}", "spanId": "{span}""#)))
}

fn bad_ids(at: &Target, trace: &str, span: &str) -> Outcome {
    let members = format!(r#""traceId": "{trace}", "spanId": "{span}""#);
    malformed(at, Signal::Traces, bare_span_json(&members))
}

fn any(at: &Target, any: &str) -> Outcome {
    taken(at, any_json(any))
}

fn bad_any(at: &Target, any: &str) -> Outcome {
    malformed(at, Signal::Traces, any_json(any))
}

fn times(at: &Target, time: &str) -> Outcome {
    let both = format!(r#""startTimeUnixNano": {time}, "endTimeUnixNano": {time}"#);
    taken(at, bare_span_json(&both))?;
    at.json(Signal::Logs, log_json(&format!(r#""timeUnixNano": {time}"#)))?.taken(JSON)
}

fn bad_times(at: &Target, time: &str) -> Outcome {
    let both = format!(r#""startTimeUnixNano": {time}, "endTimeUnixNano": {time}"#);
    malformed(at, Signal::Traces, bare_span_json(&both))
}

fn metric(at: &Target, members: &str) -> Outcome {
    let answer = at.json(Signal::Metrics, point_json(members))?;
    answer.taken(JSON).map_err(|error| format!("{error} to {members}"))
}
