//! How OTLP/HTTP is carried: keep-alive, pipelining, chunks, 100-continue, HTTP/1.0, HTTP/2 with
//! prior knowledge, and framing that must never be taken.

use std::thread;

use super::answer::{Answer, Encoding};
use super::h2::{self, Call};
use super::http::{Ask, Line};
use super::probe::{Outcome, Probe, may, must, should};
use super::requests::{self, SIGNALS, Signal, small, small_json};
use super::target::Target;

const PB: Encoding = Encoding::Protobuf;

pub const PROBES: &[Probe] = &[
    must("connection.keep_alive", "a connection takes one request after another", |at| {
        let mut line = Line::open(at.http)?;
        (0..10).try_for_each(|_| line.exchange(&good())?.accepted())
    }),
    must("connection.mixed", "signals and encodings may change on one connection", |at| {
        let mut line = Line::open(at.http)?;
        SIGNALS.iter().try_for_each(|signal| {
            let asked = requests::ask(*signal, Encoding::Json, small_json(*signal));
            line.exchange(&asked.bytes())?.taken(Encoding::Json)?;
            let asked = requests::ask(*signal, PB, small(*signal));
            line.exchange(&asked.bytes())?.taken(PB)
        })
    }),
    should("connection.after_400", "a 400 does not end the connection", |at| {
        after(at, &requests::ask(Signal::Traces, PB, b"\x0a\x7f"), 400)
    }),
    should("connection.after_404", "a 404 does not end the connection", |at| {
        after(at, &Ask::post("/v1/nonsense").body("{}"), 404)
    }),
    should("connection.after_415", "a 415 does not end the connection", |at| {
        after(at, &Ask::post("/v1/traces").header("Content-Type", "text/plain").body("{}"), 415)
    }),
    must("connection.pipelined", "pipelined requests are answered in order", pipelined),
    must("connection.chunked", "a chunked body is taken", |at| {
        chunked(at, &chunks(&small(Signal::Traces), 16, ""))
    }),
    must("connection.tiny_chunks", "chunks of one byte are taken", |at| {
        chunked(at, &chunks(&small(Signal::Traces), 1, ""))
    }),
    must("connection.chunk_extensions", "chunk extensions are passed over (RFC 9112)", |at| {
        chunked(at, &chunks(&small(Signal::Traces), 16, ";name=value"))
    }),
    should("connection.chunk_trailers", "trailers after the last chunk are passed over", |at| {
        let mut body = chunks(&small(Signal::Traces), 16, "");
        body.truncate(body.len() - 2);
        body.extend_from_slice(b"X-Checksum: 1\r\n\r\n");
        chunked(at, &body)
    }),
    must("connection.chunked_nothing", "a chunked body of nothing is an empty request", |at| {
        chunked(at, b"0\r\n\r\n")
    }),
    must("connection.bad_chunk", "a chunk size that is no number is never taken", |at| {
        let mut line = Line::open(at.http)?;
        line.write(&[chunked_head(), b"zz\r\nab\r\n0\r\n\r\n".to_vec()].concat())?;
        is_not_taken(&mut line)?;
        at.is_alive()
    }),
    must("connection.cut_chunks", "a chunked body that breaks off is never taken", |at| {
        let whole = chunks(&small(Signal::Traces), 16, "");
        broken_off(at, &[chunked_head(), whole[..whole.len() - 5].to_vec()].concat())
    }),
    must("connection.cut_body", "a body shorter than its length is never taken", |at| {
        let whole = good();
        broken_off(at, &whole[..whole.len() - 1])
    }),
    must("connection.cut_head", "a head that breaks off harms nobody", |at| {
        broken_off(at, b"POST /v1/traces HTTP/1.1\r\nHost: local")
    }),
    must("connection.dribble", "a request that comes byte by byte is taken", |at| {
        let mut line = Line::open(at.http)?;
        good().iter().try_for_each(|byte| line.write(&[*byte]))?;
        line.answer()?.accepted()
    }),
    must("connection.continue", "Expect: 100-continue is answered, then the body is taken", |at| {
        let body = small(Signal::Traces);
        let ask = requests::ask(Signal::Traces, PB, body.clone()).header("Expect", "100-continue");
        let mut line = Line::open(at.http)?;
        line.write(&ask.head())?;
        line.answer_to("POST")?.is(100)?;
        line.write(&body)?;
        line.answer()?.taken(PB)
    }),
    should("connection.http_1_0", "HTTP/1.0 is taken and the connection ended", |at| {
        let mut line = Line::open(at.http)?;
        line.write(&downgraded(&good()))?;
        line.answer()?.accepted()?;
        line.is_ended()
    }),
    must("connection.close", "Connection: close is answered and obeyed", |at| {
        let asked = requests::ask(Signal::Traces, PB, small(Signal::Traces));
        let mut line = Line::open(at.http)?;
        line.write(&asked.header("Connection", "close").bytes())?;
        line.answer()?.accepted()?;
        line.is_ended()
    }),
    must("connection.two_lengths", "two different Content-Lengths are never taken", |at| {
        let body = small(Signal::Traces);
        let ask = requests::ask(Signal::Traces, PB, body.clone())
            .header("Content-Length", body.len().to_string())
            .header("Content-Length", "1");
        let mut line = Line::open(at.http)?;
        line.write(&ask.bytes())?;
        is_not_taken(&mut line)
    }),
    must("connection.bad_length", "a Content-Length that is no number is never taken", |at| {
        let ask = requests::ask(Signal::Traces, PB, small(Signal::Traces));
        let mut line = Line::open(at.http)?;
        line.write(&ask.header("Content-Length", "-5").bytes())?;
        is_not_taken(&mut line)
    }),
    must("connection.smuggling", "no second request hides behind length and chunks", smuggled),
    must("connection.garbage", "bytes that are no HTTP harm nobody", |at| {
        let mut line = Line::open(at.http)?;
        line.write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")?;
        line.end()?;
        is_not_taken(&mut line)?;
        at.is_alive()
    }),
    should("connection.long_header", "a header of 4 MiB is refused and harms nobody", |at| {
        let ask = requests::ask(Signal::Traces, PB, small(Signal::Traces));
        let wire = ask.header("X-Long", vec![b'a'; 4 << 20]).bytes();
        Line::open(at.http)?.exchange(&wire)?.refused()?;
        at.is_alive()
    }),
    must("connection.strange_headers", "headers it does not know are passed over", |at| {
        let ask = requests::ask(Signal::Traces, PB, small(Signal::Traces))
            .header("User-Agent", "x".repeat(4000))
            .header("traceparent", "00-5b8efff798038103d269b633813fc60c-eee19b7ec3c1b174-01")
            .header("X-Binary", b"\xff\xfe");
        at.ask(&ask)?.accepted()
    }),
    should("connection.concurrent", "16 connections are served at the same time", concurrent),
    may("connection.http_2", "HTTP/2 with prior knowledge is taken on the HTTP port", |at| {
        over_http_2(at, "/v1/traces", PB, &small(Signal::Traces))?.taken(PB)
    }),
    may("connection.http_2_json", "JSON over HTTP/2 is taken", |at| {
        let body = small_json(Signal::Logs);
        let json = Encoding::Json;
        over_http_2(at, "/v1/logs", json, body.as_bytes())?.taken(json)
    }),
    may("connection.http_2_status", "refusals over HTTP/2 carry a Status", |at| {
        over_http_2(at, "/v1/nonsense", PB, &[])?.is(404)?.has_status_body(PB)?;
        over_http_2(at, "/v1/traces", PB, b"\x0a\x7f")?.is(400)?.has_status_body(PB)
    }),
];

