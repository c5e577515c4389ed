//! A store of either kind, to be opened, damaged and opened again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent_gate::store::postgres::{Database, Turns, Whose};
use agent_gate::store::sqlite::{self, SqliteStore};
use agent_gate::store::{Journal, Reader, Store, StoreError};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use tempfile::TempDir;

use crate::server;
use crate::stand::PATIENCE;

/// Short, so that a store that was dropped without giving its turn back is soon free.
pub const LEASE: Duration = Duration::from_millis(400);

/// Where a store is kept.
#[derive(Debug)]
pub enum Keep {
    Sqlite { directory: TempDir },
    Postgres { url: String },
}

impl Keep {
    pub fn sqlite() -> Self {
        Self::Sqlite { directory: tempfile::tempdir().expect("a directory") }
    }

    /// `None` where no PostgreSQL is installed.
    pub fn postgres() -> Option<Self> {
        server::database().map(|url| Self::Postgres { url })
    }

    fn path(directory: &TempDir) -> PathBuf {
        directory.path().join("gate.db")
    }

    /// The store and a reader of it, as a gate that starts opens them.
    pub async fn open(&self) -> Result<(Box<dyn Store>, Arc<dyn Reader>), StoreError> {
        match self {
            Self::Sqlite { directory } => {
                let store = SqliteStore::open(&Self::path(directory)).await?;
                let reader = Arc::new(store.reader());
                Ok((Box::new(store), reader))
            }
            Self::Postgres { url } => {
                let database = Database::new(url).expect("a URL");
                database.prepare().await?;
                let reader = Arc::new(database.reader());
                let mut turns = Turns::new(database, "test".into(), "http://test".into(), LEASE);
                let begun = std::time::Instant::now();
                loop {
                    if let Whose::Ours(store) = turns.look().await? {
                        return Ok((store, reader));
                    }
                    assert!(begun.elapsed() < PATIENCE, "the lease before runs out");
                    tokio::time::sleep(turns.pace()).await;
                }
            }
        }
    }

    /// What somebody with the file or the database's password can do.
    pub async fn sql(&self, sql: &str) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite { directory } => {
                let url = format!("sqlite://{}", Self::path(directory).display());
                let mut other = SqliteConnection::connect(&url).await?;
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut other).await?;
                other.close().await
            }
            Self::Postgres { url } => {
                let mut other = PgConnection::connect(url).await?;
                let sql = format!("SET search_path = holdpoint; {sql}");
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut other).await?;
                other.close().await
            }
        }
    }

    /// The same with the triggers out of the way.
    pub async fn tamper(&self, sql: &str) {
        let open = match self {
            Self::Sqlite { .. } => {
                "DROP TRIGGER IF EXISTS audit_keeps_rows; DROP TRIGGER IF EXISTS audit_keeps_text"
            }
            Self::Postgres { .. } => "ALTER TABLE audit DISABLE TRIGGER ALL",
        };
        self.sql(&format!("{open}; {sql}")).await.expect("changed");
    }

    pub async fn set_schema(&self, version: i64) {
        let sql = match self {
            Self::Sqlite { .. } => format!("PRAGMA user_version = {version}"),
            Self::Postgres { .. } => format!("UPDATE schema SET version = {version}"),
        };
        self.sql(&sql).await.expect("changed");
    }

    /// The first broken entry of the journal.
    pub async fn broken_at(&self) -> Option<u64> {
        let journal = match self {
            Self::Sqlite { directory } => sqlite::verify(&Self::path(directory)).await,
            Self::Postgres { url } => Database::new(url).expect("a URL").verify().await,
        };
        match journal.expect("read") {
            Journal::Whole(_) => None,
            Journal::Broken(found) => Some(found.entry),
        }
    }
}
