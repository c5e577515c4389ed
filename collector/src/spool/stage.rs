//! A file of the spool as it is written: past the kernel's page cache, where the disk allows it.
//!
//! What is written here is synced at once and, as a rule, never read again, so pages of the cache
//! would be filled, written out and thrown away for nothing: that is most of what a write costs.
//! `O_DIRECT` wants whole blocks at aligned addresses, so a group is put together in one aligned
//! buffer and padded to the end of its block. A filesystem that does not know it (tmpfs did not for
//! long) gets the same bytes through the cache, without padding.
//!
//! Invariant: `length` is the end of what was written whole, and direct files grow by whole blocks.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use super::record::{self, HEAD_BYTES};
use super::segment::OWNER_ALONE;

/// No disk has bigger ones.
pub(super) const BLOCK_BYTES: usize = 4_096;
/// Bytes that are written at a time.
const STAGE_BYTES: usize = 1 << 20;

/// A file that is appended to.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) file: File,
    pub(super) length: u64,
}

/// The buffer in which groups are put together.
#[derive(Debug)]
pub(super) struct Stage {
    is_direct: bool,
    /// Empty until it is needed; big enough to hold [`STAGE_BYTES`] from a block's address on.
    bytes: Vec<u8>,
    filled: usize,
}

impl Stage {
    pub(super) const fn new(is_direct: bool) -> Self {
        Self { is_direct, bytes: Vec::new(), filled: 0 }
    }

    /// A new file.
    pub(super) fn create(&self, path: &Path) -> io::Result<Output> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(OWNER_ALONE);
        if self.is_direct {
            options.custom_flags(OFlags::DIRECT.bits().cast_signed());
        }
        Ok(Output { file: options.open(path)?, length: 0 })
    }

    /// Bytes that a group of so many takes in a file.
    pub(super) const fn padded(&self, bytes: usize) -> usize {
        if !self.is_direct || bytes.is_multiple_of(BLOCK_BYTES) {
            return bytes;
        }
        (bytes + HEAD_BYTES).next_multiple_of(BLOCK_BYTES)
    }

    /// The most that [`Self::padded`] adds.
    pub(super) const fn padding_max(&self) -> usize {
        if self.is_direct { BLOCK_BYTES + HEAD_BYTES } else { 0 }
    }

    /// Writes `parts` to the end of `output`, which is longer then only if all were written.
    pub(super) fn append<'a>(
        &mut self,
        output: &mut Output,
        parts: impl Iterator<Item = &'a [u8]>,
    ) -> io::Result<()> {
        self.filled = 0;
        let (mut at, mut total) = (output.length, 0);
        for part in parts {
            total += part.len();
            self.put(&output.file, &mut at, part)?;
        }
        let padding = self.padded(total) - total;
        if padding > 0 {
            self.put(&output.file, &mut at, &record::padding(padding))?;
        }
        self.write_out(&output.file, &mut at)?;
        output.length = at;
        Ok(())
    }

    fn put(&mut self, file: &File, at: &mut u64, mut part: &[u8]) -> io::Result<()> {
        while !part.is_empty() {
            if self.filled == STAGE_BYTES {
                self.write_out(file, at)?;
            }
            let (now, later) = part.split_at(part.len().min(STAGE_BYTES - self.filled));
            let filled = self.filled;
            self.staged()[filled..filled + now.len()].copy_from_slice(now);
            self.filled += now.len();
            part = later;
        }
        Ok(())
    }

    fn write_out(&mut self, file: &File, at: &mut u64) -> io::Result<()> {
        let filled = self.filled;
        file.write_all_at(&self.staged()[..filled], *at)?;
        *at += filled as u64;
        self.filled = 0;
        Ok(())
    }

    /// The buffer from an aligned address on.
    fn staged(&mut self) -> &mut [u8] {
        if self.bytes.is_empty() {
            self.bytes = vec![0; STAGE_BYTES + BLOCK_BYTES];
        }
        let start = self.bytes.as_ptr().align_offset(BLOCK_BYTES).min(BLOCK_BYTES);
        &mut self.bytes[start..start + STAGE_BYTES]
    }
}

/// Whether files at `path` can be written past the page cache.
pub(super) fn is_direct_at(path: &Path) -> bool {
    let mut stage = Stage::new(true);
    let tried = stage.create(path).and_then(|mut output| {
        stage.append(&mut output, [b"a block".as_slice()].into_iter())?;
        output.file.sync_data()
    });
    tried.is_ok()
}
