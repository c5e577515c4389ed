//! The backend behind the server under test: takes OTLP/HTTP in protobuf, keeps every body, and
//! lets a probe wait for the one it sent.
//!
//! Bodies are kept as they came, but for large ones, which no probe looks for. A probe finds its
//! own by the service name, which is different for each probe, so that whatever else passes does
//! not disturb it.

use std::convert::Infallible;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::runtime::Handle;

use super::requests::Signal;

#[derive(Debug, Clone)]
pub struct Sink {
    address: SocketAddr,
    /// How long a probe waits for what it sent.
    patience: Duration,
    arrived: Arc<(Mutex<Vec<Arrival>>, Condvar)>,
}

/// What a probe looks for is small; bodies over this many bytes are taken and forgotten.
const KEPT_BYTES: usize = 64 << 10;

#[derive(Debug, Clone)]
struct Arrival {
    path: String,
    body: Vec<u8>,
}

impl Sink {
    /// Listens at once; the server ends with the runtime.
    ///
    /// # Errors
    /// The address, and why it cannot be bound.
    pub fn start(
        runtime: &Handle,
        address: SocketAddr,
        patience: Duration,
    ) -> Result<Sink, String> {
        let listener = runtime
            .block_on(TcpListener::bind(address))
            .map_err(|error| format!("listen on {address}: {error}"))?;
        let address = listener.local_addr().map_err(|error| format!("sink address: {error}"))?;
        let sink = Sink { address, patience, arrived: Arc::default() };
        let taking = sink.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let sink = taking.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| sink.clone().take(request));
                    // An exporter that breaks off sends again.
                    let _ =
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Ok(sink)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    async fn take(self, request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
        let path = request.uri().path().to_owned();
        let is_zipped = request.headers().get("content-encoding").is_some();
        let mut response = Response::new(Empty::new());
        let protobuf = HeaderValue::from_static("application/x-protobuf");
        response.headers_mut().insert("content-type", protobuf);
        let Ok(body) = request.into_body().collect().await else { return Ok(response) };
        let mut body = body.to_bytes().to_vec();
        if is_zipped {
            let mut plain = Vec::new();
            match MultiGzDecoder::new(&body[..]).read_to_end(&mut plain) {
                Ok(_) => body = plain,
                Err(_) => *response.status_mut() = http::StatusCode::BAD_REQUEST,
            }
        }
        if body.len() > KEPT_BYTES {
            return Ok(response);
        }
        let (arrivals, news) = &*self.arrived;
        arrivals.lock().expect("no holder of the lock panics").push(Arrival { path, body });
        news.notify_all();
        Ok(response)
    }

    /// All bodies of this signal that name the service so far, without waiting.
    pub fn bodies(&self, signal: Signal, service: &str) -> Vec<Vec<u8>> {
        let arrivals = self.arrived.0.lock().expect("no holder of the lock panics");
        matching(&arrivals, signal, service)
    }

    /// Waits until a body of this signal names the service.
    ///
    /// # Errors
    /// Nothing came in time, and how much else did.
    pub fn body(&self, signal: Signal, service: &str) -> Result<Vec<u8>, String> {
        let (arrivals, news) = &*self.arrived;
        let held = arrivals.lock().expect("no holder of the lock panics");
        let (held, _) = news
            .wait_timeout_while(held, self.patience, |held| {
                matching(held, signal, service).is_empty()
            })
            .expect("no holder of the lock panics");
        matching(&held, signal, service)
            .pop()
            .ok_or_else(|| format!("nothing of {service} among {} deliveries", held.len()))
    }
}

fn matching(arrivals: &[Arrival], signal: Signal, service: &str) -> Vec<Vec<u8>> {
    let named = |body: &[u8]| body.windows(service.len()).any(|part| part == service.as_bytes());
    let ours = arrivals.iter().filter(|it| it.path == signal.path() && named(&it.body));
    ours.map(|arrival| arrival.body.clone()).collect()
}
