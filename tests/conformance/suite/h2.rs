//! HTTP/2 and gRPC with hand-made frames: the library speaks HTTP/2, the probe speaks gRPC.
//!
//! A call is a list of DATA frames and nothing else, so that a message may be split, cut, doubled
//! or missing.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Read;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::answer::{self, Answer, Partial};
use super::http::PATIENCE;
use super::probe::Outcome;

/// The codes of gRPC that a probe names.
pub const OK: u32 = 0;
pub const INVALID_ARGUMENT: u32 = 3;
pub const RESOURCE_EXHAUSTED: u32 = 8;
pub const UNIMPLEMENTED: u32 = 12;
pub const INTERNAL: u32 = 13;
pub const UNAVAILABLE: u32 = 14;

/// One message as gRPC frames it: flag, length, bytes.
pub fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
    claim(flag, message.len() as u32, message)
}

/// A frame whose length says `claimed` whatever follows.
pub fn claim(flag: u8, claimed: u32, message: &[u8]) -> Vec<u8> {
    [&[flag][..], &claimed.to_be_bytes(), message].concat()
}

/// One request over HTTP/2.
#[derive(Debug, Clone)]
pub struct Call {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub frames: Vec<Vec<u8>>,
    pub trailers: Vec<(String, String)>,
}

impl Call {
    pub fn new(path: &str) -> Call {
        Call {
            method: "POST".into(),
            path: path.into(),
            headers: Vec::new(),
            frames: Vec::new(),
            trailers: Vec::new(),
        }
    }

    /// What every gRPC client sends.
    pub fn grpc(path: &str) -> Call {
        Call::new(path).header("content-type", "application/grpc").header("te", "trailers")
    }

    pub fn header(mut self, name: &str, value: &str) -> Call {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn without(mut self, name: &str) -> Call {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    pub fn data(mut self, bytes: impl Into<Vec<u8>>) -> Call {
        self.frames.push(bytes.into());
        self
    }

    pub fn message(self, message: &[u8]) -> Call {
        self.data(frame(0, message))
    }

    fn request(&self, address: SocketAddr) -> Result<Request<Script>, String> {
        let mut builder = Request::builder()
            .method(self.method.as_str())
            .uri(format!("http://{address}{}", self.path));
        for (name, value) in &self.headers {
            builder = builder.header(name, value);
        }
        let mut frames: VecDeque<_> =
            self.frames.iter().map(|bytes| Frame::data(Bytes::from(bytes.clone()))).collect();
        if !self.trailers.is_empty() {
            frames.push_back(Frame::trailers(header_map(&self.trailers)?));
        }
        builder.body(Script::new(frames)).map_err(|error| format!("compose the call: {error}"))
    }
}

fn header_map(pairs: &[(String, String)]) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        let name: HeaderName = name.parse().map_err(|_| format!("header name {name}"))?;
        let value: HeaderValue = value.parse().map_err(|_| format!("header value {value}"))?;
        map.append(name, value);
    }
    Ok(map)
}

/// A body that plays its frames and ends.
#[derive(Debug)]
pub struct Script {
    frames: VecDeque<Frame<Bytes>>,
}

impl Script {
    pub fn new(frames: impl IntoIterator<Item = Frame<Bytes>>) -> Script {
        Script { frames: frames.into_iter().collect() }
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.frames.pop_front().map(Ok))
    }
}

/// What came back: the answer of HTTP and, for gRPC, where its status stood.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub http: Answer,
    pub trailers: Vec<(String, String)>,
}

impl Reply {
    /// In the trailers, or in the headers of an answer that is trailers only.
    fn field(&self, name: &str) -> Option<&str> {
        let trailer = self.trailers.iter().find(|(known, _)| known == name);
        trailer.map(|(_, value)| value.as_str()).or_else(|| self.http.header(name))
    }

    pub fn code(&self) -> Option<u32> {
        self.field("grpc-status").and_then(|value| value.parse().ok())
    }

    pub fn message(&self) -> &str {
        self.field("grpc-message").unwrap_or_default()
    }

    /// The type URLs of the details, if any were attached.
    pub fn details(&self) -> Result<Vec<String>, String> {
        use base64::Engine;
        let Some(text) = self.field("grpc-status-details-bin") else { return Ok(Vec::new()) };
        let bytes = base64::engine::general_purpose::STANDARD_NO_PAD
            .decode(text.trim_end_matches('='))
            .map_err(|error| format!("grpc-status-details-bin: {error}"))?;
        answer::read_status(&bytes).map(|status| status.details)
    }

    pub fn is(self, code: u32) -> Result<Reply, String> {
        self.among(&[code])
    }

