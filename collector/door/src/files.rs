//! Noticing that files have changed, by their stamps.
//!
//! A secret or a certificate is replaced while a role runs: by a new file in place of the old one,
//! or by a symbolic link that points elsewhere. Both change the inode; a file written in place
//! changes its time or size.
//!
//! Invariant: a file that cannot be looked at has a stamp too, so its coming back is a change.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// When and as what a file was last seen; `None` if it could not be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp(Option<(u64, u64, i64, i64)>);

impl Stamp {
    /// The stamp of the file at `path` now. Blocks for as long as the file system does.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        let stamp = |file: fs::Metadata| (file.ino(), file.size(), file.mtime(), file.mtime_nsec());
        Self(fs::metadata(path).ok().map(stamp))
    }
}
