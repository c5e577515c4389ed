//! A collector on free ports, a client for it, and a backend that answers as it is told.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use collector::{
    Acknowledge, Addresses, Applied, BeatTarget, Config, ExporterConfig, Proposal, RunError,
    Source, Version,
};
use front_door::Limits;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::service_fn;
use watchdog_core::names::Boot;
use watchdog_core::tally::TallyPage;

/// No wait of these tests is longer; a test that reaches it has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);
pub const PROTOBUF: &str = "application/x-protobuf";
pub const JSON: &str = "application/json";

/// A running collector.
pub struct Rig {
    pub addresses: Addresses,
    pub shutdown: CancellationToken,
    running: JoinHandle<Result<(), RunError>>,
    proposals: mpsc::Sender<Proposal>,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub trailers: Option<HeaderMap>,
    pub body: Bytes,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// The gRPC status, from headers or trailers.
    pub fn grpc_status(&self) -> &str {
        let trailers = self.trailers.as_ref().and_then(|trailers| trailers.get("grpc-status"));
        let status = trailers.or_else(|| self.headers.get("grpc-status")).expect("a grpc-status");
        status.to_str().expect("text")
    }
}

pub fn on_free_ports() -> Config {
    let free = "127.0.0.1:0".parse().expect("an address");
    Config {
        grpc_listen: free,
        http_listen: free,
        admin_listen: free,
        // The spool has tests of its own, on real processes that die.
        acknowledge: Acknowledge::Queued,
        ..Config::default()
    }
}

pub async fn start(config: Config) -> Rig {
    start_beating(config, Arc::new(|| None)).await
}

pub async fn start_beating(config: Config, target: BeatTarget) -> Rig {
    let boot = Boot::new("1700000000000-test").expect("a name");
    let bound = collector::bind(config, boot).await.expect("free ports");
    let (addresses, shutdown) = (bound.addresses(), CancellationToken::new());
    let (proposals, source) = mpsc::channel(1);
    let source = Source { version: version("first"), proposals: source };
    let running = tokio::spawn(bound.run_reloading(target, source, shutdown.clone()));
    Rig { addresses, shutdown, running, proposals }
}

fn version(sha256: &str) -> Version {
    Version { file: None, sha256: sha256.to_owned() }
}

/// A collector that forwards to `backend`, changed by `change`.
pub async fn forwarding_to(backend: &ExporterConfig) -> Rig {
    start(Config { exporters: vec![backend.clone()], ..on_free_ports() }).await
}

impl Rig {
    pub async fn stop(self) {
        self.shutdown.cancel();
        let stopped = tokio::time::timeout(PATIENCE, self.running).await.expect("it stops");
        stopped.expect("no panic").expect("no error");
    }

    /// Proposes a configuration, or the reason why there is none.
    pub async fn propose(&self, config: Result<Config, &str>) -> Result<Applied, String> {
        let (answer, answered) = oneshot::channel();
        let config = match config {
            Ok(config) => Ok((Box::new(config), version("next"))),
            Err(why) => Err(why.to_owned()),
        };
        self.proposals.send(Proposal { config, answer }).await.expect("it runs");
        tokio::time::timeout(PATIENCE, answered).await.expect("in time").expect("an answer")
    }

    /// `POST` to the HTTP port.
    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let mut request = Request::post(format!("http://{}{path}", self.addresses.http));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        ask(request.body(Full::from(body)).expect("valid"), false).await
    }

    /// A traces request in protobuf.
    pub async fn traces(&self, body: Vec<u8>) -> Answer {
        self.post("/v1/traces", &[("content-type", PROTOBUF)], body).await
    }

    pub async fn admin(&self, path: &str) -> Answer {
        let uri = format!("http://{}{path}", self.addresses.admin);
        ask(Request::get(uri).body(Full::default()).expect("valid"), false).await
    }

    pub async fn page(&self, after: u64, wait_ms: u64) -> TallyPage {
        let page = self.admin(&format!("/v1/tally?after={after}&wait_ms={wait_ms}")).await;
        assert_eq!(page.status, 200);
        serde_json::from_slice(&page.body).expect("a page")
    }

    /// The first page for which `holds` is true.
    pub async fn page_when(&self, holds: impl Fn(&TallyPage) -> bool) -> TallyPage {
        let waiting = async {
            let mut page = self.page(0, 0).await;
            while !holds(&page) {
                self.page(page.cursor, 1_000).await;
                page = self.page(0, 0).await;
            }
            page
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the page comes to be so")
    }

    /// The value of the metrics line that starts with `name`.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let page = self.admin("/metrics").await;
        let text = std::str::from_utf8(&page.body).expect("text");
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.rsplit(' ').next().expect("a value").parse().ok()
    }

    /// Waits until `holds` of the value of the metrics line that starts with `name`.
    pub async fn metric_when(&self, name: &str, holds: impl Fn(f64) -> bool) {
        let waiting = async {
            while !self.metric(name).await.is_some_and(&holds) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the metric comes to be so");
    }
}

