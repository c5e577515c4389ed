//! The form of protobuf bytes: what every parser must take, what none may take, and what costs a
//! careless one its memory or its stack.
//!
//! Malformed bytes at any depth are a 400: a server that carries them on has acknowledged what its
//! backend will throw away.

use super::answer::Encoding;
use super::http::Line;
use super::probe::{Outcome, Probe, may, must, should};
use super::requests::{
    self, SIGNALS, Signal, full, request, resource, small, span_fields, with_any, with_span,
};
use super::target::Target;
use super::wire::{
    GROUP_END, GROUP_START, LEN, VARINT, bytes, fixed32, fixed64, group, lying, message, string,
    tag, varint, varint_field,
};

const PB: Encoding = Encoding::Protobuf;

/// A field number that no message of OTLP has.
const UNKNOWN: u32 = 5000;

pub const PROBES: &[Probe] = &[
    must("wire.unknown.varint", "an unknown varint field is passed over, at every depth", |at| {
        unknown(at, &varint_field(UNKNOWN, 7))
    }),
    must("wire.unknown.fixed64", "an unknown fixed64 field is passed over", |at| {
        unknown(at, &fixed64(UNKNOWN, 7))
    }),
    must("wire.unknown.bytes", "an unknown bytes field is passed over unread", |at| {
        unknown(at, &bytes(UNKNOWN, b"\xff\x00\x0a\x7f"))
    }),
    must("wire.unknown.fixed32", "an unknown fixed32 field is passed over", |at| {
        unknown(at, &fixed32(UNKNOWN, 7))
    }),
    must("wire.unknown.highest", "field number 536 870 911 is passed over", |at| {
        unknown(at, &varint_field((1 << 29) - 1, 7))
    }),
    must(
        "wire.unknown.deprecated",
        "field 1000, once the instrumentation library, is taken",
        |at| {
            let old = message(1000, &[message(1, &[string(1, "old")]), bytes(2, &span_fields())]);
            taken(at, &message(1, &[resource(), old]))
        },
    ),
    must("wire.order", "fields may come in any order", |at| {
        let span = [fixed64(8, 2), fixed64(7, 1), string(5, "x"), bytes(2, b"12345678")].concat();
        let span = [span, bytes(1, &[1; 16])].concat();
        taken(at, &message(1, &[message(2, &[bytes(2, &span)]), resource()]))
    }),
    must("wire.twice", "a scalar given twice is taken: the last one counts", |at| {
        taken(at, &with_span(&[string(5, "again"), varint_field(6, 3)].concat()))
    }),
    must("wire.merged", "a message given twice is taken: the two are merged", |at| {
        let status = [message(15, &[string(2, "a")]), message(15, &[varint_field(3, 2)])];
        taken(at, &with_span(&status.concat()))?;
        taken(at, &message(1, &[resource(), resource(), message(2, &[bytes(2, &span_fields())])]))
    }),
    must("wire.concatenated", "two requests in a row are one request", |at| {
        SIGNALS.iter().try_for_each(|signal| {
            let two = [small(*signal), full(*signal)].concat();
            at.protobuf(*signal, two)?.taken(PB)
        })
    }),
    should("wire.overlong", "varints with needless bytes are taken", |at| {
        let tag_of_two = [tag(1, LEN), vec![0x80 | 3, 0x80, 0x00], b"abc".to_vec()].concat();
        taken(at, &with_any(&tag_of_two))
    }),
    must("wire.group", "a closed group is passed over or refused, and nothing worse", |at| {
        let body = with_span(&group(UNKNOWN, &varint_field(1, 1)));
        at.protobuf(Signal::Traces, body)?.among(&[200, 400]).map(drop)
    }),
    must("wire.group_open", "a group without an end is answered 400", |at| {
        malformed(at, &with_span(&[tag(UNKNOWN, GROUP_START), varint_field(1, 1)].concat()))
    }),
    must("wire.group_end", "an end without a group is answered 400", |at| {
        malformed(at, &with_span(&tag(UNKNOWN, GROUP_END)))
    }),
    must("wire.group_crossed", "a group ended by another number is answered 400", |at| {
        let crossed = [tag(UNKNOWN, GROUP_START), tag(UNKNOWN + 1, GROUP_END)].concat();
        malformed(at, &with_span(&crossed))
    }),
    must("wire.group_deep", "100 000 groups in each other harm nobody", |at| {
        let deep =
            [tag(UNKNOWN, GROUP_START).repeat(100_000), tag(UNKNOWN, GROUP_END).repeat(100_000)];
        at.protobuf(Signal::Traces, with_span(&deep.concat()))?.among(&[200, 400])?;
        at.is_alive()
    }),
    must("wire.type_6", "wire type 6 is answered 400, at every depth", |at| {
        malformed_everywhere(at, &tag(UNKNOWN, 6))
    }),
    must("wire.type_7", "wire type 7 is answered 400, at every depth", |at| {
        malformed_everywhere(at, &tag(UNKNOWN, 7))
    }),
    must("wire.field_0", "field number 0 is answered 400, at every depth", |at| {
        malformed_everywhere(at, &[tag(0, VARINT), vec![1]].concat())
    }),
    should("wire.field_huge", "a field number over 29 bits is answered 400", |at| {
        malformed(at, &with_span(&[varint(1 << 32 | 8), vec![1]].concat()))
    }),
    must("wire.mistyped", "a known field of another wire type is passed over or 400", |at| {
        let body = with_span(&[varint_field(5, 1), fixed32(7, 1), string(6, "two")].concat());
        at.protobuf(Signal::Traces, body)?.among(&[200, 400]).map(drop)
    }),
    must("wire.varint_11", "a varint of 11 bytes is answered 400", |at| {
        malformed(at, &with_span(&[tag(UNKNOWN, VARINT), vec![0x80; 10], vec![1]].concat()))
    }),
    must("wire.varint_10", "a varint of 10 bytes is taken: -1 as an enum is one", |at| {
        taken(at, &with_any(&varint_field(3, u64::MAX)))?;
        taken(at, &with_span(&varint_field(6, u64::MAX)))
    }),
    must("wire.varint_cut", "a varint that breaks off is answered 400", |at| {
        malformed(at, &with_span(&[tag(UNKNOWN, VARINT), vec![0x80]].concat()))
    }),
    must("wire.fixed_cut", "a fixed64 or fixed32 that breaks off is answered 400", |at| {
        malformed(at, &with_span(&fixed64(UNKNOWN, 1)[..6]))?;
        malformed(at, &with_span(&fixed32(UNKNOWN, 1)[..4]))
    }),
    must("wire.cut.traces", "traces cut at any byte are answered 400", |at| {
        cut_everywhere(at, Signal::Traces)
    }),
    must("wire.cut.metrics", "metrics cut at any byte are answered 400", |at| {
        cut_everywhere(at, Signal::Metrics)
    }),
    must("wire.cut.logs", "logs cut at any byte are answered 400", |at| {
        cut_everywhere(at, Signal::Logs)
    }),
    must("wire.lies.request", "a length of one too many in the request is answered 400", |at| {
        malformed(at, &lying(1, 4, b"\x12\x01\x00"))
    }),
    must("wire.lies.resource", "a length of one too many in a resource is answered 400", |at| {
        let attribute = lying(1, 8, b"\x0a\x05probe");
        malformed(at, &message(1, &[bytes(1, &attribute)]))
    }),
    must("wire.lies.span", "a length of one too many in a span is answered 400", |at| {
        malformed(at, &with_span(&lying(5, 4, b"abc")))
    }),
    must("wire.lies.event", "a length of one too many in an event is answered 400", |at| {
        malformed(at, &with_span(&bytes(11, &lying(2, 4, b"abc"))))
    }),
    must("wire.lies.attribute", "a length of one too many in a value is answered 400", |at| {
        malformed(at, &with_any(&lying(1, 4, b"abc")))
    }),
    must("wire.lies.nested", "a length of one too many in a nested list is answered 400", |at| {
        malformed(at, &with_any(&bytes(6, &bytes(1, &bytes(2, &bytes(5, &lying(1, 4, b"abc")))))))
    }),
    must("wire.lies.point", "a length of one too many in a metric point is answered 400", |at| {
        let metric = requests::with_metric(&bytes(5, &bytes(1, &lying(7, 4, b"abc"))));
        at.protobuf(Signal::Metrics, metric)?.is(400).map(drop)
    }),
    must("wire.lies.log", "a length of one too many in a log body is answered 400", |at| {
        let log = requests::with_log(&bytes(5, &lying(1, 4, b"abc")));
        at.protobuf(Signal::Logs, log)?.is(400).map(drop)
    }),
    must("wire.lies.huge", "lengths of 2^31, 2^32 and 2^64 - 1 are answered 400", |at| {
        for claimed in [1 << 31, (1 << 32) - 1, 1 << 32, 1 << 63, u64::MAX] {
            malformed(at, &lying(1, claimed, b"abc"))?;
            malformed(at, &with_span(&lying(5, claimed, b"abc")))?;
            malformed(at, &with_span(&lying(UNKNOWN, claimed, b"abc")))?;
        }
        at.is_alive()
    }),
    must("wire.depth_10", "attributes 10 lists deep are taken", |at| {
        taken(at, &with_any(&lists(10)))?;
        taken(at, &with_any(&maps(10)))
    }),
    must("wire.depth_bomb.lists", "lists 100 000 deep harm nobody", |at| {
        at.protobuf(Signal::Traces, with_any(&lists(100_000)))?.among(&[200, 400])?;
        at.is_alive()
    }),
    must("wire.depth_bomb.maps", "maps 50 000 deep harm nobody", |at| {
        at.protobuf(Signal::Traces, with_any(&maps(50_000)))?.among(&[200, 400])?;
        at.is_alive()
    }),
    must("wire.depth_bomb.logs", "a log body 100 000 lists deep harms nobody", |at| {
        let body = requests::with_log(&bytes(5, &lists(100_000)));
        at.protobuf(Signal::Logs, body)?.among(&[200, 400])?;
        at.is_alive()
    }),
    must("wire.noise", "random bytes are answered 400", |at| {
        noise().iter().try_for_each(|body| {
            SIGNALS
                .iter()
                .try_for_each(|signal| at.protobuf(*signal, body.clone())?.is(400).map(drop))
        })
    }),
    may("wire.group_skipped", "a closed group is passed over, as protobuf says", |at| {
        taken(at, &with_span(&group(UNKNOWN, &varint_field(1, 1))))
    }),
];

