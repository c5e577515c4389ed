//! OTLP/HTTP: `POST /v1/{traces,metrics,logs}` in protobuf or JSON, and
//! `/v1development/profiles` in protobuf.
//!
//! Invariant: an answer has the content type of its request; one without a type we know is
//! answered in JSON, which people can read.

use std::sync::Arc;

use ::http::header::{
    ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HeaderValue, RETRY_AFTER,
};
use ::http::{HeaderMap, Method, Request, Response, Version};
use hyper::body::{Body, Incoming};

use super::{Reply, body, cors, paths, status};
use crate::arrival::{Arrival, Encoding, Format};
use crate::kind::Kind;
use crate::pipeline::Pipeline;
use crate::refusal::Refusal;

pub(super) async fn answer(
    pipeline: &Arc<Pipeline>,
    request: Request<Incoming>,
) -> Response<Reply> {
    if let Some(answer) = pipeline.cors.preflight(&request) {
        return answer;
    }
    let allowed = pipeline.cors.allowed(request.headers());
    let mut response = export(pipeline, request).await;
    if let Some(origin) = allowed {
        cors::mark(&mut response, origin);
    }
    response
}

async fn export(pipeline: &Arc<Pipeline>, mut request: Request<Incoming>) -> Response<Reply> {
    let format = format(request.headers());
    let kind = paths::find(request.uri().path(), paths::http);
    let refusal = match take(pipeline, kind, format, &mut request).await {
        Ok(()) => return accepted(format),
        Err(refusal) => refusal,
    };
    pipeline.metrics.refused(kind, &refusal);
    // Who asked before sending the body is told before it is sent.
    let sends_it = !request.headers().contains_key(EXPECT) && !request.body().is_end_stream();
    if request.version() < Version::HTTP_2 && sends_it {
        body::discard(request.body_mut()).await;
    }
    refused(format, &refusal)
}

async fn take(
    pipeline: &Arc<Pipeline>,
    kind: Option<Kind>,
    format: Option<Format>,
    request: &mut Request<Incoming>,
) -> Result<(), Refusal> {
    let path = request.uri().path();
    let kind = kind.ok_or_else(|| match paths::find(path, paths::grpc) {
        // A gRPC service, asked in another content type or over HTTP/1.
        Some(_) => Refusal::MediaType,
        None => Refusal::NotFound,
    })?;
    if request.method() != Method::POST {
        return Err(Refusal::Method);
    }
    let format = format.ok_or(Refusal::MediaType)?;
    let encoding = encoding(request.headers())?;
    let max = pipeline.max_request_bytes;
    let (body, held) = body::read(request.body_mut(), &pipeline.budget, max).await?;
    pipeline.carry(Arrival { kind, format, encoding, body, held }).await
}

/// The format that the content type names; parameters such as `charset` do not matter.
fn format(headers: &HeaderMap) -> Option<Format> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let essence = value.split(';').next()?.trim();
    if essence.eq_ignore_ascii_case("application/x-protobuf") {
        Some(Format::Protobuf)
    } else if essence.eq_ignore_ascii_case("application/json") {
        Some(Format::Json)
    } else {
        None
    }
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, Refusal> {
    let Some(value) = headers.get(CONTENT_ENCODING) else { return Ok(Encoding::Identity) };
    let value = value.to_str().map_err(|_| Refusal::Encoding)?.trim();
    if value.is_empty() || value.eq_ignore_ascii_case("identity") {
        Ok(Encoding::Identity)
    } else if value.eq_ignore_ascii_case("gzip") || value.eq_ignore_ascii_case("x-gzip") {
        Ok(Encoding::Gzip)
    } else if value.eq_ignore_ascii_case("deflate") {
        Ok(Encoding::Deflate)
    } else {
        Err(Refusal::Encoding)
    }
}

/// Full success: an empty `Export…ServiceResponse`, with `partial_success` unset as it must be.
fn accepted(format: Option<Format>) -> Response<Reply> {
    let body = match format {
        Some(Format::Json) => Reply::of("{}"),
        Some(Format::Protobuf) | None => Reply::of(""),
    };
    typed(format, body)
}

fn refused(format: Option<Format>, refusal: &Refusal) -> Response<Reply> {
    let body = match format {
        Some(Format::Protobuf) => Reply::of(status::protobuf(refusal)),
        Some(Format::Json) | None => Reply::of(status::json(refusal)),
    };
    let mut response = typed(format, body);
    *response.status_mut() = refusal.http_status();
    let headers = response.headers_mut();
    if let Some(seconds) = refusal.retry_after_s() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if *refusal == Refusal::Method {
        headers.insert(ALLOW, HeaderValue::from_static("POST"));
    }
    if *refusal == Refusal::Encoding {
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate"));
    }
    response
}

fn typed(format: Option<Format>, body: Reply) -> Response<Reply> {
    let content_type = match format {
        Some(Format::Protobuf) => "application/x-protobuf",
        Some(Format::Json) | None => "application/json",
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
