//! One backend: how to ask it, over HTTP or gRPC.
//!
//! Invariant: at most [`ANSWER_BYTES_MAX`] of an answer are read, whatever the backend sends.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, TE, USER_AGENT};
use http::uri::PathAndQuery;
use http::{Method, Request, Uri, Version};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, SizeHint};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::task::{JoinError, spawn_blocking};

use super::attempt::{self, Answer, Failure, Outcome};
use crate::arrival::Payload;
use crate::config::{Compression, ExporterConfig, Protocol};
use crate::kind::Kind;
use crate::receive::paths;

/// Bytes of an answer that are read; OTLP allows 4 MiB.
const ANSWER_BYTES_MAX: usize = 4 * 1_024 * 1_024;

/// A backend that can be asked; clones share its connections.
#[derive(Debug, Clone)]
pub(super) struct Client {
    http: legacy::Client<HttpConnector, Chunks>,
    base: Uri,
    protocol: Protocol,
    compression: Compression,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Client {
    pub(super) fn new(config: &ExporterConfig) -> Result<Self, String> {
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).timer(TokioTimer::new());
        if config.protocol == Protocol::Grpc {
            builder.http2_only(true);
        }
        Ok(Self {
            http: builder.build_http(),
            base: config.base()?,
            protocol: config.protocol,
            compression: config.compression,
            headers: config.header_map()?,
        })
    }

    /// The bytes of `payload` as this backend wants them.
    pub(super) async fn body(&self, payload: Arc<Payload>) -> Result<Bytes, JoinError> {
        match self.compression {
            Compression::None => Ok(payload.plain()),
            Compression::Gzip if payload.is_quick_to_gzip() => Ok(payload.gzip()),
            Compression::Gzip => spawn_blocking(move || payload.gzip()).await,
        }
    }

    /// Sends `body` once.
    pub(super) async fn attempt(&self, kind: Kind, body: Bytes) -> Result<Outcome, Failure> {
        let request = self.request(kind, body);
        let later = |why: String| Failure::Later { why, after: None };
        let response = self.http.request(request).await.map_err(|error| later(chain(&error)))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| later(format!("read the answer: {error}")))?;
        let trailers = body.trailers().cloned();
        let answer = Answer { head, trailers, body: body.to_bytes() };
        match self.protocol {
            Protocol::Http => attempt::http(&answer),
            Protocol::Grpc => attempt::grpc(&answer),
        }
    }

    fn request(&self, kind: Kind, body: Bytes) -> Request<Chunks> {
        let gzip = self.compression == Compression::Gzip;
        let mut request = match self.protocol {
            Protocol::Http => {
                let mut request = Request::new(Chunks::one(body));
                *request.uri_mut() = self.uri(paths::http(kind));
                set(&mut request, CONTENT_TYPE, "application/x-protobuf");
                if gzip {
                    set(&mut request, CONTENT_ENCODING, "gzip");
                }
                request
            }
            Protocol::Grpc => {
                let mut request = Request::new(Chunks::framed(gzip, body));
                *request.uri_mut() = self.uri(paths::grpc(kind));
                *request.version_mut() = Version::HTTP_2;
                set(&mut request, CONTENT_TYPE, "application/grpc");
                set(&mut request, TE, "trailers");
                if gzip {
                    set(&mut request, HeaderName::from_static("grpc-encoding"), "gzip");
                }
                request
            }
        };
        *request.method_mut() = Method::POST;
        let agent = concat!("holdpoint-collector/", env!("CARGO_PKG_VERSION"));
        set(&mut request, USER_AGENT, agent);
        for (name, value) in &self.headers {
            request.headers_mut().insert(name.clone(), value.clone());
        }
        request
    }

    fn uri(&self, path: &str) -> Uri {
        let base = self.base.path().trim_end_matches('/');
        let path = PathAndQuery::try_from(format!("{base}{path}"))
            .expect("a checked path and one of ours are a path");
        let mut parts = self.base.clone().into_parts();
        parts.path_and_query = Some(path);
        Uri::from_parts(parts).expect("scheme and authority were checked")
    }
}

fn set(request: &mut Request<Chunks>, name: HeaderName, value: &'static str) {
    request.headers_mut().insert(name, HeaderValue::from_static(value));
}

/// An error and its causes as one sentence.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// A body of one or two chunks, so that a gRPC frame's head needs no copy of its message.
#[derive(Debug)]
pub(super) struct Chunks {
    head: Option<Bytes>,
    rest: Option<Bytes>,
}

impl Chunks {
    fn one(bytes: Bytes) -> Self {
        Self { head: None, rest: Some(bytes).filter(|bytes| !bytes.is_empty()) }
    }

    fn framed(compressed: bool, message: Bytes) -> Self {
        let length = u32::try_from(message.len()).expect("requests are limited to 1 GiB");
        let [a, b, c, d] = length.to_be_bytes();
        let head = Bytes::copy_from_slice(&[u8::from(compressed), a, b, c, d]);
        Self { head: Some(head), ..Self::one(message) }
    }
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.head.take().or_else(|| self.rest.take());
        Poll::Ready(next.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.head.is_none() && self.rest.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
        SizeHint::with_exact(length(&self.head) + length(&self.rest))
    }
}
