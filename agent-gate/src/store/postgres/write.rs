//! The rows of a batch, one statement a table: each costs a way to the server and back.
//!
//! Invariant: rows are placed in the order of the batch, and of two with one id the later counts.

use std::collections::BTreeSet;

use sqlx::postgres::PgConnection;

use crate::store::chain::{self, Head};
use crate::store::{AuditRow, Batch, EffectRow, TokenRow};

/// Writes `batch` after `head`; gives back the new head.
pub(super) async fn rows(
    connection: &mut PgConnection,
    batch: &Batch,
    head: Head,
    term: i64,
) -> Result<Head, sqlx::Error> {
    meta(connection, batch).await?;
    rollouts(connection, batch).await?;
    freezes(connection, batch).await?;
    tokens(connection, batch).await?;
    // A failed attempt is settled before the next one is given, also within one batch.
    settled(connection, batch).await?;
    effects(connection, batch).await?;
    decisions(connection, batch, term).await?;
    audit(connection, batch, head, term).await
}

async fn meta(connection: &mut PgConnection, batch: &Batch) -> Result<(), sqlx::Error> {
    if batch.meta.is_empty() {
        return Ok(());
    }
    let (keys, values): (Vec<_>, Vec<_>) = batch.meta.iter().cloned().unzip();
    sqlx::query(
        "INSERT INTO holdpoint.meta (key, value) SELECT * FROM unnest($1::text[], $2::text[])
         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    )
    .bind(keys)
    .bind(values)
    .execute(connection)
    .await?;
    Ok(())
}

async fn rollouts(connection: &mut PgConnection, batch: &Batch) -> Result<(), sqlx::Error> {
    let rows = &batch.rollouts;
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO holdpoint.rollouts (id, change_id, service, state, body, updated_ms)
         SELECT id, change_id, service, state, body, updated_ms FROM unnest(
             $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[])
             WITH ORDINALITY AS row (id, change_id, service, state, body, updated_ms, at)
         ORDER BY at ON CONFLICT (id) DO UPDATE SET
         state = excluded.state, body = excluded.body, updated_ms = excluded.updated_ms",
    )
    .bind(column(rows, |row| row.id.clone()))
    .bind(column(rows, |row| row.change_id.clone()))
    .bind(column(rows, |row| row.service.clone()))
    .bind(column(rows, |row| row.state.clone()))
    .bind(column(rows, |row| row.body.clone()))
    .bind(column(rows, |row| row.updated_ms.cast_signed()))
    .execute(connection)
    .await?;
    Ok(())
}

async fn freezes(connection: &mut PgConnection, batch: &Batch) -> Result<(), sqlx::Error> {
    let rows = &batch.freezes;
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO holdpoint.freezes (id, scope, in_force, body, at_ms)
         SELECT id, scope, in_force, body, at_ms FROM unnest(
             $1::text[], $2::text[], $3::boolean[], $4::text[], $5::bigint[])
             WITH ORDINALITY AS row (id, scope, in_force, body, at_ms, at)
         ORDER BY at ON CONFLICT (id) DO UPDATE SET
         in_force = excluded.in_force, body = excluded.body",
    )
    .bind(column(rows, |row| row.id.clone()))
    .bind(column(rows, |row| row.scope.clone()))
    .bind(column(rows, |row| row.in_force))
    .bind(column(rows, |row| row.body.clone()))
    .bind(column(rows, |row| row.at_ms.cast_signed()))
    .execute(connection)
    .await?;
    Ok(())
}

async fn tokens(connection: &mut PgConnection, batch: &Batch) -> Result<(), sqlx::Error> {
    let rows: Vec<&TokenRow> = last_of_each(&batch.tokens, |row| &row.name);
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO holdpoint.tokens (name, role, sha256, created_ms, expires_ms, revoked_ms)
         SELECT * FROM unnest(
             $1::text[], $2::text[], $3::bytea[], $4::bigint[], $5::bigint[], $6::bigint[])
         ON CONFLICT (name) DO UPDATE SET
         role = excluded.role, sha256 = excluded.sha256, created_ms = excluded.created_ms,
         expires_ms = excluded.expires_ms, revoked_ms = excluded.revoked_ms",
    )
    .bind(column(&rows, |row| row.name.clone()))
    .bind(column(&rows, |row| row.role.clone()))
    .bind(column(&rows, |row| row.sha256.clone()))
    .bind(column(&rows, |row| row.created_ms.cast_signed()))
    .bind(column(&rows, |row| row.expires_ms.map(u64::cast_signed)))
    .bind(column(&rows, |row| row.revoked_ms.map(u64::cast_signed)))
    .execute(connection)
    .await?;
    Ok(())
}