    pub fn among(self, codes: &[u32]) -> Result<Reply, String> {
        match self.code() {
            Some(found) if codes.contains(&found) && self.http.status == 200 => Ok(self),
            found => Err(format!(
                "grpc-status {found:?} instead of {codes:?}, HTTP {}, message {:?}",
                self.http.status,
                self.message()
            )),
        }
    }

    /// Refused in the words of gRPC, whatever the code.
    pub fn refused(self) -> Result<Reply, String> {
        match self.code() {
            Some(code) if code != OK => Ok(self),
            found => Err(format!("grpc-status {found:?}, HTTP {}", self.http.status)),
        }
    }

    /// OK, exactly one message, and no record rejected.
    pub fn taken(self) -> Outcome {
        match self.partial_success()? {
            Partial::Rejected(why) => Err(format!("not taken in whole: {why}")),
            Partial::Unset | Partial::Empty => Ok(()),
        }
    }

    /// Full success by the letter: `partial_success` is not set at all.
    pub fn fully_taken(self) -> Outcome {
        self.partial_success()?.is_unset()
    }

    fn partial_success(self) -> Result<Partial, String> {
        let reply = self.is(OK)?;
        let kind = reply.http.header("content-type").unwrap_or_default();
        if !kind.starts_with("application/grpc") {
            return Err(format!("content-type {kind:?} instead of application/grpc"));
        }
        let body = &reply.http.body;
        let (head, message) =
            body.split_at_checked(5).ok_or_else(|| format!("{} bytes, no message", body.len()))?;
        let claimed = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if claimed != message.len() {
            return Err(format!("not one message: {body:?}"));
        }
        match (head[0], reply.http.header("grpc-encoding")) {
            (0, _) => answer::partial_success(message),
            // A server may answer in the coding it was asked in.
            (1, Some("gzip")) => {
                let mut plain = Vec::new();
                MultiGzDecoder::new(message)
                    .read_to_end(&mut plain)
                    .map_err(|error| format!("the answer's gzip: {error}"))?;
                answer::partial_success(&plain)
            }
            (flag, coding) => Err(format!("flag {flag} with grpc-encoding {coding:?}")),
        }
    }
}

/// Makes one call on a connection of its own.
pub fn call(runtime: &Handle, address: SocketAddr, call: &Call) -> Result<Reply, String> {
    let replies = calls(runtime, address, std::slice::from_ref(call))?;
    replies.into_iter().next().ok_or_else(|| "no reply".to_owned())
}

/// Makes all calls at the same time on one connection; the replies stand in the order of calls.
pub fn calls(runtime: &Handle, address: SocketAddr, calls: &[Call]) -> Result<Vec<Reply>, String> {
    runtime.block_on(async {
        timeout(PATIENCE, calls_at_once(address, calls))
            .await
            .map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))?
    })
}

async fn calls_at_once(address: SocketAddr, calls: &[Call]) -> Result<Vec<Reply>, String> {
    let stream =
        TcpStream::connect(address).await.map_err(|error| format!("connect {address}: {error}"))?;
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(|error| format!("HTTP/2 handshake: {error}"))?;
    let driving = tokio::spawn(connection);
    let mut waiting = Vec::new();
    for call in calls {
        let request = call.request(address)?;
        let mut sender = sender.clone();
        waiting.push(tokio::spawn(async move {
            sender.ready().await.map_err(chain)?;
            let response = sender.send_request(request).await.map_err(chain)?;
            read(response).await
        }));
    }
    let mut replies = Vec::new();
    for one in waiting {
        let reply = one.await.map_err(|error| format!("the call's task: {error}"))?;
        replies.push(reply?);
    }
    driving.abort();
    Ok(replies)
}

async fn read(response: http::Response<Incoming>) -> Result<Reply, String> {
    let (head, mut body) = response.into_parts();
    let mut reply = Reply::default();
    reply.http.status = head.status.as_u16();
    reply.http.headers = pairs(&head.headers);
    while let Some(part) = body.frame().await {
        match part.map_err(chain)?.into_data() {
            Ok(bytes) => reply.http.body.extend_from_slice(&bytes),
            Err(other) => {
                if let Ok(trailers) = other.into_trailers() {
                    reply.trailers = pairs(&trailers);
                }
            }
        }
    }
    Ok(reply)
}

fn pairs(map: &HeaderMap) -> Vec<(String, String)> {
    map.iter()
        .map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect()
}

fn chain(error: hyper::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// The `RetryInfo` of a details list; a refusal that must not be retried has none.
pub fn has_retry_info(details: &[String]) -> bool {
    details.iter().any(|url| url.ends_with("google.rpc.RetryInfo"))
}
