//! The drill's temporary directory.
//!
//! Invariant: it belongs to this user alone, and it is gone when the drill is, unless the person
//! asked to keep it.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::failure::DrillError;
use crate::driver::{self, Deadline};

/// How long roles that are ending may still write.
const REMOVE_WITHIN: Duration = Duration::from_secs(3);

/// A directory that removes itself.
#[derive(Debug)]
pub struct Workplace {
    path: PathBuf,
    keep: bool,
}

impl Workplace {
    pub fn create(keep: bool) -> Result<Self, DrillError> {
        let name = driver::random::<6>().map(hex::encode).map_err(|source| DrillError::System {
            what: "name the temporary directory".into(),
            source,
        })?;
        let path = std::env::temp_dir().join(format!("holdpoint-drill-{name}"));
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(|source| DrillError::System {
            what: format!("create {}", path.display()),
            source,
        })?;
        if !keep {
            remove_on_panic(path.clone());
        }
        Ok(Self { path, keep })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        if self.keep {
            eprintln!("kept {}", self.path.display());
        } else if let Err(error) = remove(&self.path) {
            eprintln!("remove {}: {error}", self.path.display());
        }
    }
}

/// Removes the directory, again while a role that is ending still writes into it.
fn remove(path: &Path) -> std::io::Result<()> {
    let deadline = Deadline::after(REMOVE_WITHIN);
    loop {
        match fs::remove_dir_all(path) {
            Ok(()) => return Ok(()),
            Err(error) if deadline.has_passed() => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// A release build aborts on panic and drops nothing.
fn remove_on_panic(path: PathBuf) {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        told(panic);
        // The processes end with their lifelines; what they still write is not worth a report.
        let _ = fs::remove_dir_all(&path);
    }));
}