async fn settled(connection: &mut PgConnection, batch: &Batch) -> Result<(), sqlx::Error> {
    let rows = &batch.settled;
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE holdpoint.effects SET settled_ms = row.at_ms, outcome = row.outcome
         FROM unnest($1::text[], $2::bigint[], $3::text[]) AS row (id, at_ms, outcome)
         WHERE effects.id = row.id AND effects.settled_ms IS NULL",
    )
    .bind(column(rows, |row| row.effect.clone()))
    .bind(column(rows, |row| row.at_ms.cast_signed()))
    .bind(column(rows, |row| row.outcome.clone()))
    .execute(connection)
    .await?;
    Ok(())
}

async fn effects(connection: &mut PgConnection, batch: &Batch) -> Result<(), sqlx::Error> {
    let rows: Vec<&EffectRow> = last_of_each(&batch.effects, |row| &row.id);
    if rows.is_empty() {
        return Ok(());
    }
    // An order that is given again, after a restart or a failed attempt, is the same order.
    sqlx::query(
        "INSERT INTO holdpoint.effects (id, rollout, generation, body, issued_ms)
         SELECT id, rollout, generation, body, issued_ms FROM unnest(
             $1::text[], $2::text[], $3::bigint[], $4::text[], $5::bigint[])
             WITH ORDINALITY AS row (id, rollout, generation, body, issued_ms, at)
         ORDER BY at ON CONFLICT (id) DO UPDATE SET
         body = excluded.body, settled_ms = NULL, outcome = NULL",
    )
    .bind(column(&rows, |row| row.id.clone()))
    .bind(column(&rows, |row| row.rollout.clone()))
    .bind(column(&rows, |row| row.generation.cast_signed()))
    .bind(column(&rows, |row| row.body.clone()))
    .bind(column(&rows, |row| row.issued_ms.cast_signed()))
    .execute(connection)
    .await?;
    Ok(())
}

async fn decisions(
    connection: &mut PgConnection,
    batch: &Batch,
    term: i64,
) -> Result<(), sqlx::Error> {
    let rows = &batch.decisions;
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO holdpoint.decisions
             (id, rollout, service, decision, reason, body, at_ms, term)
         SELECT id, rollout, service, decision, reason, body, at_ms, $8 FROM unnest(
             $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[])
             WITH ORDINALITY AS row (id, rollout, service, decision, reason, body, at_ms, at)
         ORDER BY at",
    )
    .bind(column(rows, |row| row.id.clone()))
    .bind(column(rows, |row| row.rollout.clone()))
    .bind(column(rows, |row| row.service.clone()))
    .bind(column(rows, |row| row.decision.clone()))
    .bind(column(rows, |row| row.reason.clone()))
    .bind(column(rows, |row| row.body.clone()))
    .bind(column(rows, |row| row.at_ms.cast_signed()))
    .bind(term)
    .execute(connection)
    .await?;
    Ok(())
}

async fn audit(
    connection: &mut PgConnection,
    batch: &Batch,
    mut head: Head,
    term: i64,
) -> Result<Head, sqlx::Error> {
    if batch.audit.is_empty() {
        return Ok(head);
    }
    let mut rows: Vec<AuditRow> = Vec::with_capacity(batch.audit.len());
    for entry in &batch.audit {
        let (row, next) = chain::append(head, entry);
        rows.push(row);
        head = next;
    }
    sqlx::query(
        "INSERT INTO holdpoint.audit (seq, subject, record, sight, prev, hash, term)
         SELECT seq, subject, record, sight, prev, hash, $7 FROM unnest(
             $1::bigint[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::bytea[])
             AS row (seq, subject, record, sight, prev, hash)",
    )
    .bind(column(&rows, |row| row.seq.cast_signed()))
    .bind(column(&batch.audit, |entry| entry.subject.clone()))
    .bind(column(&rows, |row| row.record.clone()))
    .bind(column(&batch.audit, |entry| entry.sight.clone()))
    .bind(column(&rows, |row| row.prev.clone()))
    .bind(column(&rows, |row| row.hash.clone()))
    .bind(term)
    .execute(connection)
    .await?;
    Ok(head)
}

fn column<R, T>(rows: &[R], of: impl FnMut(&R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

/// One statement cannot write a row twice.
fn last_of_each<R>(rows: &[R], key: impl Fn(&R) -> &str) -> Vec<&R> {
    let mut seen = BTreeSet::new();
    let mut kept: Vec<&R> = rows.iter().rev().filter(|row| seen.insert(key(row))).collect();
    kept.reverse();
    kept
}
