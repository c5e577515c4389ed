//! The data directory: where the roles keep what must survive them, and how they find each other.
//!
//! ```text
//! DATA/                     mode 0700
//!   run/ROLE.json           where a running role is reached        (run_file.rs)
//!   run/ROLE.lock           held while the role runs               (lock.rs)
//!   keys/, keys/beats/      Ed25519 seeds and MAC keys, mode 0600  (secret.rs)
//!   tokens/ROLE.token       bearer tokens, mode 0600               (secret.rs)
//!   services.json           what the watchdog has seen of services (memory.rs)
//!   known-good.{toml,json}  the last configuration that was proven
//!   gate.db, spool/, captures/
//! ```
//!
//! Invariant: this module alone knows these paths; the roles get values and closures.

mod lock;
mod memory;
mod run_file;
mod secret;

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

pub use run_file::{CollectorRun, Listen, RoleRun, own_start_ticks};

use crate::driver;

/// The environment variable that names the data directory.
pub const DATA_DIR_ENV: &str = "HOLDPOINT_DATA_DIR";

/// What stands between us and the data directory.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error("create {path}: {source}; choose another with --data-dir or {DATA_DIR_ENV}")]
    Create { path: PathBuf, source: io::Error },
    #[error("{path} is not a directory; choose another with --data-dir or {DATA_DIR_ENV}")]
    NotADirectory { path: PathBuf },
    #[error("write {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error("read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} does not hold {expected}; restore it, or remove it to get a new one")]
    Malformed { path: PathBuf, expected: &'static str },
    #[error("no random bytes for {path}: {source}")]
    Random { path: PathBuf, source: io::Error },
    #[error("another {role} runs in this data directory ({path} is held); stop it first")]
    Held { role: &'static str, path: PathBuf },
}

/// One data directory.
#[derive(Debug, Clone)]
pub struct Place {
    root: PathBuf,
}

impl Place {
    /// Names a data directory without touching it, for a command line that only reads.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Creates what is missing and proves that the directory can be written.
    ///
    /// # Errors
    /// [`PlaceError`] that says which path failed and why.
    pub fn create(root: impl Into<PathBuf>) -> Result<Self, PlaceError> {
        let place = Self::at(root);
        place.create_dir(&place.root)?;
        for dir in ["run", "keys", "keys/beats", "keys/watchdogs", "tokens", "spool"] {
            place.create_dir(&place.root.join(dir))?;
        }
        let trial = place.root.join(format!("run/.trial.{}", std::process::id()));
        write_new(&trial, b"")
            .and_then(|()| fs::remove_file(&trial))
            .map_err(|source| PlaceError::Write { path: place.root.clone(), source })?;
        Ok(place)
    }

    /// Where the watchdog writes what a hung collector looked like.
    #[must_use]
    pub fn captures(&self) -> PathBuf {
        self.root.join("captures")
    }

    /// Where the collector keeps what its backends have not taken yet.
    #[must_use]
    pub fn spool(&self) -> PathBuf {
        self.root.join("spool")
    }

    /// The copy of the last configuration that was proven.
    #[must_use]
    pub fn known_good(&self) -> PathBuf {
        self.root.join("known-good.toml")
    }

    /// Puts aside all that lies in the spool, while no collector runs; says how much that was.
    ///
    /// # Errors
    /// If a file cannot be moved; those before it have been.
    pub fn quarantine_spool(&self) -> io::Result<usize> {
        let aside = self.spool().join("quarantine");
        fs::create_dir_all(&aside)?;
        let mut moved = 0;
        for entry in fs::read_dir(self.spool())? {
            let entry = entry?;
            if entry.path() == aside {
                continue;
            }
            // A name that is not taken: another start may put the same numbers aside.
            let name = format!("{}-{}", driver::boot(), entry.file_name().to_string_lossy());
            fs::rename(entry.path(), aside.join(name))?;
            moved += 1;
        }
        Ok(moved)
    }

    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The gate's SQLite file.
    #[must_use]
    pub fn gate_db(&self) -> PathBuf {
        self.root.join("gate.db")
    }

    /// What in the directory others than its owner can read, for `doctor`.
    #[must_use]
    pub fn exposed(&self) -> Vec<PathBuf> {
        let mut paths = vec![self.root.clone()];
        for dir in ["keys", "keys/beats", "tokens"] {
            let entries = fs::read_dir(self.root.join(dir)).into_iter().flatten().flatten();
            paths.extend(entries.map(|entry| entry.path()));
        }
        paths.retain(|path| {
            let public = path.extension().is_some_and(|extension| extension == "pub");
            let mode = fs::metadata(path).map(|meta| meta.permissions().mode());
            !public && mode.is_ok_and(|mode| mode & 0o077 != 0)
        });
        paths
    }

    fn create_dir(&self, path: &Path) -> Result<(), PlaceError> {
        if path.exists() && !path.is_dir() {
            return Err(PlaceError::NotADirectory { path: path.to_owned() });
        }
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|source| PlaceError::Create { path: path.to_owned(), source })
    }

    /// Replaces a file in one step, so that a reader sees the old or the new text and no half.
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), PlaceError> {
        let failed = |source| PlaceError::Write { path: path.to_owned(), source };
        let random = driver::random::<8>()
            .map_err(|source| PlaceError::Random { path: path.to_owned(), source })?;
        let fresh = path.with_extension(format!("new.{}", hex::encode(random)));
        write_new(&fresh, bytes).map_err(failed)?;
        fs::rename(&fresh, path).map_err(failed)
    }
}

/// Writes a file that must not exist yet, readable by its owner alone.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use io::Write as _;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
