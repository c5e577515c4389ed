//! The store in a PostgreSQL database, for several gates that take turns.
//!
//! One row holds whose turn it is: a term, its holder, and until when. A write names its term in
//! the same transaction and keeps that row locked until its commit, so a write of an old term and
//! a take-over cannot cross, whatever is late. Time is the database's. There are no advisory locks
//! of a session: a pooler in between or a failover would lose them silently.
//!
//! ```text
//! BEGIN ─► lease row: still our term? extend ─► rows ─► COMMIT
//!                     └ no: roll back, TermLost
//! ```
//!
//! Invariant: no row is written but in a transaction that found its own term in the lease row, and
//! a transaction that stands still is ended by the server within half a lease.

use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use super::chain::Head;
use super::{Batch, Journal, Loaded, Store, StoreError};

mod journal;
mod read;
mod schema;
mod turn;
mod write;
pub use read::PostgresReader;
pub use turn::{Turns, Whose};

/// Connecting or one statement outside of a term may take this long.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Where the database is, and who asks.
#[derive(Clone)]
pub struct Database {
    options: PgConnectOptions,
    /// How messages call it.
    name: String,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Database({})", self.name)
    }
}

impl Database {
    /// The database that `url` names.
    ///
    /// # Errors
    /// What is wrong with the URL; the text does not repeat it, because it may hold a password.
    pub fn new(url: &str) -> Result<Self, String> {
        let wrong = |_| {
            "this is not a URL of a PostgreSQL database: write \
             postgres://USER:PASSWORD@HOST:PORT/DATABASE"
                .to_owned()
        };
        let options: PgConnectOptions = url.parse().map_err(wrong)?;
        let options = options.application_name("holdpoint").disable_statement_logging();
        let socket = options.get_socket().map(|path| path.display().to_string());
        let host = socket.unwrap_or_else(|| options.get_host().to_owned());
        let database = options.get_database().unwrap_or_else(|| options.get_username());
        let name = format!("postgres://{host}:{}/{database}", options.get_port());
        Ok(Self { options, name })
    }

    /// `postgres://HOST:PORT/NAME`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Connects, refuses a database that cannot keep what is answered, and brings its schema up
    /// to date.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be reached, is not durable or has a newer schema.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        let mut connection = self.connect().await?;
        self.in_time(ANSWER_MAX, schema::prepare(&mut connection, &self.name)).await?;
        // Nothing is left to lose.
        connection.close().await.ok();
        Ok(())
    }

    /// Readers of the same database.
    #[must_use]
    pub fn reader(&self) -> PostgresReader {
        PostgresReader::new(self.options.clone())
    }

    /// Recomputes the whole audit journal. Nothing is written.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be read or is not a gate's.
    pub async fn verify(&self) -> Result<Journal, StoreError> {
        let mut connection = self.connect().await?;
        schema::is_ours(&mut connection, &self.name).await?;
        let journal = journal::all(&mut connection).await.map_err(StoreError::Read)?;
        connection.close().await.ok();
        Ok(journal)
    }

    async fn connect(&self) -> Result<PgConnection, StoreError> {
        let reach = |source| StoreError::Reach { database: self.name.clone(), source };
        self.in_time(ANSWER_MAX, async { self.options.connect().await.map_err(reach) }).await
    }

    /// What `asked` gives, or that the database hangs: a partition gives no error of its own.
    async fn in_time<T>(
        &self,
        within: Duration,
        asked: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(within, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(StoreError::Hangs { database: self.name.clone(), within }),
        }
    }
}

/// The writer of one term. Owned by the driver.
#[derive(Debug)]
pub struct PostgresStore {
    database: Database,
    connection: PgConnection,
    term: i64,
    lease: Duration,
    /// What its transactions set `synchronous_commit` to.
    synchronous: &'static str,
    head: Head,
    is_poisoned: bool,
}

impl PostgresStore {
    /// The store of `term`, which was just taken over `connection`.
    ///
    /// # Errors
    /// [`StoreError`] if the newest entries of the journal are not a chain.
    async fn new(
        database: Database,
        mut connection: PgConnection,
        term: i64,
        lease: Duration,
    ) -> Result<Self, StoreError> {
        let head = match journal::end(&mut connection).await.map_err(StoreError::Read)? {
            Journal::Whole(head) => head,
            Journal::Broken(found) => {
                return Err(StoreError::BrokenDatabase { database: database.name, found });
            }
        };
        let synchronous = schema::synchronous(&mut connection).await.map_err(StoreError::Read)?;
        Ok(Self { database, connection, term, lease, synchronous, head, is_poisoned: false })
    }

    /// The number of this turn.
    #[must_use]
    pub const fn term(&self) -> i64 {
        self.term
    }

    async fn write(&mut self, batch: &Batch) -> Result<Head, StoreError> {
        let error = StoreError::Write;
        // A transaction that stands still would keep the lease row, and with it every other gate.
        let stands_max_ms = self.lease.as_millis() / 2;
        let begin = format!(
            "BEGIN; SET LOCAL synchronous_commit = {}; \
             SET LOCAL idle_in_transaction_session_timeout = {stands_max_ms}; \
             SET LOCAL lock_timeout = {stands_max_ms}",
            self.synchronous
        );
        let connection = &mut self.connection;
        sqlx::raw_sql(AssertSqlSafe(begin)).execute(&mut *connection).await.map_err(error)?;
        if !turn::extend(connection, self.term, self.lease).await.map_err(error)? {
            sqlx::query("ROLLBACK").execute(&mut *connection).await.map_err(error)?;
            let database = self.database.name.clone();
            return Err(StoreError::TermLost { database, term: self.term });
        }
        let head = write::rows(connection, batch, self.head, self.term).await.map_err(error)?;
        sqlx::query("COMMIT").execute(&mut *connection).await.map_err(error)?;
        Ok(head)
    }
}

impl Store for PostgresStore {
    fn load(&mut self) -> BoxFuture<'_, Result<Loaded, StoreError>> {
        Box::pin(async move {
            let load = async { read::load(&mut self.connection).await.map_err(StoreError::Read) };
            self.database.in_time(ANSWER_MAX, load).await
        })
    }

    fn commit<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            // A future that is dropped half-way leaves a transaction open: poisoned as well.
            if std::mem::replace(&mut self.is_poisoned, true) {
                return Err(StoreError::Poisoned);
            }
            let database = self.database.clone();
            self.head = database.in_time(self.lease, self.write(batch)).await?;
            self.is_poisoned = false;
            Ok(())
        })
    }

    fn lease(&self) -> Option<Duration> {
        Some(self.lease)
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let Self { database, mut connection, term, .. } = *self;
            let close = async {
                // The next gate need not wait for the end of a lease that nobody uses.
                turn::give_back(&mut connection, term).await.map_err(StoreError::Write)?;
                connection.close().await.map_err(StoreError::Write)
            };
            if let Err(error) = database.in_time(ANSWER_MAX, close).await {
                tracing::warn!(%error, "close the store");
            }
        })
    }
}
