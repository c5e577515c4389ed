//! Servers that do nothing but HTTP: one reads every body, drops it and answers 200; the other
//! sends it on first.
//!
//! They are the floors that the collector is held against, and the first is the backend that it
//! forwards to.
//!
//! Invariant: `dropped` counts the bytes of bodies, each once.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, TE};
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep_until};

pub async fn serve(listener: TcpListener, dropped: Arc<AtomicU64>) {
    serve_at_most(listener, dropped, u64::MAX).await;
}

/// As [`serve`], but takes no more than `bytes_a_second`, as a slow backend does.
pub async fn serve_at_most(listener: TcpListener, dropped: Arc<AtomicU64>, bytes_a_second: u64) {
    let pace = Pace { begun: Instant::now(), bytes_a_second };
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("TCP");
        let dropped = Arc::clone(&dropped);
        tokio::spawn(async move {
            let service = service_fn(|request| answer_in_time(request, Arc::clone(&dropped), pace));
            // A client that goes away in the middle of a request is not an event here.
            let _ = Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// How fast bytes are taken.
#[derive(Debug, Clone, Copy)]
struct Pace {
    begun: Instant,
    bytes_a_second: u64,
}

async fn answer_in_time(
    request: Request<Incoming>,
    dropped: Arc<AtomicU64>,
    pace: Pace,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let answered = answer(request, &dropped).await;
    if pace.bytes_a_second < u64::MAX {
        let due = dropped.load(Ordering::Relaxed) as f64 / pace.bytes_a_second as f64;
        sleep_until(pace.begun + Duration::from_secs_f64(due)).await;
    }
    answered
}

async fn answer(
    request: Request<Incoming>,
    dropped: &AtomicU64,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let is_grpc = is_grpc(&request);
    let mut body = request.into_body();
    while let Some(Ok(frame)) = body.frame().await {
        if let Some(bytes) = frame.data_ref() {
            dropped.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
    }
    Ok(taken(is_grpc))
}

fn is_grpc<B>(request: &Request<B>) -> bool {
    let kind = request.headers().get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

fn taken(is_grpc: bool) -> Response<Empty<Bytes>> {
    let mut response = Response::new(Empty::new());
    if is_grpc {
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from_static("0"));
    }
    response
}

/// Sends what comes in on to `backend`, whole and unread, and answers when it was taken there.
pub async fn pass_on(listener: TcpListener, backend: SocketAddr) {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = |is_http2| {
        let mut builder = Client::builder(TokioExecutor::new());
        builder.http2_only(is_http2).build::<_, Full<Bytes>>(connector.clone())
    };
    let clients = Arc::new([client(false), client(true)]);
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("TCP");
        let clients = Arc::clone(&clients);
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let client = clients[usize::from(request.version() == Version::HTTP_2)].clone();
                send_on(request, client, backend)
            });
            // A client that goes away in the middle of a request is not an event here.
            let _ = Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn send_on(
    request: Request<Incoming>,
    client: Client<HttpConnector, Full<Bytes>>,
    backend: SocketAddr,
) -> Result<Response<Empty<Bytes>>, hyper::Error> {
    let is_grpc = is_grpc(&request);
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let mut onward = Request::new(Full::new(body));
    let uri = format!("http://{backend}{}", head.uri.path());
    *onward.uri_mut() = uri.parse().expect("an address and a path");
    *onward.method_mut() = head.method;
    *onward.version_mut() = head.version;
    for name in [CONTENT_TYPE, CONTENT_ENCODING, TE] {
        if let Some(value) = head.headers.get(&name) {
            onward.headers_mut().insert(name, value.clone());
        }
    }
    let answer = client.request(onward).await.expect("the backend of this run takes all");
    answer.into_body().collect().await?;
    Ok(taken(is_grpc))
}
