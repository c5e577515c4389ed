//! A server that does nothing but HTTP: it reads every body, drops it and answers 200.
//!
//! It is the floor that the collector is held against, and the backend that it forwards to.
//!
//! Invariant: `dropped` counts the bytes of bodies, each once.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
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
    let is_grpc = request
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    let mut body = request.into_body();
    while let Some(Ok(frame)) = body.frame().await {
        if let Some(bytes) = frame.data_ref() {
            dropped.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
    }
    let mut response = Response::new(Empty::new());
    if is_grpc {
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from_static("0"));
    }
    Ok(response)
}
