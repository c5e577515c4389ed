//! The `[watchdog]` table of the configuration and what the watchdog needs of `[[service]]`.
//!
//! Invariant: `Default` is the documented default, so an absent table is a good configuration.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::foreign::{Container, Restart};
use crate::kernel::KernelPorts;
use serde::{Deserialize, Serialize};
use watchdog_core::liveness::LivenessContract;
use watchdog_core::names::{Environment, Service};
use watchdog_core::tally::Signal;
use watchdog_core::watch::{ExpectedService, ReadbackBounds, WatchConfig};

use crate::supervise::Limits;
use outside::{Outside, Settings};

/// The `[watchdog]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where beats (HTTP and UDP) and readers of verdicts are heard.
    pub listen: SocketAddr,
    /// The period of the beats of a service that has none of its own, in milliseconds.
    pub beat_interval_ms: u64,
    /// How often a probe is sent into the collector, in milliseconds.
    pub probe_interval_ms: u64,
    /// The signals whose way through the collector is probed. Leave one out only if none of it is
    /// meant to get through: nobody then proves that it does.
    pub probe_signals: BTreeSet<Signal>,
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
    /// Pinged while probes return, so that someone outside notices when they do not; none by
    /// default. `http://` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_man_url: Option<String>,
    /// Certificate authorities for `https` URLs of this section, in PEM form; without it those of
    /// the system.
    pub ca_file: Option<PathBuf>,
    /// How often it is pinged, in milliseconds.
    pub dead_man_interval_ms: u64,
    /// The machine's watchdog device, kicked by the verdict loop; none by default. A loop that
    /// hangs restarts the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watchdog_device: Option<PathBuf>,
    /// A collector that is not Holdpoint's, in the place of ours; none by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub foreign: Option<Foreign>,
    /// Whether and how probes are read back from the backend.
    pub readback: ReadbackConfig,
    /// How often the collector may be started again, and what makes its configuration known good.
    pub healing: Limits,
    /// The thresholds of the judge. Its `beat_interval_ms` is taken from the key of the same name
    /// above.
    pub judge: WatchConfig,
}

/// A collector that is not Holdpoint's, watched by probes and restarted through who runs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Foreign {
    /// Where it takes OTLP over HTTP, as `host:port`; probes go in here.
    pub front_door: String,
    /// Where the watchdog takes OTLP over HTTP from its exporter and looks for probes. `None`: the
    /// collector of this data directory stands behind it and tells of them in its tally.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub far_tap: Option<SocketAddr>,
    /// How it is restarted when it hangs; `None`: a person does it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
}

impl Foreign {
    fn mistake(&self) -> Option<(&'static str, String)> {
        let port = self.front_door.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none() || self.front_door.contains('/') {
            let text = format!("is `{}`; it must be host:port, without a scheme", self.front_door);
            return Some(("foreign.front_door", text));
        }
        let empty = match self.restart.as_ref()? {
            Restart::Child(argv) | Restart::Command(argv) => argv.is_empty(),
            Restart::Systemd(unit) => unit.is_empty(),
            Restart::Docker(Container { container, .. }) => container.is_empty(),
        };
        empty.then(|| ("foreign.restart", "names nothing that could be restarted".to_owned()))
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7070)),
            beat_interval_ms: 1_000,
            probe_interval_ms: 250,
            probe_signals: Signal::ALL.into(),
            probe_timeout_ms: 1_000,
            attest_interval_ms: 250,
            attest_ttl_ms: 1_000,
            notify_socket: None,
            unsigned_loopback: true,
            capture_dir: None,
            dead_man_url: None,
            ca_file: None,
            dead_man_interval_ms: 60_000,
            watchdog_device: None,
            foreign: None,
            readback: ReadbackConfig::default(),
            healing: Limits::default(),
            judge: WatchConfig::default(),
        }
    }
}

impl Config {
    /// The client towards the `https` and `http` URLs of this section.
    pub(crate) fn outside(&self) -> Result<Outside, String> {
        let urls = [&self.dead_man_url, &self.readback.promql, &self.readback.otlp];
        let urls: Vec<&str> = urls.into_iter().flatten().map(String::as_str).collect();
        let ca_file = self.ca_file.as_deref();
        Outside::new(Settings { urls: &urls, ca_file, ..Settings::default() })
            .map_err(|why| format!("watchdog.{why}"))
    }

