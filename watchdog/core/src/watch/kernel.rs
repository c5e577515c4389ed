//! The kernel as a witness: whether bytes came in on the port of a service.
//!
//! It needs no co-operation, and tells less than a work counter: that there was work, and not how
//! much. So it says whether silence is idle or lost, and nothing about shares.
//!
//! Invariant: a service whose beats tell work counters is judged by these alone; and what was not
//! read of late is not known, which is never "nothing came in".

use crate::names::Service;
use crate::tick::Tick;
use crate::watch::Watch;
use crate::watch::instance::Work;
use crate::watch::service::{ServiceWatch, Sight};

/// How long what was read holds, in milliseconds: two samples may fail.
pub(super) const KERNEL_HOLDS_MS: u64 = 3_000;
/// The longest that a sample usually spans, in milliseconds.
pub(super) const KERNEL_SAMPLE_MS: u64 = 1_000;

impl Watch {
    /// What the kernel said of `service`; gives back its place, if it is known.
    pub(super) fn ask_kernel(
        &mut self,
        service: &Service,
        moved: Option<bool>,
        span_ms: u64,
        now: Tick,
    ) -> Option<usize> {
        let index = *self.places.get(service)?;
        self.services[index].ask_kernel(moved, span_ms, now, self.sight);
        Some(index)
    }
}

impl ServiceWatch {
    /// The kernel was asked: `moved` says whether bytes came in within the last `span_ms`; `None`:
    /// it cannot say.
    pub fn ask_kernel(&mut self, moved: Option<bool>, span_ms: u64, now: Tick, sight: Sight) {
        self.kernel = moved.map(|_| now);
        if moved != Some(true) || self.tells_work() {
            return;
        }
        let work = Work { from: now.minus_ms(span_ms), to: now, amount: 1, steady: false };
        let blind_until = self.blind_until(sight);
        self.last_work = Some(now);
        self.streams.iter_mut().for_each(|stream| stream.work(work, blind_until));
    }

    /// Whether the kernel stands in for work counters at `now`.
    pub fn kernel_tells(&self, now: Tick) -> bool {
        let recent = self.kernel.is_some_and(|at| now.since_ms(at) <= KERNEL_HOLDS_MS);
        recent && !self.tells_work()
    }

    /// Whether any of its instances tells a work counter.
    pub fn tells_work(&self) -> bool {
        self.instances.values().any(|instance| instance.requests().is_some())
    }
}
