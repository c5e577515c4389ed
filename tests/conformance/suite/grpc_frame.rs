//! gRPC messages: compression, their framing, and frames that do not hold what they claim.

use flate2::Compression;
use flate2::write::GzEncoder;

use super::encoding::gzip;
use super::h2::{self, Call, INTERNAL, OK, UNIMPLEMENTED, frame};
use super::probe::{Outcome, Probe, may, must, should};
use super::requests::{Signal, full, small};
use super::target::Target;

pub const PROBES: &[Probe] = &[
    must("frame.gzip.traces", "gzip traces are taken", |at| zipped(at, Signal::Traces)),
    must("frame.gzip.metrics", "gzip metrics are taken", |at| zipped(at, Signal::Metrics)),
    must("frame.gzip.logs", "gzip logs are taken", |at| zipped(at, Signal::Logs)),
    must("frame.gzip_unused", "a plain message under grpc-encoding: gzip is taken", |at| {
        coded(at, "gzip", &frame(0, &small(Signal::Traces)))?.taken()
    }),
    must("frame.identity", "grpc-encoding: identity is taken", |at| {
        coded(at, "identity", &frame(0, &small(Signal::Traces)))?.taken()
    }),
    must("frame.flag_without_encoding", "compressed without grpc-encoding is INTERNAL", |at| {
        let call = traces().data(frame(1, &gzip(&small(Signal::Traces))));
        at.call(&call)?.is(INTERNAL).map(drop)
    }),
    must("frame.unknown_encoding", "an unknown grpc-encoding is UNIMPLEMENTED", |at| {
        coded(at, "nonsense", &frame(1, &small(Signal::Traces)))?.is(UNIMPLEMENTED).map(drop)
    }),
    should("frame.accept_encoding", "and the answer names the encodings it takes", |at| {
        let reply = coded(at, "nonsense", &frame(1, &small(Signal::Traces)))?;
        let trailer = reply.trailers.iter().find(|(name, _)| name == "grpc-accept-encoding");
        let known = reply.http.header("grpc-accept-encoding");
        match known.or(trailer.map(|(_, value)| value.as_str())) {
            Some(names) if names.contains("gzip") => Ok(()),
            found => Err(format!("grpc-accept-encoding is {found:?}")),
        }
    }),
    must("frame.not_gzip", "plain bytes flagged as gzip are refused", |at| {
        coded(at, "gzip", &frame(1, &small(Signal::Traces)))?.refused()?;
        at.is_alive_on_grpc()
    }),
    must("frame.gzip_cut", "gzip that breaks off is refused", |at| {
        let body = gzip(&full(Signal::Traces));
        coded(at, "gzip", &frame(1, &body[..body.len() / 2]))?.refused()?;
        coded(at, "gzip", &frame(1, &body[..body.len() - 3]))?.refused().map(drop)
    }),
    must("frame.gzip_crc", "gzip with a wrong checksum is refused", |at| {
        let mut body = gzip(&small(Signal::Traces));
        let crc = body.len() - 8;
        body[crc] ^= 0xff;
        coded(at, "gzip", &frame(1, &body))?.refused().map(drop)
    }),
    must("frame.second_member", "every gzip member is read: a malformed second is refused", |at| {
        let body = [gzip(&small(Signal::Traces)), gzip(b"\x0a\x7f")].concat();
        coded(at, "gzip", &frame(1, &body))?.refused().map(drop)
    }),
    must("frame.gzip_of_nothing", "a compressed empty message succeeds", |at| {
        coded(at, "gzip", &frame(1, &gzip(&[])))?.taken()
    }),
    must("frame.bad_flag", "a flag that is neither 0 nor 1 is refused", |at| {
        at.call(&traces().data(frame(2, &small(Signal::Traces))))?.refused()?;
        at.call(&traces().data(frame(0xff, &small(Signal::Traces))))?.refused().map(drop)
    }),
    must("frame.two_messages", "two messages in a unary call are refused", |at| {
        let call = traces().message(&small(Signal::Traces)).message(&small(Signal::Traces));
        at.call(&call)?.refused().map(drop)
    }),
    must("frame.no_message", "a call without a message is refused", |at| {
        at.call(&traces())?.refused()?;
        at.call(&traces().data([]))?.refused().map(drop)
    }),
    must("frame.cut_message", "a message that breaks off is refused", |at| {
        let whole = frame(0, &small(Signal::Traces));
        at.call(&traces().data(&whole[..whole.len() - 1]))?.refused()?;
        at.call(&traces().data(&whole[..5]))?.refused().map(drop)
    }),
    must("frame.cut_prefix", "a prefix that breaks off is refused", |at| {
        (1..5).try_for_each(|end| {
            let whole = frame(0, &small(Signal::Traces));
            at.call(&traces().data(&whole[..end]))?.refused().map(drop)
        })
    }),
    must("frame.trailing", "bytes after the message are refused", |at| {
        let call = traces().message(&small(Signal::Traces)).data([0, 0]);
        at.call(&call)?.refused().map(drop)
    }),
    must("frame.split", "a message split over many DATA frames is taken", |at| {
        let whole = frame(0, &full(Signal::Traces));
        let call = whole.chunks(3).fold(traces(), |call, part| call.data(part));
        at.call(&call)?.taken()
    }),
    must("frame.split_prefix", "a prefix split over DATA frames is taken", |at| {
        let whole = frame(0, &small(Signal::Traces));
        let call = traces().data(&whole[..1]).data(&whole[1..3]).data(&whole[3..]);
        at.call(&call)?.taken()
    }),
    should("frame.empty_data", "empty DATA frames between the parts are passed over", |at| {
        let whole = frame(0, &small(Signal::Traces));
        let call = traces().data([]).data(&whole[..9]).data([]).data(&whole[9..]).data([]);
        at.call(&call)?.taken()
    }),
    must("frame.large", "a message of 1 MiB, over many windows, is taken", |at| {
        let any = super::wire::bytes(1, &vec![b'a'; 1 << 20]);
        at.export(Signal::Traces, &super::requests::with_any(&any))?.taken()
    }),
    must("frame.claims_less", "a frame that claims less than it holds is refused", |at| {
        let message = small(Signal::Traces);
        let claimed = message.len() as u32 - 1;
        at.call(&traces().data(h2::claim(0, claimed, &message)))?.refused().map(drop)
    }),
    may("frame.gzip_stored", "gzip of stored blocks and several members is taken", |at| {
        let bytes = full(Signal::Traces);
        let (head, tail) = bytes.split_at(bytes.len() / 2);
        coded(at, "gzip", &frame(1, &[stored(head), gzip(tail)].concat()))?.is(OK).map(drop)
    }),
];

fn traces() -> Call {
    Call::grpc(Signal::Traces.method())
}

fn coded(at: &Target, encoding: &str, bytes: &[u8]) -> Result<h2::Reply, String> {
    at.call(&traces().header("grpc-encoding", encoding).data(bytes))
}

fn zipped(at: &Target, signal: Signal) -> Outcome {
    let call = Call::grpc(signal.method()).header("grpc-encoding", "gzip");
    at.call(&call.data(frame(1, &gzip(&small(signal)))))?.taken()
}

fn stored(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
    encoder.write_all(bytes).expect("a Vec takes all bytes");
    encoder.finish().expect("a Vec takes all bytes")
}
