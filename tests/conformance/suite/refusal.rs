//! Refusals: every 4xx carries a `google.rpc.Status` in the encoding of the request, whatever the
//! reason.

use super::answer::{Answer, Encoding};
use super::http::Ask;
use super::probe::{Outcome, Probe, must, should};
use super::requests::{SIGNALS, Signal, small};
use super::target::Target;

const PB: Encoding = Encoding::Protobuf;
const JSON: Encoding = Encoding::Json;

/// A field 1 that claims more than there is.
const BAD_PROTOBUF: &[u8] = b"\x0a\x7f\x00";
const BAD_JSON: &[u8] = b"{\"resourceSpans\": [";

pub const PROBES: &[Probe] = &[
    must("refusal.400.protobuf.traces", "malformed traces: 400, Status in protobuf", |at| {
        malformed(at, Signal::Traces, PB)
    }),
    must("refusal.400.protobuf.metrics", "malformed metrics: 400, Status in protobuf", |at| {
        malformed(at, Signal::Metrics, PB)
    }),
    must("refusal.400.protobuf.logs", "malformed logs: 400, Status in protobuf", |at| {
        malformed(at, Signal::Logs, PB)
    }),
    must("refusal.400.json.traces", "malformed JSON traces: 400, Status in JSON", |at| {
        malformed(at, Signal::Traces, JSON)
    }),
    must("refusal.400.json.metrics", "malformed JSON metrics: 400, Status in JSON", |at| {
        malformed(at, Signal::Metrics, JSON)
    }),
    must("refusal.400.json.logs", "malformed JSON logs: 400, Status in JSON", |at| {
        malformed(at, Signal::Logs, JSON)
    }),
    must("refusal.404.protobuf", "404 carries a Status in protobuf", |at| {
        at.ask(&lost(PB))?.is(404)?.has_status_body(PB)
    }),
    must("refusal.404.json", "404 carries a Status in JSON", |at| {
        at.ask(&lost(JSON))?.is(404)?.has_status_body(JSON)
    }),
    must("refusal.404.untyped", "404 carries a Status when no type was named", |at| {
        at.ask(&Ask::post("/v1/nonsense"))?.is(404)?.status_body().map(drop)
    }),
    must("refusal.405.protobuf", "405 carries a Status in protobuf", |at| {
        at.ask(&wrong_method(PB))?.is(405)?.has_status_body(PB)
    }),
    must("refusal.405.json", "405 carries a Status in JSON", |at| {
        at.ask(&wrong_method(JSON))?.is(405)?.has_status_body(JSON)
    }),
    must("refusal.405.untyped", "405 to a bare GET carries a Status", |at| {
        at.ask(&Ask::new("GET", "/v1/traces"))?.is(405)?.status_body().map(drop)
    }),
    must("refusal.415.text", "415 carries a Status", |at| {
        at.ask(&texted())?.is(415)?.status_body().map(drop)
    }),
    must("refusal.415.untyped", "415 for a missing type carries a Status", |at| {
        let ask = Ask::post("/v1/traces").body(small(Signal::Traces));
        at.ask(&ask)?.is(415)?.status_body().map(drop)
    }),
    must("refusal.coding.protobuf", "an unknown Content-Encoding: Status in protobuf", |at| {
        at.ask(&coded(PB))?.refused()?.has_status_body(PB)
    }),
    must("refusal.coding.json", "an unknown Content-Encoding: Status in JSON", |at| {
        at.ask(&coded(JSON))?.refused()?.has_status_body(JSON)
    }),
    should("refusal.message.400", "the Status of a 400 has a message", |at| {
        at.protobuf(Signal::Traces, BAD_PROTOBUF)?.is(400).and_then(has_message)?;
        at.json(Signal::Traces, BAD_JSON)?.is(400).and_then(has_message)
    }),
    should("refusal.message.404", "the Status of a 404 has a message", |at| {
        at.ask(&lost(PB))?.is(404).and_then(has_message)
    }),
    should("refusal.message.405", "the Status of a 405 has a message", |at| {
        at.ask(&wrong_method(PB))?.is(405).and_then(has_message)
    }),
    should("refusal.message.415", "the Status of a 415 has a message", |at| {
        at.ask(&texted())?.is(415).and_then(has_message)
    }),
    should("refusal.code.400", "the code of a 400, if named, is INVALID_ARGUMENT", |at| {
        let answer = at.protobuf(Signal::Traces, BAD_PROTOBUF)?.is(400)?;
        match answer.status_body()?.code {
            None | Some(0 | 3) => Ok(()),
            Some(other) => Err(format!("code {other}")),
        }
    }),
    should("refusal.bad_request", "the details of a 400 hold a BadRequest", |at| {
        let answer = at.protobuf(Signal::Traces, BAD_PROTOBUF)?.is(400)?;
        let details = answer.status_body()?.details;
        if details.iter().any(|url| url.ends_with("google.rpc.BadRequest")) {
            return Ok(());
        }
        Err(format!("details are {details:?}"))
    }),
    must("refusal.all_or_nothing", "a good resource before a bad one is not accepted", |at| {
        SIGNALS.iter().try_for_each(|signal| {
            let body = [small(*signal), BAD_PROTOBUF.to_vec()].concat();
            at.protobuf(*signal, body)?.is(400).map(drop)
        })
    }),
    should("refusal.not_retryable", "a 400 does not ask to be retried", |at| {
        let answer = at.protobuf(Signal::Traces, BAD_PROTOBUF)?.is(400)?;
        match answer.header("retry-after") {
            None => Ok(()),
            Some(value) => Err(format!("Retry-After: {value}")),
        }
    }),
];

fn malformed(at: &Target, signal: Signal, encoding: Encoding) -> Outcome {
    let body = match encoding {
        Encoding::Protobuf => BAD_PROTOBUF,
        Encoding::Json => BAD_JSON,
    };
    at.post(signal, encoding, body)?.is(400)?.has_status_body(encoding)
}

fn lost(encoding: Encoding) -> Ask {
    Ask::post("/v1/nonsense").header("Content-Type", encoding.media_type()).body("{}")
}

fn wrong_method(encoding: Encoding) -> Ask {
    Ask::new("PUT", "/v1/traces").header("Content-Type", encoding.media_type()).body("{}")
}

fn texted() -> Ask {
    Ask::post("/v1/traces").header("Content-Type", "text/plain").body("{}")
}

fn coded(encoding: Encoding) -> Ask {
    let ask = Ask::post("/v1/traces").header("Content-Type", encoding.media_type());
    ask.header("Content-Encoding", "nonsense").body("{}")
}

fn has_message(answer: Answer) -> Outcome {
    let status = answer.status_body()?;
    if status.message.trim().is_empty() { Err("the message is empty".to_owned()) } else { Ok(()) }
}
