//! From the tables of the configuration to the policy that is in force.
//!
//! ```text
//! [policy]  ◄── laid over by ──  [[environment]]  ◄── laid over by ──  [[service]]
//! ```
//!
//! Invariant: a key is taken from the nearest table that sets it, and the policy says from which.

use std::collections::{BTreeMap, BTreeSet};

use agent_gate_core::policy::{
    self, EnvironmentPolicy, FLEET_KEYS, Policy, PolicySet, ServicePolicy, Table, Tables,
};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use watchdog_core::names::{Environment, Service};

use super::StartError;
use crate::config::{EnvironmentConfig, RevertAction, ServiceConfig};

/// The key whose value is a table of its own.
const FREEZE_SCOPE: &str = "freeze_scope";

/// `[policy]` and the tables of the environments.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    pub fleet: Policy,
    pub environments: Vec<EnvironmentConfig>,
}

impl From<Policy> for Policies {
    fn from(fleet: Policy) -> Self {
        Self { fleet, environments: Vec::new() }
    }
}

impl Policies {
    /// The policy of the whole installation.
    ///
    /// # Errors
    /// [`StartError`] naming the table and the key that cannot work.
    pub fn set(&self, services: &[ServiceConfig]) -> Result<PolicySet, StartError> {
        let mut environments = BTreeMap::new();
        for table in &self.environments {
            let bound = self.environment(table, services)?;
            if environments.insert(table.name.clone(), bound).is_some() {
                let problem = "is configured twice; keep one [[environment]] table".to_owned();
                return Err(StartError::environment(&table.name, problem));
            }
        }
        let (mut names, mut targets) = (BTreeSet::new(), BTreeSet::new());
        let mut bound = Vec::with_capacity(services.len());
        for service in services {
            let refuse = |problem: String| StartError::service(&service.name, problem);
            if !names.insert(&service.name) {
                return Err(refuse("is configured twice; keep one [[service]] table".to_owned()));
            }
            for target in &service.target {
                if !targets.insert(&target.name) {
                    return Err(refuse(format!("target {} is named twice", target.name)));
                }
            }
            let below = environments.get(&service.environment);
            bound.push(self.service(service, below).map_err(refuse)?);
        }
        let environments = environments.into_values();
        Ok(PolicySet::layered(self.fleet.clone(), environments, bound, |text| {
            hex::encode(Sha256::digest(text.as_bytes()))
        }))
    }

    fn environment(
        &self,
        table: &EnvironmentConfig,
        services: &[ServiceConfig],
    ) -> Result<EnvironmentPolicy, StartError> {
        let refuse = |problem| StartError::environment(&table.name, problem);
        if is_empty(&table.name, services) {
            return Err(refuse(NOBODY_IN_IT.to_owned()));
        }
        let name = Table::environment(table.name.as_str());
        let mut tables = Tables::none();
        let policy = lay(&self.fleet, &mut tables, &table.policy, &name).map_err(refuse)?;
        Ok(EnvironmentPolicy { name: table.name.clone(), policy, tables })
    }

    fn service(
        &self,
        service: &ServiceConfig,
        below: Option<&EnvironmentPolicy>,
    ) -> Result<ServicePolicy, String> {
        let name = Table::service(service.name.as_str());
        let mut tables = below.map_or_else(Tables::none, |below| below.tables.clone());
        let under = below.map_or(&self.fleet, |below| &below.policy);
        Ok(ServicePolicy {
            name: service.name.clone(),
            environment: service.environment.clone(),
            revert: match self.way_back(service) {
                Some(_) => policy::RevertAction::Configured,
                None => policy::RevertAction::Missing,
            },
            policy: lay(under, &mut tables, &service.policy, &name)?,
            tables,
        })
    }

    /// The revert action of a service: its own, or its environment's.
    #[must_use]
    pub fn way_back<'a>(&'a self, service: &'a ServiceConfig) -> Option<&'a RevertAction> {
        let mut environments = self.environments.iter();
        let of = environments.find(|table| table.name == service.environment);
        service.revert.as_ref().or_else(|| of.and_then(|table| table.revert.as_ref()))
    }

    /// The revert actions of all services.
    #[must_use]
    pub fn ways_back(&self, services: &[ServiceConfig]) -> BTreeMap<Service, RevertAction> {
        let of = |each: &ServiceConfig| Some((each.name.clone(), self.way_back(each)?.clone()));
        services.iter().filter_map(of).collect()
    }
}

/// Why the table of an environment stands for nothing.
pub const NOBODY_IN_IT: &str =
    "has no service in it, so its policy binds nobody; name it in a [[service]] table";

/// Whether no service is in the environment. Services that are not configured are in the default
/// one.
#[must_use]
pub fn is_empty(name: &Environment, services: &[ServiceConfig]) -> bool {
    let is_default = name.as_str() == crate::config::ENVIRONMENT_DEFAULT;
    !is_default && !services.iter().any(|service| service.environment == *name)
}

