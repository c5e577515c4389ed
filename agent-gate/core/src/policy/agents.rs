//! Which agents a policy lets roll out, and who owns them.
//!
//! Invariant: a name is the name of a credential, which the gate knows, and never the one that an
//! agent gives itself in a request.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Names of agents; `*` at the end of one stands for any rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Agents(Vec<String>);

impl Agents {
    /// Every agent.
    #[must_use]
    pub fn all() -> Self {
        Self(vec!["*".to_owned()])
    }

    /// These agents.
    #[must_use]
    pub fn only(names: &[&str]) -> Self {
        Self(names.iter().map(|&name| name.to_owned()).collect())
    }

    /// Whether the credential `name` is one of them.
    #[must_use]
    pub fn admit(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == pattern,
        })
    }
}

/// The persons who own an agent, by the names of their credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Owners(BTreeMap<String, BTreeSet<String>>);

impl Owners {
    /// The owners of one agent.
    #[must_use]
    pub fn of(agent: &str, persons: &[&str]) -> Self {
        let persons = persons.iter().map(|&person| person.to_owned()).collect();
        Self(BTreeMap::from([(agent.to_owned(), persons)]))
    }

    /// Whether `person` owns `agent`.
    #[must_use]
    pub fn owns(&self, person: &str, agent: &str) -> bool {
        self.0.get(agent).is_some_and(|persons| persons.contains(person))
    }

    /// Whether nobody owns anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_whole_unless_it_ends_in_a_star() {
        let agents = Agents::only(&["improver", "ci-*"]);
        for (name, is_admitted) in
            [("improver", true), ("ci-1", true), ("ci-", true), ("improver2", false), ("", false)]
        {
            assert_eq!(agents.admit(name), is_admitted, "{name}");
        }
        assert!(Agents::all().admit("anyone") && !Agents::only(&[]).admit("anyone"));
    }
}
