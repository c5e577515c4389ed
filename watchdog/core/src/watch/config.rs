//! The thresholds of the watch, each with its documented default.
//!
//! They stand in one place because they hang together: a suspicion must come before a conviction,
//! and the freeze bound (two periods and 250 ms) is met only if detection spends at most two
//! periods and [`WatchConfig::slack_ms`].
//!
//! Invariant: every duration is in milliseconds, and none is read from a clock here.

use serde::{Deserialize, Serialize};

use crate::liveness::LivenessContract;
use crate::names::{Environment, Service};
use crate::tally::Signal;
use crate::watch::{ReadbackBounds, Strain};

/// The service name under which the collector beats about itself.
pub const COLLECTOR_SERVICE: &str = "holdpoint/collector";

/// How evidence becomes an opinion. The defaults are good for a sidecar.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WatchConfig {
    /// Contract: a service beats at least this often. A service may have its own.
    pub beat_interval_ms: u64,
    /// Contract of the collector's own beat.
    pub collector_interval_ms: u64,
    /// Added to two periods before silence is suspected: poll and scheduling jitter.
    pub slack_ms: u64,
    /// No suspicion sooner than this after the last beat, however fast the beats are.
    pub suspect_floor_ms: u64,
    /// No conviction sooner than this after the last beat.
    pub convict_floor_ms: u64,
    /// Beats with one and the same token until the work loop counts as hung.
    pub stuck_beats: u32,
    /// The signals whose way is probed. Set by the shell, which sends the probes.
    #[serde(skip, default = "all_signals")]
    pub probe_signals: Vec<Signal>,
    /// Whether probes are read back from the backend. Set by the shell, which reads them.
    #[serde(skip)]
    pub readback: Option<ReadbackBounds>,
    /// A probe without an answer for longer is late.
    pub probe_late_ms: u64,
    /// A probe without an answer for longer is lost.
    pub probe_lost_ms: u64,
    /// Probes that are lost this long, with no trouble at the backend, convict the collector.
    pub drops_ms: u64,
    /// A started collector may take this long until its first beat counts as missing.
    pub collector_start_ms: u64,
    /// A backend that took nothing for longer, while records wait for it, is in trouble.
    pub backend_stall_ms: u64,
    /// Work that stands still for longer makes a quiet service idle.
    pub idle_after_ms: u64,
    /// How long a service must have been live before its cadence and its share are held.
    pub learn_ms: u64,
    /// A planned stop may leave the service silent this long. A service may have its own.
    pub restart_grace_ms: u64,
    /// Least requests before telemetry counts are compared with the witness.
    pub witness_min: u64,
    /// Records may be older than this on arrival, beyond the period of their export; what is older
    /// is stale, or its clock is behind by as much.
    pub record_late_ms: u64,
    /// Records may be dated this far in the future; beyond it a clock is wrong.
    pub record_ahead_ms: u64,
    /// Part of the learnt share that may be missing before the statistical bound is applied.
    pub loss_tolerance: f64,
    /// Part of the learnt share that may be missing before it is doubted that all is there.
    pub loss_doubt: f64,
    /// The witness is compared over windows of about this length.
    pub witness_window_ms: u64,
    /// A verdict loop that ran later than this was blind meanwhile.
    pub observer_gap_ms: u64,
    /// Own lateness of this much (a turn, the listening thread, the echo of its own port) strains
    /// the watchdog by one: all thresholds of silence are stretched while it lasts.
    pub observer_late_ms: u64,
    /// Services that fall silent within this time fell together.
    pub mass_window_ms: u64,
    /// More than this many services must fall for mass silence…
    pub mass_min: u32,
    /// …and more than this part of those that were live.
    pub mass_part: f64,
    /// An instance that is lost this long while others live is forgotten.
    pub forget_ms: u64,
    /// Part of the beats that liveness contracts presume to be lost, until it is measured.
    pub path_loss: f64,
    /// The jitter of beats that they presume, until it is measured.
    pub path_jitter_ms: f64,
    /// Most services and, per service, most instances that are kept.
    pub services_max: usize,
    pub instances_max: usize,
}

impl Default for WatchConfig {
    fn default() -> Self {
        Self {
            beat_interval_ms: 1_000,
            collector_interval_ms: 100,
            slack_ms: 100,
            suspect_floor_ms: 500,
            convict_floor_ms: 2_000,
            stuck_beats: 5,
            probe_signals: all_signals(),
            readback: None,
            probe_late_ms: 1_000,
            probe_lost_ms: 1_500,
            drops_ms: 5_000,
            collector_start_ms: 5_000,
            backend_stall_ms: 2_000,
            idle_after_ms: 5_000,
            learn_ms: 3_000,
            restart_grace_ms: 5_000,
            witness_min: 50,
            record_late_ms: 5_000,
            record_ahead_ms: 2_000,
            loss_tolerance: 0.15,
            loss_doubt: 0.05,
            witness_window_ms: 20_000,
            observer_gap_ms: 500,
            observer_late_ms: 100,
            mass_window_ms: 5_000,
            mass_min: 3,
            mass_part: 0.55,
            forget_ms: 600_000,
            path_loss: 0.01,
            path_jitter_ms: 5.0,
            services_max: 20_000,
            instances_max: 256,
        }
    }
}

impl WatchConfig {
    /// What is due of probes and of the collector, for a watchdog under strain.
    pub(super) fn stretched(&self, strain: Strain) -> Self {
        let mut config = self.clone();
        for ms in [
            &mut config.slack_ms,
            &mut config.suspect_floor_ms,
            &mut config.convict_floor_ms,
            &mut config.probe_late_ms,
            &mut config.probe_lost_ms,
            &mut config.drops_ms,
            &mut config.collector_start_ms,
        ] {
            *ms = strain.stretch(*ms);
        }
        config
    }
}

fn all_signals() -> Vec<Signal> {
    Signal::ALL.to_vec()
}

/// A service that the configuration names. One that is heard but not named is watched with the
/// defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedService {
    pub service: Service,
    pub environment: Environment,
    /// Signals that must arrive; `None`: those that it sent in its first live dwell.
    pub expect: Option<Vec<Signal>>,
    pub beat_interval_ms: Option<u64>,
    /// Live instances that make the service live; `None`: one.
    pub instances_min: Option<u32>,
    pub restart_grace_ms: Option<u64>,
    /// What is promised of its detector; `None`: two periods and the slack.
    pub liveness: Option<LivenessContract>,
}

impl ExpectedService {
    /// A service with nothing but its name.
    #[must_use]
    pub const fn named(service: Service, environment: Environment) -> Self {
        Self {
            service,
            environment,
            expect: None,
            beat_interval_ms: None,
            instances_min: None,
            restart_grace_ms: None,
            liveness: None,
        }
    }
}
