//! The fences at the targets: what they are told of the freezes, and which freezes they hold.
//!
//! ```text
//!  driver ─► Told (epoch, all freezes) ─► long polls of `holdpoint apply` and `holdpoint fence`
//!    ▲                                └─► signed webhooks of targets that fence by themselves
//!    └──────── "I hold epoch 7" ◄──────── signed with the target's own secret
//! ```
//!
//! A target that holds epoch 7 holds every freeze up to it, because it is told all of them at once.
//! What a target confirmed is kept in memory: after a restart each confirms again at its next poll,
//! and until then a freeze counts as less fenced than it is.
//!
//! Invariant: a target counts as fenced only by a confirmation that its own secret signs, of an
//! epoch this gate told. An agent's token alone fences nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use agent_gate_core::freeze_set::FreezeSet;
use agent_gate_core::gate::event::Fenced;
use agent_gate_core::gate::freeze::Freeze;
use agent_gate_core::gate::ledger::Ledger;
use agent_gate_core::ids::{Epoch, TargetName};
use agent_gate_core::policy::PolicySet;
use subtle::ConstantTimeEq;
use tokio::sync::watch;
use watchdog_core::names::Service;
use watchdog_core::tick::Tick;

use crate::config::{Fence, ServiceConfig, Target};
use crate::revert::webhook::signature;

pub mod tell;

/// What fences are told: what is committed, all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub epoch: Epoch,
    pub freezes: FreezeSet,
    /// Another one whenever epoch or freezes are.
    pub version: String,
}

/// A target and what is known of its fence.
#[derive(Debug, Clone)]
pub struct Known {
    pub service: Service,
    pub target: Target,
    /// The epoch it last confirmed, and when.
    pub held: Option<(Epoch, Tick)>,
}

/// See the module's head.
#[derive(Debug)]
pub struct Fences {
    origin: String,
    targets: Mutex<BTreeMap<TargetName, Known>>,
    /// Configured services without a target: nothing there can be fenced.
    bare: Vec<Service>,
    told: watch::Sender<Option<Arc<Told>>>,
}

/// Why a confirmation does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HoldError {
    #[error("the signature is not the one of this target's secret over these bytes")]
    Signature,
    #[error("the target is configured for another service")]
    OtherService,
    #[error("no fence is configured for this target, so its confirmation cannot be believed")]
    NoSecret,
}

impl Fences {
    /// The fences of `services`, told under the name `origin`.
    #[must_use]
    pub fn new(origin: String, services: &[ServiceConfig]) -> Self {
        let known = |service: &ServiceConfig, target: &Target| {
            let (service, target) = (service.name.clone(), target.clone());
            (target.name.clone(), Known { service, target, held: None })
        };
        let targets = services
            .iter()
            .flat_map(|service| service.target.iter().map(move |target| known(service, target)));
        let bare = services.iter().filter(|service| service.target.is_empty());
        let bare = bare.map(|service| service.name.clone()).collect();
        Self { origin, targets: Mutex::new(targets.collect()), bare, told: watch::channel(None).0 }
    }

    /// The name under which freezes are told.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Tells what `ledger` holds, which is committed.
    pub fn tell(&self, ledger: &Ledger) {
        let (head, thawed) = (ledger.head(), ledger.head().freezes - in_force(ledger));
        let version = format!("{}.{}.{thawed}", head.epoch, head.freezes);
        let is_known = self.told.borrow().as_ref().is_some_and(|told| told.version == version);
        if !is_known {
            let freezes = FreezeSet::of(&self.origin, ledger);
            self.told.send_replace(Some(Arc::new(Told { epoch: head.epoch, freezes, version })));
        }
    }

    /// What is told, now and from now on.
    #[must_use]
    pub fn hear(&self) -> watch::Receiver<Option<Arc<Told>>> {
        self.told.subscribe()
    }

    /// All targets, by name.
    #[must_use]
    pub fn targets(&self) -> Vec<Known> {
        self.lock().values().cloned().collect()
    }

    /// Services without a target.
    #[must_use]
    pub fn bare(&self) -> &[Service] {
        &self.bare
    }

    /// Checks that `body` comes from the target `name` of `service`.
    ///
    /// # Errors
    /// [`HoldError`] if it cannot be known to.
    pub fn check(
        &self,
        name: &TargetName,
        service: &Service,
        body: &[u8],
        header: Option<&str>,
    ) -> Result<(), HoldError> {
        let targets = self.lock();
        let known = targets.get(name).ok_or(HoldError::NoSecret)?;
        let secret = match &known.target.fence {
            Fence::Apply { secret } => secret,
            Fence::Webhook { .. } | Fence::Missing => return Err(HoldError::NoSecret),
        };
        if known.service != *service {
            return Err(HoldError::OtherService);
        }
        let expected = format!("v1={}", signature(&secret.0, body));
        let given = header.unwrap_or_default();
        let is_same: bool = expected.as_bytes().ct_eq(given.as_bytes()).into();
        is_same.then_some(()).ok_or(HoldError::Signature)
    }

    /// The target `name` holds `epoch` since `now`; says whether that is news. An epoch that was
    /// never told is not believed.
    pub fn hold(&self, name: &TargetName, epoch: Epoch, now: Tick) -> bool {
        let newest = self.told.borrow().as_ref().map(|told| told.epoch);
        let mut targets = self.lock();
        let known = targets.get_mut(name);
        let Some(known) = known.filter(|_| newest.is_some_and(|newest| epoch <= newest)) else {
            return false;
        };
        let before = known.held.map(|(epoch, _)| epoch);
        known.held = Some((before.map_or(epoch, |before| before.max(epoch)), now));
        before.is_none_or(|before| before < epoch)
    }

    /// How far the targets in the scope of `freeze` hold it; `None` if there are none.
    #[must_use]
    pub fn over(&self, freeze: &Freeze, policy: &PolicySet) -> Option<Fenced> {
        let is_over = |service: &Service| policy.touches(&freeze.scope, service);
        let mut fenced = Fenced { done: 0, total: 0, unfenceable: 0 };
        for known in self.lock().values().filter(|known| is_over(&known.service)) {
            let is_held = known.held.is_some_and(|(epoch, _)| epoch >= freeze.epoch);
            fenced.total += 1;
            fenced.done += u32::from(is_held);
            fenced.unfenceable += u32::from(matches!(known.target.fence, Fence::Missing));
        }
        let bare = self.bare.iter().filter(|service| is_over(service)).count();
        let bare = u32::try_from(bare).unwrap_or(u32::MAX);
        fenced.total += bare;
        fenced.unfenceable += bare;
        // What was confirmed before a restart stays confirmed.
        let before = freeze.fenced.map_or(0, |before| before.done);
        fenced.done = fenced.done.max(before.min(fenced.total - fenced.unfenceable));
        (fenced.total > 0).then_some(fenced)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TargetName, Known>> {
        self.targets.lock().expect("no holder of the lock panics")
    }
}

fn in_force(ledger: &Ledger) -> u64 {
    u64::try_from(ledger.in_force().count()).unwrap_or(u64::MAX)
}
