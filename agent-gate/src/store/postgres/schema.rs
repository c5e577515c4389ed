//! The tables, and the settings that an answer's durability rests on.
//!
//! Invariant: a database whose server may forget what it acknowledged is refused, with the setting
//! to change.

use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use crate::store::StoreError;

/// The schema this version writes; kept in `holdpoint.schema`.
const SCHEMA: i64 = 1;
const MIGRATIONS: [&str; SCHEMA as usize] =
    [include_str!("../../../migrations/postgres/0001_gate.sql")];

/// One gate migrates at a time. The lock is the transaction's, so a pooler cannot lose it.
const ONE_AT_A_TIME: &str = "SELECT pg_advisory_xact_lock(7308061298231505008)";

pub(super) async fn prepare(
    connection: &mut PgConnection,
    database: &str,
) -> Result<(), StoreError> {
    is_durable(connection, database).await?;
    migrate(connection, database).await
}

async fn is_durable(connection: &mut PgConnection, database: &str) -> Result<(), StoreError> {
    for (setting, wanted, todo) in [
        ("transaction_read_only", "off", "name the primary server, with a user that may write"),
        ("fsync", "on", "set fsync = on in postgresql.conf"),
        ("full_page_writes", "on", "set full_page_writes = on in postgresql.conf"),
    ] {
        let value: String = sqlx::query_scalar("SELECT current_setting($1)")
            .bind(setting)
            .fetch_one(&mut *connection)
            .await
            .map_err(StoreError::Read)?;
        if value != wanted {
            let database = database.to_owned();
            return Err(StoreError::NotDurable { database, setting, value, todo });
        }
    }
    Ok(())
}

/// What a writer asks for: `on`, or `remote_apply` where the server is set to that.
pub(super) async fn synchronous(
    connection: &mut PgConnection,
) -> Result<&'static str, sqlx::Error> {
    let set: String = sqlx::query_scalar("SELECT current_setting('synchronous_commit')")
        .fetch_one(connection)
        .await?;
    Ok(if set == "remote_apply" { "remote_apply" } else { "on" })
}

async fn migrate(connection: &mut PgConnection, database: &str) -> Result<(), StoreError> {
    let write = StoreError::Write;
    let run = async |connection: &mut PgConnection, sql: String| {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.map(|_| ()).map_err(write)
    };
    let first = format!(
        "BEGIN; {ONE_AT_A_TIME}; CREATE SCHEMA IF NOT EXISTS holdpoint;
         CREATE TABLE IF NOT EXISTS holdpoint.schema (version BIGINT NOT NULL);
         INSERT INTO holdpoint.schema SELECT 0 WHERE NOT EXISTS (SELECT FROM holdpoint.schema)"
    );
    run(connection, first).await?;
    let found = version(connection).await?;
    if found > SCHEMA {
        let database = database.to_owned();
        return Err(StoreError::NewerDatabase { database, found, known: SCHEMA });
    }
    for (at, sql) in (1..).zip(MIGRATIONS).filter(|(at, _)| *at > found) {
        // In the same transaction, so a crash repeats or skips nothing.
        run(connection, format!("{sql}\nUPDATE holdpoint.schema SET version = {at}")).await?;
    }
    run(connection, "COMMIT".to_owned()).await
}

/// Refuses a database that no gate of this version or an older one has written.
pub(super) async fn is_ours(
    connection: &mut PgConnection,
    database: &str,
) -> Result<(), StoreError> {
    let is_there: bool = sqlx::query_scalar("SELECT to_regclass('holdpoint.schema') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await
        .map_err(StoreError::Read)?;
    let found = if is_there { version(connection).await? } else { 0 };
    let database = database.to_owned();
    match found {
        0 => Err(StoreError::StrangeDatabase { database }),
        1..=SCHEMA => Ok(()),
        _ => Err(StoreError::NewerDatabase { database, found, known: SCHEMA }),
    }
}

async fn version(connection: &mut PgConnection) -> Result<i64, StoreError> {
    sqlx::query_scalar("SELECT version FROM holdpoint.schema")
        .fetch_one(connection)
        .await
        .map_err(StoreError::Read)
}
