//! What the gate keeps on disk, as a boundary: one writer that commits batches, many readers.
//!
//! The driver turns every step of the core into rows and hands a whole batch over; a store either
//! keeps all of it, durable against power loss, or fails. There is no partial success and no
//! retry: after an error the process ends and the next one starts from what is on disk. One file
//! ([`sqlite`]) serves one gate, one database ([`postgres`]) serves several that take turns.
//!
//! Invariant: [`Store::commit`] returns `Ok` only when the batch survives `kill -9` and a power
//! cut, and no other gate wrote since [`Store::load`].

use std::time::Duration;

use futures_util::future::BoxFuture;

pub mod chain;
mod error;
mod journal;
#[cfg(test)]
pub(crate) mod paused;
pub mod postgres;
pub mod sqlite;

pub use error::StoreError;
pub use journal::START_CHECK_MAX;

/// The writing side. Owned by the driver alone.
pub trait Store: Send {
    /// Everything a start needs.
    fn load(&mut self) -> BoxFuture<'_, Result<Loaded, StoreError>>;
    /// Keeps `batch` as one transaction. Where gates take turns, an empty one keeps the turn.
    /// After an error every further commit fails.
    fn commit<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Result<(), StoreError>>;
    /// For how long after the begin of a commit no other gate can write; `None` if none ever can.
    fn lease(&self) -> Option<Duration>;
    /// Ends the connection, so that another gate finds the store free.
    fn close(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// The reading side. It sees committed state only, so no answer shows what could still be lost.
pub trait Reader: Send + Sync {
    fn rollouts<'a>(&'a self, page: &'a Page) -> BoxFuture<'a, Result<Vec<String>, StoreError>>;
    fn rollout<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<String>, StoreError>>;
    fn freezes(&self, all: bool) -> BoxFuture<'_, Result<Vec<String>, StoreError>>;
    fn decisions<'a>(&'a self, page: &'a Page) -> BoxFuture<'a, Result<Vec<String>, StoreError>>;
    fn decision<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<String>, StoreError>>;
    fn audit<'a>(&'a self, page: &'a AuditPage)
    -> BoxFuture<'a, Result<Vec<AuditRow>, StoreError>>;
    fn tokens(&self) -> BoxFuture<'_, Result<Vec<TokenRow>, StoreError>>;
    /// Ends all connections.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// What to list, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Only rows older than this id.
    pub before: Option<String>,
    /// Rollouts: the state. Decisions: the rollout.
    pub only: Option<String>,
    pub service: Option<String>,
    pub limit: u32,
}

/// Which audit rows to list, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditPage {
    pub after: u64,
    pub subject: Option<String>,
    pub limit: u32,
}

/// State at start.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    pub meta: Vec<(String, String)>,
    /// All rollouts, as the core wrote them, oldest first.
    pub rollouts: Vec<String>,
    /// All freezes, thawed ones included, oldest first.
    pub freezes: Vec<String>,
    pub tokens: Vec<TokenRow>,
    /// Orders that were given and never settled.
    pub effects: Vec<EffectRow>,
}

/// One transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    pub meta: Vec<(String, String)>,
    pub rollouts: Vec<RolloutRow>,
    pub freezes: Vec<FreezeRow>,
    pub decisions: Vec<DecisionRow>,
    pub audit: Vec<AuditEntry>,
    pub tokens: Vec<TokenRow>,
    pub effects: Vec<EffectRow>,
    pub settled: Vec<Settled>,
}

impl Batch {
    /// Whether there is nothing to keep.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutRow {
    pub id: String,
    pub change_id: String,
    pub service: String,
    pub state: String,
    pub body: String,
    pub updated_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreezeRow {
    pub id: String,
    pub scope: String,
    pub in_force: bool,
    pub body: String,
    pub at_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionRow {
    pub id: String,
    pub rollout: String,
    pub service: String,
    pub decision: String,
    /// The first reason code.
    pub reason: String,
    pub body: String,
    pub at_ms: u64,
}

/// Who did what to what. The store numbers and chains it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    pub at_ms: u64,
    /// `role:name` of the caller, `watchdog:name`, or `gate` for what it did by itself.
    pub who: String,
    pub what: String,
    /// The id the entry is about: a rollout, a freeze, a token name.
    pub subject: String,
    /// JSON, as text.
    pub detail: String,
    /// What was in sight then, for a replay of the journal; the record holds its hash.
    pub sight: Option<String>,
}

/// An audit row as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    pub seq: u64,
    pub record: String,
    pub prev: Vec<u8>,
    pub hash: Vec<u8>,
}

/// What is found when the audit journal is read again from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Journal {
    /// Every entry follows from the one before; the head's number is their count.
    Whole(chain::Head),
    Broken(Break),
}

/// The first entry that is not as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Break {
    pub entry: u64,
    /// Goes on after "entry N".
    pub reason: &'static str,
    /// The last entry before it that is whole.
    pub whole: chain::Head,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    pub name: String,
    pub role: String,
    pub sha256: Vec<u8>,
    pub created_ms: u64,
    pub expires_ms: Option<u64>,
    pub revoked_ms: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectRow {
    pub id: String,
    pub rollout: String,
    pub generation: u64,
    pub body: String,
    pub issued_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    pub effect: String,
    pub at_ms: u64,
    pub outcome: String,
}
