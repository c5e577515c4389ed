//! The life of one export request: the collector's main path. Read this file first.
//!
//! ```text
//!  receive ─► admit ─► open ─► scan ─► keep ─► tally ─► answer
//!  (receive)  (memory) (gunzip,(scan)  (spool,  (tally)
//!                       json)           line)
//!                                        └─ later: exporter ─► far tap
//! ```
//!
//! 1. **Receive and admit**: the body is read while the memory budget admits it.
//! 2. **Open**: gzip is inflated and JSON transcoded, both bounded; protobuf stays as it is.
//! 3. **Scan**: one pass says whether it is well formed, who sent it and how much it holds.
//!    Records with an id of a wrong length are cut out; the client hears of them.
//!    The rules of the configuration cut records out and add attributes, if there are any.
//! 4. **Keep**: it is written to the spool, or put into the line in memory, or brought to the
//!    backends, as `acknowledge` says. Before anything is counted, so that a refused request that
//!    the client sends again is not counted twice.
//! 5. **Tally**: what arrived is counted for the watchdog, but for profiles.
//! 6. **Answer**: success now means what `acknowledge` promises. When all exporters have delivered
//!    it, or at once if there are none, the far tap reports the probes in it.
//!
//! Invariant: a request either passes all steps and is answered with success, or leaves no trace
//! but a counted refusal. One whose client is gone before the answer may pass uncounted by the
//! tally, and is counted when the client sends it again.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use watchdog_core::tally::Signal;

use crate::arrival::{Arrival, Content};
use crate::config::Acknowledge;
use crate::driver;
use crate::export::Exporters;
use crate::kind::Kind;
use crate::line::{DropReason, Ending, Joining, Line};
use crate::memory::{Budget, Buffer};
use crate::metrics::Metrics;
use crate::receive::cors::Cors;
use crate::receive::guard::Guard;
use crate::refusal::Refusal;
use crate::rules::{Edited, Rules};
use crate::scan::{self, Probe, Scanned};
use crate::spool::{Head, Spool};
use crate::tally::Tally;
use crate::tap::Taps;

/// What a request passes through.
#[derive(Debug)]
pub(crate) struct Pipeline {
    pub(crate) budget: Budget,
    pub(crate) max_request_bytes: usize,
    pub(crate) acknowledge: Acknowledge,
    pub(crate) exporters: Exporters,
    pub(crate) line: Arc<Line>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) cors: Cors,
    pub(crate) guard: Guard,
    pub(crate) rules: Rules,
    pub(crate) taps: Arc<Taps>,
    /// From the configuration; for health.
    pub(crate) stall_ms: u64,
    /// Big requests that are worked on at a time: as many as there are processors.
    pub(crate) big: Semaphore,
}

/// A request that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a client must hear what was rejected"]
pub(crate) struct Taken {
    /// Records that were left behind, because they hold an id of a wrong length.
    pub(crate) malformed: u64,
    /// Records that a backend rejected, if the answer waited for it.
    pub(crate) rejected: u64,
}

/// A request after the rules.
#[derive(Debug)]
struct Ruled {
    content: Content,
    /// Records that rules have dropped, and those that are left.
    dropped: u64,
    records: u64,
    probes: Vec<Probe>,
}

impl Pipeline {
    /// Carries a request that has been read. Success means: kept as `acknowledge` promises, and
    /// counted.
    pub(crate) async fn carry(self: &Arc<Self>, arrival: Arrival) -> Result<Taken, Refusal> {
        if arrival.is_small() {
            return self.pass(arrival).await;
        }
        let _turn = self.big.acquire().await.map_err(|_| Refusal::Stopping)?;
        let (pipeline, runtime) = (Arc::clone(self), Handle::current());
        let passing = move || runtime.block_on(pipeline.pass(arrival));
        match tokio::task::spawn_blocking(passing).await {
            Ok(passed) => passed,
            Err(_) => Err(Refusal::Stopping),
        }
    }

    async fn pass(&self, arrival: Arrival) -> Result<Taken, Refusal> {
        let (kind, transport) = (arrival.kind, arrival.transport);
        let body_bytes = arrival.body.len();
        let mut content = arrival.open(&self.budget, self.max_request_bytes)?;
        let mut taken = Taken { malformed: 0, rejected: 0 };
        let whole = content.plain.clone();
        let mut came = Vec::new();
        let records = match kind {
            Kind::Tallied(signal) => {
                let mut scanned = Scanned::of(signal, &whole)?;
                taken.malformed = scanned.rejected;
                if taken.malformed > 0 {
                    let rest = self.rest(signal, &whole)?;
                    came.push(std::mem::replace(&mut content, rest));
                }
                let (mut left, mut ruled_out) = (scanned.records, 0);
                let mut probes = std::mem::take(&mut scanned.probes);
                if !probes.is_empty() {
                    self.tally.probe_came(scanned.signal, driver::now());
                }
                if let Some(ruled) = self.rule(signal, &content)? {
                    came.push(std::mem::replace(&mut content, ruled.content));
                    (left, probes, ruled_out) = (ruled.records, ruled.probes, ruled.dropped);
                }
                // What rules have emptied goes nowhere, and nobody will see it.
                let emptied = left == 0 && ruled_out > 0;
                if !emptied {
                    let kept = self.keep(content, kind, left, probes, scanned.service()).await;
                    taken.rejected = kept.inspect_err(|_| {
                        self.tally.refused(&scanned);
                        self.metrics.refused_records(transport, kind, scanned.records);
                    })?;
                }
                self.ruled_out(kind, ruled_out);
                if emptied {
                    self.tally.emptied(&scanned);
                } else {
                    self.tally.add(&scanned, driver::now(), driver::unix_ms());
                }
                self.taps.passes(signal, &whole, driver::now);
                scanned.records
            }
            Kind::Profiles => {
                let records = scan::profiles(&content.plain)?;
                taken.rejected = self.keep(content, kind, records, Vec::new(), "".into()).await?;
                records
            }
        };
        self.metrics.received(kind, transport, records, body_bytes);
        // What came is paid for until nothing reads it any more.
        drop((whole, came));
        Ok(taken)
    }

