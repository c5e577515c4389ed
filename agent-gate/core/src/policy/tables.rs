//! Which table of the configuration a key of the policy is taken from.
//!
//! Keys of `[[service]]` come before those of its `[[environment]]`, and those before `[policy]`.
//!
//! Invariant: the tables say where a key stands and never what it is worth.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// One table of the configuration, as a person reads it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Table(String);

impl Table {
    /// `[policy]`, or the default of a key that stands nowhere.
    #[must_use]
    pub fn policy() -> Self {
        Self("[policy]".to_owned())
    }

    #[must_use]
    pub fn environment(name: &str) -> Self {
        Self(format!("[[environment]] {name}"))
    }

    #[must_use]
    pub fn service(name: &str) -> Self {
        Self(format!("[[service]] {name}"))
    }

    /// No table: a rule that no key changes.
    #[must_use]
    pub fn built_in() -> Self {
        Self("built in".to_owned())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The tables of the keys that do not stand in `[policy]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tables(BTreeMap<String, Table>);

impl Tables {
    /// All keys stand in `[policy]`.
    #[must_use]
    pub const fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// Notes that `key` stands in `table`, over what was noted before.
    pub fn lay(&mut self, key: &str, table: Table) {
        self.0.insert(key.to_owned(), table);
    }

    /// Where `key` stands.
    #[must_use]
    pub fn of(&self, key: &str) -> Table {
        self.0.get(key).cloned().unwrap_or_else(Table::policy)
    }
}

impl fmt::Display for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(key, table)| (key, table.as_str()))).finish()
    }
}
