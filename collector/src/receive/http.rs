//! OTLP/HTTP: `POST /v1/{traces,metrics,logs}` in protobuf or JSON, and
//! `/v1development/profiles` in protobuf.
//!
//! Invariant: an answer has the content type of its request; one without a type we know is
//! answered in JSON, which people can read.

use std::sync::Arc;

use ::http::header::{
    ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HeaderValue, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use ::http::{HeaderMap, Method, Request, Response, Version};
use bytes::Bytes;
use hyper::body::{Body, Incoming};

use super::guard::Entrance;
use super::{Reply, accepted, body, cors, paths, status};
use crate::arrival::{Arrival, Encoding, Format, Transport};
use crate::kind::Kind;
use crate::pipeline::Pipeline;
use crate::refusal::Refusal;

pub(super) async fn answer(
    pipeline: &Arc<Pipeline>,
    entrance: Entrance,
    request: Request<Incoming>,
) -> Response<Reply> {
    if let Some(answer) = pipeline.cors.preflight(&request) {
        return answer;
    }
    let allowed = pipeline.cors.allowed(request.headers());
    let mut response = export(pipeline, entrance, request).await;
    if let Some(origin) = allowed {
        cors::mark(&mut response, origin);
    }
    response
}

async fn export(
    pipeline: &Arc<Pipeline>,
    entrance: Entrance,
    mut request: Request<Incoming>,
) -> Response<Reply> {
    let media = media(request.headers());
    let kind = paths::find(request.uri().path(), paths::http);
    let format = media.map(|media| media.format);
    let refusal = match take(pipeline, entrance, kind, format, &mut request).await {
        Ok(body) => return typed(media, Reply::of(body)),
        Err(refusal) => refusal,
    };
    pipeline.metrics.refused(kind, &refusal);
    // Who asked before sending the body is told before it is sent.
    let sends_it = !request.headers().contains_key(EXPECT) && !request.body().is_end_stream();
    if request.version() < Version::HTTP_2 && sends_it {
        body::discard(request.body_mut()).await;
    }
    refused(media, &refusal)
}

async fn take(
    pipeline: &Arc<Pipeline>,
    entrance: Entrance,
    kind: Option<Kind>,
    format: Option<Format>,
    request: &mut Request<Incoming>,
) -> Result<Bytes, Refusal> {
    pipeline.guard.admit(entrance, request.headers())?;
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
    let (body, held) = body::read(request.body_mut(), &pipeline.budget, max, |_| None).await?;
    let taken = pipeline
        .carry(Arrival { kind, transport: Transport::Http, format, encoding, body, held })
        .await?;
    Ok(match format {
        Format::Protobuf => accepted::protobuf(taken),
        Format::Json => accepted::json(kind, taken),
    })
}

/// A content type that is taken, and given back.
#[derive(Debug, Clone, Copy)]
struct Media {
    format: Format,
    name: &'static str,
}

/// `application/protobuf` is the name that some clients use; that of OTLP is the first.
const MEDIA: [Media; 3] = [
    Media { format: Format::Protobuf, name: "application/x-protobuf" },
    Media { format: Format::Json, name: "application/json" },
    Media { format: Format::Protobuf, name: "application/protobuf" },
];

/// What the content type names; parameters such as `charset` do not matter.
fn media(headers: &HeaderMap) -> Option<Media> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let essence = value.split(';').next()?.trim();
    MEDIA.into_iter().find(|media| essence.eq_ignore_ascii_case(media.name))
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
    } else if value.eq_ignore_ascii_case("zstd") {
        Ok(Encoding::Zstd)
    } else {
        Err(Refusal::Encoding)
    }
}

fn refused(media: Option<Media>, refusal: &Refusal) -> Response<Reply> {
    let body = match media.map(|media| media.format) {
        Some(Format::Protobuf) => Reply::of(status::protobuf(refusal)),
        Some(Format::Json) | None => Reply::of(status::json(refusal)),
    };
    let mut response = typed(media, body);
    *response.status_mut() = refusal.http_status();
    let headers = response.headers_mut();
    if let Some(seconds) = refusal.retry_after_s() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if *refusal == Refusal::Method {
        headers.insert(ALLOW, HeaderValue::from_static("POST"));
    }
    if *refusal == Refusal::Unauthenticated {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if *refusal == Refusal::Encoding {
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("zstd, gzip, deflate"));
    }
    response
}

fn typed(media: Option<Media>, body: Reply) -> Response<Reply> {
    let content_type = media.map_or("application/json", |media| media.name);
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
