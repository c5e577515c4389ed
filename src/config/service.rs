//! `[[service]]`: one table, of which the watchdog and the gate each take their part.
//!
//! Invariant: both parts carry the same name and environment.

use std::collections::BTreeSet;

use agent_gate::RevertAction;
use agent_gate::config::Target;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use toml::Spanned;
use watchdog::KernelPorts;
use watchdog_core::liveness::{LivenessContract, Plan, Unkept, plan};
use watchdog_core::names::{Environment, Service};
use watchdog_core::tally::Signal;
use watchdog_core::watch::WatchConfig;

/// One `[[service]]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceTable {
    /// With its place in the file, so that a mistake about the whole table can be shown there.
    pub name: Spanned<Service>,
    #[serde(default = "environment_default")]
    pub environment: Environment,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<BTreeSet<Signal>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beat_interval_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instances_min: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_grace_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<KernelPorts>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness: Option<LivenessContract>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revert: Option<RevertAction>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub target: Vec<Target>,
    /// Keys of `[policy]` that differ for this service.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub policy: Map<String, Value>,
}

/// The environment of a service that names none, which asks for no approval.
fn environment_default() -> Environment {
    Environment::new(agent_gate::config::ENVIRONMENT_DEFAULT).expect("a plain word is a name")
}

impl ServiceTable {
    #[must_use]
    pub fn name(&self) -> &Service {
        self.name.get_ref()
    }

    #[must_use]
    pub fn for_watchdog(&self) -> watchdog::ServiceConfig {
        watchdog::ServiceConfig {
            name: self.name.get_ref().clone(),
            environment: self.environment.clone(),
            expect: self.expect.clone(),
            beat_interval_ms: self.beat_interval_ms,
            instances_min: self.instances_min,
            restart_grace_ms: self.restart_grace_ms,
            witness: self.witness.clone(),
            liveness: self.liveness,
        }
    }

    #[must_use]
    pub fn for_gate(&self) -> agent_gate::ServiceConfig {
        agent_gate::ServiceConfig {
            name: self.name.get_ref().clone(),
            environment: self.environment.clone(),
            revert: self.revert.clone(),
            target: self.target.clone(),
            policy: self.policy.clone(),
        }
    }

    /// The beats that keep the liveness contract, if there is one.
    pub fn plan(&self, judge: &WatchConfig) -> Option<Result<Plan, Unkept>> {
        let way = judge.presumed_way();
        self.liveness.map(|contract| plan(&contract, self.beat_interval_ms, way, judge))
    }

    /// What is wrong with this table although every key is well formed, by key.
    #[must_use]
    pub fn mistakes(&self, judge: &WatchConfig) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for (key, value) in [
            ("beat_interval_ms", self.beat_interval_ms == Some(0)),
            ("instances_min", self.instances_min == Some(0)),
            ("expect", self.expect.as_ref().is_some_and(BTreeSet::is_empty)),
            ("witness", self.witness.as_ref().is_some_and(|ports| ports.kernel_ports.is_empty())),
        ] {
            if value {
                found.push((key.to_owned(), format!("{key} says nothing; leave it out instead")));
            }
        }
        if let Some(Err(unkept)) = self.plan(judge) {
            found.push(("liveness".to_owned(), format!("liveness of `{}`: {unkept}", self.name())));
        }
        found
    }
}
