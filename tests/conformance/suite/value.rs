//! Values inside good protobuf: repeated fields packed or not, all kinds of attributes, numbers at
//! their edges, and text that is not UTF-8.

use super::answer::Encoding;
use super::probe::{Outcome, Probe, may, must, should};
use super::requests::{
    self, Signal, any_attribute, attribute, packed_fixed64, request, with_any,
    with_histogram_point, with_log, with_metric, with_span,
};
use super::target::Target;
use super::wire::{bytes, double, fixed32, fixed64, message, string, varint, varint_field};

const PB: Encoding = Encoding::Protobuf;

/// Text that no UTF-8 decoder may take: a stray byte, an overlong slash, a surrogate.
const BAD_TEXT: [&[u8]; 3] = [b"a\xffb", b"\xc0\xaf", b"\xed\xa0\x80"];

pub const PROBES: &[Probe] = &[
    must("value.packed", "packed bucket counts and bounds are taken", |at| {
        let counts = bytes(6, &packed_fixed64(&[1, 2]));
        metrics(at, &with_histogram_point(&[counts, bytes(7, &1f64.to_le_bytes())].concat()))
    }),
    must("value.unpacked", "unpacked bucket counts and bounds are taken", |at| {
        let counts = [fixed64(6, 1), fixed64(6, 2), double(7, 1.0)].concat();
        metrics(at, &with_histogram_point(&counts))
    }),
    must("value.half_packed", "counts packed in part are taken", |at| {
        let counts = [fixed64(6, 1), bytes(6, &packed_fixed64(&[2])), double(7, 1.0)].concat();
        metrics(at, &with_histogram_point(&counts))
    }),
    must("value.packed_cut", "packed fixed64 of 12 bytes are answered 400", |at| {
        bad_metrics(at, &with_histogram_point(&bytes(6, &[0; 12])))?;
        bad_metrics(at, &with_histogram_point(&bytes(7, &[0; 12])))
    }),
    must("value.packed_varints", "exponential buckets are taken packed and unpacked", |at| {
        let packed = bytes(2, &[varint(1), varint(300), varint(u64::MAX)].concat());
        metrics(at, &exponential(&packed))?;
        metrics(at, &exponential(&[varint_field(2, 1), varint_field(2, 300)].concat()))
    }),
    must("value.packed_varint_cut", "a packed varint that breaks off is answered 400", |at| {
        bad_metrics(at, &exponential(&bytes(2, &[1, 0x80])))
    }),
    must("value.quantiles", "a summary with its quantiles is taken", |at| {
        let quantile = message(6, &[double(1, 0.5), double(2, 3.0)]);
        let point = [fixed64(3, 1), fixed64(4, 1), quantile].concat();
        metrics(at, &with_metric(&message(11, &[bytes(1, &point)])))
    }),
    must("value.not_a_number", "NaN and infinities are values of a point", |at| {
        [f64::NAN, f64::INFINITY, f64::NEG_INFINITY].into_iter().try_for_each(|value| {
            metrics(at, &with_metric(&message(5, &[requests::gauge_point(value)])))
        })
    }),
    must("value.no_recorded_value", "a point flagged as without value is taken", |at| {
        let point = message(1, &[fixed64(3, 1), varint_field(8, 1)]);
        metrics(at, &with_metric(&message(5, &[point])))
    }),
    must("value.no_kind", "a metric without any kind of data is taken", |at| {
        metrics(at, &with_metric(&[]))
    }),
    must("value.kinds", "attributes of all kinds are taken, the empty one too", |at| {
        traces(at, &with_span(&requests::attributes_of_all_kinds(9)))?;
        let logs = with_log(&requests::attributes_of_all_kinds(6));
        at.protobuf(Signal::Logs, logs)?.taken(PB)?;
        let kinds = bytes(1, &requests::attributes_of_all_kinds(1));
        traces(at, &message(1, &[kinds, message(2, &[])]))
    }),
    must("value.mixed_list", "a list of mixed kinds, with an empty one, is taken", |at| {
        let kinds = [string(1, "a"), varint_field(3, 1), double(4, 0.5), Vec::new()];
        let list: Vec<_> = kinds.iter().map(|any| bytes(1, any)).collect();
        traces(at, &with_any(&message(5, &list)))
    }),
    must("value.bytes_attribute", "bytes that are no text are an attribute", |at| {
        traces(at, &with_any(&bytes(7, &[0xff, 0x00, 0xfe])))
    }),
    must("value.structured_body", "a log body may be a map", |at| {
        let log = with_log(&message(5, &[message(6, &[attribute(1, "k", "v")])]));
        at.protobuf(Signal::Logs, log)?.taken(PB)
    }),
    must("value.oneof_twice", "two kinds in one value are taken: the last one counts", |at| {
        traces(at, &with_any(&[string(1, "a"), varint_field(3, 1)].concat()))
    }),
    must("value.empty_strings", "empty keys, names and texts are taken", |at| {
        traces(at, &with_span(&[string(5, ""), attribute(9, "", "")].concat()))
    }),
    must("value.no_value", "an attribute without a value is taken", |at| {
        traces(at, &with_span(&message(9, &[string(1, "probe")])))
    }),
    must("value.open_enums", "enum numbers that are not in the schema are taken", |at| {
        let status = message(15, &[varint_field(3, 99)]);
        traces(at, &with_span(&[varint_field(6, 99), status].concat()))?;
        at.protobuf(Signal::Logs, with_log(&varint_field(2, 99)))?.taken(PB)
    }),
    must(
        "value.time_edges",
        "times 0 and 2^64 - 1, and an end before its start, are taken",
        |at| {
            let edges = [(0, 0), (u64::MAX, u64::MAX), (2, 1)];
            edges.into_iter().try_for_each(|(start, end)| {
                traces(at, &with_span(&[fixed64(7, start), fixed64(8, end)].concat()))
            })
        },
    ),
    must("value.flags", "all 32 bits of flags are taken", |at| {
        traces(at, &with_span(&fixed32(16, u32::MAX)))
    }),
    must("value.null_character", "U+0000 in text is taken", |at| {
        traces(at, &with_any(&string(1, "a\0b")))
    }),
    must("value.unicode", "text outside the basic plane is taken", |at| {
        traces(at, &with_any(&string(1, "p\u{e4}\u{20ac}\u{1f6d1}")))
    }),
    should("value.bad_text.name", "a span name that is not UTF-8 is answered 400", |at| {
        BAD_TEXT.iter().try_for_each(|text| bad_traces(at, &with_span(&bytes(5, text))))
    }),
    should("value.bad_text.key", "an attribute key that is not UTF-8 is answered 400", |at| {
        BAD_TEXT.iter().try_for_each(|text| {
            bad_traces(at, &with_span(&message(9, &[bytes(1, text), bytes(2, &[])])))
        })
    }),
    should("value.bad_text.value", "an attribute text that is not UTF-8 is answered 400", |at| {
        BAD_TEXT.iter().try_for_each(|text| bad_traces(at, &with_any(&bytes(1, text))))
    }),
    should("value.bad_text.nested", "a nested text that is not UTF-8 is answered 400", |at| {
        BAD_TEXT.iter().try_for_each(|text| {
            bad_traces(at, &with_any(&message(5, &[message(1, &[bytes(1, text)])])))
        })
    }),
    should("value.bad_text.resource", "a resource text that is not UTF-8 is answered 400", |at| {
        BAD_TEXT.iter().try_for_each(|text| {
            bad_traces(at, &message(1, &[bytes(1, &any_attribute(1, "k", &bytes(1, text)))]))
        })
    }),
    should("value.bad_text.metric", "a metric name that is not UTF-8 is answered 400", |at| {
        BAD_TEXT
            .iter()
            .try_for_each(|text| bad_metrics(at, &request(&[message(2, &[bytes(1, text)])])))
    }),
    should("value.bad_text.log", "a log line that is not UTF-8 is answered 400", |at| {
        BAD_TEXT.iter().try_for_each(|text| {
            let log = with_log(&message(5, &[bytes(1, text)]));
            at.protobuf(Signal::Logs, log)?.is(400).map(drop)
        })
    }),
    may("value.short_trace_id", "a trace id of 15 bytes is refused, in whole or in part", |at| {
        let answer = at.protobuf(Signal::Traces, with_span(&bytes(1, &[1; 15])))?;
        if answer.status == 200 && answer.body.is_empty() {
            return Err("taken in full".to_owned());
        }
        answer.among(&[200, 400]).map(drop)
    }),
];

fn traces(at: &Target, body: &[u8]) -> Outcome {
    at.protobuf(Signal::Traces, body)?.taken(PB)
}

fn bad_traces(at: &Target, body: &[u8]) -> Outcome {
    at.protobuf(Signal::Traces, body)?.is(400).map(drop)
}

fn metrics(at: &Target, body: &[u8]) -> Outcome {
    at.protobuf(Signal::Metrics, body)?.taken(PB)
}

fn bad_metrics(at: &Target, body: &[u8]) -> Outcome {
    at.protobuf(Signal::Metrics, body)?.is(400).map(drop)
}

/// An exponential histogram whose positive buckets hold these fields.
fn exponential(buckets: &[u8]) -> Vec<u8> {
    let point = [fixed64(3, 1), fixed64(4, 1), bytes(8, buckets)].concat();
    with_metric(&message(10, &[bytes(1, &point), varint_field(2, 2)]))
}
