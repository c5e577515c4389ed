//! Forwarding to the configured backends.
//!
//! Each exporter has a seat at the line ([`crate::line`]), and one task that sends up to
//! `concurrency` requests at a time and tries again what failed, with pauses, until `retry_for_ms`
//! is over. Exporters share the immutable bytes of a request.
//!
//! Invariant: whatever is taken from the line is counted, as delivered or as dropped for a reason.

mod attempt;
mod batch;
mod breaker;
pub(crate) mod circle;
mod client;
mod debug;
mod destination;
mod file;
mod headers;
mod jsonl;
mod pause;
mod send;
#[cfg(test)]
mod tests;
mod tls;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use tokio::sync::{Notify, watch};

use crate::arrival::Forms;
use crate::config::{Compression, ExporterConfig, TlsConfig};
use crate::kind::Kind;
use crate::line::{Line, Seat, Source};
use crate::metrics::ExporterMetrics;
use crate::spool::Owner;
use breaker::Breaker;
use destination::Destination;

pub(crate) use breaker::Doing;

/// How to ask a backend once, for those who keep no queue.
pub(crate) mod outward {
    pub(crate) use super::attempt::Failure;
    pub(crate) use super::client::Client;
    pub(crate) use super::destination::Sealed;
}

/// The pipeline's side of all exporters.
#[derive(Debug, Default)]
pub(crate) struct Exporters {
    all: Vec<Seated>,
    /// What forms they send.
    pub(crate) forms: Forms,
}

/// An exporter with its seat at the line.
#[derive(Debug, Clone)]
struct Seated {
    who: usize,
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

/// An exporter that is to be run.
#[derive(Debug)]
pub(crate) struct Exporter {
    pub(crate) metrics: Arc<ExporterMetrics>,
    target: watch::Receiver<Arc<Target>>,
    queue: Source,
}

/// What a new configuration makes of the exporters; nothing of it is in force before
/// [`Renewal::take_effect`].
#[derive(Debug)]
pub(crate) struct Renewal {
    /// In the order of the configuration: each target, and the exporter that it is for if there is
    /// one already.
    targets: Vec<(Arc<Target>, Option<Seated>)>,
    /// Those that are configured no more.
    gone: Vec<Seated>,
    forms: Forms,
}

/// Names the exporter of `config` across restarts, and across changes of its settings.
pub(crate) fn owner(config: &ExporterConfig) -> Owner {
    // FNV-1a: the number is in files, so it must be the same in every build.
    let label = config.label();
    Owner(label.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    }))
}

/// The seat of an exporter at the line.
pub(crate) fn seat(config: &ExporterConfig, metrics: Arc<ExporterMetrics>) -> Seat {
    Seat {
        name: config.label(),
        owner: owner(config),
        takes: Kind::ALL.map(|kind| config.takes(kind)),
        bytes_max: AtomicUsize::new(config.queue_bytes),
        metrics,
        wake: Notify::new(),
    }
}

impl Exporters {
    pub(crate) const fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

impl Renewal {
    /// The exporters of `configs`. A backend that is in `before` with the same label keeps its
    /// seat and its task, and what waits for it goes out as the new settings say.
    ///
    /// # Errors
    /// What is wrong with a configuration.
    pub(crate) fn of(configs: &[ExporterConfig], before: &Exporters) -> Result<Self, String> {
        let wants = |compression| configs.iter().any(|config| config.compression == compression);
        let as_received = wants(Compression::AsReceived);
        let forms = Forms {
            plain: wants(Compression::None),
            gzip: wants(Compression::Gzip) || as_received,
            zstd: wants(Compression::Zstd) || as_received,
        };
        let mut known = before.all.clone();
        let mut targets = Vec::new();
        for config in configs {
            let breaker = Breaker::new(config.breaker_failures, config.breaker_rest_ms);
            let (exporter, destination) = (config.label(), Destination::new(config)?);
            let config = config.clone();
            let target = Arc::new(Target { config, exporter, destination, breaker });
            let same = |seated: &Seated| seated.stays(&target.config);
            let seated = known.iter().position(same).map(|at| known.swap_remove(at));
            targets.push((target, seated));
        }
        Ok(Self { targets, gone: known, forms })
    }

    /// Puts the new settings in force; gives back the pipeline's side and what must be run.
    pub(crate) fn take_effect(
        self,
        line: &Arc<Line>,
        metrics: impl Fn(&ExporterConfig) -> Arc<ExporterMetrics>,
    ) -> (Exporters, Vec<Exporter>) {
        let Self { targets, gone, forms } = self;
        let (mut all, mut tasks) = (Vec::new(), Vec::new());
        for (target, seated) in targets {
            if let Some(seated) = seated {
                line.bound(seated.who, target.config.queue_bytes);
                if seated.differs(&target.config) {
                    seated.target.send_replace(target);
                }
                all.push(seated);
                continue;
            }
            let metrics = metrics(&target.config);
            let who = line.add(seat(&target.config, Arc::clone(&metrics)));
            let target = watch::Sender::new(target);
            let queue = Source::new(Arc::clone(line), who);
            tasks.push(Exporter { metrics, target: target.subscribe(), queue });
            all.push(Seated { who, target });
        }
        for seated in gone {
            line.retire(seated.who);
        }
        (Exporters { all, forms }, tasks)
    }
}

impl Seated {
    /// Whether `config` is the same place, which is sent the same signals.
    fn stays(&self, config: &ExporterConfig) -> bool {
        let now = &self.target.borrow().config;
        now.label() == config.label() && now.signals == config.signals
    }

    /// Whether `config` needs connections of its own; certificates may have changed in their files.
    fn differs(&self, config: &ExporterConfig) -> bool {
        self.target.borrow().config != *config || config.tls != TlsConfig::default()
    }
}
