//! The size limit of a request, before and after decompression: 413 over HTTP,
//! `RESOURCE_EXHAUSTED` without `RetryInfo` over gRPC, and small bodies that cost much.
//!
//! Large compressed bodies are composed from one repeated deflate block, so that a bomb of a
//! gigabyte costs the suite nothing.

use std::io::Write;

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

use super::answer::{Answer, Encoding};
use super::h2::{self, Call, RESOURCE_EXHAUSTED, Reply};
use super::http::{Ask, Line};
use super::probe::{Outcome, Probe, may, must, should};
use super::requests::{self, SIGNALS, Signal};
use super::target::Target;
use super::wire::{LEN, bytes, tag, varint};

const PB: Encoding = Encoding::Protobuf;
const MIB: usize = 1 << 20;

pub const PROBES: &[Probe] = &[
    must("size.plain", "a body over the limit is answered 413", |at| {
        at.protobuf(Signal::Traces, over(at))?.is(413).map(drop)
    }),
    must("size.plain_status", "413 carries a Status", |at| {
        at.protobuf(Signal::Traces, over(at))?.is(413)?.has_status_body(PB)
    }),
    must("size.json", "JSON over the limit is answered 413 with a Status in JSON", |at| {
        let body = vec![b' '; at.limit_bytes + MIB];
        at.json(Signal::Logs, body)?.is(413)?.has_status_body(Encoding::Json)
    }),
    must("size.chunked", "a chunked body over the limit is answered 413", chunked_over),
    must("size.gzip", "gzip that inflates over the limit is answered 413", |at| {
        let body = zipped_zeros(at.limit_bytes + MIB);
        posted(at, Signal::Traces, body)?.is(413)?.has_status_body(PB)
    }),
    must("size.gzip_signals", "metrics and logs are held to the limit too", |at| {
        [Signal::Metrics, Signal::Logs].into_iter().try_for_each(|signal| {
            posted(at, signal, zipped_zeros(at.limit_bytes + MIB))?.is(413).map(drop)
        })
    }),
    must("size.bomb", "a gzip bomb of 1 GiB is answered 413 and harms nobody", |at| {
        posted(at, Signal::Traces, zipped_zeros(1 << 30))?.is(413)?;
        at.is_alive()
    }),
    may("size.declared", "a declared length over the limit is refused unread", |at| {
        let ask = Ask::post("/v1/traces")
            .header("Content-Type", PB.media_type())
            .header("Content-Length", (at.limit_bytes + MIB).to_string());
        let mut line = Line::open(at.http)?;
        line.write(&ask.head())?;
        line.answer()?.is(413).map(drop)
    }),
    must("size.absurd_length", "a declared length of 2^63 is refused and harms nobody", |at| {
        let ask = Ask::post("/v1/traces")
            .header("Content-Type", PB.media_type())
            .header("Content-Length", "9223372036854775807");
        let mut line = Line::open(at.http)?;
        line.write(&ask.bytes())?;
        line.end()?;
        line.answer()?.among(&[400, 413])?;
        at.is_alive()
    }),
    should("size.below", "32 MiB are taken: the limit should be 64 MiB (OTLP 1.11)", |at| {
        at.protobuf(Signal::Traces, zeros(32 * MIB))?.accepted()
    }),
    should("size.gzip_below", "32 MiB after decompression are taken", |at| {
        posted(at, Signal::Traces, zipped_zeros(32 * MIB))?.accepted()
    }),
    must("size.recovers", "after a 413 the server takes good requests", |at| {
        at.protobuf(Signal::Traces, over(at))?.refused()?;
        at.is_alive()
    }),
    must("size.amplification", "18 MiB of empty spans in 18 KiB of gzip are answered", |at| {
        posted(at, Signal::Traces, zipped_empty_spans(9 * MIB))?.among(&[200, 413])?;
        at.is_alive()
    }),
    must("size.grpc", "a message over the limit is RESOURCE_EXHAUSTED", |at| {
        at.export(Signal::Traces, &over(at))?.is(RESOURCE_EXHAUSTED).map(drop)
    }),
    must("size.grpc_final", "an oversized message is refused without RetryInfo", |at| {
        has_no_retry_info(at.export(Signal::Logs, &over(at))?)
    }),
    must("size.grpc_gzip", "gzip that inflates over the limit is RESOURCE_EXHAUSTED", |at| {
        zipped_call(at, &zipped_zeros(at.limit_bytes + MIB))?.is(RESOURCE_EXHAUSTED).map(drop)
    }),
    must("size.grpc_gzip_final", "and it is refused without RetryInfo", |at| {
        has_no_retry_info(zipped_call(at, &zipped_zeros(at.limit_bytes + MIB))?)
    }),
    must("size.grpc_bomb", "a gzip bomb of 1 GiB over gRPC harms nobody", |at| {
        zipped_call(at, &zipped_zeros(1 << 30))?.is(RESOURCE_EXHAUSTED)?;
        at.is_alive_on_grpc()
    }),
    must("size.grpc_claimed", "a frame that claims 4 GiB is refused unread", |at| {
        let cut = h2::claim(0, u32::MAX, &[0; 64]);
        let reply = at.call(&Call::grpc(Signal::Traces.method()).data(cut))?;
        reply.refused()?;
        at.is_alive_on_grpc()
    }),
    should("size.grpc_below", "32 MiB over gRPC are taken", |at| {
        at.export(Signal::Traces, &zeros(32 * MIB))?.is(h2::OK).map(drop)
    }),
    may("size.early", "413 comes before the body was sent, with 100-continue asked", |at| {
        let ask = Ask::post("/v1/traces")
            .header("Content-Type", PB.media_type())
            .header("Expect", "100-continue")
            .header("Content-Length", (at.limit_bytes + MIB).to_string());
        let mut line = Line::open(at.http)?;
        line.write(&ask.head())?;
        line.answer_to("POST")?.among(&[413, 417]).map(drop)
    }),
    must("size.large_string", "an attribute of 1 MiB is taken", |at| {
        let any = bytes(1, &vec![b'a'; MIB]);
        at.protobuf(Signal::Traces, requests::with_any(&any))?.accepted()
    }),
    should("size.same_everywhere", "8 MiB are taken in all signals, on both ports", |at| {
        SIGNALS.iter().try_for_each(|signal| {
            at.protobuf(*signal, zeros(8 * MIB))?.accepted()?;
            at.export(*signal, &zeros(8 * MIB))?.is(h2::OK).map(drop)
        })
    }),
];

