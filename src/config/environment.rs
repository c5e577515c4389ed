//! Exporters of the collector from `OTEL_EXPORTER_OTLP_*`, where the file names none.
//!
//! Invariant: a mistake in these variables is the collector's alone: the other roles and the
//! command line run with whatever stands in their environment.

use std::collections::BTreeMap;
use std::env;

use super::Loaded;

/// What the variables said.
#[derive(Debug, Clone, Default)]
pub(super) struct Environment {
    /// For each exporter, the variable that set each of its keys.
    origins: Vec<BTreeMap<&'static str, String>>,
    mistakes: Vec<String>,
}

impl Environment {
    /// The variable that set the value at `path`.
    pub(super) fn origin(&self, path: &str) -> Option<&str> {
        let (index, key) = path.strip_prefix("collector.exporter[")?.split_once("].")?;
        let origins = self.origins.get(index.parse::<usize>().ok()?)?;
        let key = key.split(['.', '[']).next()?;
        origins.get(key).map(String::as_str)
    }
}

impl Loaded {
    /// Takes the exporters of the environment, if there is none yet and they are not turned off.
    pub(super) fn with_environment(mut self) -> Self {
        let collector = &mut self.config.collector;
        if !collector.otel_environment || !collector.exporters.is_empty() {
            return self;
        }
        match collector::exporters_of(|name| env::var(name).ok()) {
            Ok(found) => {
                for collector::FromEnvironment { exporter, origins } in found {
                    collector.exporters.push(exporter);
                    self.environment.origins.push(origins);
                }
            }
            Err(mistakes) => self.environment.mistakes = mistakes,
        }
        self
    }

    /// What the collector cannot honour of the environment.
    #[must_use]
    pub fn environment_mistakes(&self) -> &[String] {
        &self.environment.mistakes
    }
}
