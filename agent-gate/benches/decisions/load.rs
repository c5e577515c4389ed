//! Calls that come when they are due: an open loop.
//!
//! Invariant: the next call is due at its own time, however late the one before it is answered.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::mix::Mix;

/// Connections that are kept open. More calls than these at once wait, on the caller's time.
const CONNECTIONS: usize = 128;

/// A pool of connections to the gate.
#[derive(Clone)]
pub struct Client(Arc<Pool>);

struct Pool {
    address: SocketAddr,
    free: Mutex<Vec<SendRequest<Full<Bytes>>>>,
    count: Semaphore,
}

impl Client {
    pub fn of(address: SocketAddr) -> Self {
        let count = Semaphore::new(CONNECTIONS);
        Self(Arc::new(Pool { address, free: Mutex::default(), count }))
    }

    /// A connection that is free, or a new one. The gate ends those that nobody used for a while.
    async fn connection(&self) -> SendRequest<Full<Bytes>> {
        loop {
            let free = self.0.free.lock().unwrap().pop();
            let Some(mut sender) = free else { break };
            if sender.ready().await.is_ok() {
                return sender;
            }
        }
        let stream = TcpStream::connect(self.0.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        // It ends with the gate, or when the gate ends it.
        tokio::spawn(connection);
        sender
    }

    pub async fn call(&self, mut request: Request<Full<Bytes>>) -> (StatusCode, Bytes) {
        let _one = self.0.count.acquire().await.unwrap();
        loop {
            let mut sender = self.connection().await;
            match sender.try_send_request(request).await {
                Ok(answer) => {
                    let status = answer.status();
                    let body = answer.into_body().collect().await.unwrap().to_bytes();
                    self.0.free.lock().unwrap().push(sender);
                    return (status, body);
                }
                // Ended before anything of the request was sent.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => panic!("{:?}", error.into_error()),
                },
            }
        }
    }

    pub async fn post(&self, path: &str, role: &str, body: String) -> (StatusCode, Bytes) {
        let request = Request::post(path)
            .header("host", "gate")
            .header("authorization", format!("Bearer {role}"))
            .body(Full::from(body));
        self.call(request.unwrap()).await
    }

    pub async fn get(&self, path: &str) -> String {
        let request = Request::get(path).header("host", "gate").body(Full::default());
        let (status, body) = self.call(request.unwrap()).await;
        assert_eq!(status, StatusCode::OK);
        String::from_utf8(body.to_vec()).unwrap()
    }
}

/// Makes `rate` calls a second for as long as `lasts`, and waits for their answers; how late the
/// calls were begun tells whether this machine kept up with its own load.
pub fn run(client: &Client, mix: &Arc<Mix>, rate: u64, lasts: Duration) -> Times {
    let runtime = tokio::runtime::Handle::current();
    let calls = rate * lasts.as_secs();
    let began = Instant::now();
    let mut late = Vec::new();
    let mut running = Vec::new();
    for number in 0..calls {
        let due = began + Duration::from_nanos(number * 1_000_000_000 / rate);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        late.push(due.elapsed());
        let (client, mix) = (client.clone(), Arc::clone(mix));
        running.push(runtime.spawn(async move { mix.call(&client, number, due).await }));
    }
    runtime.block_on(async {
        for call in running {
            call.await.unwrap();
        }
    });
    Times::of(late)
}

/// Times, sorted, as one line.
#[derive(Default)]
pub struct Times(Vec<Duration>);

impl Times {
    pub fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(last) = self.0.len().checked_sub(1) else { return write!(f, "none") };
        write!(f, "{:>7}:", self.0.len())?;
        for (name, share) in [("p50", 500), ("p90", 900), ("p99", 990), ("p99.9", 999)] {
            let time = self.0[(self.0.len() * share / 1000).min(last)];
            write!(f, " {name} {:.2} ms,", time.as_secs_f64() * 1000.0)?;
        }
        write!(f, " max {:.1} ms", self.0[last].as_secs_f64() * 1000.0)
    }
}
