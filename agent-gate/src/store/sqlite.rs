//! The store in one SQLite file.
//!
//! WAL with `synchronous=FULL`: NORMAL loses acknowledged commits in a power cut. One writer
//! connection, because two writers can corrupt a WAL database with SQLite before 3.51.3, which is
//! refused; readers are read-only. No memory map: a failing disk must give an error, not a signal.
//!
//! Invariant: a batch is one `BEGIN IMMEDIATE … COMMIT`, and nobody else holds the writer while
//! it runs, so a future that is dropped half-way leaves no transaction to somebody else.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};

use super::chain::Head;
use super::{Batch, EffectRow, Loaded, Store, StoreError};

mod backup;
mod journal;
mod read;
mod write;
pub use backup::backup;
pub use journal::verify;
pub use read::SqliteReader;

/// The oldest SQLite whose WAL cannot be corrupted by a second writer.
const LIBRARY_MIN: &str = "3.51.3";
/// The schema this version writes; kept in `PRAGMA user_version`.
const SCHEMA: i64 = 1;
const MIGRATIONS: [&str; SCHEMA as usize] = [include_str!("../../migrations/sqlite/0001_gate.sql")];
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// A gate that was killed can leave the lock for a moment with a command it was just starting.
const LOCK_TRIES: u32 = 40;
const LOCK_PAUSE: Duration = Duration::from_millis(50);
/// A check of a huge file must not keep the gate from starting for minutes.
const QUICK_CHECK_MAX: Duration = Duration::from_secs(10);

/// The writer. Owned by the driver; nothing else writes.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    connection: SqliteConnection,
    head: Head,
    /// A write failed: after a failed fsync the pages may be gone while they look written.
    is_poisoned: bool,
    /// Held as long as the store is: a second gate on the same file is refused.
    _lock: File,
}

impl SqliteStore {
    /// Opens the file at `path`, creates it if it is not there, and brings its schema up to date.
    ///
    /// # Errors
    /// [`StoreError`] if the file cannot be opened, is damaged, in use or of a newer version.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let lock = lock(path).await?;
        let is_new = create(path)?;
        let mut connection = options(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .pragma("mmap_size", "0")
            .connect()
            .await
            .map_err(|source| connect_error(path, source))?;
        check_library(&mut connection).await?;
        // A commit whose future was dropped may still be on its way in SQLite's own thread. What is
        // read from here on has it, or it never comes.
        let ended = sqlx::query("BEGIN IMMEDIATE; COMMIT").execute(&mut connection).await;
        ended.map_err(|source| connect_error(path, source))?;
        if !is_new {
            quick_check(path).await?;
        }
        migrate(path, &mut connection).await?;
        if is_new {
            sync_directory(path)?;
        } else {
            journal::check_end(path).await?;
        }
        let head = read_head(&mut connection).await?;
        Ok(Self { path: path.to_owned(), connection, head, is_poisoned: false, _lock: lock })
    }

    /// Readers of the same file.
    #[must_use]
    pub fn reader(&self) -> SqliteReader {
        SqliteReader::new(options(&self.path).read_only(true))
    }

    /// The settings that durability rests on, as this connection has them.
    ///
    /// # Errors
    /// [`StoreError::Read`] if SQLite does not say.
    pub async fn pragmas(&mut self) -> Result<[(&'static str, String); 4], StoreError> {
        let mut read = async |sql: &'static str| {
            let row = sqlx::query(sql).fetch_one(&mut self.connection).await?;
            // `journal_mode` is a text, the others are numbers.
            row.try_get::<String, _>(0)
                .or_else(|_| row.try_get::<i64, _>(0).map(|number| number.to_string()))
        };
        let error = StoreError::Read;
        Ok([
            ("journal_mode", read("PRAGMA journal_mode").await.map_err(error)?),
            ("synchronous", read("PRAGMA synchronous").await.map_err(error)?),
            ("foreign_keys", read("PRAGMA foreign_keys").await.map_err(error)?),
            ("mmap_size", read("PRAGMA mmap_size").await.map_err(error)?),
        ])
    }

    async fn write(&mut self, batch: &Batch) -> Result<Head, sqlx::Error> {
        let (mut sql, head) = write::transaction(batch, self.head);
        sql.build().execute(&mut self.connection).await?;
        Ok(head)
    }
}

impl Store for SqliteStore {
    fn load(&mut self) -> BoxFuture<'_, Result<Loaded, StoreError>> {
        Box::pin(async move { load(&mut self.connection).await })
    }

    fn commit<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            // A future that is dropped half-way leaves a transaction open: poisoned as well.
            if std::mem::replace(&mut self.is_poisoned, true) {
                return Err(StoreError::Poisoned);
            }
            self.head = self.write(batch).await.map_err(StoreError::Write)?;
            self.is_poisoned = false;
            Ok(())
        })
    }

    fn lease(&self) -> Option<Duration> {
        // The lock on the file is the kernel's: it is held as long as the process lives.
        None
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            // All that was promised is committed; a close that fails loses nothing.
            if let Err(error) = self.connection.close().await {
                tracing::warn!(%error, "close the store");
            }
        })
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging()
}

/// SQLite opens the file lazily, so what is wrong with the file itself often shows only here.
fn connect_error(path: &Path, source: sqlx::Error) -> StoreError {
    match damage(&source) {
        Some(finding) => StoreError::Damaged { path: path.to_owned(), finding },
        None => StoreError::Connect { path: path.to_owned(), source },
    }
}

