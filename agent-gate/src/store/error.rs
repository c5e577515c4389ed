//! Why a store cannot be used, each with what to do about it.
//!
//! Invariant: no message repeats a password; a database is named by host, port and name alone.

use std::path::PathBuf;
use std::time::Duration;

use super::Break;

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("open {}: {}", path.display(), os_text(source))]
    Open { path: PathBuf, source: std::io::Error },
    #[error(
        "{} is used by another gate; stop it or give this one its own --data-dir",
        path.display()
    )]
    InUse { path: PathBuf },
    #[error("open {}: {source}", path.display())]
    Connect { path: PathBuf, source: sqlx::Error },
    #[error(
        "SQLite {found} can corrupt a database in WAL mode; this gate needs {needed} or newer: \
         build with the bundled one"
    )]
    OldLibrary { found: String, needed: &'static str },
    #[error(
        "{} has schema {found}, this version knows {known}: it was written by a newer Holdpoint; \
         start that version again, or give this one another --data-dir", path.display()
    )]
    NewerSchema { path: PathBuf, found: i64, known: i64 },
    #[error("{} is damaged ({finding}): restore it from a backup", path.display())]
    Damaged { path: PathBuf, finding: String },
    #[error(
        "{0} has a broken audit journal (entry {1} {2}): see `holdpoint audit verify --store {0}`; \
         to go on, put a backup in its place and take {0}-wal and {0}-shm away",
        path.display(), found.entry, found.reason
    )]
    BrokenJournal { path: PathBuf, found: Break },
    #[error("{} is not a gate's store: name its gate.db, or a backup of it", path.display())]
    Strange { path: PathBuf },
    #[error("{} is there already, and a backup overwrites nothing: name another", path.display())]
    Taken { path: PathBuf },
    #[error("write backup {}: {}", path.display(), os_text(source))]
    Backup { path: PathBuf, source: std::io::Error },
    #[error("write backup {}: {source}", path.display())]
    Copy { path: PathBuf, source: sqlx::Error },
    #[error("reach the database {database}: {source}")]
    Reach { database: String, source: sqlx::Error },
    #[error("the database {database} does not answer within {within:?}")]
    Hangs { database: String, within: Duration },
    #[error(
        "the database {database} has schema {found}, this version knows {known}: it was written \
         by a newer Holdpoint; start that version again, or name another database"
    )]
    NewerDatabase { database: String, found: i64, known: i64 },
    #[error(
        "the database {database} has {setting} = {value}: what the gate answers could be lost in a \
         power cut; {todo}"
    )]
    NotDurable { database: String, setting: &'static str, value: String, todo: &'static str },
    #[error(
        "the audit journal in the database {database} is broken (entry {} {}): see `holdpoint \
         audit verify`; to go on, restore the database from a backup", found.entry, found.reason
    )]
    BrokenDatabase { database: String, found: Break },
    #[error("the database {database} has no gate's state in it: name the one that the gate uses")]
    StrangeDatabase { database: String },
    #[error("term {term} is over: another gate writes to the database {database} now")]
    TermLost { database: String, term: i64 },
    #[error("a write failed before, so nothing more is written; the next start goes on")]
    Poisoned,
    #[error("write to the store: {0}")]
    Write(#[source] sqlx::Error),
    #[error("read from the store: {0}")]
    Read(#[source] sqlx::Error),
    #[error("{table} row {id:?} cannot be read: {reason}")]
    Row { table: &'static str, id: String, reason: String },
}

impl StoreError {
    /// Whether another gate took over: nothing is wrong with the store.
    #[must_use]
    pub const fn is_lost_term(&self) -> bool {
        matches!(self, Self::TermLost { .. })
    }

    /// Whether a gate that only waits may look again.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Reach { .. } | Self::Hangs { .. } | Self::Read(_))
    }
}

/// `permission denied (os error 13)`: the operating system's words in lower case, as part of a
/// sentence.
fn os_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => text,
    }
}
