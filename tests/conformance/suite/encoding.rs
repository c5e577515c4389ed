//! Content-Encoding: gzip in every form RFC 1952 allows, and what is not gzip refused.
//!
//! A member that a server silently skips is data lost after an acknowledgement. So the second
//! member of one probe holds malformed bytes: only a server that never read it answers 200.

use std::io::Write;

use flate2::write::{GzEncoder, ZlibEncoder};
use flate2::{Compression, GzBuilder};

use super::answer::{Answer, Encoding};
use super::http::Ask;
use super::probe::{Outcome, Probe, may, must, should};
use super::requests::{self, SIGNALS, Signal, small, small_json};
use super::target::Target;

const PB: Encoding = Encoding::Protobuf;
const JSON: Encoding = Encoding::Json;

pub const PROBES: &[Probe] = &[
    must("encoding.gzip.traces", "gzip traces are taken", |at| zipped(at, Signal::Traces)),
    must("encoding.gzip.metrics", "gzip metrics are taken", |at| zipped(at, Signal::Metrics)),
    must("encoding.gzip.logs", "gzip logs are taken", |at| zipped(at, Signal::Logs)),
    must("encoding.gzip.json", "gzip JSON is taken for all signals", |at| {
        SIGNALS.iter().try_for_each(|signal| {
            let body = gzip(small_json(*signal).as_bytes());
            coded(at, *signal, JSON, "gzip", &body)?.taken(JSON)
        })
    }),
    must("encoding.none", "a request without Content-Encoding is taken as it is", |at| {
        at.protobuf(Signal::Traces, small(Signal::Traces))?.accepted()
    }),
    may("encoding.identity", "Content-Encoding: identity is taken", |at| {
        traces(at, "identity", &small(Signal::Traces))?.accepted()
    }),
    must("encoding.case", "codings are case-insensitive (RFC 9110): GZIP", |at| {
        traces(at, "GZIP", &gzip(&small(Signal::Traces)))?.accepted()
    }),
    should("encoding.x_gzip", "x-gzip is gzip (RFC 9110)", |at| {
        traces(at, "x-gzip", &gzip(&small(Signal::Traces)))?.accepted()
    }),
    must("encoding.unknown.protobuf", "an unknown coding is refused", |at| {
        traces(at, "nonsense", &small(Signal::Traces))?.refused().map(drop)
    }),
    must("encoding.unknown.plain_br", "plain bytes called `br` are refused", |at| {
        traces(at, "br", &small(Signal::Traces))?.refused().map(drop)
    }),
    must("encoding.unknown.json", "an unknown coding is refused for JSON", |at| {
        let body = small_json(Signal::Logs);
        coded(at, Signal::Logs, JSON, "nonsense", body.as_bytes())?.refused().map(drop)
    }),
    must("encoding.not_gzip", "plain bytes called gzip are answered 400", |at| {
        traces(at, "gzip", &small(Signal::Traces))?.is(400)?.has_status_body(PB)
    }),
    must("encoding.not_gzip_json", "plain JSON called gzip is answered 400", |at| {
        let body = small_json(Signal::Metrics);
        coded(at, Signal::Metrics, JSON, "gzip", body.as_bytes())?.is(400)?.has_status_body(JSON)
    }),
    must("encoding.cut_in_data", "gzip cut in its data is answered 400", |at| {
        let body = gzip(&requests::full(Signal::Traces));
        traces(at, "gzip", &body[..body.len() / 2])?.is(400).map(drop)
    }),
    must("encoding.cut_in_header", "gzip cut in its header is answered 400", |at| {
        traces(at, "gzip", &gzip(&small(Signal::Traces))[..6])?.is(400).map(drop)
    }),
    must("encoding.cut_in_trailer", "gzip cut in its trailer is answered 400", |at| {
        let body = gzip(&small(Signal::Traces));
        traces(at, "gzip", &body[..body.len() - 3])?.is(400).map(drop)
    }),
    must("encoding.cut_anywhere", "gzip cut at any byte is never taken", cut_anywhere),
    must("encoding.wrong_crc", "gzip with a wrong checksum is answered 400", |at| {
        let mut body = gzip(&small(Signal::Traces));
        let crc = body.len() - 8;
        body[crc] ^= 0xff;
        traces(at, "gzip", &body)?.is(400).map(drop)
    }),
    must("encoding.wrong_size", "gzip with a wrong length in its trailer is answered 400", |at| {
        let mut body = gzip(&small(Signal::Traces));
        let size = body.len() - 4;
        body[size] ^= 0xff;
        traces(at, "gzip", &body)?.is(400).map(drop)
    }),
    should("encoding.garbage_after", "bytes after the last member are answered 400", |at| {
        let body = [gzip(&small(Signal::Traces)), b"garbage!".to_vec()].concat();
        traces(at, "gzip", &body)?.is(400).map(drop)
    }),
    must("encoding.members", "gzip of several members is taken (RFC 1952)", |at| {
        let bytes = requests::full(Signal::Traces);
        let (head, tail) = bytes.split_at(bytes.len() / 2);
        traces(at, "gzip", &[gzip(head), gzip(tail)].concat())?.taken(PB)
    }),
    must("encoding.second_member", "every member is read: a malformed second one is 400", |at| {
        let body = [gzip(&small(Signal::Traces)), gzip(b"\x0a\x7f")].concat();
        traces(at, "gzip", &body)?.is(400).map(drop)
    }),
    should("encoding.empty_member", "an empty member between others is taken", |at| {
        let body = [gzip(&[]), gzip(&small(Signal::Traces)), gzip(&[])].concat();
        traces(at, "gzip", &body)?.accepted()
    }),
    should("encoding.gzip_of_nothing", "gzip of an empty request succeeds", |at| {
        traces(at, "gzip", &gzip(&[]))?.accepted()
    }),
    must("encoding.header_fields", "name, comment and extra field of gzip are passed over", |at| {
        let builder = GzBuilder::new().filename("spans").comment("probe").extra(vec![1, 2, 3]);
        let body = finish(builder.write(Vec::new(), Compression::fast()), &small(Signal::Traces));
        traces(at, "gzip", &body)?.accepted()
    }),
    must("encoding.stored", "gzip of stored blocks is taken", |at| {
        let encoder = GzEncoder::new(Vec::new(), Compression::none());
        traces(at, "gzip", &finish(encoder, &small(Signal::Traces)))?.accepted()
    }),
    must("encoding.best", "gzip at its highest level is taken", |at| {
        let encoder = GzEncoder::new(Vec::new(), Compression::best());
        traces(at, "gzip", &finish(encoder, &requests::full(Signal::Traces)))?.accepted()
    }),
    must("encoding.zlib_as_gzip", "a zlib stream called gzip is answered 400", |at| {
        traces(at, "gzip", &zlib(&small(Signal::Traces)))?.is(400).map(drop)
    }),
    must("encoding.malformed_inside", "gzip of malformed protobuf is answered 400", |at| {
        traces(at, "gzip", &gzip(b"\x0a\x7f\x00"))?.is(400)?.has_status_body(PB)
    }),
    must("encoding.unnamed", "gzip bytes without Content-Encoding are answered 400", |at| {
        at.protobuf(Signal::Traces, gzip(&small(Signal::Traces)))?.is(400).map(drop)
    }),
    must("encoding.plain_answer", "the answer is not encoded unless the client asks", |at| {
        let answer = traces(at, "gzip", &gzip(&small(Signal::Traces)))?;
        match answer.header("content-encoding") {
            None => answer.accepted(),
            Some(coding) => Err(format!("Content-Encoding: {coding}")),
        }
    }),
    must("encoding.accept", "Accept-Encoding: gzip is answered plain or in real gzip", |at| {
        let ask = requests::ask(Signal::Traces, JSON, small_json(Signal::Traces));
        let answer = at.ask(&ask.header("Accept-Encoding", "gzip"))?.is(200)?;
        match answer.header("content-encoding") {
            None => answer.taken(JSON),
            Some("gzip") if answer.body.starts_with(&[0x1f, 0x8b]) => Ok(()),
            Some(coding) => Err(format!("Content-Encoding: {coding}, {}", answer.excerpt())),
        }
    }),
    may("encoding.deflate", "Content-Encoding: deflate is taken", |at| {
        traces(at, "deflate", &zlib(&small(Signal::Traces)))?.accepted()
    }),
    may("encoding.zstd", "Content-Encoding: zstd is taken", |at| {
        traces(at, "zstd", &zstd_of_raw_block(&requests::full(Signal::Traces)))?.accepted()
    }),
];

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    finish(GzEncoder::new(Vec::new(), Compression::fast()), bytes)
}

