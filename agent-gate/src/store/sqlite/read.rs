//! Read-only connections for the lists and look-ups of the API.
//!
//! They run beside the writer and see its last commit. Invariant: nothing here can write; the
//! connections are opened read-only.

use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use crate::store::{AuditPage, AuditRow, Page, Reader, StoreError, TokenRow};

const CONNECTIONS: u32 = 2;
const WAIT_MAX: Duration = Duration::from_secs(5);

/// A small pool of readers.
#[derive(Debug, Clone)]
pub struct SqliteReader {
    pool: SqlitePool,
}

impl SqliteReader {
    pub(super) fn new(options: SqliteConnectOptions) -> Self {
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(WAIT_MAX)
            .connect_lazy_with(options);
        Self { pool }
    }

    async fn bodies(&self, mut query: QueryBuilder<Sqlite>) -> Result<Vec<String>, StoreError> {
        query.build_query_scalar().fetch_all(&self.pool).await.map_err(StoreError::Read)
    }
}

impl Reader for SqliteReader {
    fn rollouts<'a>(&'a self, page: &'a Page) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        Box::pin(self.bodies(page_query("rollouts", "state", page)))
    }

    fn rollout<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<String>, StoreError>> {
        Box::pin(async move {
            sqlx::query_scalar("SELECT body FROM rollouts WHERE id = ?")
                .bind(id)
                .fetch_optional(&self.pool)
                .await
                .map_err(StoreError::Read)
        })
    }

    fn freezes(&self, all: bool) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        Box::pin(async move {
            sqlx::query_scalar("SELECT body FROM freezes WHERE in_force OR ? ORDER BY rowid")
                .bind(all)
                .fetch_all(&self.pool)
                .await
                .map_err(StoreError::Read)
        })
    }

    fn decisions<'a>(&'a self, page: &'a Page) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        Box::pin(self.bodies(page_query("decisions", "rollout", page)))
    }

    fn decision<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<String>, StoreError>> {
        Box::pin(async move {
            sqlx::query_scalar("SELECT body FROM decisions WHERE id = ?")
                .bind(id)
                .fetch_optional(&self.pool)
                .await
                .map_err(StoreError::Read)
        })
    }

    fn audit<'a>(
        &'a self,
        page: &'a AuditPage,
    ) -> BoxFuture<'a, Result<Vec<AuditRow>, StoreError>> {
        Box::pin(async move {
            let mut query =
                QueryBuilder::new("SELECT seq, record, prev, hash FROM audit WHERE seq > ");
            query.push_bind(page.after.cast_signed());
            if let Some(subject) = &page.subject {
                query.push(" AND subject = ").push_bind(subject.clone());
            }
            query.push(" ORDER BY seq LIMIT ").push_bind(i64::from(page.limit));
            let rows = query.build().fetch_all(&self.pool).await.map_err(StoreError::Read)?;
            Ok(rows
                .iter()
                .map(|row| AuditRow {
                    seq: row.get::<i64, _>(0).cast_unsigned(),
                    record: row.get(1),
                    prev: row.get(2),
                    hash: row.get(3),
                })
                .collect())
        })
    }

    fn tokens(&self) -> BoxFuture<'_, Result<Vec<TokenRow>, StoreError>> {
        Box::pin(async move {
            let mut connection = self.pool.acquire().await.map_err(StoreError::Read)?;
            tokens(&mut connection).await.map_err(StoreError::Read)
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.pool.close())
    }
}

/// Newest first. The row number and not the id gives the order: as text, `r-1000000` comes before
/// `r-999999`.
fn page_query(table: &'static str, only: &'static str, page: &Page) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new("SELECT body FROM ");
    query.push(table).push(" WHERE 1 = 1");
    if let Some(before) = &page.before {
        query.push(" AND rowid < (SELECT rowid FROM ").push(table).push(" WHERE id = ");
        query.push_bind(before.clone()).push(")");
    }
    if let Some(value) = &page.only {
        query.push(" AND ").push(only).push(" = ").push_bind(value.clone());
    }
    if let Some(service) = &page.service {
        query.push(" AND service = ").push_bind(service.clone());
    }
    query.push(" ORDER BY rowid DESC LIMIT ").push_bind(i64::from(page.limit));
    query
}

pub(super) async fn tokens(
    connection: &mut SqliteConnection,
) -> Result<Vec<TokenRow>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT name, role, sha256, created_ms, expires_ms, revoked_ms FROM tokens ORDER BY name",
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .iter()
        .map(|row| TokenRow {
            name: row.get(0),
            role: row.get(1),
            sha256: row.get(2),
            created_ms: row.get::<i64, _>(3).cast_unsigned(),
            expires_ms: row.get::<Option<i64>, _>(4).map(i64::cast_unsigned),
            revoked_ms: row.get::<Option<i64>, _>(5).map(i64::cast_unsigned),
        })
        .collect())
}
