//! One backend: how to ask it, over HTTP or gRPC.
//!
//! Invariant: at most [`ANSWER_BYTES_MAX`] of an answer are read, whatever the backend sends.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, TE, USER_AGENT};
use http::uri::PathAndQuery;
use http::{Method, Request, Uri, Version};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, SizeHint};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::attempt::{self, Answer, Failure, Outcome};
use super::destination::Sealed;
use super::headers::Headers;
use super::tls::Connector;
use crate::arrival::Form;
use crate::config::{Compression, ExporterConfig, Protocol};
use crate::kind::Kind;
use crate::receive::paths;

/// Bytes of an answer that are read; OTLP allows 4 MiB.
const ANSWER_BYTES_MAX: usize = 4 * 1_024 * 1_024;

/// The system repeats a lost SYN after 1, 3, 7 seconds; a new attempt does not wait so long.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(1);
/// How long a connection may be silent before it is asked whether its peer is there.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// The same for a request that waits for its answer on a connection that others share.
const SILENCE_MAX: Duration = Duration::from_secs(2);
/// How long a connection waits to be used again; shorter than servers and their proxies wait, so
/// that a request seldom meets a connection that closes.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// A backend that can be asked; clones share its connections.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: legacy::Client<Connector, Chunks>,
    /// In the order of [`Kind::ALL`].
    uris: [Uri; Kind::ALL.len()],
    protocol: Protocol,
    compression: Compression,
    headers: Arc<Headers>,
}

impl Client {
    pub(crate) fn new(config: &ExporterConfig) -> Result<Self, String> {
        let timeout = Duration::from_millis(config.timeout_ms);
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(timeout.min(CONNECT_TIMEOUT_MAX)));
        tcp.set_keepalive(Some(KEEPALIVE));
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).timer(TokioTimer::new());
        builder.pool_idle_timeout(IDLE_MAX).pool_max_idle_per_host(config.concurrency);
        if config.protocol == Protocol::Grpc {
            // An attempt that times out leaves its connection to the next one. If the peer is gone
            // that one would time out as well, so a request that is not answered soon asks whether
            // anyone is there. An idle connection does not: gRPC servers close on idle pings.
            let patience = (timeout / 2).min(SILENCE_MAX);
            builder.http2_only(true);
            builder.http2_keep_alive_interval(patience).http2_keep_alive_timeout(patience);
        }
        let base = config.base()?;
        let uri = |kind| match config.protocol {
            Protocol::Http if config.endpoint_is_whole => base.clone(),
            Protocol::Http => below(&base, paths::http(kind)),
            Protocol::Grpc => below(&base, paths::grpc(kind)),
        };
        Ok(Self {
            http: builder.build(Connector::new(config, tcp)?),
            uris: Kind::ALL.map(uri),
            protocol: config.protocol,
            compression: config.compression,
            headers: Arc::new(Headers::new(config)?),
        })
    }

    /// The form in which this backend wants what came as `came`.
    pub(crate) const fn form(&self, came: Form) -> Form {
        match self.compression {
            Compression::None => Form::Plain,
            Compression::Gzip => Form::Gzip,
            Compression::Zstd => Form::Zstd,
            Compression::AsReceived => came,
        }
    }

    /// Sends `body` once.
    pub(crate) async fn attempt(&self, kind: Kind, body: Sealed) -> Result<Outcome, Failure> {
        let mut request = self.request(kind, body);
        for (name, value) in self.headers.now().await.iter() {
            request.headers_mut().insert(name.clone(), value.clone());
        }
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

    fn request(&self, kind: Kind, body: Sealed) -> Request<Chunks> {
        let Sealed { form, bytes: body } = body;
        let coding = form.coding();
        let mut request = match self.protocol {
            Protocol::Http => {
                let mut request = Request::new(Chunks::one(body));
                set(&mut request, CONTENT_TYPE, "application/x-protobuf");
                if let Some(coding) = coding {
                    set(&mut request, CONTENT_ENCODING, coding);
                }
                request
            }
            Protocol::Grpc => {
                let mut request = Request::new(Chunks::framed(coding.is_some(), body));
                *request.version_mut() = Version::HTTP_2;
                set(&mut request, CONTENT_TYPE, "application/grpc");
                set(&mut request, TE, "trailers");
                if let Some(coding) = coding {
                    set(&mut request, HeaderName::from_static("grpc-encoding"), coding);
                }
                request
            }
        };
        *request.uri_mut() = self.uris[kind.place()].clone();
        *request.method_mut() = Method::POST;
        let agent = concat!("holdpoint-collector/", env!("CARGO_PKG_VERSION"));
        set(&mut request, USER_AGENT, agent);
        request
    }
}

/// The URI of `path` below `base`.
fn below(base: &Uri, path: &str) -> Uri {
    let prefix = base.path().trim_end_matches('/');
    let path = PathAndQuery::try_from(format!("{prefix}{path}"))
        .expect("a checked path and one of ours are a path");
    let mut parts = base.clone().into_parts();
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).expect("scheme and authority were checked")
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
