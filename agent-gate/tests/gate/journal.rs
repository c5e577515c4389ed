//! The audit journal read again from the file, beside the gate that writes it.

use std::path::Path;

use agent_gate::store::START_CHECK_MAX;
use agent_gate::store::sqlite::{SqliteStore, backup, verify};
use agent_gate::store::{AuditEntry, Batch, Journal, Store, StoreError};
use serde_json::json;
use sqlx::Connection;

fn entries(count: u64) -> Batch {
    let entry = |at_ms| AuditEntry {
        at_ms,
        who: "gate".into(),
        what: "freeze".into(),
        subject: "f-000001".into(),
        detail: json!({ "n": at_ms }).to_string(),
        sight: Some(r#"[{"service":"a"}]"#.into()),
    };
    Batch { audit: (0..count).map(entry).collect(), ..Batch::default() }
}

/// Does to the journal what only somebody with the file can do.
async fn tamper(path: &Path, sql: &str) {
    let url = format!("sqlite://{}", path.display());
    let mut other = sqlx::SqliteConnection::connect(&url).await.expect("the store");
    let script = format!(
        "DROP TRIGGER IF EXISTS audit_keeps_rows; DROP TRIGGER IF EXISTS audit_keeps_text; {sql}"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(script)).execute(&mut other).await.expect("changed");
    other.close().await.expect("closed");
}

#[tokio::test]
async fn every_column_of_an_entry_is_covered_and_the_first_broken_one_is_named() {
    for (sql, first) in [
        ("UPDATE audit SET record = replace(record, 'freeze', 'greeze') WHERE seq = 3", 3),
        ("UPDATE audit SET record = CAST(x'ff' AS TEXT) WHERE seq = 3", 3),
        ("UPDATE audit SET sight = replace(sight, 'a', 'b') WHERE seq = 2", 2),
        ("UPDATE audit SET sight = NULL WHERE seq = 2", 2),
        ("UPDATE audit SET subject = 'f-000002' WHERE seq = 4", 4),
        ("UPDATE audit SET prev = zeroblob(32) WHERE seq = 4", 4),
        ("UPDATE audit SET hash = zeroblob(32) WHERE seq = 5", 5),
        ("UPDATE audit SET hash = x'00' WHERE seq = 5", 5),
        ("UPDATE audit SET seq = 9 WHERE seq = 5", 9),
        ("UPDATE audit SET seq = 0 WHERE seq = 1", 0),
        ("DELETE FROM audit WHERE seq = 3", 4),
        ("DELETE FROM audit WHERE seq = 1", 2),
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("gate.db");
        let mut store = SqliteStore::open(&path).await.expect("a store");
        store.commit(&entries(5)).await.expect("a commit");
        let whole = verify(&path).await.expect("read beside the writer");
        assert!(matches!(whole, Journal::Whole(head) if head.seq == 5), "{whole:?}");
        tamper(&path, sql).await;
        let journal = verify(&path).await.expect("read");
        assert!(matches!(journal, Journal::Broken(found) if found.entry == first), "{sql}");
        let copy = directory.path().join("copy.db");
        let error = backup(&path, &copy).await.expect_err("no backup of a broken journal");
        assert!(matches!(error, StoreError::BrokenJournal { .. }), "{sql}: {error}");
        let left = std::fs::read_dir(directory.path()).expect("listed");
        let left = left.filter(|entry| {
            let name = entry.as_ref().expect("an entry").file_name();
            name.to_string_lossy().starts_with("copy")
        });
        assert_eq!(left.count(), 0, "nothing is left that looks like a backup");
    }
}

#[tokio::test]
async fn a_start_checks_the_newest_entries_and_no_more() {
    let checked = START_CHECK_MAX.cast_unsigned();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("gate.db");
    let mut store = Box::new(SqliteStore::open(&path).await.expect("a store"));
    store.commit(&entries(checked + 2)).await.expect("a commit");
    store.close().await;

    tamper(&path, "UPDATE audit SET record = '{}' WHERE seq = 2").await;
    let store = Box::new(SqliteStore::open(&path).await.expect("older than what is checked"));
    store.close().await;
    let journal = verify(&path).await.expect("read");
    assert!(matches!(journal, Journal::Broken(found) if found.entry == 2), "{journal:?}");

    tamper(&path, "UPDATE audit SET record = '{}' WHERE seq = 3").await;
    let error = SqliteStore::open(&path).await.expect_err("refused").to_string();
    for part in [path.to_str().expect("UTF-8"), "entry 3 ", "audit verify", "backup"] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[tokio::test]
async fn what_is_no_store_is_not_called_whole() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("gate.db");
    assert!(matches!(verify(&path).await, Err(StoreError::Open { .. })));
    std::fs::write(&path, "").expect("written");
    assert!(matches!(verify(&path).await, Err(StoreError::Strange { .. })));
    std::fs::write(&path, "this is not a database, whatever its name says").expect("written");
    assert!(matches!(verify(&path).await, Err(StoreError::Damaged { .. })));
}
