//! The scope of a freeze: the fleet, one environment, one service or one agent's rollouts.
//!
//! Invariant: a scope's text is its only wire form, and text and scope map one to one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use watchdog_core::names::{Environment, NameError, Service};

use crate::ids::AgentName;

/// What a freeze stops.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Scope {
    Fleet,
    Environment(Environment),
    Service(Service),
    Agent(AgentName),
}

impl Scope {
    /// Whether a rollout of `service` in `environment` by `agent` lies in this scope.
    #[must_use]
    pub fn covers(&self, service: &Service, environment: &Environment, agent: &AgentName) -> bool {
        match self {
            Self::Fleet => true,
            Self::Environment(frozen) => frozen == environment,
            Self::Service(frozen) => frozen == service,
            Self::Agent(frozen) => frozen == agent,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fleet => f.write_str("fleet"),
            Self::Environment(name) => write!(f, "environment={name}"),
            Self::Service(name) => write!(f, "service={name}"),
            Self::Agent(name) => write!(f, "agent={name}"),
        }
    }
}

/// A text that is not a scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScopeError {
    Form(String),
    Name(NameError),
}

impl fmt::Display for ScopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form(text) => write!(
                f,
                "{text:?} is not a scope: write fleet, environment=NAME, service=NAME or agent=NAME"
            ),
            Self::Name(error) => write!(f, "the scope's name is not usable: {error}"),
        }
    }
}

impl std::error::Error for ScopeError {}

impl FromStr for Scope {
    type Err = ScopeError;
    fn from_str(text: &str) -> Result<Self, ScopeError> {
        if text == "fleet" {
            return Ok(Self::Fleet);
        }
        match text.split_once('=') {
            Some(("environment", name)) => name.parse().map(Self::Environment),
            Some(("service", name)) => name.parse().map(Self::Service),
            Some(("agent", name)) => name.parse().map(Self::Agent),
            Some(_) | None => return Err(ScopeError::Form(text.to_owned())),
        }
        .map_err(ScopeError::Name)
    }
}

impl TryFrom<String> for Scope {
    type Error = ScopeError;
    fn try_from(text: String) -> Result<Self, ScopeError> {
        text.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_read_back_from_its_text() {
        for text in ["fleet", "environment=production", "service=shop/checkout", "agent=a=b"] {
            assert_eq!(text.parse::<Scope>().map(|scope| scope.to_string()).as_deref(), Ok(text));
        }
        for wrong in ["", "Fleet", "service", "service=", "team=x"] {
            assert!(wrong.parse::<Scope>().is_err(), "{wrong:?}");
        }
    }
}
