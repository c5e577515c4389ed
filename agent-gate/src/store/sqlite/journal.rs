//! The audit journal of a store, read from the file and its chain made again.
//!
//! No gate is needed, and one that runs is not disturbed: the file is opened read-only, and one
//! statement reads one state of it. What this cannot see is a journal that was cut off at its end;
//! for that, somebody outside has to keep a head and compare.
//!
//! Invariant: nothing here writes, and a row that cannot be read is a broken entry, never skipped.

use std::path::Path;

use futures_util::TryStreamExt;
use sqlx::sqlite::SqliteRow;
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};

use super::{QUICK_CHECK_MAX, SCHEMA, connect_error, options};
use crate::store::chain::Head;
use crate::store::journal::{
    self, Beside, MISSING, SHORT_HASH, START_CHECK_MAX, UNREADABLE, broken,
};
use crate::store::{AuditRow, Journal, StoreError};

/// The chain alone, and with it what stands beside a record and is only named in it.
const CHAIN: &str = "SELECT seq, record, prev, hash FROM audit WHERE seq > ? ORDER BY seq";
const ALL: &str =
    "SELECT seq, record, prev, hash, subject, sight FROM audit WHERE seq > ? ORDER BY seq";

/// Before every row, also before one with a number that the gate never gives.
const BEFORE_ALL: i64 = i64::MIN;

/// Recomputes the whole journal of the store at `path`.
///
/// # Errors
/// [`StoreError`] if the file cannot be read as a gate's store.
pub async fn verify(path: &Path) -> Result<Journal, StoreError> {
    let mut connection = open(path).await?;
    let walked = walk(&mut connection, ALL, Head::START, BEFORE_ALL).await;
    let journal = walked.map_err(|error| connect_error(path, error))?;
    // Nothing was written, so a close that fails loses nothing.
    connection.close().await.ok();
    Ok(journal)
}

/// Refuses a store whose newest entries do not form a chain: what a gate writes after them would
/// make the damage look like its own.
pub(super) async fn check_end(path: &Path) -> Result<(), StoreError> {
    let check = async {
        let mut connection = options(path).read_only(true).connect().await?;
        let journal = end(&mut connection).await?;
        connection.close().await?;
        Ok::<_, sqlx::Error>(journal)
    };
    match tokio::time::timeout(QUICK_CHECK_MAX, check).await {
        Ok(Ok(Journal::Whole(_))) => Ok(()),
        Ok(Ok(Journal::Broken(found))) => {
            Err(StoreError::BrokenJournal { path: path.to_owned(), found })
        }
        Ok(Err(error)) => Err(connect_error(path, error)),
        Err(_) => {
            tracing::warn!(path = %path.display(), "the journal is too big to check at start");
            Ok(())
        }
    }
}

async fn end(connection: &mut SqliteConnection) -> Result<Journal, sqlx::Error> {
    let newest: Option<i64> =
        sqlx::query_scalar("SELECT max(seq) FROM audit").fetch_one(&mut *connection).await?;
    let before = match newest {
        Some(newest) if newest > START_CHECK_MAX => newest - START_CHECK_MAX,
        Some(_) | None => return walk(connection, CHAIN, Head::START, BEFORE_ALL).await,
    };
    let hash: Option<Vec<u8>> = sqlx::query_scalar("SELECT hash FROM audit WHERE seq = ?")
        .bind(before)
        .fetch_optional(&mut *connection)
        .await?;
    let seq = before.cast_unsigned();
    match hash.map(<[u8; 32]>::try_from) {
        Some(Ok(hash)) => walk(connection, CHAIN, Head { seq, hash }, before).await,
        Some(Err(_)) => Ok(broken(seq, SHORT_HASH, Head::START)),
        None => Ok(broken(seq, MISSING, Head::START)),
    }
}

/// A read-only connection to a file that is a gate's store.
pub(super) async fn open(path: &Path) -> Result<SqliteConnection, StoreError> {
    // SQLite's own words for a file that is not there do not say so. Not tried by opening it:
    // closing a descriptor drops the locks that a gate in this process holds on the file.
    rustix::fs::access(path, rustix::fs::Access::READ_OK)
        .map_err(|error| StoreError::Open { path: path.to_owned(), source: error.into() })?;
    let connect = async {
        let mut connection = options(path).read_only(true).connect().await?;
        let schema: i64 =
            sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut connection).await?;
        Ok::<_, sqlx::Error>((connection, schema))
    };
    match connect.await.map_err(|error| connect_error(path, error))? {
        (_, 0) => Err(StoreError::Strange { path: path.to_owned() }),
        (connection, 1..=SCHEMA) => Ok(connection),
        (_, found) => Err(StoreError::NewerSchema { path: path.to_owned(), found, known: SCHEMA }),
    }
}

async fn walk(
    connection: &mut SqliteConnection,
    sql: &'static str,
    mut head: Head,
    after: i64,
) -> Result<Journal, sqlx::Error> {
    let mut rows = sqlx::query(sql).bind(after).fetch(connection);
    while let Some(row) = rows.try_next().await? {
        let seq = row.try_get::<i64, _>(0)?.cast_unsigned();
        match follow(head, seq, &row) {
            Ok(next) => head = next,
            Err(reason) => return Ok(broken(seq, reason, head)),
        }
    }
    Ok(Journal::Whole(head))
}

/// The head after `row`, or why it is not the row that was written after `head`.
fn follow(head: Head, seq: u64, row: &SqliteRow) -> Result<Head, &'static str> {
    let record: String = row.try_get(1).map_err(|_| UNREADABLE)?;
    let prev: Vec<u8> = row.try_get(2).map_err(|_| UNREADABLE)?;
    let hash: Vec<u8> = row.try_get(3).map_err(|_| UNREADABLE)?;
    let beside = if row.len() > 4 {
        let subject = row.try_get(4).map_err(|_| UNREADABLE)?;
        Some(Beside { subject, sight: row.try_get(5).map_err(|_| UNREADABLE)? })
    } else {
        None
    };
    journal::follow(head, &AuditRow { seq, record, prev, hash }, beside)
}
