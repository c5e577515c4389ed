//! The accept loop under errors of `accept`, which no socket gives on demand.

use std::collections::VecDeque;
use std::convert::Infallible;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::service_fn;

use super::*;

/// Fails with each error in turn, then accepts.
struct Failing {
    errors: VecDeque<io::Error>,
    listener: TcpListener,
}

impl Listen for Failing {
    async fn accept(&mut self) -> io::Result<(Socket, SocketAddr)> {
        match self.errors.pop_front() {
            Some(error) => Err(error),
            None => {
                let (socket, address) = self.listener.accept().await?;
                Ok((Socket::Tcp(socket), address))
            }
        }
    }
}

#[tokio::test]
async fn accept_errors_are_counted_and_never_end_the_server() {
    let emfile = || io::Error::from_raw_os_error(24);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let errors = VecDeque::from([emfile(), io::ErrorKind::ConnectionAborted.into(), emfile()]);
    let (counts, shutdown) = (Arc::new(Counts::default()), CancellationToken::new());
    let service = service_fn(|_: Request<Incoming>| async {
        Ok::<_, Infallible>(Response::new(String::from("here")))
    });
    let limits = Limits::default();
    let shared = Arc::new(Shared {
        http: http(&limits),
        cut: CancellationToken::new(),
        limits,
        counts: Arc::clone(&counts),
        shutdown: shutdown.clone(),
        tls: None,
    });
    let server = tokio::spawn(accept(Failing { errors, listener }, service, shared));
    let mut client = TcpStream::connect(address).await.expect("connect");
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.expect("write");
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("read");
    assert!(answer.ends_with("here"), "{answer}");
    assert_eq!(counts.seen().accept_errors, 3);
    shutdown.cancel();
    server.await.expect("the server ends when it is told to");
}
