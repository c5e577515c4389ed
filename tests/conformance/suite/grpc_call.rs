//! gRPC calls: services and methods, content types, headers, codes, and where the status stands.

use super::answer::Encoding;
use super::h2::{self, Call, INVALID_ARGUMENT, OK, UNAVAILABLE, UNIMPLEMENTED};
use super::http::{Ask, Line};
use super::probe::{Outcome, Probe, may, must, should};
use super::requests::{SIGNALS, Signal, full, small, with_any};
use super::target::Target;
use super::wire::{bytes, tag, varint_field};

/// A field 1 that claims more than there is.
const BAD: &[u8] = b"\x0a\x7f\x00";

pub const PROBES: &[Probe] = &[
    must("grpc.traces", "TraceService/Export takes traces", |at| exported(at, Signal::Traces)),
    must("grpc.metrics", "MetricsService/Export takes metrics", |at| exported(at, Signal::Metrics)),
    must("grpc.logs", "LogsService/Export takes logs", |at| exported(at, Signal::Logs)),
    must("grpc.unset.traces", "partial_success stays unset for traces", |at| {
        at.export(Signal::Traces, &small(Signal::Traces))?.fully_taken()
    }),
    must("grpc.unset.metrics", "partial_success stays unset for metrics", |at| {
        at.export(Signal::Metrics, &small(Signal::Metrics))?.fully_taken()
    }),
    must("grpc.unset.logs", "partial_success stays unset for logs", |at| {
        at.export(Signal::Logs, &small(Signal::Logs))?.fully_taken()
    }),
    must("grpc.full", "records with every field of the schema are taken", |at| {
        SIGNALS.iter().try_for_each(|signal| at.export(*signal, &full(*signal))?.taken())
    }),
    should("grpc.empty", "an empty request succeeds, for all signals", |at| {
        SIGNALS.iter().try_for_each(|signal| at.export(*signal, &[])?.taken())
    }),
    may("grpc.profiles", "ProfilesService/Export takes profiles", |at| {
        let path = "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export";
        at.call(&Call::grpc(path).message(&[]))?.is(OK).map(drop)
    }),
    must("grpc.status_in_trailers", "after a message the status stands in the trailers", |at| {
        let reply = at.export(Signal::Traces, &small(Signal::Traces))?.is(OK)?;
        match reply.trailers.iter().find(|(name, _)| name == "grpc-status") {
            Some(_) if reply.http.header("grpc-status").is_none() => Ok(()),
            found => Err(format!("trailers {found:?}, headers {:?}", reply.http.headers)),
        }
    }),
    must("grpc.type.proto", "application/grpc+proto is taken", |at| {
        typed(at, "application/grpc+proto")?.taken()
    }),
    should("grpc.type.text", "another content type is answered HTTP 415", |at| {
        is_415(&typed(at, "text/plain")?)
    }),
    should("grpc.type.protobuf", "application/x-protobuf on a gRPC method is HTTP 415", |at| {
        let reply = typed(at, Encoding::Protobuf.media_type())?;
        // A server with both protocols on one port answers as OTLP/HTTP: it knows no such path.
        if reply.http.status == 404 { Ok(()) } else { is_415(&reply) }
    }),
    should("grpc.type.missing", "no content type is answered HTTP 415", |at| {
        let call = Call::grpc(Signal::Traces.method()).without("content-type");
        is_415(&at.call(&call.message(&small(Signal::Traces)))?)
    }),
    may("grpc.type.json", "application/grpc+json is not taken for protobuf", |at| {
        let reply = typed(at, "application/grpc+json")?;
        if reply.http.status == 415 { Ok(()) } else { reply.refused().map(drop) }
    }),
    must("grpc.unknown_service", "an unknown service is UNIMPLEMENTED", |at| {
        let call = Call::grpc("/opentelemetry.proto.collector.dreams.v1.DreamService/Export");
        at.call(&call.message(&[]))?.is(UNIMPLEMENTED).map(drop)
    }),
    must("grpc.unknown_method", "an unknown method is UNIMPLEMENTED", |at| {
        let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Import";
        at.call(&Call::grpc(path).message(&[]))?.is(UNIMPLEMENTED).map(drop)
    }),
    must("grpc.method_case", "method names are case-sensitive", |at| {
        let path = "/opentelemetry.proto.collector.trace.v1.TraceService/export";
        at.call(&Call::grpc(path).message(&[]))?.is(UNIMPLEMENTED).map(drop)
    }),
    should("grpc.odd_path", "a path that names no method is UNIMPLEMENTED", |at| {
        ["/", "/Export", "/a/b/c"].into_iter().try_for_each(|path| {
            at.call(&Call::grpc(path).message(&[]))?.is(UNIMPLEMENTED).map(drop)
        })
    }),
    must("grpc.get", "GET is never a call", |at| {
        let mut call = Call::grpc(Signal::Traces.method());
        call.method = "GET".to_owned();
        let reply = at.call(&call)?;
        if reply.code() == Some(OK) { Err("grpc-status 0".to_owned()) } else { Ok(()) }
    }),
    should("grpc.malformed.traces", "malformed traces are INVALID_ARGUMENT", |at| {
        at.export(Signal::Traces, BAD)?.is(INVALID_ARGUMENT).map(drop)
    }),
    should("grpc.malformed.metrics", "malformed metrics are INVALID_ARGUMENT", |at| {
        at.export(Signal::Metrics, BAD)?.is(INVALID_ARGUMENT).map(drop)
    }),
    should("grpc.malformed.logs", "malformed logs are INVALID_ARGUMENT", |at| {
        at.export(Signal::Logs, BAD)?.is(INVALID_ARGUMENT).map(drop)
    }),
    must(
        "grpc.malformed_final",
        "malformed bytes are refused with a code not to be retried",
        |at| {
            // CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE and DATA_LOSS are.
            let code = at.export(Signal::Traces, BAD)?.refused()?.code();
            match code {
                Some(1 | 4 | 10 | 11 | UNAVAILABLE | 15) => Err(format!("grpc-status {code:?}")),
                _ => Ok(()),
            }
        },
    ),
    should("grpc.message", "a refusal says why in grpc-message", |at| {
        let reply = at.export(Signal::Traces, BAD)?.refused()?;
        if reply.message().is_empty() { Err("grpc-message is empty".to_owned()) } else { Ok(()) }
    }),
    must("grpc.message_encoding", "grpc-message is printable ASCII, the rest in percent", |at| {
        let reply = at.export(Signal::Traces, BAD)?.refused()?;
        match reply.message().chars().find(|letter| !(' '..='~').contains(letter)) {
            None => Ok(()),
            Some(letter) => Err(format!("{letter:?} in {:?}", reply.message())),
        }
    }),
    may("grpc.bad_request", "the details of INVALID_ARGUMENT hold a BadRequest", |at| {
        let details = at.export(Signal::Traces, BAD)?.refused()?.details()?;
        if details.iter().any(|url| url.ends_with("google.rpc.BadRequest")) {
            return Ok(());
        }
        Err(format!("details are {details:?}"))
    }),
    must("grpc.unknown_fields", "unknown fields are passed over", |at| {
        let any = [varint_field(5000, 1), bytes(5001, b"\xff")].concat();
        at.export(Signal::Traces, &with_any(&any))?.taken()
    }),
    must("grpc.wire_types", "wire types 6 and 7 and field 0 are refused", |at| {
        [tag(9, 6), tag(9, 7), vec![0, 1]]
            .into_iter()
            .try_for_each(|field| at.export(Signal::Traces, &with_any(&field))?.refused().map(drop))
    }),
    should("grpc.bad_text", "text that is not UTF-8 is INVALID_ARGUMENT", |at| {
        let body = with_any(&bytes(1, b"a\xffb"));
        at.export(Signal::Traces, &body)?.is(INVALID_ARGUMENT).map(drop)
    }),
    must("grpc.timeout", "grpc-timeout in every unit is taken", |at| {
        ["10S", "1H", "5M", "20000m", "20000000u", "99999999n", "99999999H"]
            .into_iter()
            .try_for_each(|timeout| {
                let call = good(Signal::Traces).header("grpc-timeout", timeout);
                let reply = at.call(&call)?.is(OK);
                reply.map(drop).map_err(|error| format!("{timeout}: {error}"))
            })
    }),
    should("grpc.bad_timeout", "a grpc-timeout that is none is answered, and harms nobody", |at| {
        ["", "soon", "-1S", "999999999999S"].into_iter().try_for_each(|timeout| {
            let call = good(Signal::Traces).header("grpc-timeout", timeout);
            let reply = at.call(&call)?;
            match (reply.code(), reply.http.status) {
                (Some(_), _) | (None, 400..500) => Ok(()),
                (None, status) => Err(format!("no grpc-status, HTTP {status}")),
            }
        })?;
        at.is_alive_on_grpc()
    }),
    must("grpc.metadata", "metadata it does not know is passed over", |at| {
        let call = good(Signal::Logs)
            .header("user-agent", "conformance/1.0 (raw)")
            .header("x-tenant", "one")
            .header("trace-proto-bin", "AAEC")
            .header("grpc-accept-encoding", "gzip, zstd, identity");
        at.call(&call)?.taken()
    }),
    must("grpc.accept_identity", "the answer is not compressed unless the client asks", |at| {
        let reply = at.call(&good(Signal::Traces))?;
        match reply.http.header("grpc-encoding") {
            None | Some("identity") => reply.taken(),
            Some(other) => Err(format!("grpc-encoding: {other}")),
        }
    }),
    may("grpc.te_missing", "a call without te: trailers is taken", |at| {
        at.call(&good(Signal::Traces).without("te"))?.is(OK).map(drop)
    }),
    may("grpc.client_trailers", "trailers of the client are passed over", |at| {
        let mut call = good(Signal::Traces);
        call.trailers.push(("x-checksum".to_owned(), "1".to_owned()));
        at.call(&call)?.taken()
    }),
    should("grpc.concurrent", "100 calls at the same time on one connection succeed", |at| {
        let calls: Vec<_> = (0..100).map(|index| good(SIGNALS[index % 3])).collect();
        let replies = h2::calls(&at.runtime, at.grpc, &calls)?;
        replies.into_iter().try_for_each(h2::Reply::taken)
    }),
    should("grpc.independent", "a refused call does not harm its neighbours", |at| {
        let bad = Call::grpc(Signal::Traces.method()).message(BAD);
        let lost = Call::grpc("/no.Service/Method").message(&[]);
        let calls = [good(Signal::Traces), bad, lost, good(Signal::Logs)];
        let mut replies = h2::calls(&at.runtime, at.grpc, &calls)?.into_iter();
        let mut next = || replies.next().ok_or_else(|| "a reply is missing".to_owned());
        next()?.taken()?;
        next()?.refused()?;
        next()?.is(UNIMPLEMENTED)?;
        next()?.taken()
    }),
    must("grpc.http_1", "HTTP/1.1 on the gRPC port harms nobody", |at| {
        let mut line = Line::open(at.grpc)?;
        // Answered by a server that has both on one port, else ended; either will do.
        let spoken = line.exchange(&Ask::new("GET", "/").bytes());
        if let Err(error) = &spoken
            && error.starts_with("no answer")
        {
            return Err(error.clone());
        }
        at.is_alive_on_grpc()
    }),
    may("grpc.one_port", "gRPC is taken on the HTTP port too", |at| {
        h2::call(&at.runtime, at.http, &good(Signal::Traces))?.taken()
    }),
    may("grpc.one_port_http", "OTLP/HTTP is taken on the gRPC port too", |at| {
        let both = Target { http: at.grpc, ..at.clone() };
        both.protobuf(Signal::Traces, small(Signal::Traces))?.taken(Encoding::Protobuf)
    }),
];

fn good(signal: Signal) -> Call {
    Call::grpc(signal.method()).message(&small(signal))
}

fn exported(at: &Target, signal: Signal) -> Outcome {
    at.export(signal, &small(signal))?.taken()
}

fn typed(at: &Target, media_type: &str) -> Result<h2::Reply, String> {
    at.call(&good(Signal::Traces).header("content-type", media_type))
}

fn is_415(reply: &h2::Reply) -> Outcome {
    match reply.http.status {
        415 => Ok(()),
        status => Err(format!("HTTP {status}, grpc-status {:?}", reply.code())),
    }
}
