//! What the service does: answers `GET /products/{id}` from a warehouse some milliseconds away.
//!
//! Invariant: one request for a product is one server span, one measurement and one count in the
//! beats, so that telemetry and witness can be compared.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use front_door::Limits;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Histogram;
use opentelemetry::trace::{Span as _, SpanKind, Status, Tracer as _};
use opentelemetry_sdk::trace::SdkTracer;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::cache::ResponseCache;
use super::telemetry::Telemetry;
use super::{CACHED, Identity};
use crate::driver::Stopwatch;

/// One trip to the warehouse and back.
const WAREHOUSE_TRIP: Duration = Duration::from_millis(6);
/// How often the serving loop turns when no request makes it turn.
const IDLE_TURN: Duration = Duration::from_millis(40);
/// How long a stopping service waits for the requests in flight.
const DRAIN_MAX: Duration = Duration::from_millis(300);
/// Products `p0` to `p15`.
const PRODUCTS: u32 = 16;

/// The work counters that the beats carry. Statistics: no other memory depends on their order.
#[derive(Debug, Default)]
pub struct Work {
    turns: AtomicU64,
    requests: AtomicU64,
    errors: AtomicU64,
}

impl Work {
    /// Moves with every turn of the serving loop, so a loop that hangs shows in the beats.
    pub fn token(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    fn turn(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self, status: StatusCode) {
        self.turn();
        self.requests.fetch_add(1, Ordering::Relaxed);
        if status.is_server_error() {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The service's one endpoint and what it needs.
#[derive(Debug)]
pub struct Shop {
    identity: Identity,
    cache: Option<ResponseCache>,
    work: Arc<Work>,
    tracer: SdkTracer,
    durations: Histogram<f64>,
}

impl Shop {
    pub fn new(identity: &Identity, telemetry: &Telemetry, work: Arc<Work>) -> Self {
        let meter = telemetry.meter();
        let cached = identity.revision.as_str() == CACHED;
        Self {
            identity: identity.clone(),
            cache: cached.then(|| ResponseCache::new(&meter, telemetry.flusher())),
            work,
            tracer: telemetry.tracer(),
            durations: meter.f64_histogram("http.server.request.duration").with_unit("s").build(),
        }
    }

    async fn respond(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        match request.uri().path() {
            "/healthz" => reply(StatusCode::OK, self.identity.revision.to_string()),
            path => match path.strip_prefix("/products/") {
                Some(product) => self.product(product).await,
                None => reply(StatusCode::NOT_FOUND, format!("nothing at {path}")),
            },
        }
    }

    async fn product(&self, product: &str) -> Response<Full<Bytes>> {
        let watch = Stopwatch::start();
        let mut span = self
            .tracer
            .span_builder("GET /products/{id}")
            .with_kind(SpanKind::Server)
            .with_attributes([
                KeyValue::new("http.request.method", "GET"),
                KeyValue::new("http.route", "/products/{id}"),
            ])
            .start(&self.tracer);
        let (status, body) = match product_number(product) {
            Some(number) => (StatusCode::OK, self.answer(product, number).await),
            None => (StatusCode::NOT_FOUND, format!("no product {product}")),
        };
        let code = KeyValue::new("http.response.status_code", i64::from(status.as_u16()));
        span.set_attribute(code.clone());
        if status.is_server_error() {
            span.set_status(Status::error("server error"));
        }
        span.end();
        self.durations.record(watch.elapsed().as_secs_f64(), &[code]);
        self.work.count(status);
        reply(status, body)
    }

    async fn answer(&self, product: &str, number: u32) -> String {
        let read = || self.read(product, number);
        match &self.cache {
            Some(cache) => cache.answer(product, read).await,
            None => read().await,
        }
    }

    async fn read(&self, product: &str, number: u32) -> String {
        tokio::time::sleep(WAREHOUSE_TRIP).await;
        let price_cents = 199 + 50 * number;
        let shop = self.identity.service.as_str();
        serde_json::json!({ "shop": shop, "product": product, "price_cents": price_cents })
            .to_string()
    }
}

fn product_number(product: &str) -> Option<u32> {
    product.strip_prefix('p')?.parse().ok().filter(|number| *number < PRODUCTS)
}

fn reply(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
}

/// Serves the shop until `stop`, then answers what is in flight.
pub async fn serve(shop: Arc<Shop>, listener: TcpListener, stop: CancellationToken) {
    let turning = tokio::spawn(turn_while_idle(Arc::clone(&shop.work)));
    let service = tower::service_fn(move |request| {
        let shop = Arc::clone(&shop);
        async move { Ok::<_, Infallible>(shop.respond(request).await) }
    });
    let limits = Limits { drain_timeout: DRAIN_MAX, ..Limits::default() };
    front_door::serve(listener, service, limits, stop).await;
    turning.abort();
}

async fn turn_while_idle(work: Arc<Work>) {
    loop {
        work.turn();
        tokio::time::sleep(IDLE_TURN).await;
    }
}
