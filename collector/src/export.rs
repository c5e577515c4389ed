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
pub(crate) mod circle;
mod client;
mod debug;
mod destination;
mod file;
mod files;
mod headers;
mod jsonl;
mod pause;
mod queue;
mod send;
#[cfg(test)]
mod tests;
mod tls;

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::arrival::Content;
use crate::config::{Compression, ExporterConfig, TlsConfig};
use crate::memory::{Budget, Held};
use crate::metrics::ExporterMetrics;
use crate::parcel::Parcel;
use crate::refusal::Refusal;
use breaker::Breaker;
use destination::Destination;

pub(crate) use breaker::Doing;
pub(crate) use queue::{DropReason, Item, Share};

/// The pipeline's side of all exporters.
#[derive(Debug)]
pub(crate) struct Exporters {
    queues: Vec<Queue>,
    /// Whether any exporter sends plain bytes, or gzip.
    plain: bool,
    gzip: bool,
}

#[derive(Debug, Clone)]
struct Queue {
    room: Budget,
    sender: mpsc::UnboundedSender<Item>,
    metrics: Arc<ExporterMetrics>,
    target: watch::Sender<Arc<Target>>,
}

/// A backend as it is configured now.
#[derive(Debug)]
pub(crate) struct Target {
    config: ExporterConfig,
    /// What the log calls it.
    exporter: String,
    destination: Destination,
    breaker: Breaker,
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
    pub(crate) metrics: Arc<ExporterMetrics>,
    target: watch::Receiver<Arc<Target>>,
    queue: mpsc::UnboundedReceiver<Item>,
}

/// What a new configuration makes of the exporters; nothing of it is in force before
/// [`Renewal::take_effect`].
#[derive(Debug)]
pub(crate) struct Renewal {
    pub(crate) exporters: Exporters,
    /// Those that are new and must be run.
    pub(crate) tasks: Vec<Exporter>,
    /// The new settings of backends that stay.
    targets: Vec<(watch::Sender<Arc<Target>>, Arc<Target>)>,
}

impl Renewal {
    /// The exporters of `configs`. A backend that is in `before` with the same label keeps its
    /// queue and its task, and what waits in it goes out as the new settings say.
    ///
    /// # Errors
    /// What is wrong with a configuration.
    pub(crate) fn of(
        configs: &[ExporterConfig],
        before: Option<&Exporters>,
        metrics: impl Fn(&ExporterConfig) -> Arc<ExporterMetrics>,
    ) -> Result<Self, String> {
        let wants = |compression| configs.iter().any(|config| config.compression == compression);
        let (plain, gzip) = (wants(Compression::None), wants(Compression::Gzip));
        let mut known: Vec<&Queue> = before.map_or(Vec::new(), |old| old.queues.iter().collect());
        let (mut queues, mut tasks, mut targets) = (Vec::new(), Vec::new(), Vec::new());
        for config in configs {
            let breaker = Breaker::new(config.breaker_failures, config.breaker_rest_ms);
            let (exporter, destination) = (config.label(), Destination::new(config)?);
            let config = config.clone();
            let target = Arc::new(Target { config, exporter, destination, breaker });
            let config = &target.config;
            if let Some(at) = known.iter().position(|queue| queue.stays(config)) {
                let queue = known.swap_remove(at).clone();
                if queue.differs(config) {
                    targets.push((queue.target.clone(), target));
                }
                queues.push(queue);
                continue;
            }
            let (sender, queue) = mpsc::unbounded_channel();
            let room = Budget::new(config.queue_bytes + queue::ITEM_BYTES);
            let metrics = metrics(config);
            let target = watch::Sender::new(target);
            tasks.push(Exporter {
                metrics: Arc::clone(&metrics),
                target: target.subscribe(),
                queue,
            });
            queues.push(Queue { room, sender, metrics, target });
        }
        Ok(Self { exporters: Exporters { queues, plain, gzip }, tasks, targets })
    }

    /// Puts the new settings in force; gives back the pipeline's side and what must be run.
    pub(crate) fn take_effect(self) -> (Exporters, Vec<Exporter>) {
        for (sender, target) in self.targets {
            sender.send_replace(target);
        }
        (self.exporters, self.tasks)
    }
}

impl Queue {
    /// Whether this is the queue of `config`: the same backend, with as much room.
    fn stays(&self, config: &ExporterConfig) -> bool {
        let now = &self.target.borrow().config;
        now.label() == config.label() && now.queue_bytes == config.queue_bytes
    }

    /// Whether `config` needs connections of its own; certificates may have changed in their files.
    fn differs(&self, config: &ExporterConfig) -> bool {
        self.target.borrow().config != *config || config.tls != TlsConfig::default()
    }
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
