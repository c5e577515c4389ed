//! Content types: two are taken, the answer speaks the one that was asked in, and nothing else
//! passes.

use super::answer::{Answer, Encoding};
use super::http::Ask;
use super::probe::{Outcome, Probe, may, must, should};
use super::requests::{SIGNALS, Signal, small, small_json};
use super::target::Target;

const PB: Encoding = Encoding::Protobuf;
const JSON: Encoding = Encoding::Json;

pub const PROBES: &[Probe] = &[
    must("type.protobuf.traces", "protobuf traces are answered in protobuf", |at| {
        same_back(at, Signal::Traces, PB)
    }),
    must("type.protobuf.metrics", "protobuf metrics are answered in protobuf", |at| {
        same_back(at, Signal::Metrics, PB)
    }),
    must("type.protobuf.logs", "protobuf logs are answered in protobuf", |at| {
        same_back(at, Signal::Logs, PB)
    }),
    must("type.json.traces", "JSON traces are answered in JSON", |at| {
        same_back(at, Signal::Traces, JSON)
    }),
    must("type.json.metrics", "JSON metrics are answered in JSON", |at| {
        same_back(at, Signal::Metrics, JSON)
    }),
    must("type.json.logs", "JSON logs are answered in JSON", |at| {
        same_back(at, Signal::Logs, JSON)
    }),
    must("type.charset", "`application/json; charset=utf-8` is JSON", |at| {
        typed(at, "application/json; charset=utf-8", small_json(Signal::Traces))?.taken(JSON)
    }),
    should("type.tight_parameter", "`application/json;charset=UTF-8` is JSON", |at| {
        typed(at, "application/json;charset=UTF-8", small_json(Signal::Traces))?.accepted()
    }),
    should("type.protobuf_parameter", "a parameter on the protobuf type is passed over", |at| {
        typed(at, "application/x-protobuf; v=1", small(Signal::Traces))?.taken(PB)
    }),
    must("type.case", "media types are case-insensitive (RFC 9110)", |at| {
        typed(at, "Application/JSON", small_json(Signal::Traces))?.accepted()?;
        typed(at, "APPLICATION/X-PROTOBUF", small(Signal::Traces))?.accepted()
    }),
    must("type.header_name_case", "header names are case-insensitive", |at| {
        let ask = Ask::post("/v1/traces").header("cOnTeNt-TyPe", PB.media_type());
        at.ask(&ask.body(small(Signal::Traces)))?.accepted()
    }),
    must("type.missing.traces", "traces without Content-Type are answered 415", |at| {
        untyped(at, Signal::Traces)
    }),
    must("type.missing.metrics", "metrics without Content-Type are answered 415", |at| {
        untyped(at, Signal::Metrics)
    }),
    must("type.missing.logs", "logs without Content-Type are answered 415", |at| {
        untyped(at, Signal::Logs)
    }),
    must("type.text", "text/plain is answered 415 for all signals", |at| {
        SIGNALS.iter().try_for_each(|signal| {
            let ask = Ask::post(signal.path()).header("Content-Type", "text/plain");
            at.ask(&ask.body(small(*signal)))?.is(415).map(drop)
        })
    }),
    must("type.empty", "an empty Content-Type is answered 415", |at| {
        typed(at, "", small(Signal::Traces))?.among(&[400, 415]).map(drop)
    }),
    must("type.near_miss", "`application/x-protobufs` is answered 415", |at| {
        typed(at, "application/x-protobufs", small(Signal::Traces))?.is(415).map(drop)
    }),
    should("type.grpc", "application/grpc over HTTP/1.1 is answered 415", |at| {
        typed(at, "application/grpc", small(Signal::Traces))?.is(415).map(drop)
    }),
    may("type.plain_protobuf", "`application/protobuf` is taken for protobuf", |at| {
        typed(at, "application/protobuf", small(Signal::Traces))?.accepted()
    }),
    must("type.binary", "a Content-Type of binary bytes is refused, and harms nobody", |at| {
        SIGNALS.iter().try_for_each(|signal| {
            let ask = Ask::post(signal.path()).header("Content-Type", b"\xff\xfe\x80");
            at.ask(&ask.body(small(*signal)))?.refused()?;
            at.is_alive()
        })
    }),
    should(
        "type.binary_parameter",
        "JSON with a binary parameter is answered, not dropped",
        |at| {
            let ask = Ask::post("/v1/logs").header("Content-Type", b"application/json; x=\xff");
            at.ask(&ask.body(small_json(Signal::Logs)))?.among(&[200, 400, 415])?;
            at.is_alive()
        },
    ),
    must("type.json_as_protobuf", "JSON under the protobuf type is answered 400", |at| {
        typed(at, PB.media_type(), small_json(Signal::Traces))?.is(400).map(drop)
    }),
    must("type.protobuf_as_json", "protobuf under the JSON type is answered 400", |at| {
        typed(at, JSON.media_type(), small(Signal::Traces))?.is(400).map(drop)
    }),
    should("type.accept", "Accept does not change the encoding of the answer", |at| {
        let ask = Ask::post("/v1/traces").header("Content-Type", PB.media_type());
        let ask = ask.header("Accept", "application/json").body(small(Signal::Traces));
        at.ask(&ask)?.taken(PB)
    }),
];

fn typed(at: &Target, media_type: &str, body: impl Into<Vec<u8>>) -> Result<Answer, String> {
    at.ask(&Ask::post("/v1/traces").header("Content-Type", media_type).body(body))
}

fn same_back(at: &Target, signal: Signal, encoding: Encoding) -> Outcome {
    let body = match encoding {
        Encoding::Protobuf => small(signal),
        Encoding::Json => small_json(signal).into_bytes(),
    };
    at.post(signal, encoding, body)?.is(200)?.has_media_type(encoding).map(drop)
}

fn untyped(at: &Target, signal: Signal) -> Outcome {
    at.ask(&Ask::post(signal.path()).body(small(signal)))?.is(415)?;
    at.is_alive()
}