fn finish(mut encoder: GzEncoder<Vec<u8>>, bytes: &[u8]) -> Vec<u8> {
    encoder.write_all(bytes).expect("a Vec takes all bytes");
    encoder.finish().expect("a Vec takes all bytes")
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("a Vec takes all bytes");
    encoder.finish().expect("a Vec takes all bytes")
}

/// A zstd frame of one uncompressed block (RFC 8878): no library is needed to write it.
fn zstd_of_raw_block(bytes: &[u8]) -> Vec<u8> {
    let size = u16::try_from(bytes.len() - 256).expect("a request of 256 bytes to 64 KiB");
    let block = (bytes.len() as u32) << 3 | 1;
    let head = [0x28, 0xb5, 0x2f, 0xfd, 0b0110_0000];
    [&head, &size.to_le_bytes()[..], &block.to_le_bytes()[..3], bytes].concat()
}

fn coded(
    at: &Target,
    signal: Signal,
    encoding: Encoding,
    coding: &str,
    body: &[u8],
) -> Result<Answer, String> {
    let ask = Ask::post(signal.path()).header("Content-Type", encoding.media_type());
    at.ask(&ask.header("Content-Encoding", coding).body(body))
}

fn traces(at: &Target, coding: &str, body: &[u8]) -> Result<Answer, String> {
    coded(at, Signal::Traces, PB, coding, body)
}

fn zipped(at: &Target, signal: Signal) -> Outcome {
    coded(at, signal, PB, "gzip", &gzip(&small(signal)))?.taken(PB)
}

fn cut_anywhere(at: &Target) -> Outcome {
    let body = gzip(&small(Signal::Traces));
    (1..body.len()).try_for_each(|end| {
        let answer = traces(at, "gzip", &body[..end])?;
        answer.is(400).map(drop).map_err(|error| format!("cut at {end}: {error}"))
    })
}
