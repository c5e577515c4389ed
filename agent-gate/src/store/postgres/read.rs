//! What a start needs, and the lists and look-ups of the API.
//!
//! Invariant: nothing here writes. Every statement is a transaction of its own, so a caller that
//! goes away half-way leaves none open.

use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgRow};
use sqlx::{Postgres, QueryBuilder, Row};

use crate::store::{AuditPage, AuditRow, EffectRow, Loaded, Page, Reader, StoreError, TokenRow};

const CONNECTIONS: u32 = 4;
const WAIT_MAX: Duration = Duration::from_secs(5);

/// A small pool of readers.
#[derive(Debug, Clone)]
pub struct PostgresReader {
    pool: PgPool,
}

impl PostgresReader {
    pub(super) fn new(options: PgConnectOptions) -> Self {
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(WAIT_MAX)
            .connect_lazy_with(options);
        Self { pool }
    }

    async fn bodies(&self, mut query: QueryBuilder<Postgres>) -> Result<Vec<String>, StoreError> {
        query.build_query_scalar().fetch_all(&self.pool).await.map_err(StoreError::Read)
    }

    async fn body(&self, sql: &'static str, id: &str) -> Result<Option<String>, StoreError> {
        let found = sqlx::query_scalar(sql).bind(id).fetch_optional(&self.pool).await;
        found.map_err(StoreError::Read)
    }
}

impl Reader for PostgresReader {
    fn rollouts<'a>(&'a self, page: &'a Page) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        Box::pin(self.bodies(page_query("holdpoint.rollouts", "state", page)))
    }

    fn rollout<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<String>, StoreError>> {
        Box::pin(self.body("SELECT body FROM holdpoint.rollouts WHERE id = $1", id))
    }

    fn freezes(&self, all: bool) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        let sql = "SELECT body FROM holdpoint.freezes WHERE in_force OR $1 ORDER BY place";
        Box::pin(async move {
            let found = sqlx::query_scalar(sql).bind(all).fetch_all(&self.pool).await;
            found.map_err(StoreError::Read)
        })
    }

    fn decisions<'a>(&'a self, page: &'a Page) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        Box::pin(self.bodies(page_query("holdpoint.decisions", "rollout", page)))
    }

    fn decision<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<String>, StoreError>> {
        Box::pin(self.body("SELECT body FROM holdpoint.decisions WHERE id = $1", id))
    }

    fn audit<'a>(
        &'a self,
        page: &'a AuditPage,
    ) -> BoxFuture<'a, Result<Vec<AuditRow>, StoreError>> {
        Box::pin(async move {
            let mut query = QueryBuilder::new(
                "SELECT seq, record, prev, hash FROM holdpoint.audit WHERE seq > ",
            );
            query.push_bind(page.after.cast_signed());
            if let Some(subject) = &page.subject {
                query.push(" AND subject = ").push_bind(subject.clone());
            }
            query.push(" ORDER BY seq LIMIT ").push_bind(i64::from(page.limit));
            let rows = query.build().fetch_all(&self.pool).await.map_err(StoreError::Read)?;
            let row = |row: &PgRow| AuditRow {
                seq: row.get::<i64, _>(0).cast_unsigned(),
                record: row.get(1),
                prev: row.get(2),
                hash: row.get(3),
            };
            Ok(rows.iter().map(row).collect())
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

/// Newest first. The place and not the id gives the order: as text, `r-1000000` comes before
/// `r-999999`.
fn page_query(table: &'static str, only: &'static str, page: &Page) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new("SELECT body FROM ");
    query.push(table).push(" WHERE TRUE");
    if let Some(before) = &page.before {
        query.push(" AND place < (SELECT place FROM ").push(table).push(" WHERE id = ");
        query.push_bind(before.clone()).push(")");
    }
    if let Some(value) = &page.only {
        query.push(" AND ").push(only).push(" = ").push_bind(value.clone());
    }
    if let Some(service) = &page.service {
        query.push(" AND service = ").push_bind(service.clone());
    }
    query.push(" ORDER BY place DESC LIMIT ").push_bind(i64::from(page.limit));
    query
}

pub(super) async fn load(connection: &mut PgConnection) -> Result<Loaded, sqlx::Error> {
    let meta = sqlx::query_as("SELECT key, value FROM holdpoint.meta ORDER BY key")
        .fetch_all(&mut *connection)
        .await?;
    let rollouts = sqlx::query_scalar("SELECT body FROM holdpoint.rollouts ORDER BY place")
        .fetch_all(&mut *connection)
        .await?;
    let freezes = sqlx::query_scalar("SELECT body FROM holdpoint.freezes ORDER BY place")
        .fetch_all(&mut *connection)
        .await?;
    let tokens = tokens(connection).await?;
    let effects = sqlx::query(
        "SELECT id, rollout, generation, body, issued_ms FROM holdpoint.effects
         WHERE settled_ms IS NULL ORDER BY place",
    )
    .fetch_all(&mut *connection)
    .await?;
    let effect = |row: &PgRow| EffectRow {
        id: row.get(0),
        rollout: row.get(1),
        generation: row.get::<i64, _>(2).cast_unsigned(),
        body: row.get(3),
        issued_ms: row.get::<i64, _>(4).cast_unsigned(),
    };
    let effects = effects.iter().map(effect).collect();
    Ok(Loaded { meta, rollouts, freezes, tokens, effects })
}

pub(super) async fn tokens(connection: &mut PgConnection) -> Result<Vec<TokenRow>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT name, role, sha256, created_ms, expires_ms, revoked_ms
         FROM holdpoint.tokens ORDER BY name",
    )
    .fetch_all(connection)
    .await?;
    let token = |row: &PgRow| TokenRow {
        name: row.get(0),
        role: row.get(1),
        sha256: row.get(2),
        created_ms: row.get::<i64, _>(3).cast_unsigned(),
        expires_ms: row.get::<Option<i64>, _>(4).map(i64::cast_unsigned),
        revoked_ms: row.get::<Option<i64>, _>(5).map(i64::cast_unsigned),
    };
    Ok(rows.iter().map(token).collect())
}
