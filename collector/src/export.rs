//! Forwarding to the configured backends.
//!
//! Each exporter has a queue bounded in bytes, and one task that sends up to `concurrency`
//! requests at a time and tries again what failed, with pauses, until `retry_for_ms` is over.
//! Queues share the immutable bytes of a request.
//!
//! Invariant: a request is in every queue or in none, and whatever leaves a queue is counted, as
//! delivered or as dropped for a reason.

mod attempt;
mod breaker;
mod client;
mod files;
mod headers;
mod pause;
mod queue;
mod send;
#[cfg(test)]
mod tests;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::arrival::Content;
use crate::config::{Compression, ExporterConfig};
use crate::memory::{Budget, Held};
use crate::metrics::ExporterMetrics;
use crate::parcel::Parcel;
use crate::refusal::Refusal;
use client::Client;

pub(crate) use breaker::Doing;
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
