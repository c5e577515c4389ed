//! The sending half of an exporter: from its queue to the backend, and again after a failure.
//!
//! Invariant: each item that is taken from the queue ends in exactly one of delivered and dropped.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use watchdog_core::pulse::Pulse;

use super::attempt::{Failure, Outcome};
use super::client::Client;
use super::pause::Pauses;
use super::queue::{DropReason, Item};
use super::{Exporter, TURN};
use crate::config::ExporterConfig;
use crate::driver;
use crate::kind::Kind;
use crate::metrics::ExporterMetrics;

impl Exporter {
    /// Sends until `stop`, and then what is still queued. Dropping the future drops, and counts,
    /// what is left.
    pub(crate) async fn run(mut self, who: u8, pulse: Arc<Pulse>, stop: CancellationToken) {
        let mut sending = FuturesUnordered::new();
        let mut turn = tokio::time::interval(TURN);
        let mut open = true;
        while open || !sending.is_empty() {
            let has_room = sending.len() < self.config.concurrency;
            tokio::select! {
                _ = turn.tick() => pulse.check_in(who, driver::now()),
                () = stop.cancelled(), if !self.queue.is_closed() => self.queue.close(),
                Some(()) = sending.next() => {}
                item = self.queue.recv(), if open && has_room => match item {
                    Some(item) => sending.push(deliver(
                        self.client.clone(),
                        self.config.clone(),
                        Arc::clone(&self.metrics),
                        item,
                    )),
                    None => open = false,
                },
            }
        }
    }
}

/// Tries until the backend took `item`, refused it for good, or the time is up.
///
/// Each share ends in exactly one of `delivered` and `dropped`.
async fn deliver(
    client: Client,
    config: ExporterConfig,
    metrics: Arc<ExporterMetrics>,
    item: Item,
) {
    let Item { payload, share, held: _held } = item;
    let give_up = driver::now().plus_ms(config.retry_for_ms);
    let mut pauses = Pauses::new();
    let Ok(body) = client.body(payload).await else {
        // Only a blocking thread that the stop ended gives no body.
        return share.dropped(DropReason::Stopped);
    };
    loop {
        let attempt = client.attempt(share.parcel().kind, body.clone());
        let timeout = Duration::from_millis(config.timeout_ms);
        let outcome = match tokio::time::timeout(timeout, attempt).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::Later { why: "no answer in time".to_owned(), after: None }),
        };
        match outcome {
            Ok(Outcome { rejected, message }) => {
                if metrics.health.works() {
                    info!(endpoint = config.endpoint, "the backend takes telemetry again");
                }
                if rejected > 0 {
                    // Counted as dropped; a line for each would flood the log.
                    debug!(endpoint = config.endpoint, rejected, message, "partly rejected");
                }
                return share.delivered(rejected);
            }
            Err(Failure::Never { why }) => {
                // A backend may well not know profiles; that says nothing about its health.
                let is_telling = share.parcel().kind != Kind::Profiles;
                if is_telling && metrics.health.fails(driver::now(), &why) {
                    warn!(
                        endpoint = config.endpoint,
                        why, "the backend refuses telemetry for good"
                    );
                }
                return share.dropped(DropReason::Rejected);
            }
            Err(Failure::Later { why, after }) => {
                metrics.failed_attempt();
                if metrics.health.fails(driver::now(), &why) {
                    warn!(endpoint = config.endpoint, why, "cannot deliver; trying again");
                }
                let pause_ms = pauses.next(after, driver::jitter);
                if driver::now().plus_ms(pause_ms) > give_up {
                    return share.dropped(DropReason::Expired);
                }
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            }
        }
    }
}