    /// What the rules make of a scanned request, if they change it.
    fn rule(&self, signal: Signal, content: &Content) -> Result<Option<Ruled>, Refusal> {
        let edited =
            self.rules.edit(signal, &content.plain, &self.budget, self.max_request_bytes)?;
        let Some(Edited { bytes: plain, held, dropped }) = edited else { return Ok(None) };
        let Scanned { records, probes, .. } = Scanned::of(signal, &plain)?;
        Ok(Some(Ruled {
            content: Content { plain, compressed: None, held },
            dropped,
            records,
            probes,
        }))
    }

    fn ruled_out(&self, kind: Kind, records: u64) {
        if records == 0 {
            return;
        }
        self.line.ruled_out(kind, records);
        self.metrics.ruled_out(kind, records);
        self.tally.ruled_out(records);
    }

    /// The request without the records that the scan rejected. What came compressed is not it.
    fn rest(&self, signal: Signal, whole: &[u8]) -> Result<Content, Refusal> {
        let mut buffer = Buffer::new(&self.budget, self.max_request_bytes)?;
        scan::without_rejected(signal, whole, &mut buffer)?;
        let (plain, held) = buffer.freeze();
        Ok(Content { plain, compressed: None, held })
    }

    /// Keeps a request that is well formed until the exporters have it. The records that a backend
    /// rejected of it, if that is known when it is answered.
    async fn keep(
        &self,
        content: Content,
        kind: Kind,
        records: u64,
        probes: Vec<Probe>,
        service: Arc<str>,
    ) -> Result<u64, Refusal> {
        self.line.received(kind, records);
        let payload = Arc::new(content.keep(self.exporters.forms));
        let mut joining = Joining { kind, records, payload, probes, service, ended: None };
        if !self.exporters.is_empty()
            && let Some(spool) = self.line.spool()
        {
            return self.spool(spool, joining).await.map(|()| 0);
        }
        let refuse = |refusal| {
            self.line.refused(kind, records);
            refusal
        };
        match self.acknowledge {
            Acknowledge::Spooled | Acknowledge::Queued => {
                self.line.join(joining).map_err(refuse).map(|()| 0)
            }
            Acknowledge::Delivered => {
                let (sender, ended) = oneshot::channel();
                joining.ended = Some(sender);
                self.line.join(joining).map_err(refuse)?;
                match ended.await {
                    Ok(Ending::Taken { rejected }) => Ok(rejected),
                    Ok(Ending::Dropped(DropReason::Rejected)) => Err(Refusal::Rejected),
                    Ok(Ending::Dropped(
                        DropReason::Expired | DropReason::Stopped | DropReason::Damaged,
                    ))
                    | Err(_) => Err(Refusal::Undelivered),
                }
            }
        }
    }

    /// Success when the request is on disk.
    async fn spool(&self, spool: &Spool, joining: Joining) -> Result<(), Refusal> {
        let (kind, records) = (joining.kind, joining.records);
        let (form, body) = joining.payload.stored_form();
        if !self.line.is_fair(&joining.service, body.len(), spool) {
            self.line.refused(kind, records);
            return Err(Refusal::ShareFull);
        }
        let Some(room) = spool.reserve(body.len()) else {
            self.line.refused(kind, records);
            return Err(Refusal::SpoolFull);
        };
        let plain_bytes = joining.payload.plain_bytes() as u64;
        let head = Head { seq: 0, kind, form, records, plain_bytes };
        let (sender, committed) = oneshot::channel();
        // The line is not kept alive by what waits for the disk: the spool has it anyhow.
        let line = Arc::downgrade(&self.line);
        let commit = move |result: Result<_, _>| {
            let Some(line) = line.upgrade() else { return };
            match result {
                Ok((seq, place)) => line.spooled(seq, place, joining),
                Err(_) => line.refused(kind, records),
            }
            // The client may be gone.
            let _ = sender.send(result.map(drop));
        };
        spool.append(room, head, body, Box::new(commit));
        match committed.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Refusal::SpoolFailing),
            Err(_) => Err(Refusal::Stopping),
        }
    }
}
