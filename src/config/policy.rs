//! The tables of policy: `[policy]`, `[[environment]]` and `[[service]]`, one laid over the other.
//!
//! Invariant: what is wrong is shown at the key that is wrong, and where it is wrong in what it is
//! laid over already, only there.

use agent_gate::start::policies;
use agent_gate::{EnvironmentConfig, Policies, Policy, RevertAction};
use agent_gate_core::policy::{FLEET_KEYS, Table};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use toml::Spanned;
use watchdog_core::names::{Environment, Service};

use super::mistake::{Mistake, in_our_words};
use super::origin::{Origins, join};
use super::{Config, Loaded};

/// One `[[environment]]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentTable {
    /// With its place in the file, so that a mistake about the whole table can be shown there.
    pub name: Spanned<Environment>,
    /// The way back of its services that have none of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revert: Option<RevertAction>,
    /// Keys of `[policy]` that differ for its services.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub policy: Map<String, Value>,
}

impl Config {
    /// `[policy]` and the tables of the environments, for the gate.
    #[must_use]
    pub fn policies(&self) -> Policies {
        let of = |table: &EnvironmentTable| EnvironmentConfig {
            name: table.name.get_ref().clone(),
            revert: table.revert.clone(),
            policy: table.policy.clone(),
        };
        Policies {
            fleet: self.policy.clone(),
            environments: self.environments.iter().map(of).collect(),
        }
    }

    /// What the gate takes from the tables of the services.
    #[must_use]
    pub fn services_of_gate(&self) -> Vec<agent_gate::ServiceConfig> {
        self.services.iter().map(|table| table.for_gate()).collect()
    }
}

/// What is wrong with the tables of environments and with the policies of services, by path.
pub fn mistakes(config: &Config, origins: &Origins) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let services = config.services_of_gate();
    for (index, table) in config.environments.iter().enumerate() {
        let entry = origins.entry("environment", "name", &table.name.span());
        let name = table.name.get_ref();
        let earlier = &config.environments[..index];
        if earlier.iter().any(|other| other.name.get_ref() == name) {
            let text = format!("environment `{name}` is configured twice");
            found.push((join(&entry, "name"), text));
        }
        if policies::is_empty(name, &services) {
            let text = format!("environment `{name}` {}", policies::NOBODY_IN_IT);
            found.push((join(&entry, "name"), text));
        }
        let (_, wrong) = laid(&config.policy, &table.policy);
        found.extend(wrong.into_iter().map(|(key, text)| (join(&entry, &key), text)));
    }
    for table in &config.services {
        let entry = origins.entry("service", "name", &table.name.span());
        let mut environments = config.environments.iter();
        let of = environments.find(|each| *each.name.get_ref() == table.environment);
        let under =
            of.map_or_else(|| config.policy.clone(), |of| laid(&config.policy, &of.policy).0);
        let (_, wrong) = laid(&under, &table.policy);
        found.extend(wrong.into_iter().map(|(key, text)| (join(&entry, &key), text)));
    }
    found
}

/// A policy with the keys of one table laid over it, and what is wrong with these, by key.
fn laid(under: &Policy, keys: &Map<String, Value>) -> (Policy, Vec<(String, String)>) {
    let (mut policy, mut found) = (under.clone(), Vec::new());
    let mut say = |key: &str, text: &str| {
        found.push((format!("policy.{key}"), format!("policy.{key}{text}")));
    };
    for (key, value) in keys {
        match policies::with(&policy, key, value) {
            Ok(over) => policy = over,
            Err(error) => say(key, &format!(": {}", in_our_words(&error))),
        }
        if FLEET_KEYS.contains(&key.as_str()) {
            say(key, " holds for the whole fleet; set it in [policy]");
        }
    }
    let known = under.mistakes();
    for (key, text) in policy.mistakes() {
        if !known.iter().any(|(wrong, _)| *wrong == key) {
            say(key, &format!(" {text}"));
        }
    }
    (policy, found)
}

/// The policy that binds `service`: every key with its value and where it stands.
#[must_use]
pub fn explain(loaded: &Loaded, service: &Service) -> Value {
    let config = &loaded.config;
    let services = config.services_of_gate();
    let policies = config.policies();
    let set = policies.set(&services).expect("the configuration was checked when it was read");
    let (policy, tables) = set.binding(service);
    let environment = set.environment(service);
    let values = serde_json::to_value(policy).expect("a policy has text keys");
    let keys: Vec<Value> = values
        .as_object()
        .expect("a policy is a table")
        .iter()
        .map(|(key, value)| {
            let table = tables.of(key);
            let at = place(loaded, service, &environment, &table, key);
            json!({"key": key, "value": value, "table": table, "at": at})
        })
        .collect();
    let configured = services.iter().find(|each| each.name == *service);
    let way_back = configured.and_then(|each| policies.way_back(each)).map(|action| match action {
        RevertAction::Exec { .. } => "exec",
        RevertAction::Webhook { .. } => "webhook",
    });
    json!({
        "service": service,
        "environment": environment,
        "configured": configured.is_some(),
        "revert": way_back,
        "approval_needed": set.needs_approval(service),
        "policy_hash": set.hash,
        "policy": keys,
    })
}

/// Where the key was written: `file:line`, or `default`.
fn place(
    loaded: &Loaded,
    service: &Service,
    environment: &Environment,
    table: &Table,
    key: &str,
) -> String {
    let Config { services, environments, .. } = &loaded.config;
    let entry = |list, span| join(&loaded.origins.entry(list, "name", &span), "policy");
    let path = if *table == Table::service(service.as_str()) {
        let of = services.iter().find(|each| each.name() == service);
        of.map(|each| entry("service", each.name.span()))
    } else if *table == Table::environment(environment.as_str()) {
        let of = environments.iter().find(|each| each.name.get_ref() == environment);
        of.map(|each| entry("environment", each.name.span()))
    } else {
        Some("policy".to_owned())
    };
    let span = path.and_then(|path| loaded.origins.span(&join(&path, key)));
    let line = span.and_then(|span| Mistake::at(&loaded.source, Some(span), "").line);
    let file = loaded.file.as_ref().map(|file| file.display().to_string());
    line.zip(file).map_or_else(|| "default".to_owned(), |(line, file)| format!("{file}:{line}"))
}

/// The same for a person, a line for each key.
#[must_use]
pub fn text(explained: &Value) -> String {
    let word = |key: &str| explained[key].as_str().unwrap_or("none").to_owned();
    let mut lines = vec![
        format!("# service {} in environment {}", word("service"), word("environment")),
        format!("# a person must approve: {}", explained["approval_needed"]),
        format!("# revert: {}", word("revert")),
        format!("# policy hash {}", word("policy_hash")),
    ];
    for key in explained["policy"].as_array().into_iter().flatten() {
        let value = super::print::plain(&key["value"]);
        let setting = format!("{} = {value}", key["key"].as_str().unwrap_or_default());
        let (table, at) = (key["table"].as_str(), key["at"].as_str());
        let (table, at) = (table.unwrap_or_default(), at.unwrap_or_default());
        let origin = if at == "default" { at.to_owned() } else { format!("{table}, {at}") };
        lines.push(format!("{setting:<40} # {origin}"));
    }
    lines.join("\n")
}
