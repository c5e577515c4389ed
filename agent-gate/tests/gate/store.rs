//! What is SQLite's alone.

use agent_gate::store::sqlite::SqliteStore;

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
