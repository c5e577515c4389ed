//! Where OTLP/HTTP is served, and what other paths and methods are told.

use super::answer::Encoding;
use super::http::{Ask, Line};
use super::probe::{Outcome, Probe, may, must, should};
use super::requests::{self, Signal, small};
use super::target::Target;

pub const PROBES: &[Probe] = &[
    must("path.traces", "POST /v1/traces takes traces", |at| served(at, Signal::Traces)),
    must("path.metrics", "POST /v1/metrics takes metrics", |at| served(at, Signal::Metrics)),
    must("path.logs", "POST /v1/logs takes logs", |at| served(at, Signal::Logs)),
    may("path.profiles", "POST /v1development/profiles takes profiles", |at| {
        at.ask(&posted("/v1development/profiles", Vec::new()))?.accepted()
    }),
    should("path.query", "a query string does not change the path", |at| {
        at.ask(&posted("/v1/traces?a=b", small(Signal::Traces)))?.accepted()
    }),
    must("path.absolute_form", "a request target in absolute form is taken (RFC 9112)", |at| {
        at.ask(&posted("http://localhost/v1/traces", small(Signal::Traces)))?.accepted()
    }),
    must("path.unknown", "an unknown path is answered 404", |at| {
        at.ask(&posted("/v1/nonsense", small(Signal::Traces)))?.is(404).map(drop)
    }),
    must("path.root", "the root is not an OTLP path: 404", |at| {
        at.ask(&posted("/", small(Signal::Traces)))?.is(404).map(drop)
    }),
    should("path.case", "paths are case-sensitive: /V1/Traces is 404", |at| {
        at.ask(&posted("/V1/Traces", small(Signal::Traces)))?.is(404).map(drop)
    }),
    should("path.longer", "a longer path is another path: 404", |at| {
        at.ask(&posted("/v1/traces/more", small(Signal::Traces)))?.is(404).map(drop)
    }),
    must("path.get", "GET on an OTLP path is answered 405", |at| refused(at, "GET")),
    must("path.put", "PUT on an OTLP path is answered 405", |at| refused(at, "PUT")),
    must("path.delete", "DELETE on an OTLP path is answered 405", |at| refused(at, "DELETE")),
    should("path.patch", "PATCH on an OTLP path is answered 405", |at| refused(at, "PATCH")),
    should("path.strange_method", "an unknown method is answered 405 or 501", |at| {
        at.ask(&Ask::new("BREW", "/v1/traces"))?.among(&[405, 501]).map(drop)
    }),
    should("path.head", "HEAD is answered 405 without a body", head_is_refused),
    must("path.allow", "405 names the methods it takes in Allow (RFC 9110)", |at| {
        let answer = at.ask(&Ask::new("GET", "/v1/traces"))?.is(405)?;
        match answer.header("allow") {
            Some(methods) if methods.to_ascii_uppercase().contains("POST") => Ok(()),
            found => Err(format!("Allow is {found:?}")),
        }
    }),
    may("path.preflight", "a CORS preflight from loopback is answered", |at| {
        let answer = at.ask(
            &Ask::new("OPTIONS", "/v1/traces")
                .header("Origin", "http://localhost:3000")
                .header("Access-Control-Request-Method", "POST")
                .header("Access-Control-Request-Headers", "content-type"),
        )?;
        match answer.among(&[200, 204])?.header("access-control-allow-origin") {
            Some(_) => Ok(()),
            None => Err("no Access-Control-Allow-Origin".to_owned()),
        }
    }),
];

fn posted(path: &str, body: Vec<u8>) -> Ask {
    Ask::post(path).header("Content-Type", Encoding::Protobuf.media_type()).body(body)
}

fn served(at: &Target, signal: Signal) -> Outcome {
    at.protobuf(signal, small(signal))?.accepted()
}

fn refused(at: &Target, method: &str) -> Outcome {
    at.ask(&Ask::new(method, "/v1/traces"))?.is(405).map(drop)
}

/// A body after HEAD would be read as the answer to the next request on the connection.
fn head_is_refused(at: &Target) -> Outcome {
    let mut line = Line::open(at.http)?;
    line.write(&Ask::new("HEAD", "/v1/traces").bytes())?;
    let first = line.answer_to("HEAD")?.is(405)?;
    if first.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
        return line.is_ended();
    }
    let next = requests::ask(Signal::Traces, Encoding::Protobuf, small(Signal::Traces));
    line.exchange(&next.bytes())?.accepted()
}