/// Lays the keys of one table over a policy.
///
/// # Errors
/// A sentence that begins with the key.
pub fn lay(
    under: &Policy,
    tables: &mut Tables,
    keys: &Map<String, Value>,
    table: &Table,
) -> Result<Policy, String> {
    let mut policy = under.clone();
    for (key, value) in keys {
        policy = with(&policy, key, value).map_err(|error| format!("policy.{key}: {error}"))?;
        tables.lay(key, table.clone());
    }
    let is_here = |key: &str| keys.contains_key(key);
    let of_fleet = FLEET_KEYS.into_iter().find(|key| is_here(key));
    if let Some(key) = of_fleet {
        return Err(format!("policy.{key} holds for the whole fleet; set it in [policy]"));
    }
    match policy.mistakes().into_iter().next() {
        Some((key, problem)) => Err(format!("policy.{key} {problem}")),
        None => Ok(policy),
    }
}

/// `policy` with one key laid over it. Tables are laid over tables key by key.
///
/// # Errors
/// What `serde` says of the value.
pub fn with(policy: &Policy, key: &str, value: &Value) -> Result<Policy, String> {
    let mut keys = serde_json::to_value(policy).map_err(|error| error.to_string())?;
    let mut value = value.clone();
    if let (FREEZE_SCOPE, Some(over)) = (key, value.as_object()) {
        let below = keys[key].take();
        let other = || Map::from_iter([("other".to_owned(), below.clone())]);
        let mut scopes = below.as_object().cloned().unwrap_or_else(other);
        scopes.extend(over.clone());
        value = scopes.into();
    }
    keys[key] = value;
    serde_json::from_value(keys).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(name: &str, environment: &str, policy: Value) -> ServiceConfig {
        let table = json!({"name": name, "environment": environment, "policy": policy});
        serde_json::from_value(table).expect("a service table")
    }

    fn environment(name: &str, policy: Value) -> EnvironmentConfig {
        let table = json!({"name": name, "policy": policy, "revert": {"exec": ["/bin/back"]}});
        serde_json::from_value(table).expect("an environment table")
    }

    fn name(text: &str) -> Service {
        Service::new(text).expect("a name")
    }

    #[test]
    fn each_key_is_taken_from_the_nearest_table_and_the_policy_says_which() {
        let policies = Policies {
            fleet: Policy { bake_ms: 7, ..Policy::default() },
            environments: vec![environment("live", json!({"dwell_ms": 8, "evidence_min": 8}))],
        };
        let services =
            [service("a", "live", json!({"dwell_ms": 9})), service("b", "test", json!({}))];
        let set = policies.set(&services).expect("a good policy");
        let (of_a, tables) = set.binding(&name("a"));
        assert_eq!((of_a.dwell_ms, of_a.evidence_min, of_a.bake_ms), (9, 8, 7));
        let said = ["dwell_ms", "evidence_min", "bake_ms"].map(|key| tables.of(key).to_string());
        assert_eq!(said, ["[[service]] a", "[[environment]] live", "[policy]"]);
        for other in ["b", "never heard of"] {
            assert_eq!(set.of(&name(other)), &policies.fleet, "{other}");
        }
        let reverts = policies.ways_back(&services);
        assert_eq!(reverts.keys().collect::<Vec<_>>(), [&name("a")], "its environment's");
    }

    #[test]
    fn services_that_are_not_configured_are_bound_by_the_default_environment() {
        let environments = vec![environment("default", json!({"approval": "always"}))];
        let policies = Policies { fleet: Policy::default(), environments };
        let set = policies.set(&[]).expect("a good policy");
        assert!(set.needs_approval(&name("stray")));
    }

    #[test]
    fn a_table_of_freeze_scopes_is_laid_over_key_by_key_and_a_word_over_all() {
        let policies = Policies {
            fleet: Policy::default(),
            environments: vec![environment(
                "live",
                json!({"freeze_scope": {"regressed": "service", "down": "environment"}}),
            )],
        };
        let services = [
            service("a", "live", json!({"freeze_scope": {"down": "service"}})),
            service("b", "live", json!({"freeze_scope": "service"})),
        ];
        let set = policies.set(&services).expect("a good policy");
        let scopes = |text| format!("{:?}", set.of(&name(text)).freeze_scope);
        assert_eq!(scopes("a"), r#"{Down: Service, Regressed: Service, "other": Fleet}"#);
        assert_eq!(scopes("b"), "Service");
    }

    #[test]
    fn a_wrong_key_value_or_table_is_named() {
        let fail = |environments: Vec<EnvironmentConfig>, services: &[ServiceConfig]| {
            let policies = Policies { fleet: Policy::default(), environments };
            policies.set(services).expect_err("a wrong policy").to_string()
        };
        for (policy, says) in [
            (json!({"dwell": 9}), "policy.dwell: unknown field `dwell`"),
            (json!({"dwell_ms": 0}), "policy.dwell_ms must be at least 1"),
            (json!({"open_max": 5}), "policy.open_max holds for the whole fleet"),
            (json!({"gap_max_ms": 900_000}), "policy.gap_max_ms is beyond patience_ms"),
        ] {
            let error = fail(vec![], &[service("shop", "live", policy.clone())]);
            assert!(error.contains("service shop") && error.contains(says), "{error}");
            let shop = [service("shop", "live", json!({}))];
            let error = fail(vec![environment("live", policy)], &shop);
            assert!(error.contains("environment live") && error.contains(says), "{error}");
        }
        let twice = [service("a", "test", json!({})), service("a", "test", json!({}))];
        assert!(fail(vec![], &twice).contains("configured twice"));
        assert!(fail(vec![environment("lvie", json!({}))], &twice).contains("no service in it"));
    }
}
