//! The dead-man ping: a sign of life to someone outside, sent only while this watchdog has just
//! proven that telemetry passes.
//!
//! An outside service (healthchecks.io, or anything that misses a request) raises the alarm when
//! the ping stays away. It would be worth little if it meant "a process runs": it is withheld
//! unless a probe came back right of late and the verdict loop turns. So it also stays away when
//! the collector, the probes or the watchdog are dead, and nobody has to notice which.
//!
//! Invariant: no ping without a verified round trip of a probe.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::{Signer as _, SigningKey};
use http::Request;
use http::header::CONTENT_TYPE;
use http_body_util::Full;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use watchdog_core::attestation::SIGNATURE_HEADER;
use watchdog_core::names::Boot;

use crate::driver::Clock;
use crate::metrics::{Metrics, PingOutcome};
use crate::publish::{Reader, Snapshot};
use crate::streak::{Streak, Turn};
use outside::Outside;

/// How long the outside has to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What the ping carries, signed like an attestation: a summary that its reader can check.
#[derive(Serialize)]
struct Summary<'s> {
    watchdog: &'s str,
    boot: &'s Boot,
    seq: u64,
    mass_silence: bool,
    /// Services by verdict.
    verdicts: BTreeMap<&'static str, u32>,
}

/// Pings while the path is proven.
pub struct DeadMan {
    pub url: String,
    pub outside: Outside,
    pub interval_ms: u64,
    /// A snapshot older than this means that the verdict loop does not turn.
    pub late_ms: u64,
    pub reader: Reader,
    pub clock: Arc<dyn Clock>,
    pub key: SigningKey,
    pub metrics: Metrics,
    /// Whether a probe came back right of late.
    pub proven: watch::Receiver<bool>,
}

impl DeadMan {
    /// Pings until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut pace = tokio::time::interval(Duration::from_millis(self.interval_ms));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut streak = Streak::default();
        let mut first = true;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                // The first proof is told at once, so that a restart costs no interval.
                Ok(()) = self.proven.changed(), if first => pace.reset_immediately(),
                _ = pace.tick() => {
                    let snapshot = self.reader.latest();
                    if !self.may_ping(&snapshot) {
                        self.metrics.ping(PingOutcome::Withheld);
                        continue;
                    }
                    first = false;
                    let pinged = self.ping(&snapshot).await;
                    self.note(pinged, &mut streak);
                }
            }
        }
    }

    fn may_ping(&self, snapshot: &Snapshot) -> bool {
        let age_ms = self.clock.now().since_ms(snapshot.at);
        snapshot.seq > 0 && age_ms <= self.late_ms && *self.proven.borrow()
    }

    async fn ping(&self, snapshot: &Snapshot) -> Result<(), String> {
        let mut verdicts = BTreeMap::new();
        for item in &snapshot.items {
            *verdicts.entry(snapshot.kind(item).as_str()).or_default() += 1;
        }
        let summary = Summary {
            watchdog: &snapshot.watchdog,
            boot: &snapshot.boot,
            seq: snapshot.seq,
            mass_silence: snapshot.mass_silence,
            verdicts,
        };
        let body = serde_json::to_vec(&summary).map_err(|e| e.to_string())?;
        let signature = format!("ed25519={}", hex::encode(self.key.sign(&body).to_bytes()));
        let request = Request::post(&self.url)
            .header(CONTENT_TYPE, "application/json")
            .header(SIGNATURE_HEADER, signature)
            .body(Full::from(body));
        let request = request.map_err(|error| format!("{}: {error}", self.url))?;
        self.outside.ask(request, TIMEOUT).await.map(drop)
    }

    fn note(&self, pinged: Result<(), String>, streak: &mut Streak) {
        let worked = pinged.is_ok();
        self.metrics.ping(if worked { PingOutcome::Taken } else { PingOutcome::Failed });
        match streak.note(worked) {
            Some(Turn::ToWorking) => info!("the dead-man ping is taken again"),
            Some(Turn::ToFailing) => warn!(words = pinged.err(), "the dead-man ping fails"),
            None => {}
        }
    }
}
