//! What the operator asks of every rollout: times, amounts, who approves.
//!
//! Policy comes from the configuration alone; nothing an agent sends changes it.
//!
//! Invariant: two policies with the same [`PolicySet::canonical`] text decide alike, so the hash
//! of that text names the policy in every decision record.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use watchdog_core::names::{Environment, Service};

use crate::gate::freeze::FreezeCause;
use crate::ids::AgentName;
use crate::scope::Scope;

mod agents;
mod freeze_scope;
mod tables;

pub use agents::{Agents, Owners};
pub use freeze_scope::{FreezeScope, FreezeScopes, Trigger};
pub use tables::{Table, Tables};

/// Keys that hold for the fleet as a whole; no other table can set them.
pub const FLEET_KEYS: [&str; 6] = [
    "attestation_ttl_max_ms",
    "budget_max",
    "budget_start",
    "open_max",
    "waiver_max_ms",
    "watchdog_forget_ms",
];

/// Which environments need a person's approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalRule {
    Never,
    Always,
    /// Services of the environment named `production` need it.
    Production,
}

/// Who settles a rollout that could not be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnInconclusive {
    Person,
    Revert,
}

/// What the fence at a target does with a command that is under way when its permit is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFreeze {
    /// It is ended, and the rollout taken back.
    Stop,
    /// It may come to its end; the rollout is taken back then.
    Finish,
}

/// What becomes of a service that runs what no permit led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDrift {
    /// Its rollouts are held until a person approves one.
    Hold,
    /// The scope of automatic freezes is frozen.
    Freeze,
}