    /// Every mistake across keys, as key and sentence; empty if there is none.
    #[must_use]
    pub fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        for (key, value, low, high) in [
            ("beat_interval_ms", self.beat_interval_ms, 10, 3_600_000),
            ("probe_interval_ms", self.probe_interval_ms, 50, 60_000),
            ("probe_timeout_ms", self.probe_timeout_ms, 50, 60_000),
            ("attest_interval_ms", self.attest_interval_ms, 20, 10_000),
            ("attest_ttl_ms", self.attest_ttl_ms, 100, 60_000),
            ("dead_man_interval_ms", self.dead_man_interval_ms, 100, 86_400_000),
        ] {
            if !(low..=high).contains(&value) {
                found.push((key, format!("is {value}; it must be from {low} to {high}")));
            }
        }
        found.extend(self.readback.mistakes());
        if self.healing.restarts_max == 0 || self.healing.period_ms == 0 {
            let text = "restarts_max and period_ms must be at least 1";
            found.push(("healing", text.to_owned()));
        }
        if self.probe_signals.is_empty() {
            let text = "is empty; name at least one of traces, metrics, logs";
            found.push(("probe_signals", text.to_owned()));
        }
        if self.dead_man_url.as_ref().is_some_and(|url| !is_web(url)) {
            found.push(("dead_man_url", NO_WEB.to_owned()));
        }
        found.extend(self.foreign.as_ref().and_then(Foreign::mistake));
        // A lease that ends before it can be renewed twice lapses on one lost attestation.
        if self.attest_ttl_ms < self.attest_interval_ms.saturating_mul(2) {
            let text = format!(
                "is {}; it must be at least twice attest_interval_ms ({})",
                self.attest_ttl_ms, self.attest_interval_ms
            );
            found.push(("attest_ttl_ms", text));
        }
        found
    }
}

impl Config {
    /// The thresholds with the keys of this table copied in.
    pub(crate) fn watch(&self) -> WatchConfig {
        // A foreign collector beats with each answer to a probe.
        let collector_interval_ms = match &self.foreign {
            Some(_) => self.probe_interval_ms,
            None => self.judge.collector_interval_ms,
        };
        WatchConfig {
            beat_interval_ms: self.beat_interval_ms,
            collector_interval_ms,
            probe_signals: self.probe_signals.iter().copied().collect(),
            readback: self.readback.promql.is_some().then_some(ReadbackBounds {
                direct: self.readback.otlp.is_some(),
                late_ms: self.readback.late_ms,
            }),
            ..self.judge.clone()
        }
    }
}

impl ServiceConfig {
    pub(crate) fn expected(&self) -> ExpectedService {
        ExpectedService {
            service: self.name.clone(),
            environment: self.environment.clone(),
            expect: self.expect.as_ref().map(|signals| signals.iter().copied().collect()),
            beat_interval_ms: self.beat_interval_ms,
            instances_min: self.instances_min,
            restart_grace_ms: self.restart_grace_ms,
            liveness: self.liveness,
        }
    }
}

/// The `[watchdog.readback]` table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReadbackConfig {
    /// The base of a PromQL API of the backend that metrics end in; none: nothing is read back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promql: Option<String>,
    /// The base of the same backend's OTLP endpoint, for probes that go straight to it; none: none
    /// do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp: Option<String>,
    /// How often it is asked, in milliseconds.
    pub interval_ms: u64,
    /// How long a probe may take until it can be read back, in milliseconds.
    pub late_ms: u64,
}

impl Default for ReadbackConfig {
    fn default() -> Self {
        Self { promql: None, otlp: None, interval_ms: 1_000, late_ms: 5_000 }
    }
}

const NO_WEB: &str = "must begin with http:// or https://";

fn is_web(url: &str) -> bool {
    url.starts_with("http://") || url.starts_with("https://")
}

impl ReadbackConfig {
    fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        for (key, url) in [("readback.promql", &self.promql), ("readback.otlp", &self.otlp)] {
            if url.as_ref().is_some_and(|url| !is_web(url)) {
                found.push((key, NO_WEB.to_owned()));
            }
        }
        if self.otlp.is_some() && self.promql.is_none() {
            let text = "is given without promql: nobody would read the probes back";
            found.push(("readback.otlp", text.to_owned()));
        }
        if !(100..=60_000).contains(&self.interval_ms) {
            let text = format!("is {}; it must be from 100 to 60000", self.interval_ms);
            found.push(("readback.interval_ms", text));
        }
        if self.late_ms < self.interval_ms.saturating_mul(2) {
            let text = format!(
                "is {}; it must be at least twice readback.interval_ms ({})",
                self.late_ms, self.interval_ms
            );
            found.push(("readback.late_ms", text));
        }
        found
    }
}

/// What the watchdog knows of a service before it hears it. Everything absent is learnt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceConfig {
    pub name: Service,
    #[serde(default = "default_environment")]
    pub environment: Environment,
    /// The signals that must arrive; `None` means those of the first live dwell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<BTreeSet<Signal>>,
    /// The period of the service's beats, in milliseconds; `None` takes the watchdog's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beat_interval_ms: Option<u64>,
    /// How many instances must live; `None` means one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instances_min: Option<u32>,
    /// For how long a planned stop may last, in milliseconds; `None` means 5 000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_grace_ms: Option<u64>,
    /// Ports that the kernel is asked about, for a service whose beats tell no work; `None`: it
    /// is not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<KernelPorts>,
    /// What is promised of its detector; `None` means two periods and the slack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness: Option<LivenessContract>,
}

/// The environment of a service that names none.
#[must_use]
pub fn default_environment() -> Environment {
    Environment::new("default").expect("a plain word is a name")
}
