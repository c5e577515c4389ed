//! An accept loop that slow and hostile clients cannot hurt.
//!
//! The collector, the watchdog and the gate serve HTTP through this one door. `axum::serve` waits
//! for ever on a client that drips its header, has no cap on connections, and hyper's own header
//! timeout cuts keep-alive connections that merely rest. Here every connection is in one of four
//! phases ([`conn`]), each with its own patience, and a full house makes room by closing the
//! connection that has been quiet for longest.
//!
//! | a client that | is met by |
//! |---|---|
//! | opens connections and says nothing | `header_timeout`, then eviction of the quietest |
//! | drips its header | `header_timeout` from the first byte |
//! | rests between requests | `idle_timeout` |
//! | never finishes its body | `request_timeout`, until the response begins |
//! | holds very many connections | `connections_max`, `connections_per_peer_max` |
//! | begins a TLS handshake and stops | `header_timeout`, as for a header |
//! | sends huge or very many headers | `head_bytes_max`, `headers_max` |
//!
//! Invariant: nothing a client does, and no error of `accept`, ends the server. Only the
//! `shutdown` token does, and then what is in flight is answered first, up to `drain_timeout`.

mod accept;
mod bearer;
mod conn;
mod count;
mod files;
mod io;
mod listener;
mod room;
mod socket;
pub mod tls;

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::Service;

pub use bearer::Bearer;
pub use count::{Counts, Seen};
pub use files::Stamp;
pub use listener::{Listener, bind_unix};
pub use tls::{Certificates, Tls, TlsFiles};

/// An error of a service or a body, whatever its type.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Who is at the other end; in the extensions of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// What a client may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at a time. One more evicts the quietest, or is refused if all are busy.
    pub connections_max: usize,
    /// Connections at a time of one address (of one /64 for IPv6).
    pub connections_per_peer_max: usize,
    /// From the first byte of a header (or the connection's start) to its end.
    pub header_timeout: Duration,
    /// Rest between two requests. Longer than the minute at which metrics are usually exported.
    pub idle_timeout: Duration,
    /// From the end of a header to the beginning of its response, the body included.
    pub request_timeout: Duration,
    /// How long `serve` waits, after `shutdown`, for what is in flight.
    pub drain_timeout: Duration,
    /// Header fields of an HTTP/1 request.
    pub headers_max: usize,
    /// Bytes of an HTTP/1 header; also the size of its read buffer.
    pub head_bytes_max: usize,
    /// Bytes of an HTTP/2 header list.
    pub h2_header_list_bytes_max: u32,
    /// Requests at a time on one HTTP/2 connection.
    pub h2_streams_max: u32,
    /// Flow-control window of an HTTP/2 connection and of each of its streams.
    pub h2_window_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1_024,
            connections_per_peer_max: 512,
            header_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(90),
            request_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(5),
            headers_max: 64,
            head_bytes_max: 64 * 1_024,
            h2_header_list_bytes_max: 16 * 1_024,
            h2_streams_max: 128,
            h2_window_bytes: 512 * 1_024,
        }
    }
}

/// A service that [`serve`] can serve; an axum router is one after `into_service()`.
pub trait Serves:
    Service<
        Request<Incoming>,
        Response = Response<<Self as Serves>::ResponseBody>,
        Error: Into<BoxError>,
        Future: Send,
    > + Clone
    + Send
    + 'static
{
    /// The body of its responses.
    type ResponseBody: Body<Data: Send, Error: Into<BoxError>> + Send + 'static;
}

impl<S, B> Serves for S
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type ResponseBody = B;
}

/// Binds `address`; port 0 takes a free one.
///
/// # Errors
/// The system's error, with the address and what to do about it in its text.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| explain(address, &error))
}

fn explain(address: SocketAddr, error: &Error) -> Error {
    let hint = if error.kind() == ErrorKind::AddrInUse {
        "; another process listens there: end it or configure another port"
    } else if error.kind() == ErrorKind::PermissionDenied {
        "; ports below 1024 need a privilege: configure a higher one"
    } else if error.kind() == ErrorKind::AddrNotAvailable {
        "; no interface of this machine has that address"
    } else {
        ""
    };
    Error::new(error.kind(), format!("listen on {address}: {error}{hint}"))
}

/// Serves HTTP/1 and HTTP/2 on `listener` until `shutdown`, then drains.
pub async fn serve<S: Serves>(
    listener: impl Into<Listener>,
    service: S,
    limits: Limits,
    shutdown: CancellationToken,
) {
    serve_counted(listener, service, limits, shutdown, Arc::new(Counts::default())).await;
}

/// As [`serve`], and counts into `counts` what it saw, for a metrics page.
pub async fn serve_counted<S: Serves>(
    listener: impl Into<Listener>,
    service: S,
    limits: Limits,
    shutdown: CancellationToken,
    counts: Arc<Counts>,
) {
    accept::run(listener.into(), service, limits, shutdown, counts).await;
}
