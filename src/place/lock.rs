//! One role of a kind per data directory.
//!
//! Two gates on one store would each believe in their own freezes. The lock is the kernel's
//! (`flock`), so it falls with the process that holds it, however that dies.
//!
//! Invariant: a role binds no port and opens no store before it holds its lock.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::{Place, PlaceError};

/// Held as long as this value lives.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Place {
    /// Takes the lock of `role`, or says that it is held.
    ///
    /// # Errors
    /// [`PlaceError::Held`] if another process has it, [`PlaceError::Write`] if the file cannot
    /// be opened.
    pub fn lock(&self, role: &'static str) -> Result<Lock, PlaceError> {
        let path = self.root.join(format!("run/{role}.lock"));
        let opened =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = opened.map_err(|source| PlaceError::Write { path: path.clone(), source })?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Lock { _file: file }),
            Err(Errno::WOULDBLOCK) => Err(PlaceError::Held { role, path }),
            Err(errno) => Err(PlaceError::Write { path, source: errno.into() }),
        }
    }
}
