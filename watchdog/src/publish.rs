//! The published opinion: one snapshot that everybody reads and only the verdict loop writes.
//!
//! Readers (HTTP, metrics, attestations) hold an `Arc` of an old snapshot at worst; none of them
//! can make the verdict loop wait.
//!
//! A proof of sight does not outlive the loop that drew it: whoever reads a snapshot after the loop
//! has stood still (a SIGSTOP, a starved processor) is told that the observer is late, also in the
//! moment before the loop itself wakes and says so.
//!
//! A small fleet is shown anew each time. In a large one, what stands is shown anew in turn, and at
//! once when somebody is about to read the evidence ([`Reader::fresh`]).
//!
//! Invariant: a snapshot has the opinion of every service as of the same turn. Its `seq` is used
//! once per boot and is that of its attestation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{broadcast, watch};
use watchdog_core::names::{Boot, Environment, Service};
use watchdog_core::probe::Way;
use watchdog_core::tally::Signal;
use watchdog_core::tick::Tick;
use watchdog_core::verdict::{ProbeEvidence, Stage, Verdict, VerdictKind};
use watchdog_core::watch::{Backdrop, Liveness, Shown};

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
    /// What is the same for all items.
    pub backdrop: Backdrop,
    /// In the order of names. Those that are not shown anew are shared with the snapshot before.
    pub items: Vec<Arc<Shown>>,
    /// The evidence of all is as new as their opinions.
    pub whole: bool,
    /// For how long the loop had stood still when this was read, if that was too long.
    pub stood_ms: Option<u64>,
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
    wanted: Arc<AtomicBool>,
}

/// The reading end.
#[derive(Debug, Clone)]
pub struct Reader {
    snapshot: watch::Receiver<Arc<Snapshot>>,
    changes: broadcast::Sender<Arc<Change>>,
    clock: Arc<dyn Clock>,
    stale_ms: u64,
    /// Somebody is about to read all evidence.
    wanted: Arc<AtomicBool>,
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
        backdrop: Backdrop::default(),
        items: Vec::new(),
        whole: false,
        stood_ms: None,
        liveness: Arc::default(),
    };
    let (sender, receiver) = watch::channel(Arc::new(nothing));
    let (changes, _) = broadcast::channel(CHANGES_KEPT);
    let wanted = Arc::new(AtomicBool::new(false));
    let asks = Arc::clone(&wanted);
    let reader =
        Reader { snapshot: receiver, changes: changes.clone(), clock, stale_ms, wanted: asks };
    (Publisher { snapshot: sender, changes, wanted }, reader)
}

impl Snapshot {
    /// What was made of `service`.
    #[must_use]
    pub fn find(&self, service: &str) -> Option<&Shown> {
        let place = self.items.binary_search_by(|shown| shown.service().as_str().cmp(service));
        place.ok().map(|place| self.items[place].as_ref())
    }

    /// The verdict behind one of the items as far as it holds, with the ages of this snapshot.
    #[must_use]
    pub fn verdict(&self, shown: &Shown) -> Verdict {
        let mut verdict = shown.as_of(&self.backdrop);
        if let Some(stood_ms) = self.stood_ms {
            withdraw(&mut verdict, stood_ms);
        }
        verdict
    }

    /// All verdicts, made one by one as they are asked for.
    pub fn verdicts(&self) -> impl Iterator<Item = Verdict> + '_ {
        self.items.iter().map(|shown| self.verdict(shown))
    }

    /// The kind of one of the items as far as it holds.
    #[must_use]
    pub fn kind(&self, shown: &Shown) -> VerdictKind {
        if self.stood_ms.is_some() { as_stood(shown.kind()) } else { shown.kind() }
    }

    /// The worst lateness of the verdict loop of late, in milliseconds.
    #[must_use]
    pub fn late_ms(&self) -> u64 {
        let late_ms = self.backdrop.late_ms();
        self.stood_ms.map_or(late_ms, |stood_ms| stood_ms.max(late_ms))
    }

    /// What the detector of `service` promises and achieves; `None` until it was looked at.
    #[must_use]
    pub fn liveness(&self, service: &Service) -> Option<&Liveness> {
        let place = self.liveness.binary_search_by(|(name, _)| name.cmp(service)).ok()?;
        Some(&self.liveness[place].1)
    }
}

impl Publisher {
    /// Whether somebody has asked for all evidence since the last time.
    pub fn is_wanted(&self) -> bool {
        self.wanted.swap(false, Ordering::Relaxed)
    }

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

    /// The next snapshot that is whole, as far as it still holds. It waits for the verdict loop to
    /// publish and not longer: a loop that stands still is shown as such.
    pub async fn fresh(&self) -> Arc<Snapshot> {
        let mut snapshots = self.snapshot.clone();
        // Whoever is shown anew each time is as new as can be.
        let is_whole = |snapshot: &Arc<Snapshot>| snapshot.whole || snapshot.seq == 0;
        if !is_whole(&snapshots.borrow_and_update()) {
            self.wanted.store(true, Ordering::Relaxed);
            let patience = Duration::from_millis(self.stale_ms);
            let whole = snapshots.wait_for(|snapshot| snapshot.whole);
            // Late or ended: what is published is told with its age.
            let _waited = tokio::time::timeout(patience, whole).await;
        }
        self.held()
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
        Arc::new(Snapshot { stood_ms: Some(age_ms), ..Arc::unwrap_or_clone(snapshot) })
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

/// What is left of a kind when the loop that drew it has stood still. What is wrong stays so.
fn as_stood(kind: VerdictKind) -> VerdictKind {
    if kind <= VerdictKind::Idle { VerdictKind::Unknown } else { kind }
}

/// Takes back what a loop that stood still for `age_ms` cannot vouch for.
fn withdraw(verdict: &mut Verdict, age_ms: u64) {
    verdict.observer.healthy = false;
    verdict.observer.late_ms = verdict.observer.late_ms.max(age_ms);
    let kind = as_stood(verdict.verdict);
    if kind != verdict.verdict {
        verdict.verdict = kind;
        verdict.stage = Some(Stage::Observer);
        verdict.since_ms = 0;
        verdict.reason =
            format!("the watchdog's verdict loop has stood still for {age_ms} ms").into();
    }
}

/// What differs in kind between two snapshots whose items are in the order of their names.
fn changes(before: &Snapshot, after: &Snapshot) -> Vec<Change> {
    let mut old = before.items.iter().peekable();
    let mut changes = Vec::new();
    for shown in &after.items {
        if old.next_if(|old| Arc::ptr_eq(old, shown)).is_some() {
            continue;
        }
        while old.next_if(|old| old.service() < shown.service()).is_some() {}
        let known = old.next_if(|old| old.service() == shown.service());
        let from = known.map(|known| known.kind());
        if from != Some(shown.kind()) {
            changes.push(Change {
                service: shown.service().clone(),
                environment: shown.environment().clone(),
                from,
                to: shown.kind(),
                stage: shown.stage(),
                reason: shown.reason().to_owned(),
                seq: after.seq,
            });
        }
    }
    changes
}
