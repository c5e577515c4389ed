//! Who may call: bearer tokens with one role each.
//!
//! The gate keeps only SHA-256 hashes. The book in memory is what the store holds, changed after
//! the commit, so a token that was revoked with an answer stays revoked.
//!
//! Invariant: a look-up takes the same path for every presented text; how much of a guess was
//! right cannot be measured.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, RwLock};

use agent_gate_core::gate::event;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::store::TokenRow;

/// What the bearer of a token may do.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// An autonomous agent: asks, reports, freezes. Moves towards safety only.
    Agent,
    /// A person: approves, thaws, settles.
    Operator,
    /// A watchdog: attests.
    Watchdog,
    /// Reads.
    Viewer,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Agent, Self::Operator, Self::Watchdog, Self::Viewer];

    /// The word in configuration, API and audit.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Operator => "operator",
            Self::Watchdog => "watchdog",
            Self::Viewer => "viewer",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| {
            format!("unknown role {text:?}; one of agent, operator, watchdog, viewer")
        })
    }
}

impl From<event::Role> for Role {
    fn from(role: event::Role) -> Self {
        match role {
            event::Role::Agent => Self::Agent,
            event::Role::Operator => Self::Operator,
            event::Role::Watchdog => Self::Watchdog,
            event::Role::Viewer => Self::Viewer,
        }
    }
}

impl From<Role> for event::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Agent => Self::Agent,
            Role::Operator => Self::Operator,
            Role::Watchdog => Self::Watchdog,
            Role::Viewer => Self::Viewer,
        }
    }
}

/// The caller of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    pub name: String,
    pub role: Role,
}

impl Principal {
    /// The caller as the core knows it.
    #[must_use]
    pub fn caller(&self) -> event::Caller {
        event::Caller { name: self.name.clone(), role: self.role.into() }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.role, self.name)
    }
}

/// All tokens, as they were last committed.
#[derive(Debug, Clone, Default)]
pub struct TokenBook {
    rows: Arc<RwLock<Vec<TokenRow>>>,
}

impl TokenBook {
    /// Puts `rows` in the place of those with the same names.
    pub fn put(&self, rows: impl IntoIterator<Item = TokenRow>) {
        let mut book = self.rows.write().expect("no holder of the lock panics");
        for row in rows {
            match book.iter_mut().find(|known| known.name == row.name) {
                Some(known) => *known = row,
                None => book.push(row),
            }
        }
    }

    /// The row named `name`.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<TokenRow> {
        let book = self.rows.read().expect("no holder of the lock panics");
        book.iter().find(|row| row.name == name).cloned()
    }

    /// Who presents `secret`, unless nobody does or the token is dead at `now_ms`.
    #[must_use]
    pub fn principal(&self, secret: &str, now_ms: u64) -> Option<Principal> {
        let presented = hash(secret);
        let book = self.rows.read().expect("no holder of the lock panics");
        // Every row is compared in full, and the position is picked without a branch.
        let mut found = Choice::from(0);
        let mut at = 0_u64;
        for (index, row) in (0_u64..).zip(book.iter()) {
            let same = row.sha256.ct_eq(&presented);
            at.conditional_assign(&index, same);
            found |= same;
        }
        if !bool::from(found) {
            return None;
        }
        let row = book.get(usize::try_from(at).ok()?)?;
        let is_dead = row.revoked_ms.is_some() || row.expires_ms.is_some_and(|at| at <= now_ms);
        if is_dead {
            return None;
        }
        Some(Principal { name: row.name.clone(), role: row.role.parse().ok()? })
    }
}

/// The hash under which a secret is kept.
#[must_use]
pub fn hash(secret: &str) -> Vec<u8> {
    Sha256::digest(secret.as_bytes()).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, role: Role, secret: &str) -> TokenRow {
        TokenRow {
            name: name.into(),
            role: role.to_string(),
            sha256: hash(secret),
            created_ms: 0,
            expires_ms: None,
            revoked_ms: None,
        }
    }

    #[test]
    fn a_token_is_found_by_its_secret_and_not_by_its_name_or_hash() {
        let book = TokenBook::default();
        book.put([row("a", Role::Agent, "s1"), row("o", Role::Operator, "s2")]);
        let found = book.principal("s2", 1).expect("a known secret");
        assert_eq!((found.name.as_str(), found.role), ("o", Role::Operator));
        for text in ["", "o", "s", "s22", &hex::encode(hash("s2"))] {
            assert_eq!(book.principal(text, 1), None, "{text:?}");
        }
    }

    #[test]
    fn a_token_dies_at_its_expiry_and_when_it_is_revoked() {
        let book = TokenBook::default();
        book.put([TokenRow { expires_ms: Some(10), ..row("a", Role::Agent, "s") }]);
        assert!(book.principal("s", 9).is_some());
        assert!(book.principal("s", 10).is_none());
        book.put([TokenRow { revoked_ms: Some(1), ..row("a", Role::Agent, "s") }]);
        assert!(book.principal("s", 2).is_none());
    }
}