fn good() -> Vec<u8> {
    requests::ask(Signal::Traces, PB, small(Signal::Traces)).bytes()
}

fn downgraded(request: &[u8]) -> Vec<u8> {
    let end = request.windows(8).position(|part| part == b"HTTP/1.1").expect("a version") + 7;
    let mut old = request.to_vec();
    old[end] = b'0';
    old
}

/// A good request on the connection that was just refused something.
fn after(at: &Target, bad: &Ask, status: u16) -> Outcome {
    let mut line = Line::open(at.http)?;
    line.exchange(&bad.bytes())?.is(status)?;
    line.exchange(&good())?.accepted()
}

fn pipelined(at: &Target) -> Outcome {
    let lost = Ask::post("/v1/nonsense").header("Content-Type", PB.media_type());
    let bad = requests::ask(Signal::Traces, PB, b"\x0a\x7f");
    let mut line = Line::open(at.http)?;
    line.write(&[good(), lost.bytes(), bad.bytes(), good()].concat())?;
    [200, 404, 400, 200].into_iter().try_for_each(|status| line.answer()?.is(status).map(drop))
}

fn chunked_head() -> Vec<u8> {
    requests::ask(Signal::Traces, PB, []).header("Transfer-Encoding", "chunked").head()
}

fn chunks(body: &[u8], size: usize, extension: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in body.chunks(size) {
        out.extend_from_slice(format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

fn chunked(at: &Target, body: &[u8]) -> Outcome {
    let mut line = Line::open(at.http)?;
    line.exchange(&[chunked_head(), body.to_vec()].concat())?.taken(PB)?;
    // The next request shows that all of the body was read, and no more.
    line.exchange(&good())?.accepted()
}

/// Refused, or the connection ended without an answer; anything but success.
fn is_not_taken(line: &mut Line) -> Outcome {
    match line.answer() {
        Ok(answer) => answer.refused().map(drop),
        Err(error) if error.starts_with("no answer") => Err(error),
        Err(_) => Ok(()),
    }
}

fn broken_off(at: &Target, wire: &[u8]) -> Outcome {
    let mut line = Line::open(at.http)?;
    line.write(wire)?;
    line.end()?;
    is_not_taken(&mut line)?;
    at.is_alive()
}

/// With both framings the length would hide a second request in what the chunks end before.
fn smuggled(at: &Target) -> Outcome {
    let hidden = Ask::post("/v1/nonsense").bytes();
    let body = [chunks(&small(Signal::Traces), 64, ""), hidden].concat();
    let ask = requests::ask(Signal::Traces, PB, [])
        .header("Content-Length", body.len().to_string())
        .header("Transfer-Encoding", "chunked");
    let mut line = Line::open(at.http)?;
    line.write(&[ask.head(), body].concat())?;
    line.end()?;
    match line.answer()?.among(&[200, 400])? {
        Answer { status: 400, .. } => Ok(()),
        // By RFC 9112 the connection ends after such a request.
        _ => line.is_ended(),
    }
}

fn concurrent(at: &Target) -> Outcome {
    thread::scope(|scope| {
        let clients: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    let mut line = Line::open(at.http)?;
                    (0..16).try_for_each(|_| line.exchange(&good())?.accepted())
                })
            })
            .collect();
        clients.into_iter().try_for_each(|client| client.join().expect("a client ends"))
    })
}

fn over_http_2(at: &Target, path: &str, encoding: Encoding, body: &[u8]) -> Result<Answer, String> {
    let call = Call::new(path).header("content-type", encoding.media_type()).data(body);
    h2::call(&at.runtime, at.http, &call).map(|reply| reply.http)
}
