//! What arrives behind the server: a request that was acknowledged is delivered, whole, once, and
//! with the values it was sent with, whatever its encoding.
//!
//! These probes need the server to export to the suite's sink (OTLP/HTTP, protobuf); without one
//! they are left out. Values are looked up by their path of field numbers, so that it does not
//! matter in which order a server writes fields.

use super::answer::Encoding;
use super::encoding::gzip;
use super::h2::{Call, frame};
use super::probe::{Outcome, Probe, must};
use super::requests::{self, SIGNALS, Signal};
use super::target::Target;
use super::wire::{self, Value, bytes, double, fixed64, message, string, varint, varint_field};

/// Paths from the request to what a probe looks at.
const SPAN: [u32; 3] = [1, 2, 2];
const ANY: [u32; 5] = [1, 2, 2, 9, 2];
const POINT: [u32; 5] = [1, 2, 2, 5, 1];

pub const PROBES: &[Probe] = &[
    must("delivery.protobuf", "protobuf of all signals arrives", |at| {
        SIGNALS.iter().try_for_each(|signal| {
            let service = service(at, "protobuf");
            let sent = named(&service, &requests::full(*signal));
            at.protobuf(*signal, sent)?.accepted()?;
            at.sink()?.body(*signal, &service).map(drop)
        })
    }),
    must("delivery.grpc", "gRPC of all signals arrives, plain and in gzip", |at| {
        SIGNALS.iter().try_for_each(|signal| {
            let plain = service(at, "grpc");
            at.export(*signal, &named(&plain, &requests::full(*signal)))?.taken()?;
            let zipped = service(at, "grpc-gzip");
            let body = gzip(&named(&zipped, &requests::full(*signal)));
            let call = Call::grpc(signal.method()).header("grpc-encoding", "gzip");
            at.call(&call.data(frame(1, &body)))?.taken()?;
            at.sink()?.body(*signal, &plain)?;
            at.sink()?.body(*signal, &zipped).map(drop)
        })
    }),
    must("delivery.json", "JSON of all signals arrives in protobuf", |at| {
        SIGNALS.iter().try_for_each(|signal| {
            let service = service(at, "json");
            let sent = requests::small_json(*signal).replace("conformance", &service);
            at.json(*signal, sent)?.accepted()?;
            at.sink()?.body(*signal, &service).map(drop)
        })
    }),
    must("delivery.once", "a request arrives once", |at| {
        let service = service(at, "once");
        at.protobuf(Signal::Traces, named(&service, &requests::small(Signal::Traces)))?
            .accepted()?;
        let last = self::service(at, "after-once");
        at.protobuf(Signal::Traces, named(&last, &requests::small(Signal::Traces)))?.accepted()?;
        at.sink()?.body(Signal::Traces, &last)?;
        let body = at.sink()?.body(Signal::Traces, &service)?;
        let times = at.sink()?.bodies(Signal::Traces, &service).len() * spans(&body)?.len();
        if times == 1 { Ok(()) } else { Err(format!("it arrived {times} times")) }
    }),
    must("delivery.refused", "nothing of a refused request arrives", |at| {
        let refused = service(at, "refused");
        let bad = [named(&refused, &requests::small(Signal::Traces)), vec![0x0a, 0x7f]].concat();
        at.protobuf(Signal::Traces, bad)?.is(400)?;
        let last = service(at, "after-refused");
        at.protobuf(Signal::Traces, named(&last, &requests::small(Signal::Traces)))?.accepted()?;
        at.sink()?.body(Signal::Traces, &last)?;
        match at.sink()?.bodies(Signal::Traces, &refused).len() {
            0 => Ok(()),
            some => Err(format!("{some} deliveries of what was refused")),
        }
    }),
    must("delivery.members", "all members of a gzip body arrive", |at| {
        let service = service(at, "members");
        let one = named(&service, &requests::small(Signal::Traces));
        let ask =
            requests::ask(Signal::Traces, Encoding::Protobuf, [gzip(&one), gzip(&one)].concat());
        at.ask(&ask.header("Content-Encoding", "gzip"))?.accepted()?;
        two_spans(at, &service)
    }),
    must("delivery.concatenated", "both of two requests in a row arrive", |at| {
        let service = service(at, "concatenated");
        let one = named(&service, &requests::small(Signal::Traces));
        at.protobuf(Signal::Traces, [one.clone(), one].concat())?.accepted()?;
        two_spans(at, &service)
    }),
    must("delivery.last_wins", "of a scalar given twice the last arrives", |at| {
        let body = protobuf_span(at, &[string(5, "first"), string(5, "last")].concat())?;
        found(&body, &[1, 2, 2, 5], &text("last"))
    }),
    must("delivery.attributes", "attributes of all kinds arrive as they were", |at| {
        let kinds = requests::attributes_of_all_kinds(9);
        let body = protobuf_span(at, &kinds)?;
        let arrived: Vec<_> = look_up(&body, &[1, 2, 2, 9])?.iter().map(canonical).collect();
        wire::fields(&kinds)?.iter().try_for_each(|(_, sent)| {
            let sent = canonical(sent);
            if arrived.contains(&sent) { Ok(()) } else { Err(format!("{sent:?} is missing")) }
        })
    }),
    must("delivery.unpacked", "unpacked and packed counts arrive, all of them", |at| {
        let service = service(at, "unpacked");
        let counts = [fixed64(6, 7), bytes(6, &requests::packed_fixed64(&[8, 9]))].concat();
        let sent = named(&service, &requests::with_histogram_point(&counts));
        at.protobuf(Signal::Metrics, sent)?.accepted()?;
        let body = at.sink()?.body(Signal::Metrics, &service)?;
        let arrived: Vec<u8> =
            look_up(&body, &[1, 2, 2, 9, 1, 6])?.into_iter().flat_map(raw).collect();
        same(&arrived, &requests::packed_fixed64(&[7, 8, 9]))
    }),
    must("delivery.json.ids", "hex ids arrive as their bytes, whatever their case", |at| {
        let ids = r#""traceId": "5B8efff798038103d269b633813fC60c", "spanId": "EEE19b7ec3c1b174",
            "parentSpanId": "eee19b7ec3c1b174""#;
        let body = json_span(at, ids)?;
        found(&body, &[1, 2, 2, 1], &Value::Bytes(requests::TRACE_ID.to_vec()))?;
        found(&body, &[1, 2, 2, 2], &Value::Bytes(requests::SPAN_ID.to_vec()))?;
        found(&body, &[1, 2, 2, 4], &Value::Bytes(requests::SPAN_ID.to_vec()))
    }),
    must("delivery.json.times", "64-bit times arrive to the last nanosecond", |at| {
        let times = r#""startTimeUnixNano": 18446744073709551615,
            "endTimeUnixNano": "1790000000000000001""#;
        let body = json_span(at, times)?;
        found(&body, &[1, 2, 2, 7], &Value::Bytes(u64::MAX.to_le_bytes().to_vec()))?;
        let end = 1_790_000_000_000_000_001u64;
        found(&body, &[1, 2, 2, 8], &Value::Bytes(end.to_le_bytes().to_vec()))
    }),
    must("delivery.json.integers", "64-bit integers arrive exactly", |at| {
        arrives(at, r#"{"intValue": "-9223372036854775808"}"#, &varint_field(3, 1 << 63))?;
        arrives(at, r#"{"intValue": 9007199254740993}"#, &varint_field(3, 9_007_199_254_740_993))
    }),
    must("delivery.json.doubles", "doubles arrive to the last bit", |at| {
        arrives(at, r#"{"doubleValue": 0.1}"#, &double(4, 0.1))?;
        arrives(at, r#"{"doubleValue": "5e-324"}"#, &double(4, 5e-324))?;
        arrives(at, r#"{"doubleValue": 1.7976931348623157e308}"#, &double(4, f64::MAX))?;
        arrives(at, r#"{"doubleValue": "-Infinity"}"#, &double(4, f64::NEG_INFINITY))
    }),
    must("delivery.json.nan", "\"NaN\" arrives as a NaN", |at| {
        let body = json_point(at, r#""asDouble": "NaN""#)?;
        match look_up(&body, &[&POINT[..], &[4]].concat())?.pop() {
            Some(Value::Bytes(bits)) if bits.len() == 8 => {
                let number = f64::from_le_bytes(bits.try_into().expect("8 bytes were checked"));
                if number.is_nan() { Ok(()) } else { Err(format!("{number} arrived")) }
            }
            other => Err(format!("{other:?} arrived")),
        }
    }),
    must("delivery.json.set_zero", "a value that is set to its default arrives as set", |at| {
        arrives(at, r#"{"intValue": "0"}"#, &varint_field(3, 0))?;
        arrives(at, r#"{"boolValue": false}"#, &varint_field(2, 0))?;
        arrives(at, r#"{"doubleValue": 0}"#, &double(4, 0.0))?;
        arrives(at, r#"{"stringValue": ""}"#, &string(1, ""))?;
        arrives(at, r#"{"bytesValue": ""}"#, &bytes(7, b""))?;
        arrives(at, r#"{"arrayValue": {}}"#, &bytes(5, b""))
    }),
    must(
        "delivery.json.point_zero",
        "a point of 0 arrives as 0, one without value does not",
        |at| {
            let body = json_point(at, r#""asInt": "0""#)?;
            found(&body, &[&POINT[..], &[6]].concat(), &Value::Bytes(vec![0; 8]))?;
            let body = json_point(at, r#""flags": 1"#)?;
            let values = look_up(&body, &[&POINT[..], &[6]].concat())?;
            if values.is_empty() { Ok(()) } else { Err(format!("{values:?} arrived")) }
        },
    ),
    must("delivery.json.signed", "signed fields arrive: asInt, scale and offset", |at| {
        let body = json_point(at, r#""asInt": "-2""#)?;
        let minus_two = (-2i64).to_le_bytes().to_vec();
        found(&body, &[&POINT[..], &[6]].concat(), &Value::Bytes(minus_two))?;
        let buckets = r#""scale": -3, "negative": {"offset": -5, "bucketCounts": ["1", 300]}"#;
        let body = json_metric(
            at,
            &format!(r#""exponentialHistogram": {{"dataPoints": [{{{buckets}}}]}}"#),
        )?;
        found(&body, &[1, 2, 2, 10, 1, 6], &Value::Number(5))?;
        found(&body, &[1, 2, 2, 10, 1, 9, 1], &Value::Number(9))?;
        bucket_counts(&body)
    }),
    must("delivery.json.bytes", "base64 of both alphabets arrives as bytes", |at| {
        arrives(at, r#"{"bytesValue": "+/8A"}"#, &bytes(7, b"\xfb\xff\x00"))?;
        arrives(at, r#"{"bytesValue": "-_8A"}"#, &bytes(7, b"\xfb\xff\x00"))?;
        arrives(at, r#"{"bytesValue": "+w"}"#, &bytes(7, b"\xfb"))
    }),
    must("delivery.json.escapes", "escapes arrive as the text they stand for", |at| {
        let any = r#"{"stringValue": "\"\\\/\b\f\n\r\t\u00e4\ud83d\uded1\u0000"}"#;
        arrives(at, any, &string(1, "\"\\/\u{8}\u{c}\n\r\t\u{e4}\u{1f6d1}\0"))
    }),
    must("delivery.json.nested", "lists and maps arrive in their order", |at| {
        let any = r#"{"arrayValue": {"values": [{"intValue": "1"}, {}, {"kvlistValue": {"values":
            [{"key": "k", "value": {"stringValue": "v"}}]}}]}}"#;
        let map = message(6, &[requests::attribute(1, "k", "v")]);
        let list = [message(1, &[varint_field(3, 1)]), bytes(1, b""), bytes(1, &map)];
        arrives(at, any, &message(5, &list))
    }),
    must("delivery.json.enums", "enums arrive as their numbers", |at| {
        let body = json_span(at, r#""kind": 3, "status": {"code": 2, "message": "boom"}"#)?;
        found(&body, &[1, 2, 2, 6], &Value::Number(3))?;
        found(&body, &[1, 2, 2, 15, 3], &Value::Number(2))?;
        found(&body, &[1, 2, 2, 15, 2], &text("boom"))
    }),
    must("delivery.json.null", "null arrives as unset", |at| {
        let nulls = r#""parentSpanId": null, "kind": null, "status": null, "attributes":
            [{"key": "k", "value": null}]"#;
        let body = json_span(at, nulls)?;
        let set = |field| look_up(&body, &[1, 2, 2, field]);
        let empty = [Value::Number(0), Value::Bytes(Vec::new())];
        let mut left = [set(4)?, set(6)?].concat();
        left.retain(|value| !empty.contains(value));
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?} arrived")) }
    }),
    must("delivery.json.snake_case", "what stood under snake_case names does not arrive", |at| {
        let body = json_span(at, r#""trace_state": "stray-state""#)?;
        let stray = body.windows(11).any(|part| part == b"stray-state");
        if stray { Err("it arrived".to_owned()) } else { Ok(()) }
    }),
];

/// A service name of its own for each probe, so that its delivery can be told from all others.
fn service(at: &Target, word: &str) -> String {
    at.next_service(word)
}

/// The same request under another service name.
fn named(service: &str, request: &[u8]) -> Vec<u8> {
    // A resource given twice is merged, so the name goes in beside the first one, as the last
    // attribute of the merged list; a second attribute keeps the request valid for every reader.
    let extra = message(1, &[requests::attribute(1, "probe.service", service)]);
    let mut out = Vec::new();
    for (field, value) in wire::fields(request).expect("a good request") {
        let Value::Bytes(resource) = value else { continue };
        out.extend(bytes(field, &[resource, extra.clone()].concat()));
    }
    out
}

fn protobuf_span(at: &Target, more: &[u8]) -> Result<Vec<u8>, String> {
    let service = service(at, "span");
    at.protobuf(Signal::Traces, named(&service, &requests::with_span(more)))?.accepted()?;
    at.sink()?.body(Signal::Traces, &service)
}

fn json_body(at: &Target, signal: Signal, body: &str) -> Result<Vec<u8>, String> {
    let service = service(at, "json");
    at.json(signal, body.replace("conformance", &service))?.accepted()?;
    at.sink()?.body(signal, &service)
}

fn json_span(at: &Target, members: &str) -> Result<Vec<u8>, String> {
    json_body(at, Signal::Traces, &requests::bare_span_json(members))
}

fn json_metric(at: &Target, members: &str) -> Result<Vec<u8>, String> {
    json_body(at, Signal::Metrics, &requests::metric_json(members))
}

fn json_point(at: &Target, members: &str) -> Result<Vec<u8>, String> {
    json_body(at, Signal::Metrics, &requests::point_json(members))
}

/// The `AnyValue` of this JSON arrives as these bytes.
fn arrives(at: &Target, any: &str, expected: &[u8]) -> Outcome {
    let body = json_body(at, Signal::Traces, &requests::any_json(any))?;
    found(&body, &ANY, &Value::Bytes(expected.to_vec()))
}

/// All values at this path of field numbers, in the order they stand.
fn look_up(body: &[u8], path: &[u32]) -> Result<Vec<Value>, String> {
    let (first, rest) = path.split_first().ok_or("an empty path")?;
    let mut values = Vec::new();
    for (field, value) in wire::fields(body)? {
        match value {
            _ if field != *first => {}
            value if rest.is_empty() => values.push(value),
            Value::Bytes(inner) => values.extend(look_up(&inner, rest)?),
            Value::Number(number) => return Err(format!("{number} where a message belongs")),
        }
    }
    Ok(values)
}

/// The last value at the path is this one, in whatever order its fields stand.
fn found(body: &[u8], path: &[u32], expected: &Value) -> Outcome {
    match look_up(body, path)?.pop() {
        Some(value) if canonical(&value) == canonical(expected) => Ok(()),
        other => Err(format!("{other:?} arrived at {path:?} instead of {expected:?}")),
    }
}

/// The same value with the fields of every message in it in the order of their numbers. Bytes that
/// only happen to read as a message are ordered too, on both sides of a comparison alike.
fn canonical(value: &Value) -> Value {
    let Value::Bytes(content) = value else { return value.clone() };
    let Ok(mut fields) = wire::fields(content) else { return value.clone() };
    fields.sort_by_key(|(field, _)| *field);
    let ordered = fields.iter().flat_map(|(field, value)| match canonical(value) {
        Value::Number(number) => varint_field(*field, number),
        Value::Bytes(inner) => bytes(*field, &inner),
    });
    Value::Bytes(ordered.collect())
}

fn text(text: &str) -> Value {
    Value::Bytes(text.as_bytes().to_vec())
}

fn raw(value: Value) -> Vec<u8> {
    match value {
        Value::Bytes(bytes) => bytes,
        Value::Number(number) => varint(number),
    }
}

fn same(arrived: &[u8], expected: &[u8]) -> Outcome {
    if arrived == expected { Ok(()) } else { Err(format!("{arrived:?} instead of {expected:?}")) }
}

/// The negative buckets 1 and 300, packed or not.
fn bucket_counts(body: &[u8]) -> Outcome {
    let counts = look_up(body, &[1, 2, 2, 10, 1, 9, 2])?;
    same(&counts.into_iter().flat_map(raw).collect::<Vec<u8>>(), &[varint(1), varint(300)].concat())
}

fn spans(body: &[u8]) -> Result<Vec<Value>, String> {
    look_up(body, &SPAN)
}

/// Two spans of this service arrive, in one delivery or in two.
fn two_spans(at: &Target, service: &str) -> Outcome {
    let sink = at.sink()?;
    let mut arrived = spans(&sink.body(Signal::Traces, service)?)?.len();
    if arrived < 2 {
        arrived = sink.bodies(Signal::Traces, service).len();
    }
    if arrived == 2 { Ok(()) } else { Err(format!("{arrived} spans arrived")) }
}
