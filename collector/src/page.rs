//! The metrics page: what `/metrics` shows, for the admin port and for whoever carries it on.
//!
//! Invariant: there is one page. Who reads it elsewhere sees the counts that the port shows.

use std::fmt::Error;
use std::sync::{Arc, OnceLock};

use tokio::sync::watch;

use crate::metrics::Moment;
use crate::pipeline::Pipeline;

/// The page of a collector, in OpenMetrics; clones read the same one.
#[derive(Debug, Clone, Default)]
pub struct MetricsPage(Arc<OnceLock<watch::Receiver<Arc<Pipeline>>>>);

impl MetricsPage {
    /// The page as of now; none before the collector runs.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let pipeline = Arc::clone(&self.0.get()?.borrow());
        text(&pipeline).ok()
    }

    /// The collector runs now.
    pub(crate) fn begins(&self, pipeline: watch::Receiver<Arc<Pipeline>>) {
        // A collector runs once; a second beginning would be the same pipeline.
        let _ = self.0.set(pipeline);
    }
}

/// The page of the collector whose pipeline this is.
pub(crate) fn text(pipeline: &Pipeline) -> Result<String, Error> {
    let line = &pipeline.line;
    for (seat, bytes) in line.seats() {
        seat.metrics.set_queued_bytes(bytes);
    }
    let spool = line.spool().map_or([0; 4], |spool| {
        let (used, limit) = (spool.used_bytes(), spool.limit_bytes());
        [used, limit, spool.failures(), spool.damaged_bytes()]
    });
    let moment = Moment {
        tally: pipeline.tally.size(),
        memory_bytes: pipeline.budget.held_bytes(),
        imbalance: line.books().1.imbalance(),
        spool,
    };
    pipeline.metrics.page(moment, line)
}
