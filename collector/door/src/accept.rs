//! The accept loop, and the task of each connection.
//!
//! Invariant: an error of `accept` is counted and waited out. A server that ends because it had no
//! file descriptor for a moment is a silence that nobody ordered.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use tracing::{debug, warn};

use crate::conn::{End, Turn};
use crate::count::{Counts, add};
use crate::io::Watched;
use crate::listener::{Listener, ListeningAt};
use crate::room::{Entry, Place, Room};
use crate::socket::Socket;
use crate::tls::Tls;
use crate::{BoxError, Limits, Peer, Serves};

/// How long the loop waits after an error that will not pass by itself at once.
const BACK_OFF: Duration = Duration::from_millis(100);
/// How long a connection that was told to end may take to say good-bye.
const FAREWELL: Duration = Duration::from_secs(1);

/// Where connections come from; a test gives one that fails.
pub(crate) trait Listen: Send {
    fn accept(&mut self) -> impl Future<Output = io::Result<(Socket, SocketAddr)>> + Send;
}

impl Listen for ListeningAt {
    async fn accept(&mut self) -> io::Result<(Socket, SocketAddr)> {
        Self::accept(self).await
    }
}

/// What every connection's task needs.
struct Shared {
    limits: Limits,
    counts: Arc<Counts>,
    shutdown: CancellationToken,
    /// Set when the drain has taken too long.
    cut: CancellationToken,
    http: Builder<TokioExecutor>,
    tls: Option<Arc<Tls>>,
}

pub(crate) async fn run<S: Serves>(
    listener: Listener,
    service: S,
    limits: Limits,
    shutdown: CancellationToken,
    counts: Arc<Counts>,
) {
    let Listener { place, tls } = listener;
    let fresh = tls.clone().map(|tls| {
        let stop = shutdown.child_token();
        tokio::spawn(tls.keep_fresh(Arc::clone(&counts), stop.clone()));
        stop.drop_guard()
    });
    let shared = Arc::new(Shared {
        http: http(&limits),
        cut: CancellationToken::new(),
        limits,
        counts,
        shutdown,
        tls,
    });
    accept(place, service, shared).await;
    drop(fresh);
}

async fn accept<S: Serves>(mut listener: impl Listen, service: S, shared: Arc<Shared>) {
    let room = Arc::new(Room::default());
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, address)) => match room.enter(address.ip(), &shared.limits) {
                Entry::Admitted { place, evicted } => {
                    add(&shared.counts.accepted);
                    if evicted {
                        add(&shared.counts.evicted);
                    }
                    let shared = Arc::clone(&shared);
                    tasks.spawn(connection(socket, address, place, service.clone(), shared));
                }
                Entry::Full => add(&shared.counts.refused),
            },
            Err(error) => {
                add(&shared.counts.accept_errors);
                if !passes_at_once(&error) {
                    warn!(%error, "cannot accept a connection; trying again in 100 ms");
                    tokio::time::sleep(BACK_OFF).await;
                }
            }
        }
    }
    // Closes the port before the drain, so that a successor can bind it.
    drop(listener);
    tasks.close();
    if tokio::time::timeout(shared.limits.drain_timeout, tasks.wait()).await.is_err() {
        warn!(connections = tasks.len(), "drain took too long; closing what is left");
        shared.cut.cancel();
        tasks.wait().await;
    }
}

/// Whether `error` belongs to one connection that went away, and not to this process.
fn passes_at_once(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused
    )
}

fn http(limits: &Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // hyper's own timeout also runs while a connection rests; `Conn` tells the two apart.
        .header_read_timeout(None)
        .max_headers(limits.headers_max)
        .max_buf_size(limits.head_bytes_max.max(8_192));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.h2_streams_max)
        .max_header_list_size(limits.h2_header_list_bytes_max)
        .initial_stream_window_size(limits.h2_window_bytes)
        .initial_connection_window_size(limits.h2_window_bytes)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10));
    builder
}

async fn connection<S: Serves>(
    socket: Socket,
    address: SocketAddr,
    place: Place,
    service: S,
    shared: Arc<Shared>,
) {
    if let Socket::Tcp(socket) = &socket {
        // Small answers must not wait for more; a socket that refuses the option still works.
        let _ = socket.set_nodelay(true);
    }
    let Some(socket) = secured(socket, address, &place, &shared).await else {
        add(&shared.counts.closed);
        return;
    };
    let conn = Arc::clone(&place.conn);
    let io = TokioIo::new(Watched { socket, conn: Arc::clone(&conn) });
    let answer = {
        let (conn, shared) = (Arc::clone(&conn), Arc::clone(&shared));
        service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(address));
            answer(request, service.clone(), conn.begin(), Arc::clone(&shared))
        })
    };
    let mut served = std::pin::pin!(shared.http.serve_connection(io, answer));
    let farewell = tokio::select! {
        served = served.as_mut() => {
            if let Err(error) = served {
                debug!(%address, error, "connection ended");
            }
            false
        }
        end = conn.time_is_up(&shared.limits) => count_end(end, &shared.counts),
        () = shared.shutdown.cancelled() => true,
    };
    if farewell {
        served.as_mut().graceful_shutdown();
        let stopping = shared.shutdown.is_cancelled();
        tokio::select! {
            _ = served.as_mut() => {}
            () = shared.cut.cancelled() => {}
            () = tokio::time::sleep(FAREWELL), if !stopping => {}
        }
    }
    add(&shared.counts.closed);
    drop(place);
}

/// `socket` after its TLS handshake, or as it is if the door speaks none. `None`: it is of no use.
async fn secured(
    socket: Socket,
    address: SocketAddr,
    place: &Place,
    shared: &Shared,
) -> Option<Socket> {
    let acceptor = match &socket {
        Socket::Tcp(_) => shared.tls.as_ref().and_then(|tls| tls.acceptor()),
        Socket::Unix(_) | Socket::Tls(_) => None,
    };
    let Some(acceptor) = acceptor else { return Some(socket) };
    tokio::select! {
        secured = acceptor.accept(socket) => match secured {
            Ok(stream) => return Some(Socket::Tls(Box::new(stream))),
            Err(error) => {
                add(&shared.counts.handshake_errors);
                debug!(%address, %error, "TLS handshake failed");
            }
        },
        end = place.conn.time_is_up(&shared.limits) => {
            count_end(end, &shared.counts);
        }
        () = shared.shutdown.cancelled() => {}
    }
    None
}

/// Counts `end` and says whether the peer is told before its connection closes.
fn count_end(end: End, counts: &Counts) -> bool {
    match end {
        End::SlowHeader => {
            add(&counts.timed_out);
            false
        }
        End::Idle => {
            add(&counts.timed_out);
            true
        }
        End::Evicted => true,
    }
}

async fn answer<S: Serves>(
    request: Request<Incoming>,
    service: S,
    turn: Turn,
    shared: Arc<Shared>,
) -> Result<Response<InFlight<S::ResponseBody>>, BoxError> {
    let answered = tokio::time::timeout(shared.limits.request_timeout, service.oneshot(request));
    match answered.await {
        Ok(Ok(response)) => Ok(response.map(|body| InFlight { body: Box::pin(body), turn })),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => {
            add(&shared.counts.timed_out);
            Err("the request took too long".into())
        }
    }
}

/// A response body that keeps its connection busy until it has been sent.
struct InFlight<B> {
    body: Pin<Box<B>>,
    #[expect(dead_code, reason = "held for its Drop")]
    turn: Turn,
}

impl<B: Body> Body for InFlight<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.body.as_mut().poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
