//! Slow, hostile and well-behaved clients at the door, over real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Extension;
use axum::routing::{get, post};
use front_door::{Counts, Limits, Peer, bind, serve_counted};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// No wait of these tests is longer; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

struct Door {
    address: SocketAddr,
    counts: Arc<Counts>,
    shutdown: CancellationToken,
    server: JoinHandle<()>,
}

async fn door(limits: Limits) -> Door {
    let router = Router::new()
        .route("/", get(|| async { "here" }))
        .route("/peer", get(|Extension(Peer(peer))| async move { peer.ip().to_string() }))
        .route("/echo", post(|body: String| async move { body }))
        .route("/never", get(std::future::pending::<String>));
    let listener = bind("127.0.0.1:0".parse().expect("an address")).await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (counts, shutdown) = (Arc::new(Counts::default()), CancellationToken::new());
    let server = tokio::spawn(serve_counted(
        listener,
        router.into_service(),
        limits,
        shutdown.clone(),
        Arc::clone(&counts),
    ));
    Door { address, counts, shutdown, server }
}

impl Door {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connect")
    }

    /// One request on a connection of its own.
    async fn ask(&self, request: &str) -> String {
        let mut client = self.connect().await;
        client.write_all(request.as_bytes()).await.expect("write");
        to_the_end(&mut client).await
    }

    async fn is_answering(&self) {
        let answer = self.ask("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        assert!(answer.ends_with("here"), "{answer}");
    }
}

/// What comes until the server closes; a reset is an end too.
async fn to_the_end(client: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = timeout(PATIENCE, client.read_to_end(&mut bytes)).await.expect("the server closes");
    String::from_utf8(bytes).expect("text")
}

/// One request on `client`, whose answer ends in `end`.
async fn exchange(client: &mut TcpStream, request: &str, end: &str) {
    client.write_all(request.as_bytes()).await.expect("write");
    let mut seen = String::new();
    while !seen.ends_with(end) {
        let mut bytes = [0; 1024];
        let n = timeout(PATIENCE, client.read(&mut bytes)).await.expect("an answer").expect("read");
        assert!(n > 0, "closed after {seen:?}");
        seen.push_str(std::str::from_utf8(&bytes[..n]).expect("text"));
    }
}

/// Is answered with `100 Continue` once it is in the service's hands.
const EXPECTING: &str =
    "POST /echo HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn a_client_that_drips_its_header_is_cut_off_and_others_are_served() {
    let slow_header = b"GET / HTTP/1.1\r\na: ".iter().chain(std::iter::repeat_n(&b'b', 1_000));
    let slow_preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".iter();
    for bytes in [slow_header.copied().collect::<Vec<u8>>(), slow_preface.copied().collect()] {
        let limits = Limits { header_timeout: Duration::from_millis(200), ..Limits::default() };
        let door = door(limits).await;
        let mut client = door.connect().await;
        for byte in bytes {
            if client.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(to_the_end(&mut client).await, "");
        assert_eq!(door.counts.seen().timed_out, 1);
        door.is_answering().await;
    }
}

#[tokio::test]
async fn a_connection_may_rest_longer_than_a_header_may_take() {
    let limits = Limits { header_timeout: Duration::from_millis(50), ..Limits::default() };
    let door = door(limits).await;
    let mut client = door.connect().await;
    exchange(&mut client, GET, "here").await;
    // The rest is the subject here: six times the header's patience.
    tokio::time::sleep(Duration::from_millis(300)).await;
    exchange(&mut client, GET, "here").await;
    // The next header has begun and gets no further.
    client.write_all(b"GET /").await.expect("write");
    to_the_end(&mut client).await;
}

#[tokio::test]
async fn a_connection_that_rests_too_long_is_closed() {
    let limits = Limits { idle_timeout: Duration::from_millis(100), ..Limits::default() };
    let door = door(limits).await;
    let mut client = door.connect().await;
    exchange(&mut client, GET, "here").await;
    assert_eq!(to_the_end(&mut client).await, "");
}

