//! The configuration: one TOML file, one table per role, read before any port is bound.
//!
//! No file is a good configuration, because every key has a default. Where a file has mistakes,
//! all of them are reported at once, each with its line, and nothing starts.
//!
//! Invariant: revert actions and expected signals come from here and never from what an agent
//! sends.

mod environment;
mod expand;
mod mistake;
mod origin;
pub mod policy;
mod print;
mod read;
mod service;

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use mistake::{Mistake, Mistakes};
pub use print::{effective, print};
pub use service::ServiceTable;

use crate::telemetry::TelemetryConfig;
use environment::Environment;
use mistake::Mistake as Wrong;
use origin::Origins;

/// The file that is read when `--config` names none and it exists.
pub const FILE_DEFAULT: &str = "holdpoint.toml";

/// Everything that can be configured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where keys, tokens and the gate's store live.
    pub data_dir: PathBuf,
    pub collector: collector::Config,
    pub watchdog: watchdog::Config,
    pub gate: agent_gate::Config,
    pub policy: agent_gate::Policy,
    #[serde(rename = "environment", skip_serializing_if = "Vec::is_empty")]
    pub environments: Vec<policy::EnvironmentTable>,
    pub telemetry: TelemetryConfig,
    #[serde(rename = "service", skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceTable>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("holdpoint-data"),
            collector: collector::Config::default(),
            watchdog: watchdog::Config::default(),
            gate: agent_gate::Config::default(),
            policy: agent_gate::Policy::default(),
            environments: Vec::new(),
            telemetry: TelemetryConfig::default(),
            services: Vec::new(),
        }
    }
}

/// A configuration and where it came from.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    pub config: Config,
    /// The file that was read; `None` if the defaults stand alone.
    pub file: Option<PathBuf>,
    source: String,
    origins: Origins,
    /// What came from the environment; by its place among the collector's exporters.
    environment: Environment,
}

impl Loaded {
    /// SHA-256 of the text in hex, before anything was filled in: what `sha256sum` says.
    #[must_use]
    pub fn sha256(&self) -> String {
        hex::encode(Sha256::digest(&self.source))
    }
}

/// Reads `file`, or `holdpoint.toml` here if there is one, or takes the defaults.
///
/// # Errors
/// [`Mistakes`], all of them.
pub fn load(file: Option<&Path>) -> Result<Loaded, Mistakes> {
    let here = Path::new(FILE_DEFAULT);
    let Some(file) = file.or_else(|| here.is_file().then_some(here)) else {
        return Ok(Loaded::default().with_environment());
    };
    let source = fs::read_to_string(file).map_err(|error| {
        Mistakes::of(file, vec![Wrong::whole(format!("cannot be read: {error}"))])
    })?;
    Ok(parse(file, source)?.with_environment())
}

fn parse(file: &Path, source: String) -> Result<Loaded, Mistakes> {
    let read::Reading { value, origins, mut mistakes } = read::read::<Config>(&source);
    mistakes.extend(across(&value, &origins, &source));
    if mistakes.is_empty() {
        return Ok(Loaded {
            config: value,
            file: Some(file.to_owned()),
            source,
            origins,
            ..Loaded::default()
        });
    }
    Err(Mistakes::of(file, mistakes))
}

/// What is wrong although every key by itself is well formed.
fn across(config: &Config, origins: &Origins, source: &str) -> Vec<Mistake> {
    let mut found = Vec::new();
    let tables = [
        ("collector", config.collector.mistakes()),
        ("watchdog", config.watchdog.mistakes()),
        ("policy", config.policy.mistakes()),
        ("telemetry", config.telemetry.mistakes(&config.collector)),
    ];
    for (table, mistakes) in tables {
        for (key, text) in mistakes {
            let path = origin::join(table, key);
            found.push(Mistake::at(source, origins.nearest(&path), format!("{path} {text}")));
        }
    }
    for (index, service) in config.services.iter().enumerate() {
        let entry = origins.entry("service", "name", &service.name.span());
        let earlier = &config.services[..index];
        if earlier.iter().any(|other| other.name == service.name) {
            let span = origins.span(&origin::join(&entry, "name"));
            let text = format!("service `{}` is configured twice", service.name);
            found.push(Mistake::at(source, span, text));
        }
        for (key, text) in service.mistakes(&config.watchdog.judge) {
            let path = origin::join(&entry, &key);
            found.push(Mistake::at(source, origins.nearest(&path), text));
        }
    }
    for (path, text) in policy::mistakes(config, origins) {
        found.push(Mistake::at(source, origins.nearest(&path), text));
    }
    found
}

#[cfg(test)]
mod tests;
