//! Whose turn it is to write, as the lease row says.
//!
//! Invariant: a term is taken only when the lease before it is over by the database's clock, and
//! taking one raises the number, so every write of the term before it finds another number.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Row};

use super::{ANSWER_MAX, Database, PostgresStore};
use crate::store::{StoreError, TokenRow};

/// A gate that waits for its turn.
#[derive(Debug)]
pub struct Turns {
    database: Database,
    /// Who we are, and where others reach us.
    holder: String,
    url: String,
    lease: Duration,
    /// Made anew after every failure.
    connection: Option<PgConnection>,
}

/// What a look at the lease row came to.
#[derive(Debug)]
pub enum Whose {
    /// It is ours now.
    Ours(Box<PostgresStore>),
    /// Another gate's, which is reached at `url`; with the tokens as they are now.
    Others { url: String, tokens: Vec<TokenRow> },
}

impl Turns {
    #[must_use]
    pub const fn new(database: Database, holder: String, url: String, lease: Duration) -> Self {
        Self { database, holder, url, lease, connection: None }
    }

    /// How often to look. The longest wait for a dead gate is its lease and this.
    #[must_use]
    pub fn pace(&self) -> Duration {
        self.lease / 4
    }

    #[must_use]
    pub const fn database(&self) -> &Database {
        &self.database
    }

    /// Looks whose turn it is, and takes it if it is nobody's.
    ///
    /// # Errors
    /// [`StoreError`] if the database does not answer or its journal is damaged.
    pub async fn look(&mut self) -> Result<Whose, StoreError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.database.connect().await?,
        };
        let database = self.database.clone();
        let within = self.lease.min(ANSWER_MAX);
        let look = async { self.take(&mut connection).await.map_err(StoreError::Read) };
        if let Some(term) = database.in_time(within, look).await? {
            let store = PostgresStore::new(database.clone(), connection, term, self.lease);
            return Ok(Whose::Ours(Box::new(database.in_time(ANSWER_MAX, store).await?)));
        }
        let standby = async { standby(&mut connection).await.map_err(StoreError::Read) };
        let (url, tokens) = database.in_time(within, standby).await?;
        self.connection = Some(connection);
        Ok(Whose::Others { url, tokens })
    }

    /// The number of our term, if the one before it is over.
    async fn take(&self, connection: &mut PgConnection) -> Result<Option<i64>, sqlx::Error> {
        // Looked at first: an update would wait for the writer that holds the row.
        let is_over: bool =
            sqlx::query_scalar("SELECT until <= clock_timestamp() FROM holdpoint.lease")
                .fetch_one(&mut *connection)
                .await?;
        if !is_over {
            return Ok(None);
        }
        sqlx::query_scalar(
            "UPDATE holdpoint.lease SET term = term + 1, holder = $1, url = $2,
                 until = clock_timestamp() + $3 * interval '1 millisecond'
             WHERE until <= clock_timestamp() RETURNING term",
        )
        .bind(&self.holder)
        .bind(&self.url)
        .bind(ms(self.lease))
        .fetch_optional(connection)
        .await
    }

    /// Ends the connection.
    pub async fn close(&mut self) {
        if let Some(connection) = self.connection.take() {
            // It only ever read.
            connection.close().await.ok();
        }
    }
}

async fn standby(connection: &mut PgConnection) -> Result<(String, Vec<TokenRow>), sqlx::Error> {
    let row = sqlx::query("SELECT url FROM holdpoint.lease").fetch_one(&mut *connection).await?;
    Ok((row.get(0), super::read::tokens(connection).await?))
}

/// Whether `term` is still the one in the row, which is locked from here to the commit.
pub(super) async fn extend(
    connection: &mut PgConnection,
    term: i64,
    lease: Duration,
) -> Result<bool, sqlx::Error> {
    let found = sqlx::query(
        "UPDATE holdpoint.lease SET until = clock_timestamp() + $2 * interval '1 millisecond'
         WHERE term = $1",
    )
    .bind(term)
    .bind(ms(lease))
    .execute(connection)
    .await?;
    Ok(found.rows_affected() == 1)
}

pub(super) async fn give_back(connection: &mut PgConnection, term: i64) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE holdpoint.lease SET until = '-infinity' WHERE term = $1")
        .bind(term)
        .execute(connection)
        .await?;
    Ok(())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
