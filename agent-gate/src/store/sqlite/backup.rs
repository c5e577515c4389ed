//! A copy of the store that is whole by itself, also while the gate runs.
//!
//! `VACUUM INTO` reads one committed state from a read-only connection. It is written under
//! another name, synced and verified, and only then takes the name that was asked for: whatever
//! has that name and is not empty is a good backup.
//!
//! Invariant: nothing that was there before is overwritten.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sqlx::{Connection, SqliteConnection};

use super::{journal, sync_directory};
use crate::store::chain::Head;
use crate::store::{Journal, StoreError};

/// Copies the store at `from` to the new file `to`; gives back the head of its journal.
///
/// # Errors
/// [`StoreError`] if `to` is there already, if either file cannot be used, or if the audit
/// journal is broken: then no file is left.
pub async fn backup(from: &Path, to: &Path) -> Result<Head, StoreError> {
    let mut connection = journal::open(from).await?;
    let failed = |source| StoreError::Backup { path: to.to_owned(), source };
    // Absolute, because SQLite reads a name that begins with `file:` as a URL.
    let to = std::path::absolute(to).map_err(failed)?;
    let place = Reserved::new(&to)?;
    let mut name = to.clone().into_os_string();
    name.push(".partial");
    let partial = Reserved::new(Path::new(&name))?;
    copy(&mut connection, &partial.path).await?;
    connection.close().await.map_err(StoreError::Read)?;
    File::open(&partial.path).and_then(|file| file.sync_all()).map_err(failed)?;
    let head = match journal::verify(&partial.path).await? {
        Journal::Whole(head) => head,
        Journal::Broken(found) => {
            return Err(StoreError::BrokenJournal { path: from.to_owned(), found });
        }
    };
    fs::rename(&partial.path, &place.path).map_err(failed)?;
    partial.keep();
    place.keep();
    sync_directory(&to)?;
    Ok(head)
}

async fn copy(connection: &mut SqliteConnection, to: &Path) -> Result<(), StoreError> {
    let Some(name) = to.to_str() else {
        let source = std::io::Error::other("the name is not UTF-8");
        return Err(StoreError::Backup { path: to.to_owned(), source });
    };
    sqlx::query("VACUUM INTO ?")
        .bind(name)
        .execute(connection)
        .await
        .map_err(|source| StoreError::Copy { path: to.to_owned(), source })?;
    Ok(())
}

/// A new empty file of our own, which goes again unless it is kept.
struct Reserved {
    path: PathBuf,
    is_kept: bool,
}

impl Reserved {
    fn new(path: &Path) -> Result<Self, StoreError> {
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(_) => Ok(Self { path: path.to_owned(), is_kept: false }),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(StoreError::Taken { path: path.to_owned() })
            }
            Err(source) => Err(StoreError::Backup { path: path.to_owned(), source }),
        }
    }

    fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if !self.is_kept {
            // What stays is empty or has `.partial` in its name, so nobody takes it for a backup.
            fs::remove_file(&self.path).ok();
        }
    }
}