macro_rules! policy {
    ($($(#[$doc:meta])* $key:ident: $kind:ty = $default:expr,)*) => {
        /// `[policy]` of the configuration. Every key has a default.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Policy {
            $($(#[$doc])* pub $key: $kind,)*
        }

        impl Default for Policy {
            fn default() -> Self {
                Self { $($key: $default,)* }
            }
        }

        impl Policy {
            /// One `key = value` line for each key, in the order of declaration.
            #[must_use]
            pub fn canonical(&self) -> String {
                let mut text = String::new();
                $(writeln!(text, "{} = {:?}", stringify!($key), self.$key)
                    .expect("writing to a String does not fail");)*
                text
            }
        }
    };
}

policy! {
    /// The agents that may roll out, by the names of their credentials.
    agents: Agents = Agents::all(),
    /// Where a person must approve before a rollout is allowed.
    approval: ApprovalRule = ApprovalRule::Production,
    /// How many persons must approve, where one must.
    approvals: u32 = 1,
    /// Who owns which agent: an owner's approval needs that of a person who is none.
    owners: Owners = Owners::default(),
    /// For how long an approval stands, in milliseconds, unless the person says otherwise.
    approval_ttl_ms: u64 = 3_600_000,
    /// For how long a service must have been seen live before a rollout is allowed, and for how
    /// long a gate or watchdog that just started is taken to know nothing.
    dwell_ms: u64 = 5_000,
    /// For how long a rollout is judged after its revision appeared; the clock stands still while
    /// there is no sight.
    bake_ms: u64 = 60_000,
    /// The longest time in which a waiver of planned silence must be over.
    waiver_max_ms: u64 = 86_400_000,
    /// For how long a permit lives after it was granted or renewed.
    permit_ttl_ms: u64 = 15_000,
    /// Records of the new revision without which a bake concludes nothing.
    evidence_min: u64 = 50,
    /// The scope of automatic freezes.
    freeze_scope: FreezeScopes = FreezeScopes::from(FreezeScope::Fleet),
    /// What becomes of a rollout that could not be judged.
    on_inconclusive: OnInconclusive = OnInconclusive::Person,
    /// What becomes of a deploy command under `holdpoint apply` when its permit is gone.
    on_freeze: OnFreeze = OnFreeze::Stop,
    /// What becomes of a service that runs a revision that no permit led to.
    on_drift: OnDrift = OnDrift::Hold,
    /// For how long such a revision must have run before it counts.
    drift_grace_ms: u64 = 10_000,
    /// Within what time after `applied` the new revision must be seen.
    appear_ms: u64 = 30_000,
    /// The longest gap in sight, or in the permit while applying, that a rollout survives.
    gap_max_ms: u64 = 10_000,
    /// The sum of gaps, and of waiting for evidence after the bake, that a rollout survives.
    patience_ms: u64 = 300_000,
    /// For how long after its confirmation a rollout is suspected when its service goes blind.
    suspicion_window_ms: u64 = 86_400_000,
    /// How many unproven rollouts may be in flight at first and after a failure.
    budget_start: u32 = 1,
    /// How many unproven rollouts may be in flight at most; each confirmed one doubles the number
    /// up to this.
    budget_max: u32 = 8,
    /// For how long a held rollout that was asked for earlier keeps its place in the budget.
    held_share_ms: u64 = 60_000,
    /// How many rollouts may be open at once, held ones too; more requests are refused. It bounds
    /// what a runaway agent can make the gate keep.
    open_max: u32 = 1_000,
    /// A held rollout that is not asked for again within this time expires.
    held_ttl_ms: u64 = 900_000,
    /// Within what time a revert must be verified by the signal on the old revision.
    revert_deadline_ms: u64 = 120_000,
    /// How often a revert action is tried before a person is called.
    revert_attempts: u32 = 5,
    /// The wait after the first failed attempt; it doubles with each further one.
    revert_backoff_ms: u64 = 1_000,
    /// For how long a passed dry run of the revert action stands.
    dry_run_ttl_ms: u64 = 86_400_000,
    /// How soon a failed dry run is tried again, at the next request.
    dry_run_retry_ms: u64 = 30_000,
    /// How many watchdogs must see a service live; from 2 on, one that stands alone against them is
    /// overruled.
    quorum: u32 = 1,
    /// The longest time an attestation is relied on, whatever it says itself.
    attestation_ttl_max_ms: u64 = 5_000,
    /// A watchdog that is silent for so long is gone; until then its silence holds what it saw.
    watchdog_forget_ms: u64 = 600_000,
    /// The level of the sequential tests: the chance that a healthy rollout is ever called
    /// regressed.
    alpha: f64 = 0.01,
    /// Without a baseline, and for "no errors at all", the error share that must be excluded.
    error_share_max: f64 = 0.1,
    /// How many times as many slow requests as before are no regression yet.
    slow_tolerance: f64 = 1.5,
}

impl Policy {
    /// The keys whose values cannot work, with what would.
    #[must_use]
    pub fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let at_least_one = [
            ("dwell_ms", self.dwell_ms),
            ("permit_ttl_ms", self.permit_ttl_ms),
            ("evidence_min", self.evidence_min),
            ("appear_ms", self.appear_ms),
            ("held_ttl_ms", self.held_ttl_ms),
            ("approval_ttl_ms", self.approval_ttl_ms),
            ("revert_deadline_ms", self.revert_deadline_ms),
            ("quorum", u64::from(self.quorum)),
            ("approvals", u64::from(self.approvals)),
            ("revert_attempts", u64::from(self.revert_attempts)),
            ("budget_start", u64::from(self.budget_start)),
            ("open_max", u64::from(self.open_max)),
        ];
        for (key, value) in at_least_one {
            if value == 0 {
                found.push((key, "must be at least 1".to_owned()));
            }
        }
        if self.budget_max < self.budget_start {
            found.push(("budget_max", "must be at least budget_start".to_owned()));
        }
        for (key, value) in [("alpha", self.alpha), ("error_share_max", self.error_share_max)] {
            if !(value > 0.0 && value < 1.0) {
                found.push((key, "must lie between 0 and 1".to_owned()));
            }
        }
        if self.gap_max_ms > self.patience_ms {
            let message = format!("is beyond patience_ms = {}, which ends first", self.patience_ms);
            found.push(("gap_max_ms", message));
        }
        if let Some(message) = self.freeze_scope.contradiction() {
            found.push(("freeze_scope", message));
        }
        if !(self.slow_tolerance >= 1.0 && self.slow_tolerance.is_finite()) {
            found.push(("slow_tolerance", "must be at least 1".to_owned()));
        }
        found
    }
}

/// Whether there is a way back for a service. How it goes is the shell's alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevertAction {
    Configured,
    Missing,
}

/// One `[[service]]` of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServicePolicy {
    pub name: Service,
    pub environment: Environment,
    pub revert: RevertAction,
    /// `[policy]` with the keys of its environment and then its own laid over it.
    pub policy: Policy,
    /// Where the keys that were laid over it stand.
    pub tables: Tables,
}

/// One `[[environment]]` of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnvironmentPolicy {
    pub name: Environment,
    /// `[policy]` with the environment's keys laid over it.
    pub policy: Policy,
    pub tables: Tables,
}

/// The policy of the whole installation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicySet {
    /// `[policy]`: what holds for the fleet and for services that are not configured.
    pub fleet: Policy,
    pub environments: BTreeMap<Environment, EnvironmentPolicy>,
    pub services: BTreeMap<Service, ServicePolicy>,
    /// Names this policy in decision records: the hash of [`PolicySet::canonical`].
    pub hash: String,
}

