//! Reads entries back for an exporter that is behind.
//!
//! Invariant: entries are given in the order in which they were written, and bytes that are no
//! record are passed over, never given.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::record::{self, HEAD_BYTES, Head, Record};
use super::segment::{self, MARK_BYTES, Number};
use super::{Place, SpoolError};

/// Bytes that are read at a time, if the entries are small.
const CHUNK_BYTES: usize = 256 << 10;

/// An entry that was read back.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) head: Head,
    pub(crate) body: Bytes,
    /// Where the next record begins.
    pub(crate) next: Place,
}

/// A place in the spool that moves forward.
#[derive(Debug)]
pub(crate) struct Reader {
    dir: PathBuf,
}

impl Reader {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Entries from `from` on, some at least if there are any up to the file `last`.
    ///
    /// # Errors
    /// [`SpoolError`] if a file cannot be read.
    pub(crate) fn read(&self, from: Place, last: Number) -> Result<Vec<Stored>, SpoolError> {
        let mut at = from;
        loop {
            let (stored, end) = self.chunk(at)?;
            if !stored.is_empty() || (end == at && at.number >= last) {
                return Ok(stored);
            }
            at = if end == at { self.first_after(at.number, last)? } else { end };
        }
    }

    /// The start of the next file that is there.
    fn first_after(&self, number: Number, last: Number) -> Result<Place, SpoolError> {
        let numbers = segment::numbers(&self.dir)?;
        let next = numbers.into_iter().find(|other| *other > number).unwrap_or(last);
        Ok(Place { number: next.max(number + 1), at: MARK_BYTES as u64 })
    }

    /// The entries of the next bytes of one file, and where they end.
    fn chunk(&self, from: Place) -> Result<(Vec<Stored>, Place), SpoolError> {
        let path = segment::path(&self.dir, from.number);
        let failed = |error| SpoolError::io("read", &path, error);
        // Opened for each read: an open file keeps its room on the disk after it was deleted.
        let file = match File::open(&path) {
            Ok(file) => file,
            // All of it was settled.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((Vec::new(), from));
            }
            Err(error) => return Err(failed(error)),
        };
        let mut bytes = read_at(&file, from.at, CHUNK_BYTES).map_err(failed)?;
        if let Some(head) = bytes.first_chunk::<HEAD_BYTES>()
            && let Some(length) = record::body_length(head)
            && HEAD_BYTES + length > bytes.len()
        {
            bytes = read_at(&file, from.at, HEAD_BYTES + length).map_err(failed)?;
        }
        Ok(entries(&Bytes::from(bytes), from))
    }
}

fn read_at(file: &File, at: u64, most: usize) -> io::Result<Vec<u8>> {
    let left = file.metadata()?.len().saturating_sub(at);
    let length = usize::try_from(left).unwrap_or(usize::MAX).min(most);
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

fn entries(bytes: &Bytes, from: Place) -> (Vec<Stored>, Place) {
    let mut stored = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let place = |at: usize| Place { number: from.number, at: from.at + at as u64 };
        match record::read(&bytes[at..]) {
            Ok((record, length)) => {
                if let Record::Entry(head, body) = record {
                    let body = bytes.slice_ref(body);
                    stored.push(Stored { head, body, next: place(at + length) });
                }
                at += length;
            }
            // The rest of it lies beyond this chunk, if anywhere.
            Err(record::NoRecord::Cut) if at > 0 => break,
            Err(record::NoRecord::Cut | record::NoRecord::Damaged) => {
                at = record::next_magic(bytes, at + 1).unwrap_or(bytes.len());
            }
        }
    }
    (stored, Place { number: from.number, at: from.at + at as u64 })
}
