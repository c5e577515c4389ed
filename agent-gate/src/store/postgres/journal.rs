//! The audit journal in the database, read from its start or near its end.
//!
//! Invariant: nothing here writes.

use futures_util::TryStreamExt;
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use crate::store::chain::Head;
use crate::store::journal::{Beside, MISSING, SHORT_HASH, START_CHECK_MAX, broken, follow};
use crate::store::{AuditRow, Journal};

const ROWS: &str = "SELECT seq, record, prev, hash, subject, sight FROM holdpoint.audit
     WHERE seq > $1 ORDER BY seq";

/// Before every row, also before one with a number that the gate never gives.
const BEFORE_ALL: i64 = i64::MIN;

/// The whole journal.
pub(super) async fn all(connection: &mut PgConnection) -> Result<Journal, sqlx::Error> {
    walk(connection, Head::START, BEFORE_ALL).await
}

/// The newest entries: what a gate writes after a broken one would make the damage look like its
/// own.
pub(super) async fn end(connection: &mut PgConnection) -> Result<Journal, sqlx::Error> {
    let newest: Option<i64> = sqlx::query_scalar("SELECT max(seq) FROM holdpoint.audit")
        .fetch_one(&mut *connection)
        .await?;
    let before = match newest {
        Some(newest) if newest > START_CHECK_MAX => newest - START_CHECK_MAX,
        Some(_) | None => return all(connection).await,
    };
    let hash: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT hash FROM holdpoint.audit WHERE seq = $1")
            .bind(before)
            .fetch_optional(&mut *connection)
            .await?;
    let seq = before.cast_unsigned();
    match hash.map(<[u8; 32]>::try_from) {
        Some(Ok(hash)) => walk(connection, Head { seq, hash }, before).await,
        Some(Err(_)) => Ok(broken(seq, SHORT_HASH, Head::START)),
        None => Ok(broken(seq, MISSING, Head::START)),
    }
}

async fn walk(
    connection: &mut PgConnection,
    mut head: Head,
    after: i64,
) -> Result<Journal, sqlx::Error> {
    let mut rows = sqlx::query(ROWS).bind(after).fetch(connection);
    while let Some(row) = rows.try_next().await? {
        let (row, beside) = parts(&row)?;
        match follow(head, &row, Some(beside)) {
            Ok(next) => head = next,
            Err(reason) => return Ok(broken(row.seq, reason, head)),
        }
    }
    Ok(Journal::Whole(head))
}

fn parts(row: &PgRow) -> Result<(AuditRow, Beside), sqlx::Error> {
    let kept = AuditRow {
        seq: row.try_get::<i64, _>(0)?.cast_unsigned(),
        record: row.try_get(1)?,
        prev: row.try_get(2)?,
        hash: row.try_get(3)?,
    };
    Ok((kept, Beside { subject: row.try_get(4)?, sight: row.try_get(5)? }))
}
