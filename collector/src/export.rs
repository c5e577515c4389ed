//! Forwarding to the configured backends.
//!
//! Each exporter has a queue bounded in bytes, and one task that sends up to `concurrency`
//! requests at a time and tries again what failed, with pauses, until `retry_for_ms` is over.
//! Queues share the immutable bytes of a request.
//!
//! Invariant: a request is in every queue or in none, and whatever leaves a queue is counted, as
//! delivered or as dropped for a reason.

mod attempt;
mod client;
mod pause;
mod queue;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use watchdog_core::pulse::Pulse;

use crate::arrival::Content;
use crate::config::{Compression, ExporterConfig};
use crate::driver;
use crate::kind::Kind;
use crate::memory::{Budget, Held};
use crate::metrics::ExporterMetrics;
use crate::parcel::Parcel;
use crate::refusal::Refusal;
use attempt::{Failure, Outcome};
use client::Client;
use pause::Pauses;

pub(crate) use queue::{DropReason, Item, Share};

/// How often an exporter's task shows that it turns.
pub(crate) const TURN: Duration = Duration::from_millis(20);

/// The pipeline's side of all exporters.
#[derive(Debug)]
pub(crate) struct Exporters {
    queues: Vec<Queue>,
    /// Whether any exporter sends plain bytes, or gzip.
    plain: bool,
    gzip: bool,
}

#[derive(Debug)]
struct Queue {
    room: Budget,
    sender: mpsc::UnboundedSender<Item>,
    metrics: Arc<ExporterMetrics>,
}

/// Places that are reserved in all queues for one request.
#[derive(Debug)]
pub(crate) struct Places<'a> {
    exporters: &'a Exporters,
    held: Vec<Held>,
}

/// An exporter that is to be run.
#[derive(Debug)]
pub(crate) struct Exporter {
    pub(crate) config: ExporterConfig,
    pub(crate) metrics: Arc<ExporterMetrics>,
    client: Client,
    queue: mpsc::UnboundedReceiver<Item>,
}

/// The two sides of the exporters of `configs`.
///
/// # Errors
/// What is wrong with a configuration.
pub(crate) fn exporters(
    configs: Vec<(ExporterConfig, Arc<ExporterMetrics>)>,
) -> Result<(Exporters, Vec<Exporter>), String> {
    let wants = |compression| configs.iter().any(|(config, _)| config.compression == compression);
    let (plain, gzip) = (wants(Compression::None), wants(Compression::Gzip));
    let (mut queues, mut tasks) = (Vec::new(), Vec::new());
    for (config, metrics) in configs {
        let (sender, queue) = mpsc::unbounded_channel();
        let room = Budget::new(config.queue_bytes + queue::ITEM_BYTES);
        queues.push(Queue { room, sender, metrics: Arc::clone(&metrics) });
        tasks.push(Exporter { client: Client::new(&config)?, config, metrics, queue });
    }
    Ok((Exporters { queues, plain, gzip }, tasks))
}

impl Exporters {
    /// Takes room for `content` in every queue, or in none.
    pub(crate) fn reserve(&self, content: &Content) -> Result<Places<'_>, Refusal> {
        let weight = content.weight(self.plain, self.gzip) + queue::ITEM_BYTES;
        let mut held = Vec::with_capacity(self.queues.len());
        for queue in &self.queues {
            held.push(queue.room.take(weight).map_err(|_| Refusal::QueueFull)?);
        }
        Ok(Places { exporters: self, held })
    }

    /// Whether any queue would refuse the smallest request.
    pub(crate) fn is_full(&self) -> bool {
        self.queues.iter().any(|queue| queue.room.take(queue::ITEM_BYTES).is_err())
    }

    /// Bytes in each queue.
    pub(crate) fn queued_bytes(&self) -> impl Iterator<Item = (&ExporterMetrics, usize)> {
        self.queues.iter().map(|queue| (queue.metrics.as_ref(), queue.room.held_bytes()))
    }
}

impl Places<'_> {
    /// Puts the request into the queues.
    pub(crate) fn fill(self, content: Content, parcel: Arc<Parcel>) {
        if self.held.is_empty() {
            return;
        }
        let payload = Arc::new(content.keep(self.exporters.plain, self.exporters.gzip));
        for (queue, held) in self.exporters.queues.iter().zip(self.held) {
            let share = Share::new(Arc::clone(&parcel), Arc::clone(&queue.metrics));
            // A queue that is closed drops the item, which counts it as dropped by the stop.
            let _ = queue.sender.send(Item { payload: Arc::clone(&payload), share, held });
        }
    }
}

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