/// The environment of services that name none.
static DEFAULT: LazyLock<Environment> =
    LazyLock::new(|| Environment::new("default").expect("the word is a valid name"));

impl PolicySet {
    /// Collects the policy; `hash` makes the name of it from the canonical text.
    pub fn new(
        fleet: Policy,
        services: impl IntoIterator<Item = ServicePolicy>,
        hash: impl FnOnce(&str) -> String,
    ) -> Self {
        Self::layered(fleet, [], services, hash)
    }

    /// The same, with tables of environments between the fleet's and the services'.
    pub fn layered(
        fleet: Policy,
        environments: impl IntoIterator<Item = EnvironmentPolicy>,
        services: impl IntoIterator<Item = ServicePolicy>,
        hash: impl FnOnce(&str) -> String,
    ) -> Self {
        let services = services.into_iter().map(|each| (each.name.clone(), each)).collect();
        let environments = environments.into_iter().map(|each| (each.name.clone(), each)).collect();
        let mut set = Self { fleet, environments, services, hash: String::new() };
        set.hash = hash(&set.canonical());
        set
    }

    /// The policy as text that is the same for the same policy on every machine.
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut text = format!("[policy]\n{}", self.fleet.canonical());
        for EnvironmentPolicy { name, policy, tables } in self.environments.values() {
            let name = name.as_str();
            let policy = policy.canonical();
            write!(text, "[[environment]]\nname = {name:?}\ntables = {tables}\n{policy}")
                .expect("writing to a String does not fail");
        }
        for service in self.services.values() {
            let ServicePolicy { name, environment, revert, policy, tables } = service;
            write!(
                text,
                "[[service]]\nname = {:?}\nenvironment = {:?}\nrevert = {revert:?}\n\
                 tables = {tables}\n{}",
                name.as_str(),
                environment.as_str(),
                policy.canonical()
            )
            .expect("writing to a String does not fail");
        }
        text
    }

    /// The policy that binds `service`, and where its keys stand.
    #[must_use]
    pub fn binding(&self, service: &Service) -> (&Policy, &Tables) {
        static NONE: Tables = Tables::none();
        if let Some(configured) = self.services.get(service) {
            return (&configured.policy, &configured.tables);
        }
        let default = self.environments.get(&*DEFAULT);
        default.map_or((&self.fleet, &NONE), |each| (&each.policy, &each.tables))
    }

    /// The policy that binds `service`.
    #[must_use]
    pub fn of(&self, service: &Service) -> &Policy {
        self.binding(service).0
    }

    /// Whether a person must approve rollouts of `service`.
    #[must_use]
    pub fn needs_approval(&self, service: &Service) -> bool {
        match self.of(service).approval {
            ApprovalRule::Never => false,
            ApprovalRule::Always => true,
            ApprovalRule::Production => self.environment(service).as_str() == "production",
        }
    }

    /// The environment of `service` by configuration; `default` if it is not configured.
    #[must_use]
    pub fn environment(&self, service: &Service) -> Environment {
        let configured = self.services.get(service).map(|each| &each.environment);
        configured.unwrap_or(&DEFAULT).clone()
    }

    /// The scope of the gate's own freeze for `cause`.
    #[must_use]
    pub fn freeze_scope(&self, cause: &FreezeCause) -> Scope {
        // Nobody knows how far it reaches, or a caller said it.
        let Some((service, trigger)) = cause.service().zip(Trigger::of(cause)) else {
            return Scope::Fleet;
        };
        match self.of(service).freeze_scope.scope(trigger) {
            FreezeScope::Fleet => Scope::Fleet,
            FreezeScope::Environment => Scope::Environment(self.environment(service)),
            FreezeScope::Service => Scope::Service(service.clone()),
        }
    }

    /// Whether `scope` can cover a rollout of `service`, whoever its agent is.
    #[must_use]
    pub fn touches(&self, scope: &Scope, service: &Service) -> bool {
        match scope {
            Scope::Fleet | Scope::Agent(_) => true,
            Scope::Environment(frozen) => *frozen == self.environment(service),
            Scope::Service(frozen) => frozen == service,
        }
    }

    /// Whether `scope` covers a rollout of `service` by `agent`.
    #[must_use]
    pub fn covers(&self, scope: &Scope, service: &Service, agent: &AgentName) -> bool {
        scope.covers(service, &self.environment(service), agent)
    }
}
