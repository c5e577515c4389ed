//! Clients that post the same request again and again, each when its last one was answered.
//!
//! Invariant: no more than [`WINDOW_BYTES`] are acknowledged and not yet delivered, so that what is
//! measured is the way through and not a queue that fills.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const CLIENTS: usize = 8;
const WINDOW_BYTES: u64 = 16 << 20;
const PATIENCE: Duration = Duration::from_secs(5);

/// What the clients did.
#[derive(Debug, Default, Clone, Copy)]
pub struct Offered {
    pub accepted: u64,
    pub refused: u64,
}

/// Posts `body` to `address` for about `length`, until all that was accepted is `delivered` (bytes
/// at the backend; `None` for a server that has none).
pub fn offer(
    address: SocketAddr,
    body: &[u8],
    delivered: Option<&AtomicU64>,
    length: Duration,
) -> Offered {
    let before = delivered.map_or(0, |delivered| delivered.load(Ordering::Relaxed));
    let delivered =
        || delivered.map(|delivered| delivered.load(Ordering::Relaxed).wrapping_sub(before));
    let request = post(address, body);
    let (accepted, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    let waiting = || {
        let bytes = accepted.load(Ordering::Relaxed) * body.len() as u64;
        delivered().map_or(0, |delivered| bytes.saturating_sub(delivered))
    };
    let end = Instant::now() + length;
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Client::connect(address);
                while Instant::now() < end {
                    if waiting() > WINDOW_BYTES {
                        thread::sleep(Duration::from_micros(200));
                    } else if client.post(&request) == 200 {
                        accepted.fetch_add(1, Ordering::Relaxed);
                    } else {
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let patience = Instant::now() + PATIENCE;
    while waiting() > 0 {
        assert!(Instant::now() < patience, "{} acknowledged bytes did not arrive", waiting());
        thread::sleep(Duration::from_millis(1));
    }
    Offered { accepted: accepted.into_inner(), refused: refused.into_inner() }
}

fn post(address: SocketAddr, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/x-protobuf\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// One connection, used again for every request.
struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_nodelay(true).expect("TCP");
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        stream.set_write_timeout(Some(PATIENCE)).expect("not zero");
        Self { stream: BufReader::new(stream) }
    }

    /// Sends `request` and reads its response; the status.
    fn post(&mut self, request: &[u8]) -> u16 {
        self.stream.get_mut().write_all(request).expect("the server reads");
        let mut line = String::new();
        self.line(&mut line);
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        let mut length = 0;
        while self.line(&mut line) {
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().expect("a length");
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).expect("the body is as long as it says");
        status
    }

    /// Reads a line of the head; false at its end.
    fn line(&mut self, line: &mut String) -> bool {
        line.clear();
        self.stream.read_line(line).expect("the server answers");
        !line.trim_end().is_empty()
    }
}
