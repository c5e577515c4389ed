//! The server under test: two addresses, and the shortest way to ask it something.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::runtime::Handle;

use super::answer::{Answer, Encoding};
use super::h2::{self, Call, Reply};
use super::http::{Ask, Line};
use super::probe::Outcome;
use super::requests::{self, Signal};
use super::sink::Sink;

/// Addresses of a collector, and the size it promises to refuse.
#[derive(Debug, Clone)]
pub struct Target {
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    /// A request over this many bytes must be refused, before and after decompression.
    pub limit_bytes: usize,
    /// Where the HTTP/2 client runs. The probes themselves block.
    pub runtime: Handle,
    /// Where the server exports to, if the suite may look behind it.
    pub sink: Option<Sink>,
    /// Numbers the requests that are looked for behind the server.
    pub numbers: Arc<AtomicU64>,
}

/// The size limit that OTLP 1.11 recommends.
pub const LIMIT_BYTES: usize = 64 << 20;

impl Target {
    pub fn sink(&self) -> Result<&Sink, String> {
        self.sink.as_ref().ok_or_else(|| "no sink behind the server".to_owned())
    }

    /// A service name that no other request of this run has.
    pub fn next_service(&self, word: &str) -> String {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        format!("conformance-{word}-{number}-of-{}", std::process::id())
    }

    /// One request on a connection of its own.
    pub fn ask(&self, ask: &Ask) -> Result<Answer, String> {
        Line::open(self.http)?.exchange(&ask.bytes())
    }

    pub fn post(
        &self,
        signal: Signal,
        encoding: Encoding,
        body: impl Into<Vec<u8>>,
    ) -> Result<Answer, String> {
        self.ask(&requests::ask(signal, encoding, body))
    }

    pub fn protobuf(&self, signal: Signal, body: impl Into<Vec<u8>>) -> Result<Answer, String> {
        self.post(signal, Encoding::Protobuf, body)
    }

    pub fn json(&self, signal: Signal, body: impl Into<Vec<u8>>) -> Result<Answer, String> {
        self.post(signal, Encoding::Json, body)
    }

    pub fn call(&self, call: &Call) -> Result<Reply, String> {
        h2::call(&self.runtime, self.grpc, call)
    }

    pub fn export(&self, signal: Signal, message: &[u8]) -> Result<Reply, String> {
        self.call(&Call::grpc(signal.method()).message(message))
    }

    /// After an attack: the server still takes a good request on both ports.
    pub fn is_alive(&self) -> Outcome {
        let answer = self.protobuf(Signal::Traces, requests::small(Signal::Traces));
        answer
            .and_then(|answer| answer.accepted())
            .map_err(|error| format!("afterwards a good HTTP request fails: {error}"))
    }

    pub fn is_alive_on_grpc(&self) -> Outcome {
        let reply = self.export(Signal::Traces, &requests::small(Signal::Traces));
        reply
            .and_then(|reply| reply.is(h2::OK).map(drop))
            .map_err(|error| format!("afterwards a good call fails: {error}"))
    }
}
