//! A batch as one text of SQL: the whole transaction goes to SQLite's thread in one go.
//!
//! Between two statements that are sent one by one lie two thread switches; a commit of one
//! decision had eight of them, which cost more than the statements. Rows of one table share a
//! statement, and texts that come again stay prepared.
//!
//! Invariant: the text begins with `BEGIN IMMEDIATE` and ends with `COMMIT`. Where a statement in
//! between fails, the rest is not run, and the connection that holds the open transaction is never
//! used again.

use sqlx::{QueryBuilder, Sqlite};

use crate::store::chain::{self, Head};
use crate::store::{AuditEntry, Batch};

/// Rows that share a statement. SQLite takes 32 766 values in one; no row has more than 7.
const ROWS_MAX: usize = 500;

/// The transaction that keeps `batch` behind `head`, and the head after it.
pub(super) fn transaction(batch: &Batch, head: Head) -> (QueryBuilder<Sqlite>, Head) {
    let mut sql = QueryBuilder::new("BEGIN IMMEDIATE;");
    state(&mut sql, batch);
    effects(&mut sql, batch);
    decisions(&mut sql, batch);
    let head = audit(&mut sql, &batch.audit, head);
    sql.push("COMMIT");
    (sql, head)
}

fn state(sql: &mut QueryBuilder<Sqlite>, batch: &Batch) {
    for rows in batch.meta.chunks(ROWS_MAX) {
        sql.push("INSERT OR REPLACE INTO meta (key, value) ");
        sql.push_values(rows, |mut to, (key, value)| {
            to.push_bind(key).push_bind(value);
        });
        sql.push(";");
    }
    for rows in batch.rollouts.chunks(ROWS_MAX) {
        sql.push("INSERT INTO rollouts (id, change_id, service, state, body, updated_ms) ");
        sql.push_values(rows, |mut to, row| {
            to.push_bind(&row.id).push_bind(&row.change_id).push_bind(&row.service);
            to.push_bind(&row.state).push_bind(&row.body);
            to.push_bind(row.updated_ms.cast_signed());
        });
        sql.push(
            " ON CONFLICT (id) DO UPDATE SET state = excluded.state, body = excluded.body,
             updated_ms = excluded.updated_ms;",
        );
    }
    for rows in batch.freezes.chunks(ROWS_MAX) {
        sql.push("INSERT INTO freezes (id, scope, in_force, body, at_ms) ");
        sql.push_values(rows, |mut to, row| {
            to.push_bind(&row.id).push_bind(&row.scope).push_bind(row.in_force);
            to.push_bind(&row.body).push_bind(row.at_ms.cast_signed());
        });
        sql.push(
            " ON CONFLICT (id) DO UPDATE SET in_force = excluded.in_force, body = excluded.body;",
        );
    }
    for rows in batch.tokens.chunks(ROWS_MAX) {
        sql.push("INSERT INTO tokens (name, role, sha256, created_ms, expires_ms, revoked_ms) ");
        sql.push_values(rows, |mut to, row| {
            to.push_bind(&row.name).push_bind(&row.role).push_bind(&row.sha256);
            to.push_bind(row.created_ms.cast_signed());
            to.push_bind(row.expires_ms.map(u64::cast_signed));
            to.push_bind(row.revoked_ms.map(u64::cast_signed));
        });
        sql.push(
            " ON CONFLICT (name) DO UPDATE SET role = excluded.role, sha256 = excluded.sha256,
             created_ms = excluded.created_ms, expires_ms = excluded.expires_ms,
             revoked_ms = excluded.revoked_ms;",
        );
    }
}

fn effects(sql: &mut QueryBuilder<Sqlite>, batch: &Batch) {
    // A failed attempt is settled before the next one is given, also within one batch.
    for settled in &batch.settled {
        sql.push("UPDATE effects SET settled_ms = ").push_bind(settled.at_ms.cast_signed());
        sql.push(", outcome = ").push_bind(&settled.outcome);
        sql.push(" WHERE id = ").push_bind(&settled.effect).push(" AND settled_ms IS NULL;");
    }
    for rows in batch.effects.chunks(ROWS_MAX) {
        // An order that is given again, after a restart or a failed attempt, is the same order.
        sql.push("INSERT INTO effects (id, rollout, generation, body, issued_ms) ");
        sql.push_values(rows, |mut to, row| {
            to.push_bind(&row.id).push_bind(&row.rollout);
            to.push_bind(row.generation.cast_signed());
            to.push_bind(&row.body).push_bind(row.issued_ms.cast_signed());
        });
        sql.push(
            " ON CONFLICT (id) DO UPDATE SET body = excluded.body, settled_ms = NULL,
             outcome = NULL;",
        );
    }
}

fn decisions(sql: &mut QueryBuilder<Sqlite>, batch: &Batch) {
    for rows in batch.decisions.chunks(ROWS_MAX) {
        sql.push("INSERT INTO decisions (id, rollout, service, decision, reason, body, at_ms) ");
        sql.push_values(rows, |mut to, row| {
            to.push_bind(&row.id).push_bind(&row.rollout).push_bind(&row.service);
            to.push_bind(&row.decision).push_bind(&row.reason);
            to.push_bind(&row.body).push_bind(row.at_ms.cast_signed());
        });
        sql.push(";");
    }
}

fn audit(sql: &mut QueryBuilder<Sqlite>, entries: &[AuditEntry], mut head: Head) -> Head {
    for entries in entries.chunks(ROWS_MAX) {
        sql.push("INSERT INTO audit (seq, subject, record, sight, prev, hash) ");
        sql.push_values(entries, |mut to, entry| {
            let (row, next) = chain::append(head, entry);
            to.push_bind(row.seq.cast_signed()).push_bind(&entry.subject);
            to.push_bind(row.record).push_bind(&entry.sight);
            to.push_bind(row.prev).push_bind(row.hash);
            head = next;
        });
        sql.push(";");
    }
    head
}
