//! Full success: `partial_success` stays unset, and a request with nothing in it succeeds.

use super::answer::{Answer, Encoding};
use super::probe::{Outcome, Probe, must, should};
use super::requests::{SIGNALS, Signal, full, request, resource, small, small_json};
use super::target::Target;
use super::wire::{bytes, message};

const PB: Encoding = Encoding::Protobuf;
const JSON: Encoding = Encoding::Json;

pub const PROBES: &[Probe] = &[
    must("success.protobuf.traces", "partial_success stays unset for traces", |at| {
        at.protobuf(Signal::Traces, small(Signal::Traces))?.fully_taken(PB)
    }),
    must("success.protobuf.metrics", "partial_success stays unset for metrics", |at| {
        at.protobuf(Signal::Metrics, small(Signal::Metrics))?.fully_taken(PB)
    }),
    must("success.protobuf.logs", "partial_success stays unset for logs", |at| {
        at.protobuf(Signal::Logs, small(Signal::Logs))?.fully_taken(PB)
    }),
    must("success.json.traces", "partialSuccess stays unset for traces in JSON", |at| {
        at.json(Signal::Traces, small_json(Signal::Traces))?.fully_taken(JSON)
    }),
    must("success.json.metrics", "partialSuccess stays unset for metrics in JSON", |at| {
        at.json(Signal::Metrics, small_json(Signal::Metrics))?.fully_taken(JSON)
    }),
    must("success.json.logs", "partialSuccess stays unset for logs in JSON", |at| {
        at.json(Signal::Logs, small_json(Signal::Logs))?.fully_taken(JSON)
    }),
    must("success.full.traces", "a span with every field of the schema is taken", |at| {
        at.protobuf(Signal::Traces, full(Signal::Traces))?.accepted()
    }),
    must("success.full.metrics", "metrics of all five kinds with every field are taken", |at| {
        at.protobuf(Signal::Metrics, full(Signal::Metrics))?.accepted()
    }),
    must("success.full.logs", "a log record with every field of the schema is taken", |at| {
        at.protobuf(Signal::Logs, full(Signal::Logs))?.accepted()
    }),
    should("success.empty.traces", "an empty traces request succeeds", |at| {
        at.protobuf(Signal::Traces, [])?.accepted()
    }),
    should("success.empty.metrics", "an empty metrics request succeeds", |at| {
        at.protobuf(Signal::Metrics, [])?.accepted()
    }),
    should("success.empty.logs", "an empty logs request succeeds", |at| {
        at.protobuf(Signal::Logs, [])?.accepted()
    }),
    should("success.empty_json.traces", "`{}` succeeds for traces", |at| {
        at.json(Signal::Traces, "{}")?.accepted()
    }),
    should("success.empty_json.metrics", "`{}` succeeds for metrics", |at| {
        at.json(Signal::Metrics, "{}")?.accepted()
    }),
    should("success.empty_json.logs", "`{}` succeeds for logs", |at| {
        at.json(Signal::Logs, "{}")?.accepted()
    }),
    should("success.empty_unset", "an empty request leaves partial_success unset", |at| {
        SIGNALS.iter().try_for_each(|signal| at.protobuf(*signal, [])?.fully_taken(PB))
    }),
    should("success.empty_resource", "a resource without scopes succeeds", |at| {
        every(at, &bytes(1, &[]))?;
        every(at, &message(1, &[resource()]))
    }),
    should("success.empty_scope", "a scope without records succeeds", |at| {
        every(at, &message(1, &[resource(), bytes(2, &[])]))
    }),
    should("success.empty_record", "a record without fields is answered 200", |at| {
        every(at, &request(&[bytes(2, &[])]))
    }),
    should("success.many", "10 000 spans in one request are taken", |at| {
        let span = bytes(2, &super::requests::span_fields());
        at.protobuf(Signal::Traces, request(&vec![span; 10_000]))?.accepted()
    }),
];

fn every(at: &Target, body: &[u8]) -> Outcome {
    SIGNALS.iter().try_for_each(|signal| at.protobuf(*signal, body).and_then(Answer::accepted))
}
