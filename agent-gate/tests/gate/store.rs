//! The store by itself: all or nothing, append-only, and no step back to an older version.

use agent_gate::store::sqlite::SqliteStore;
use agent_gate::store::{AuditEntry, AuditPage, Batch, DecisionRow, Reader, Store, StoreError};
use serde_json::json;
use sqlx::Connection;

fn entry(what: &str) -> AuditEntry {
    AuditEntry {
        at_ms: 1,
        who: "gate".into(),
        what: what.into(),
        subject: "gate".into(),
        detail: json!({}),
        sight: None,
    }
}

fn decision(id: &str) -> DecisionRow {
    DecisionRow {
        id: id.into(),
        rollout: "r-000001".into(),
        service: "checkout".into(),
        decision: "hold".into(),
        reason: "unknown".into(),
        body: "{}".into(),
        at_ms: 1,
    }
}

#[tokio::test]
async fn a_batch_that_fails_leaves_nothing_behind() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("gate.db");
    let mut store = SqliteStore::open(&path).await.expect("a store");
    let first = Batch { decisions: vec![decision("d-000001")], ..Batch::default() };
    store.commit(&first).await.expect("a commit");
    // A decision is never written twice, so the second batch fails in its middle.
    let second = Batch {
        meta: vec![("head".into(), "1".into())],
        decisions: vec![decision("d-000002"), decision("d-000001")],
        audit: vec![entry("request")],
        ..Batch::default()
    };
    let error = store.commit(&second).await.expect_err("a failure");
    assert!(matches!(error, StoreError::Write(_)), "{error}");
    drop(store);

    let mut store = SqliteStore::open(&path).await.expect("a store");
    let loaded = store.load().await.expect("loaded");
    assert!(loaded.meta.is_empty());
    let reader = store.reader();
    assert!(reader.decision("d-000001").await.expect("read").is_some());
    assert!(reader.decision("d-000002").await.expect("read").is_none());
    let page = AuditPage { limit: 10, ..AuditPage::default() };
    assert!(reader.audit(&page).await.expect("read").is_empty());
}

#[tokio::test]
async fn the_audit_log_cannot_be_changed_or_shortened_by_sql() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("gate.db");
    let mut store = SqliteStore::open(&path).await.expect("a store");
    let batch = Batch { audit: vec![entry("freeze")], ..Batch::default() };
    store.commit(&batch).await.expect("a commit");
    let url = format!("sqlite://{}", path.display());
    let mut other = sqlx::SqliteConnection::connect(&url).await.expect("the store");
    for sql in ["DELETE FROM audit", "UPDATE audit SET record = '{}'"] {
        let error = sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut other).await;
        let error = error.expect_err("refused").to_string();
        assert!(error.contains("append-only"), "{error}");
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused_with_what_to_do() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("gate.db");
    drop(SqliteStore::open(&path).await.expect("a store"));
    let url = format!("sqlite://{}", path.display());
    let mut other = sqlx::SqliteConnection::connect(&url).await.expect("the store");
    sqlx::query("PRAGMA user_version = 99").execute(&mut other).await.expect("set");
    other.close().await.expect("closed");
    let error = SqliteStore::open(&path).await.expect_err("refused").to_string();
    assert!(error.contains("schema 99") && error.contains("newer Holdpoint"), "{error}");
}

#[tokio::test]
async fn every_commit_is_synced_in_wal_mode() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("gate.db");
    let mut store = SqliteStore::open(&path).await.expect("a store");
    assert_eq!(
        store.pragmas().await.expect("read"),
        // synchronous 2 is FULL.
        [("journal_mode", "wal"), ("synchronous", "2"), ("foreign_keys", "1"), ("mmap_size", "0")]
            .map(|(name, value)| (name, value.to_owned()))
    );
}