fn damage(error: &sqlx::Error) -> Option<String> {
    let error = error.as_database_error()?;
    // SQLITE_CORRUPT and SQLITE_NOTADB.
    matches!(error.code().as_deref(), Some("11" | "26")).then(|| error.message().to_owned())
}

/// Takes the lock in a file of its own: closing any descriptor of the database itself
/// would drop the locks that SQLite holds on it.
async fn lock(path: &Path) -> Result<File, StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let open = |source| StoreError::Open { path: path.to_owned(), source };
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(PathBuf::from(name))
        .map_err(open)?;
    for _ in 0..LOCK_TRIES {
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => tokio::time::sleep(LOCK_PAUSE).await,
            Err(error) => return Err(open(error.into())),
        }
    }
    Err(StoreError::InUse { path: path.to_owned() })
}

/// Whether the file is new. Created here and not by SQLite, for its mode and its error text.
fn create(path: &Path) -> Result<bool, StoreError> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
    let length = file.and_then(|file| file.metadata()).map(|metadata| metadata.len());
    length.map(|bytes| bytes == 0).map_err(|source| StoreError::Open { path: path.into(), source })
}

/// Without this a power cut can take the directory entry of a file that was itself synced.
fn sync_directory(path: &Path) -> Result<(), StoreError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = parent.unwrap_or(Path::new("."));
    fs::File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|source| StoreError::Open { path: directory.to_owned(), source })
}

async fn check_library(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let found: String = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(connection)
        .await
        .map_err(StoreError::Read)?;
    if version(&found) < version(LIBRARY_MIN) {
        return Err(StoreError::OldLibrary { found, needed: LIBRARY_MIN });
    }
    Ok(())
}

/// A part that is not a number sorts first, so an unreadable version is refused.
fn version(text: &str) -> Vec<Option<u64>> {
    text.split('.').map(|part| part.parse().ok()).collect()
}

async fn quick_check(path: &Path) -> Result<(), StoreError> {
    let check = async {
        let mut connection = options(path).read_only(true).connect().await?;
        let finding: String =
            sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok::<_, sqlx::Error>(finding)
    };
    match tokio::time::timeout(QUICK_CHECK_MAX, check).await {
        Ok(Ok(finding)) if finding == "ok" => Ok(()),
        Ok(Ok(finding)) => Err(StoreError::Damaged { path: path.to_owned(), finding }),
        Ok(Err(error)) => Err(connect_error(path, error)),
        Err(_) => {
            tracing::warn!(path = %path.display(), "the store is too big to check at start");
            Ok(())
        }
    }
}

async fn migrate(path: &Path, connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let found: i64 = sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(&mut *connection)
        .await
        .map_err(|error| connect_error(path, error))?;
    if found > SCHEMA {
        return Err(StoreError::NewerSchema { path: path.to_owned(), found, known: SCHEMA });
    }
    for (at, sql) in (1..).zip(MIGRATIONS).filter(|(at, _)| *at > found) {
        // The version is set in the same transaction, so a crash repeats or skips nothing.
        let script = format!("BEGIN IMMEDIATE;\n{sql}\nPRAGMA user_version = {at};\nCOMMIT;");
        sqlx::raw_sql(sqlx::AssertSqlSafe(script))
            .execute(&mut *connection)
            .await
            .map_err(StoreError::Write)?;
    }
    Ok(())
}

async fn read_head(connection: &mut SqliteConnection) -> Result<Head, StoreError> {
    let row = sqlx::query("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")
        .fetch_optional(connection)
        .await
        .map_err(StoreError::Read)?;
    let Some(row) = row else { return Ok(Head::START) };
    let seq = row.get::<i64, _>(0).cast_unsigned();
    let hash = row.get::<Vec<u8>, _>(1);
    let hash = hash.try_into().map_err(|hash: Vec<u8>| StoreError::Row {
        table: "audit",
        id: seq.to_string(),
        reason: format!("its hash has {} bytes, not 32", hash.len()),
    })?;
    Ok(Head { seq, hash })
}

async fn load(connection: &mut SqliteConnection) -> Result<Loaded, StoreError> {
    let error = StoreError::Read;
    let meta = sqlx::query_as("SELECT key, value FROM meta ORDER BY key")
        .fetch_all(&mut *connection)
        .await
        .map_err(error)?;
    let rollouts = sqlx::query_scalar("SELECT body FROM rollouts ORDER BY rowid")
        .fetch_all(&mut *connection)
        .await
        .map_err(error)?;
    let freezes = sqlx::query_scalar("SELECT body FROM freezes ORDER BY rowid")
        .fetch_all(&mut *connection)
        .await
        .map_err(error)?;
    let tokens = read::tokens(connection).await.map_err(error)?;
    let effects = sqlx::query(
        "SELECT id, rollout, generation, body, issued_ms FROM effects
         WHERE settled_ms IS NULL ORDER BY rowid",
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(error)?;
    let effects = effects
        .iter()
        .map(|row| EffectRow {
            id: row.get(0),
            rollout: row.get(1),
            generation: row.get::<i64, _>(2).cast_unsigned(),
            body: row.get(3),
            issued_ms: row.get::<i64, _>(4).cast_unsigned(),
        })
        .collect();
    Ok(Loaded { meta, rollouts, freezes, tokens, effects })
}