fn taken(at: &Target, body: &[u8]) -> Outcome {
    at.protobuf(Signal::Traces, body)?.taken(PB)
}

fn malformed(at: &Target, body: &[u8]) -> Outcome {
    at.protobuf(Signal::Traces, body)?.is(400)?.has_status_body(PB)
}

/// Requests with these bytes at the end of the request, resource, scope, record and value.
fn everywhere(bytes_in: &[u8]) -> Vec<(Signal, Vec<u8>)> {
    let mut all = Vec::new();
    for signal in SIGNALS {
        all.push((signal, [small(signal), bytes_in.to_vec()].concat()));
        all.push((signal, message(1, &[bytes(1, bytes_in)])));
        all.push((signal, message(1, &[resource(), bytes_in.to_vec()])));
        all.push((signal, message(1, &[message(2, &[bytes(1, bytes_in)])])));
        all.push((signal, message(1, &[message(2, &[bytes_in.to_vec()])])));
        all.push((signal, request(&[bytes(2, bytes_in)])));
    }
    all.push((Signal::Traces, with_any(bytes_in)));
    all.push((Signal::Traces, with_span(&bytes(11, bytes_in))));
    all.push((Signal::Traces, with_span(&bytes(13, bytes_in))));
    all.push((Signal::Traces, with_span(&bytes(15, bytes_in))));
    for kind in [5, 7, 9, 10, 11] {
        all.push((Signal::Metrics, requests::with_metric(&bytes(kind, bytes_in))));
        all.push((Signal::Metrics, requests::with_metric(&bytes(kind, &bytes(1, bytes_in)))));
    }
    all.push((Signal::Logs, requests::with_log(&bytes(5, bytes_in))));
    all
}

