//! The audit journal of a real gate: copied while it runs, verified without it, and refused with
//! one byte changed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use sqlx::Connection;

use super::stack::{Ended, Stack, holdpoint, send};

fn verify(file: &Path) -> Ended {
    holdpoint(&["audit", "verify", "--store", &file.display().to_string(), "-o", "json"])
}

/// Changes one bit of one entry, as somebody with the file can.
fn flip(file: &Path, seq: i64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let url = format!("sqlite://{}", file.display());
        let mut store = sqlx::SqliteConnection::connect(&url).await.unwrap();
        sqlx::query("DROP TRIGGER audit_keeps_text").execute(&mut store).await.unwrap();
        let record: String = sqlx::query_scalar("SELECT record FROM audit WHERE seq = ?")
            .bind(seq)
            .fetch_one(&mut store)
            .await
            .unwrap();
        let mut bytes = record.into_bytes();
        *bytes.last_mut().unwrap() ^= 1;
        sqlx::query("UPDATE audit SET record = ? WHERE seq = ?")
            .bind(String::from_utf8(bytes).unwrap())
            .bind(seq)
            .execute(&mut store)
            .await
            .unwrap();
        store.close().await.unwrap();
    });
}

#[test]
fn a_changed_byte_is_found_the_gate_refuses_and_a_backup_brings_it_back() {
    let mut stack = Stack::start("");
    let frozen = stack.cli(&["freeze", "--scope", "fleet", "--reason", "a story"]);
    assert_eq!(frozen.code, Some(0), "{frozen:?}");

    let (db, copy) = (stack.data().join("gate.db"), stack.dir.path().join("copy.db"));
    let file = copy.display().to_string();
    let backed = stack.cli(&["backup", &file]);
    assert_eq!(backed.code, Some(0), "{backed:?}");
    let whole = verify(&copy);
    assert_eq!(whole.code, Some(0), "{whole:?}");
    assert_eq!(whole.json()["head"], backed.json()["head"]);
    assert!(whole.json()["entries"].as_u64().is_some_and(|count| count >= 1), "{whole:?}");
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(stack.cli(&["audit", "verify"]).code, Some(0), "beside the gate that runs");
    let before = fs::read(&copy).unwrap();
    let again = stack.cli(&["backup", &file]);
    assert_eq!(again.code, Some(2), "{again:?}");
    assert!(again.err.contains("is there already"), "{}", again.err);
    assert_eq!(fs::read(&copy).unwrap(), before);

    send(stack.up_pid(), Signal::TERM);
    stack.wait_end(Duration::from_secs(20));
    flip(&db, 1);
    let broken = verify(&db);
    assert_eq!(broken.code, Some(1), "{broken:?}");
    assert_eq!(broken.json()["broken"]["entry"], 1, "{broken:?}");
    let config = stack.dir.path().join("holdpoint.toml").display().to_string();
    let refused = stack.cli(&["gate", "--lifeline", "--config", &config]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    for part in ["gate.db", "entry 1 ", "holdpoint audit verify", "backup"] {
        assert!(refused.err.contains(part), "{part}: {}", refused.err);
    }

    for side in ["gate.db-wal", "gate.db-shm"] {
        fs::remove_file(stack.data().join(side)).ok();
    }
    fs::copy(&copy, &db).unwrap();
    stack.start_again();
    assert_eq!(stack.freezes().len(), 1, "the freeze of the backup is in force");
    let gone = verify(&stack.data().join("nowhere.db"));
    assert_eq!(gone.code, Some(2), "{gone:?}");
    assert!(gone.err.contains("nowhere.db"), "{}", gone.err);
}
