//! The published opinion: one snapshot that everybody reads and only the verdict loop writes.
//!
//! Readers (HTTP, metrics, attestations) hold an `Arc` of an old snapshot at worst; none of them
//! can make the verdict loop wait.
//!
//! A proof of sight does not outlive the loop that drew it: whoever reads a snapshot after the loop
//! has stood still (a SIGSTOP, a starved processor) is told that the observer is late, also in the
//! moment before the loop itself wakes and says so.
//!
//! Invariant: a snapshot is whole. Its `seq` is used once per boot and is that of its attestation.

use std::sync::Arc;

use serde::Serialize;
use tokio::sync::{broadcast, watch};
use watchdog_core::names::{Boot, Environment, Service};
use watchdog_core::probe::Way;
use watchdog_core::tally::Signal;
use watchdog_core::tick::Tick;
use watchdog_core::verdict::{ProbeEvidence, Stage, Verdict, VerdictKind};
use watchdog_core::watch::Liveness;

use crate::driver::Clock;

/// How many changes a slow reader of the stream may fall behind before it is told that it did.
const CHANGES_KEPT: usize = 256;

/// All verdicts at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub watchdog: String,
    pub boot: Boot,
    /// 0 until the first turn of the verdict loop.
    pub seq: u64,
    /// When the verdict loop made it.
    pub at: Tick,
    pub mass_silence: bool,
    /// The probes of each signal that is probed.
    pub probes: Vec<(Signal, ProbeEvidence)>,
    /// What the backend says of the probes of either way, where it is asked.
    pub readback: Vec<(Way, ProbeEvidence)>,
    pub items: Vec<Verdict>,
    /// The detectors of the same services in the same order, at most a second older; services
    /// that are newer are missing.
    pub liveness: Arc<Vec<(Service, Liveness)>>,
}

/// One service's step from one verdict to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    pub service: Service,
    pub environment: Environment,
    /// `null` for a service that was not known before.
    pub from: Option<VerdictKind>,
    pub to: VerdictKind,
    pub stage: Option<Stage>,
    pub reason: String,
    /// The snapshot that shows it first.
    pub seq: u64,
}

/// The writing end; the verdict loop holds it.
#[derive(Debug)]
pub struct Publisher {
    snapshot: watch::Sender<Arc<Snapshot>>,
    changes: broadcast::Sender<Arc<Change>>,
}

/// The reading end.
#[derive(Debug, Clone)]
pub struct Reader {
    snapshot: watch::Receiver<Arc<Snapshot>>,
    changes: broadcast::Sender<Arc<Change>>,
    clock: Arc<dyn Clock>,
    stale_ms: u64,
}

/// Both ends, before the first verdict. A snapshot that is older than `stale_ms` milliseconds
/// proves nothing.
#[must_use]
pub fn channel(
    watchdog: String,
    boot: Boot,
    clock: Arc<dyn Clock>,
    stale_ms: u64,
) -> (Publisher, Reader) {
    let nothing = Snapshot {
        watchdog,
        boot,
        seq: 0,
        at: Tick(0),
        mass_silence: false,
        probes: Vec::new(),
        readback: Vec::new(),
        items: Vec::new(),
        liveness: Arc::default(),
    };
    let (sender, receiver) = watch::channel(Arc::new(nothing));
    let (changes, _) = broadcast::channel(CHANGES_KEPT);
    let reader = Reader { snapshot: receiver, changes: changes.clone(), clock, stale_ms };
    (Publisher { snapshot: sender, changes }, reader)
}

impl Snapshot {
    /// What the detector of `service` promises and achieves; `None` until it was looked at.
    #[must_use]
    pub fn liveness(&self, service: &Service) -> Option<&Liveness> {
        let place = self.liveness.binary_search_by(|(name, _)| name.cmp(service)).ok()?;
        Some(&self.liveness[place].1)
    }
}

impl Publisher {
    /// Shows `snapshot` to everybody, and its difference to the one before as changes.
    pub fn publish(&self, snapshot: Snapshot) {
        let before = Arc::clone(&self.snapshot.borrow());
        let changes = changes(&before, &snapshot);
        self.snapshot.send_replace(Arc::new(snapshot));
        for change in changes {
            // Nobody listens: that is no error.
            let _nobody = self.changes.send(Arc::new(change));
        }
    }
}

impl Reader {
    /// The newest snapshot as it was published, however long ago.
    #[must_use]
    pub fn latest(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.borrow())
    }

    /// The newest snapshot as far as it still holds.
    #[must_use]
    pub fn held(&self) -> Arc<Snapshot> {
        self.as_held(self.latest())
    }

    /// `snapshot` as far as it still holds: a `live` or `idle` that is too old is `unknown`.
    #[must_use]
    pub fn as_held(&self, snapshot: Arc<Snapshot>) -> Arc<Snapshot> {
        let age_ms = self.clock.now().since_ms(snapshot.at);
        if age_ms <= self.stale_ms {
            return snapshot;
        }
        let mut aged = Arc::unwrap_or_clone(snapshot);
        aged.items.iter_mut().for_each(|item| withdraw(item, age_ms));
        Arc::new(aged)
    }

    /// Wakes at every new snapshot; the latest wins.
    #[must_use]
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshot.clone()
    }

    /// All changes from now on.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Arc<Change>> {
        self.changes.subscribe()
    }
}

/// Takes back what a loop that stood still for `age_ms` cannot vouch for. What is wrong stays so.
fn withdraw(verdict: &mut Verdict, age_ms: u64) {
    verdict.observer.healthy = false;
    verdict.observer.late_ms = verdict.observer.late_ms.max(age_ms);
    if verdict.verdict <= VerdictKind::Idle {
        verdict.verdict = VerdictKind::Unknown;
        verdict.stage = Some(Stage::Observer);
        verdict.since_ms = 0;
        verdict.reason = format!("the watchdog's verdict loop has stood still for {age_ms} ms");
    }
}

/// What differs in kind between two snapshots whose items are in the order of their names.
fn changes(before: &Snapshot, after: &Snapshot) -> Vec<Change> {
    let known = |service: &Service| {
        let place = before.items.binary_search_by(|v| v.service.cmp(service));
        place.ok().map(|i| before.items[i].verdict)
    };
    let steps = after.items.iter().map(|v| (known(&v.service), v));
    steps
        .filter(|(from, v)| *from != Some(v.verdict))
        .map(|(from, v)| Change {
            service: v.service.clone(),
            environment: v.environment.clone(),
            from,
            to: v.verdict,
            stage: v.stage,
            reason: v.reason.clone(),
            seq: after.seq,
        })
        .collect()
}