fn unknown(at: &Target, field: &[u8]) -> Outcome {
    everywhere(field).into_iter().enumerate().try_for_each(|(index, (signal, body))| {
        let answer = at.protobuf(signal, body)?;
        answer.taken(PB).map_err(|error| format!("place {index} of {signal:?}: {error}"))
    })
}

fn malformed_everywhere(at: &Target, field: &[u8]) -> Outcome {
    everywhere(field).into_iter().enumerate().try_for_each(|(index, (signal, body))| {
        let answer = at.protobuf(signal, body)?.is(400);
        answer.map(drop).map_err(|error| format!("place {index} of {signal:?}: {error}"))
    })
}

/// The whole request is one field, so that no shorter prefix but the empty one is a message.
fn cut_everywhere(at: &Target, signal: Signal) -> Outcome {
    let body = full(signal);
    let mut line = Line::open(at.http)?;
    for end in 1..body.len() {
        let cut = requests::ask(signal, PB, &body[..end]);
        if let Err(error) = line.exchange(&cut.bytes()).and_then(|answer| answer.is(400)) {
            return Err(format!("cut at {end} of {}: {error}", body.len()));
        }
    }
    Ok(())
}

/// An `AnyValue` of lists in each other: `array_value`, `values`.
fn lists(depth: usize) -> Vec<u8> {
    nested(depth, &[5, 1])
}

/// An `AnyValue` of maps in each other: `kvlist_value`, `values`, `value`.
fn maps(depth: usize) -> Vec<u8> {
    nested(depth, &[6, 1, 2])
}

/// Wraps an `AnyValue` `depth` times in fields of these numbers, named from outside to inside.
/// Written backwards from the inside out, because each length is known only then.
fn nested(depth: usize, level: &[u32]) -> Vec<u8> {
    let mut backwards: Vec<u8> = string(1, "leaf").into_iter().rev().collect();
    for _ in 0..depth {
        for field in level.iter().rev() {
            let head = [tag(*field, LEN), varint(backwards.len() as u64)].concat();
            backwards.extend(head.into_iter().rev());
        }
    }
    backwards.reverse();
    backwards
}

/// Bytes of a fixed linear congruential sequence that begin no valid message.
fn noise() -> Vec<Vec<u8>> {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    (1..40)
        .map(|length| {
            let mut body = vec![0x0f];
            body.extend((0..length).map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            }));
            body
        })
        .collect()
}