#[tokio::test]
async fn a_flood_of_idle_connections_does_not_stop_others() {
    let door = door(Limits { connections_max: 8, ..Limits::default() }).await;
    let mut flood = Vec::new();
    for _ in 0..100 {
        flood.push(door.connect().await);
    }
    door.is_answering().await;
    assert!(door.counts.seen().evicted >= 92, "{:?}", door.counts.seen());
    drop(flood);
}

#[tokio::test]
async fn busy_connections_are_never_evicted() {
    let door = door(Limits { connections_max: 1, ..Limits::default() }).await;
    let mut busy = door.connect().await;
    exchange(&mut busy, EXPECTING, "100 Continue\r\n\r\n").await;
    assert_eq!(to_the_end(&mut door.connect().await).await, "");
    assert_eq!(door.counts.seen().refused, 1);
    exchange(&mut busy, "late", "late").await;
}

#[tokio::test]
async fn a_body_that_never_ends_is_cut_off() {
    let limits = Limits { request_timeout: Duration::from_millis(100), ..Limits::default() };
    let door = door(limits).await;
    let head = "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nab";
    assert_eq!(door.ask(head).await, "");
    assert_eq!(door.counts.seen().timed_out, 1);
}

#[tokio::test]
async fn too_many_and_too_long_headers_are_refused() {
    let door = door(Limits::default()).await;
    let with = |headers: String| format!("GET / HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
    let many = door.ask(&with("a: b\r\n".repeat(64))).await;
    assert!(many.starts_with("HTTP/1.1 431"), "{many}");
    let long = door.ask(&with(format!("a: {}\r\n", "b".repeat(70_000)))).await;
    assert!(long.is_empty() || long.starts_with("HTTP/1.1 431"), "{long}");
    door.is_answering().await;
}

#[tokio::test]
async fn what_is_in_flight_is_answered_after_shutdown_and_the_port_is_free() {
    let door = door(Limits::default()).await;
    let mut client = door.connect().await;
    let head =
        "POST /echo HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
    exchange(&mut client, head, "100 Continue\r\n\r\n").await;
    door.shutdown.cancel();
    exchange(&mut client, "late", "late").await;
    timeout(PATIENCE, door.server).await.expect("the drain ends").expect("no panic");
    bind(door.address).await.expect("the port is free again");
}

#[tokio::test]
async fn a_drain_that_takes_too_long_is_cut() {
    let limits = Limits { drain_timeout: Duration::from_millis(100), ..Limits::default() };
    let door = door(limits).await;
    let mut client = door.connect().await;
    client.write_all(b"GET /never HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("write");
    while door.counts.seen().open == 0 {
        tokio::task::yield_now().await;
    }
    door.shutdown.cancel();
    timeout(PATIENCE, door.server).await.expect("the drain ends").expect("no panic");
    assert_eq!(to_the_end(&mut client).await, "");
}

#[tokio::test]
async fn a_service_knows_its_peer() {
    let door = door(Limits::default()).await;
    let answer = door.ask("GET /peer HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.ends_with("127.0.0.1"), "{answer}");
}

#[tokio::test]
async fn http2_is_spoken_without_negotiation() {
    use hyper_util::client::legacy::Client;
    use hyper_util::rt::TokioExecutor;

    let door = door(Limits::default()).await;
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http::<String>();
    let uri = format!("http://{}/", door.address).parse().expect("a URL");
    let response = timeout(PATIENCE, client.get(uri)).await.expect("an answer").expect("no error");
    assert_eq!(response.version(), http::Version::HTTP_2);
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn a_used_port_says_what_to_do() {
    let door = door(Limits::default()).await;
    let error = bind(door.address).await.expect_err("in use").to_string();
    assert!(error.contains(&door.address.to_string()), "{error}");
    assert!(error.contains("configure another port"), "{error}");
}
