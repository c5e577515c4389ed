//! The smallest OTLP gRPC receiver that an SDK accepts: it counts exports and answers OK.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};

/// Exports seen so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrivals {
    pub traces: u64,
    pub metrics: u64,
}

#[derive(Debug, Default)]
struct Counts {
    traces: AtomicU64,
    metrics: AtomicU64,
}

/// A receiver on a free port, on a thread of its own that ends with the test process.
#[derive(Debug)]
pub struct Receiver {
    pub address: SocketAddr,
    counts: Arc<Counts>,
}

impl Receiver {
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a listener can be made nonblocking");
        let address = listener.local_addr().expect("a bound address");
        let counts = Arc::new(Counts::default());
        let seen = Arc::clone(&counts);
        std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime")
                .block_on(accept(listener, seen));
        });
        Self { address, counts }
    }

    pub fn arrivals(&self) -> Arrivals {
        Arrivals {
            traces: self.counts.traces.load(Ordering::Relaxed),
            metrics: self.counts.metrics.load(Ordering::Relaxed),
        }
    }
}

async fn accept(listener: std::net::TcpListener, counts: Arc<Counts>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a nonblocking listener");
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let counts = Arc::clone(&counts);
        let service = hyper::service::service_fn(move |request| take(request, counts.clone()));
        tokio::spawn(async move {
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service);
            // A service that ends cuts its connection.
            let _ = connection.await;
        });
    }
}

type Answer = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

async fn take(
    request: Request<Incoming>,
    counts: Arc<Counts>,
) -> Result<Response<Answer>, hyper::Error> {
    let traces = request.uri().path().contains("TraceService");
    request.into_body().collect().await?;
    if traces { &counts.traces } else { &counts.metrics }.fetch_add(1, Ordering::Relaxed);
    // An empty message (uncompressed, length 0), then status 0.
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(Bytes::from_static(&[0; 5]))
        .with_trailers(std::future::ready(Some(Ok(trailers))))
        .boxed_unsync();
    let mut response = Response::new(body);
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    Ok(response)
}
