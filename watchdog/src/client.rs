//! The HTTP client towards the collector and the gate.
//!
//! Invariant: it goes straight. A proxy from the environment would put a stranger into the path
//! that proves things.

use std::time::Duration;

/// A client that keeps its connections and gives up after `timeout`.
pub fn new(timeout: Duration) -> reqwest::Client {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(timeout)
        .connect_timeout(timeout)
        .tcp_nodelay(true)
        .build();
    client.expect("a client without TLS, proxy or resolver settings always builds")
}

pub use outside::chain;
