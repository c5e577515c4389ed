//! One client on one connection, in HTTP/1 or gRPC.
//!
//! Invariant: a request is sent when the one before was answered.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::runtime::Runtime;

use crate::child::Server;

const PATIENCE: Duration = Duration::from_secs(10);
const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const FRAME_HEAD_BYTES: usize = 5;

/// A request that is sent again and again.
#[derive(Debug, Clone)]
pub enum Request {
    /// The body, and its content encoding.
    Http(Bytes, &'static str),
    /// The message in its frame.
    Grpc(Bytes),
}

impl Request {
    pub fn grpc(message: &[u8]) -> Self {
        let length = u32::try_from(message.len()).expect("it is short").to_be_bytes();
        Self::Grpc(Bytes::from([&[0], &length[..], message].concat()))
    }

    /// Bytes that arrive at a backend of the same protocol.
    pub fn delivered_bytes(&self) -> usize {
        match self {
            Self::Http(body, _) => body.len(),
            Self::Grpc(frame) => frame.len(),
        }
    }

    /// Bytes of the content.
    pub fn content_bytes(&self) -> usize {
        match self {
            Self::Http(body, _) => body.len(),
            Self::Grpc(frame) => frame.len() - FRAME_HEAD_BYTES,
        }
    }
}

pub enum Client {
    Http { stream: BufReader<TcpStream>, request: Vec<u8> },
    Grpc { runtime: Runtime, sender: http2::SendRequest<Full<Bytes>>, uri: String },
}

impl Client {
    pub fn connect(server: &Server, request: &Request) -> Self {
        match request {
            Request::Http(body, encoding) => {
                let stream = TcpStream::connect(server.http).expect("the server listens");
                stream.set_nodelay(true).expect("TCP");
                stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
                stream.set_write_timeout(Some(PATIENCE)).expect("not zero");
                let head = format!(
                    "POST /v1/traces HTTP/1.1\r\nhost: {}\r\ncontent-type: \
                     application/x-protobuf\r\ncontent-encoding: {encoding}\r\ncontent-length: \
                     {}\r\n\r\n",
                    server.http,
                    body.len()
                );
                let request = [head.as_bytes(), body].concat();
                Self::Http { stream: BufReader::new(stream), request }
            }
            Request::Grpc(_) => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let runtime = runtime.expect("a runtime");
                let sender = runtime.block_on(async {
                    let stream = tokio::net::TcpStream::connect(server.grpc).await;
                    let stream = stream.expect("the server listens");
                    stream.set_nodelay(true).expect("TCP");
                    let shake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
                    let (sender, connection) = shake.await.expect("HTTP/2");
                    tokio::spawn(connection);
                    sender
                });
                Self::Grpc { runtime, sender, uri: format!("http://{}{TRACES}", server.grpc) }
            }
        }
    }

    /// Sends `request` and waits for its answer; whether it was taken.
    pub fn is_taken(&mut self, request: &Request) -> bool {
        match (self, request) {
            (Self::Http { stream, request }, _) => post(stream, request) == 200,
            (Self::Grpc { runtime, sender, uri }, Request::Grpc(frame)) => {
                let request = http::Request::post(uri.as_str())
                    .header("content-type", "application/grpc")
                    .header("te", "trailers")
                    .body(Full::new(frame.clone()))
                    .expect("valid");
                runtime.block_on(async {
                    let answer = sender.send_request(request).await.expect("an answer");
                    let in_head = answer.headers().get("grpc-status").cloned();
                    let body = answer.into_body().collect().await.expect("a whole answer");
                    let trailers = body.trailers().and_then(|it| it.get("grpc-status").cloned());
                    in_head.or(trailers).is_some_and(|status| status == "0")
                })
            }
            (Self::Grpc { .. }, Request::Http(..)) => false,
        }
    }
}

/// Sends `request` and reads its response; the status.
fn post(stream: &mut BufReader<TcpStream>, request: &[u8]) -> u16 {
    stream.get_mut().write_all(request).expect("the server reads");
    let mut line = String::new();
    next_line(stream, &mut line);
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let mut length = 0;
    while next_line(stream, &mut line) {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().expect("a length");
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("the body is as long as it says");
    status
}

/// Reads a line of the head; false at its end.
fn next_line(stream: &mut BufReader<TcpStream>, line: &mut String) -> bool {
    line.clear();
    stream.read_line(line).expect("the server answers");
    !line.trim_end().is_empty()
}