/// An unknown field of this many zero bytes: valid protobuf, and nothing to keep.
fn zeros(length: usize) -> Vec<u8> {
    let mut body = zeros_head(length);
    body.resize(body.len() + length, 0);
    body
}

fn zeros_head(length: usize) -> Vec<u8> {
    [tag(1000, LEN), varint(length as u64)].concat()
}

fn over(at: &Target) -> Vec<u8> {
    zeros(at.limit_bytes + MIB)
}

fn posted(at: &Target, signal: Signal, body: Vec<u8>) -> Result<Answer, String> {
    at.ask(&requests::ask(signal, PB, body).header("Content-Encoding", "gzip"))
}

fn zipped_call(at: &Target, message: &[u8]) -> Result<Reply, String> {
    let call = Call::grpc(Signal::Traces.method()).header("grpc-encoding", "gzip");
    at.call(&call.data(h2::frame(1, message)))
}

fn has_no_retry_info(reply: Reply) -> Outcome {
    let details = reply.is(RESOURCE_EXHAUSTED)?.details()?;
    if h2::has_retry_info(&details) { Err(format!("details are {details:?}")) } else { Ok(()) }
}

fn chunked_over(at: &Target) -> Outcome {
    let ask = requests::ask(Signal::Traces, PB, []).header("Transfer-Encoding", "chunked");
    let mut wire = ask.head();
    for chunk in over(at).chunks(MIB) {
        wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    Line::open(at.http)?.exchange(&wire)?.is(413).map(drop)
}

/// `zeros(length)` in gzip, without ever holding it.
fn zipped_zeros(length: usize) -> Vec<u8> {
    repeated(&zeros_head(length), &[0; MIB], length / MIB)
}

/// A request of one scope with this many empty spans, in gzip.
fn zipped_empty_spans(count: usize) -> Vec<u8> {
    let spans = count * 2;
    let scope = [tag(2, LEN), varint(spans as u64)].concat();
    let resource = [tag(1, LEN), varint((scope.len() + spans) as u64)].concat();
    repeated(&[resource, scope].concat(), &[0x12, 0x00].repeat(MIB / 2), spans / MIB)
}

/// gzip of `head` and then `block` `times` over. A deflate block that was flushed refers to nothing
/// before it, so its bytes may stand again and again.
fn repeated(head: &[u8], block: &[u8], times: usize) -> Vec<u8> {
    let mut crc = Crc::new();
    crc.update(head);
    let mut one = Crc::new();
    one.update(block);
    let mut out = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff".to_vec();
    out.extend(flushed(head));
    let packed = flushed(block);
    for _ in 0..times {
        out.extend_from_slice(&packed);
        crc.combine(&one);
    }
    // An empty last block, then checksum and length.
    out.extend_from_slice(&[0x03, 0x00]);
    out.extend_from_slice(&crc.sum().to_le_bytes());
    out.extend_from_slice(&((head.len() + block.len() * times) as u32).to_le_bytes());
    out
}

fn flushed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("a Vec takes all bytes");
    encoder.flush().expect("a Vec takes all bytes");
    encoder.get_ref().clone()
}
