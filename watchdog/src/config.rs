//! The `[watchdog]` table of the configuration and what the watchdog needs of `[[service]]`.
//!
//! Invariant: `Default` is the documented default, so an absent table is a good configuration.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use watchdog_core::names::{Environment, Service};
use watchdog_core::tally::Signal;

/// The `[watchdog]` table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where beats (HTTP and UDP) and readers of verdicts are heard.
    pub listen: SocketAddr,
    /// The period of the beats of a service that has none of its own, in milliseconds.
    pub beat_interval_ms: u64,
    /// How often a probe is sent into the collector, in milliseconds.
    pub probe_interval_ms: u64,
    /// After how long a probe that did not return is overdue, in milliseconds.
    pub probe_timeout_ms: u64,
    /// How often an attestation is sent while nothing changes, in milliseconds.
    pub attest_interval_ms: u64,
    /// For how long the gate may rely on one attestation, in milliseconds.
    pub attest_ttl_ms: u64,
    /// A Unix datagram socket that speaks the `sd_notify` protocol; none by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notify_socket: Option<PathBuf>,
    /// Whether an unsigned beat from loopback counts for a service that never signed one.
    pub unsigned_loopback: bool,
    /// Where the state of a hung collector is written before it is killed; none by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capture_dir: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7070)),
            beat_interval_ms: 1_000,
            probe_interval_ms: 500,
            probe_timeout_ms: 1_000,
            attest_interval_ms: 250,
            attest_ttl_ms: 1_000,
            notify_socket: None,
            unsigned_loopback: true,
            capture_dir: None,
        }
    }
}

/// What the watchdog knows of a service before it hears it. Everything absent is learnt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceConfig {
    pub name: Service,
    pub environment: Environment,
    /// The signals that must arrive; `None` means those of the first live dwell.
    pub expect: Option<BTreeSet<Signal>>,
    /// The period of the service's beats, in milliseconds; `None` takes the watchdog's.
    pub beat_interval_ms: Option<u64>,
    /// How many instances must live; `None` means one.
    pub instances_min: Option<u32>,
    /// For how long a planned stop may last, in milliseconds; `None` means 5 000.
    pub restart_grace_ms: Option<u64>,
}
