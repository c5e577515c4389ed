//! The form of OTLP/JSON: the official examples, names, unknown keys, `null`, and text that is not
//! JSON at all.
//!
//! A key that a server does not know must be passed over, whatever its value. So a snake_case name
//! with a number where a list belongs tells the two apart: who knows the name must refuse it.

use super::answer::Encoding;
use super::http::Line;
use super::probe::{Outcome, Probe, may, must, should};
use super::requests::{
    self, SIGNALS, Signal, any_json, bare_span_json, log_json, metric_json, small_json, span_json,
};
use super::target::Target;

const JSON: Encoding = Encoding::Json;

const TRACE: &str = include_str!("../data/trace.json");
const METRICS: &str = include_str!("../data/metrics.json");
const LOGS: &str = include_str!("../data/logs.json");
const EVENTS: &str = include_str!("../data/events.json");

pub const PROBES: &[Probe] = &[
    must("json.example.trace", "the official example trace.json is taken", |at| {
        at.json(Signal::Traces, TRACE)?.taken(JSON)
    }),
    must("json.example.metrics", "the official example metrics.json is taken", |at| {
        at.json(Signal::Metrics, METRICS)?.taken(JSON)
    }),
    must("json.example.logs", "the official example logs.json is taken", |at| {
        at.json(Signal::Logs, LOGS)?.taken(JSON)
    }),
    must("json.example.events", "the official example events.json is taken", |at| {
        at.json(Signal::Logs, EVENTS)?.taken(JSON)
    }),
    must("json.unknown.scalar", "unknown keys with a scalar are passed over", |at| {
        ["1", "-1.5e300", "true", "null", r#""text""#]
            .into_iter()
            .try_for_each(|value| taken(at, span_json(&format!(r#""futureField": {value}"#))))
    }),
    must("json.unknown.nested", "unknown keys with objects and lists are passed over", |at| {
        let value = r#"{"a": [1, {"b": [[], {}, null, "\u0000\"]}"]}], "spans": 5}"#;
        taken(at, span_json(&format!(r#""futureField": {value}"#)))
    }),
    must("json.unknown.everywhere", "unknown keys are passed over at every depth", unknown_keys),
    must("json.unknown.top", "unknown keys of the request are passed over", |at| {
        SIGNALS
            .iter()
            .try_for_each(|signal| at.json(*signal, r#"{"future": {"a": 1}}"#)?.taken(JSON))
    }),
    must("json.snake_case", "snake_case names are unknown names, passed over", |at| {
        at.json(Signal::Traces, r#"{"resource_spans": 5}"#)?.taken(JSON)?;
        at.json(Signal::Metrics, r#"{"resource_metrics": 5}"#)?.taken(JSON)?;
        at.json(Signal::Logs, r#"{"resource_logs": 5}"#)?.taken(JSON)
    }),
    must("json.snake_case_inside", "snake_case names inside a record are passed over", |at| {
        taken(at, span_json(r#""trace_state": 5, "start_time_unix_nano": {}, "span_id": []"#))
    }),
    should("json.case", "names are case-sensitive: ResourceSpans is unknown", |at| {
        at.json(Signal::Traces, r#"{"ResourceSpans": 5}"#)?.taken(JSON)
    }),
    should("json.escaped_name", "a name written with escapes is that name", |at| {
        at.json(Signal::Traces, r#"{"resource\u0053pans": 5}"#)?.is(400).map(drop)
    }),
    must("json.null.lists", "null lists are empty lists, at every depth", |at| {
        taken(at, r#"{"resourceSpans": null}"#)?;
        taken(at, r#"{"resourceSpans": [{"scopeSpans": null}]}"#)?;
        taken(at, r#"{"resourceSpans": [{"scopeSpans": [{"spans": null}]}]}"#)?;
        taken(at, span_json(r#""attributes": null, "events": null, "links": null"#))
    }),
    must("json.null.messages", "null messages are unset", |at| {
        taken(at, r#"{"resourceSpans": [{"resource": null, "scopeSpans": [{"scope": null}]}]}"#)?;
        taken(at, span_json(r#""status": null, "attributes": [{"key": "k", "value": null}]"#))
    }),
    must("json.null.scalars", "null texts and numbers are their defaults", |at| {
        let numbers = r#""kind": null, "flags": null, "droppedAttributesCount": null"#;
        taken(at, span_json(&format!(r#""name": null, "traceState": null, {numbers}"#)))?;
        taken(at, span_json(r#""status": {"code": null, "message": null}"#))
    }),
    must("json.null.ids", "a null parentSpanId is a root span", |at| {
        taken(at, span_json(r#""parentSpanId": null"#))
    }),
    must("json.null.times", "null times are 0", |at| {
        taken(at, bare_span_json(r#""startTimeUnixNano": null, "endTimeUnixNano": null"#))
    }),
    must("json.null.kinds", "null kinds of data and of values are unset", |at| {
        let gauge = r#""gauge": null, "sum": {"dataPoints": [{"asInt": null}]}"#;
        at.json(Signal::Metrics, metric_json(gauge))?.taken(JSON)?;
        taken(at, any_json(r#"{"stringValue": null}"#))?;
        at.json(Signal::Logs, log_json(r#""body": null"#))?.taken(JSON)
    }),
    must("json.empty_objects", "empty objects are messages of defaults", |at| {
        taken(at, r#"{"resourceSpans": [{}]}"#)?;
        taken(at, r#"{"resourceSpans": [{"scopeSpans": [{}]}]}"#)?;
        taken(at, r#"{"resourceSpans": [{"scopeSpans": [{"spans": [{}]}]}]}"#)
    }),
    must("json.spaces", "white space around and inside is passed over", |at| {
        taken(at, format!(" \t\r\n{}\n\t ", small_json(Signal::Traces)))?;
        let tight: String = small_json(Signal::Traces).replace([' ', '\n'], "");
        taken(at, tight)
    }),
    must("json.order", "keys may come in any order", |at| {
        taken(
            at,
            r#"{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "x"}], "scope": {}}],
            "resource": {"attributes": []}}]}"#,
        )
    }),
    must("json.same_key_twice", "a key given twice is taken or refused, and nothing worse", |at| {
        let body = span_json(r#""kind": 1, "kind": 2, "name": "a", "name": "b""#);
        at.json(Signal::Traces, body)?.among(&[200, 400]).map(drop)
    }),
    must("json.not_a_request", "a list, a text or a number is no request: 400", |at| {
        ["[]", r#""text""#, "5", "true"].into_iter().try_for_each(|body| malformed(at, body))
    }),
    should("json.nothing", "an empty body is no JSON: 400", |at| malformed(at, "")),
    must("json.wrong_shape", "a list, object or text in the wrong place is answered 400", |at| {
        malformed(at, r#"{"resourceSpans": {}}"#)?;
        malformed(at, r#"{"resourceSpans": "text"}"#)?;
        malformed(at, r#"{"resourceSpans": [5]}"#)?;
        malformed(at, r#"{"resourceSpans": [{"scopeSpans": 5}]}"#)?;
        malformed(at, span_json(r#""name": {}"#))?;
        malformed(at, span_json(r#""attributes": [[]]"#))
    }),
    should("json.wrong_scalar", "a number for a text, a text for a boolean: 400", |at| {
        malformed(at, span_json(r#""name": 5"#))?;
        malformed(at, any_json(r#"{"boolValue": "yes"}"#))?;
        malformed(at, any_json(r#"{"stringValue": true}"#))
    }),
    must("json.cut", "JSON cut at any byte is answered 400", cut_anywhere),
    must("json.trailing", "anything after the request is answered 400", |at| {
        ["x", "{}", "]", "}", ",", "\0"]
            .into_iter()
            .try_for_each(|tail| malformed(at, format!("{}{tail}", small_json(Signal::Traces))))
    }),
    must("json.grammar", "what only looks like JSON is answered 400", |at| {
        let near_misses = [
            "{'resourceSpans': []}",
            "{resourceSpans: []}",
            r#"{"resourceSpans": [],}"#,
            r#"{"resourceSpans": [,]}"#,
            r#"{"resourceSpans": [{},]}"#,
            r#"{"resourceSpans" []}"#,
            r#"{"resourceSpans": [] // words
            }"#,
            r#"{"resourceSpans": [] "x": 1}"#,
            r#"{"future": nul}"#,
        ];
        near_misses.into_iter().try_for_each(|body| malformed(at, body))
    }),
    should("json.number_grammar", "numbers that only look like JSON are answered 400", |at| {
        ["01", "+1", ".5", "1.", "0x10", "1e", "--1", "NaN", "Infinity"].into_iter().try_for_each(
            |number| malformed(at, any_json(&format!(r#"{{"doubleValue": {number}}}"#))),
        )
    }),
    must("json.escapes", "all escapes of JSON are taken", |at| {
        taken(at, any_json(r#"{"stringValue": "\" \\ \/ \b \f \n \r \t \u00e4 \ud83d\uded1"}"#))
    }),
    must("json.bad_escapes", "escapes that JSON does not have are answered 400", |at| {
        [r"\x41", r"\u12", r"\u12g4", r"\'"].into_iter().try_for_each(|text| {
            malformed(at, any_json(&format!(r#"{{"stringValue": "{text}"}}"#)))
        })
    }),
    should("json.lone_surrogate", "half of a surrogate pair is answered 400", |at| {
        [r"\ud800", r"\udc00", r"\ud800\u0041", r"\ud800x"].into_iter().try_for_each(|text| {
            malformed(at, any_json(&format!(r#"{{"stringValue": "{text}"}}"#)))
        })
    }),
    should("json.control", "a raw control character in a text is answered 400", |at| {
        malformed(at, any_json("{\"stringValue\": \"a\u{1}b\"}"))?;
        malformed(at, any_json("{\"stringValue\": \"a\nb\"}"))
    }),
    must("json.null_character", "U+0000 written as an escape is taken", |at| {
        taken(at, any_json(r#"{"stringValue": "a\u0000b"}"#))
    }),
    should("json.bad_text", "JSON that is not UTF-8 is answered 400", |at| {
        let mut body = any_json(r#"{"stringValue": "?"}"#).into_bytes();
        let mark = body.iter().position(|byte| *byte == b'?').expect("the mark is in the body");
        body[mark] = 0xff;
        malformed(at, body)
    }),
    must("json.utf_16", "JSON in UTF-16 is answered 400", |at| {
        let text = small_json(Signal::Traces);
        let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        malformed(at, wide)
    }),
    may("json.byte_order_mark", "a byte order mark before the request is passed over", |at| {
        taken(at, format!("\u{feff}{}", small_json(Signal::Traces)))
    }),
    must("json.depth_10", "attributes 10 lists deep are taken", |at| {
        taken(at, any_json(&lists(10)))
    }),
    must("json.depth_bomb.known", "attributes 100 000 lists deep harm nobody", |at| {
        at.json(Signal::Traces, any_json(&lists(100_000)))?.among(&[200, 400])?;
        at.is_alive()
    }),
    must("json.depth_bomb.unknown", "an unknown key with 200 000 lists harms nobody", |at| {
        let bomb = format!(r#""future": {}{}"#, "[".repeat(200_000), "]".repeat(200_000));
        at.json(Signal::Logs, log_json(&bomb))?.among(&[200, 400])?;
        at.is_alive()
    }),
    must("json.depth_bomb.open", "500 000 opening brackets are answered 400", |at| {
        malformed(at, format!(r#"{{"resourceSpans": {}"#, "[".repeat(500_000)))?;
        malformed(at, r#"{"a":"#.repeat(200_000))?;
        at.is_alive()
    }),
    must("json.all_or_nothing", "a good record before a bad one is not accepted", |at| {
        let good = small_json(Signal::Traces);
        let body = good.replacen("[{\"resource\"", "[{\"scopeSpans\": [{}]}, 5, {\"resource\"", 1);
        malformed(at, body)
    }),
];

fn taken(at: &Target, body: impl Into<Vec<u8>>) -> Outcome {
    at.json(Signal::Traces, body)?.taken(JSON)
}

fn malformed(at: &Target, body: impl Into<Vec<u8>>) -> Outcome {
    let body = body.into();
    let excerpt: String = String::from_utf8_lossy(&body).chars().rev().take(60).collect();
    let refused = at.json(Signal::Traces, body)?.is(400).and_then(|it| it.has_status_body(JSON));
    refused.map_err(|error| format!("{error} to …{}", excerpt.chars().rev().collect::<String>()))
}

fn unknown_keys(at: &Target) -> Outcome {
    let examples = [
        (Signal::Traces, TRACE),
        (Signal::Metrics, METRICS),
        (Signal::Logs, LOGS),
        (Signal::Logs, EVENTS),
    ];
    examples.into_iter().try_for_each(|(signal, example)| {
        let mut value = serde_json::from_str(example).expect("an official example is JSON");
        add_unknown_keys(&mut value);
        at.json(signal, value.to_string())?.taken(JSON)
    })
}

/// Gives every object of the document a key that the schema does not have.
fn add_unknown_keys(value: &mut serde_json::Value) {
    if let Some(object) = value.as_object_mut() {
        object.values_mut().for_each(add_unknown_keys);
        object.insert("futureField".to_owned(), serde_json::json!({"a": [1, null, "x"]}));
    } else if let Some(list) = value.as_array_mut() {
        list.iter_mut().for_each(add_unknown_keys);
    }
}

/// The request is one object, so that no shorter prefix is JSON.
fn cut_anywhere(at: &Target) -> Outcome {
    let mut line = Line::open(at.http)?;
    for signal in SIGNALS {
        let body = small_json(signal);
        for end in 1..body.len() {
            let cut = requests::ask(signal, JSON, &body.as_bytes()[..end]);
            if let Err(error) = line.exchange(&cut.bytes()).and_then(|answer| answer.is(400)) {
                return Err(format!("{signal:?} cut at {end}: {error}"));
            }
        }
    }
    Ok(())
}

fn lists(depth: usize) -> String {
    let open = r#"{"arrayValue": {"values": ["#.repeat(depth);
    format!(r#"{open}{{"stringValue": "leaf"}}{}"#, "]}}".repeat(depth))
}
