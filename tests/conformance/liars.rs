//! Servers that do not keep the specification, each in its own way, against which the suite must
//! find fault: one grants everything, one refuses everything, one grants without reading, and one
//! hangs up.
//!
//! The first two are as convincing as they can be: they speak both protocols on one port, in the
//! encoding they were asked in, and grant or refuse with a well-formed body. What is left to tell
//! them from a good server is whether the request deserved it.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::suite::h2::{self, Script};
use super::suite::wire::{string, varint_field};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liar {
    Grants,
    Refuses,
    Blurts,
    HangsUp,
}

pub const LIARS: [Liar; 4] = [Liar::Grants, Liar::Refuses, Liar::Blurts, Liar::HangsUp];

/// What the one that does not read says to whatever bytes come.
const BLURTED: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\n\
    content-length: 0\r\n\r\n";

/// Starts the liar on a free port; it ends with the runtime.
pub async fn start(liar: Liar) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on loopback");
    let address = listener.local_addr().expect("a bound listener has an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(liar, stream));
        }
    });
    address
}

/// A client that breaks off is what several probes do, so no error of a connection matters here.
async fn converse(liar: Liar, mut stream: TcpStream) {
    match liar {
        Liar::Grants | Liar::Refuses => {
            let service = service_fn(move |request| answer(liar, request));
            let builder = auto::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        }
        Liar::Blurts => {
            let mut bytes = [0; 4096];
            if matches!(stream.read(&mut bytes).await, Ok(1..)) {
                let _ = stream.write_all(BLURTED).await;
            }
        }
        Liar::HangsUp => {}
    }
}

async fn answer(liar: Liar, request: Request<Incoming>) -> Result<Response<Script>, Infallible> {
    let asked = |name: &str| {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_ascii_lowercase()
    };
    let media_type = asked("content-type");
    let is_read = asked("content-length").parse::<u64>().map_or(true, |length| length <= 64 << 20);
    let mut body = request.into_body();
    while is_read && matches!(body.frame().await, Some(Ok(_))) {}
    Ok(match media_type {
        kind if kind.starts_with("application/grpc") => over_grpc(liar),
        kind if kind.starts_with("application/json") => {
            let body = if liar == Liar::Grants { "{}" } else { r#"{"code":3,"message":"no"}"# };
            over_http(liar, "application/json", body.into())
        }
        _ => {
            let refusal = [varint_field(1, 3), string(2, "no")].concat();
            let body = if liar == Liar::Grants { Vec::new() } else { refusal };
            over_http(liar, "application/x-protobuf", body)
        }
    })
}

fn over_http(liar: Liar, media_type: &'static str, body: Vec<u8>) -> Response<Script> {
    let mut response = Response::new(Script::new([Frame::data(Bytes::from(body))]));
    response.headers_mut().insert("content-type", HeaderValue::from_static(media_type));
    if liar == Liar::Refuses {
        *response.status_mut() = http::StatusCode::BAD_REQUEST;
    }
    response
}

fn over_grpc(liar: Liar) -> Response<Script> {
    let grpc = HeaderValue::from_static("application/grpc");
    let mut status = HeaderMap::new();
    if liar == Liar::Refuses {
        let mut response = Response::new(Script::new([]));
        response.headers_mut().insert("content-type", grpc);
        response.headers_mut().insert("grpc-status", HeaderValue::from(h2::INVALID_ARGUMENT));
        response.headers_mut().insert("grpc-message", HeaderValue::from_static("no"));
        return response;
    }
    status.insert("grpc-status", HeaderValue::from(h2::OK));
    let message = Frame::data(Bytes::from(h2::frame(0, &[])));
    let mut response = Response::new(Script::new([message, Frame::trailers(status)]));
    response.headers_mut().insert("content-type", grpc);
    response
}
