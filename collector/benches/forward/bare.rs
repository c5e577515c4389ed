//! A server that does nothing but HTTP: it reads every body, drops it and answers 200.
//!
//! It is the floor that the collector is held against, and the backend that it forwards to.
//!
//! Invariant: `dropped` counts the bytes of bodies, each once.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

pub async fn serve(listener: TcpListener, dropped: Arc<AtomicU64>) {
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("TCP");
        let dropped = Arc::clone(&dropped);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, &dropped));
            // A client that goes away in the middle of a request is not an event here.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    dropped: &AtomicU64,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let mut body = request.into_body();
    while let Some(Ok(frame)) = body.frame().await {
        if let Some(bytes) = frame.data_ref() {
            dropped.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
    }
    Ok(Response::new(Empty::new()))
}