/// One request on a connection of its own.
pub async fn ask(request: Request<Full<Bytes>>, http2: bool) -> Answer {
    let client = Client::builder(TokioExecutor::new()).http2_only(http2).build_http();
    let asking = async {
        let (head, body) = client.request(request).await.expect("an answer").into_parts();
        let body = body.collect().await.expect("a whole answer");
        let trailers = body.trailers().cloned();
        Answer { status: head.status, headers: head.headers, trailers, body: body.to_bytes() }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("an answer in time")
}

/// The body of a page of a server that may not be up yet.
pub async fn try_get(url: &str) -> Result<String, Box<dyn std::error::Error>> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let body = client.get(url.parse()?).await?.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8(body.to_vec())?)
}

/// What a backend answers to one request.
#[derive(Debug, Clone)]
pub enum Script {
    Take,
    Status(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Accepts the request and never answers.
    Hang,
}

/// A request that a backend got.
#[derive(Debug, Clone)]
pub struct Got {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// A backend for HTTP and gRPC that takes everything once its script is played.
pub struct Backend {
    pub address: SocketAddr,
    pub got: Arc<Mutex<Vec<Got>>>,
    pub _stop: tokio_util::sync::DropGuard,
}

pub async fn backend(script: Vec<Script>) -> Backend {
    let listener =
        front_door::bind("127.0.0.1:0".parse().expect("an address")).await.expect("a free port");
    backend_at(listener, script)
}

/// The same at a port that is bound already.
pub fn backend_at(listener: tokio::net::TcpListener, script: Vec<Script>) -> Backend {
    let address = listener.local_addr().expect("bound");
    let got = Arc::new(Mutex::new(Vec::new()));
    let script = Arc::new(Mutex::new(VecDeque::from(script)));
    let service = {
        let got = Arc::clone(&got);
        service_fn(move |request| play(request, Arc::clone(&got), Arc::clone(&script)))
    };
    let stop = CancellationToken::new();
    tokio::spawn(front_door::serve(listener, service, Limits::default(), stop.clone()));
    Backend { address, got, _stop: stop.drop_guard() }
}

pub async fn play(
    request: Request<Incoming>,
    got: Arc<Mutex<Vec<Got>>>,
    script: Arc<Mutex<VecDeque<Script>>>,
) -> Result<Response<http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.expect("a whole request").to_bytes();
    let is_grpc = head.headers["content-type"] == "application/grpc";
    let path = head.uri.path().to_owned();
    got.lock().expect("no panic").push(Got { path, headers: head.headers, body });
    let next = script.lock().expect("no panic").pop_front().unwrap_or(Script::Take);
    let mut response = Response::builder();
    let frames = match next {
        Script::Hang => std::future::pending().await,
        Script::Status(status, headers, body) => {
            response = response.status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            vec![Ok(Frame::data(Bytes::from(body)))]
        }
        Script::Take if is_grpc => {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().expect("a value"));
            vec![Ok(Frame::data(Bytes::from_static(b"\0\0\0\0\0"))), Ok(Frame::trailers(trailers))]
        }
        Script::Take => Vec::new(),
    };
    let body = StreamBody::new(futures_util::stream::iter(frames));
    Ok(response.body(body.boxed_unsync()).expect("valid"))
}

impl Backend {
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn got(&self) -> Vec<Got> {
        self.got.lock().expect("no panic").clone()
    }

    /// What it got, once that is `n` requests or more.
    pub async fn got_when(&self, n: usize) -> Vec<Got> {
        let waiting = async {
            while self.got().len() < n {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the requests come");
        self.got()
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("memory does not fail");
    encoder.finish().expect("memory does not fail")
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 1).expect("memory does not fail")
}
