//! The files of the spool: their names, their first bytes, and how they are walked.
//!
//! A file is `N.spool`, with N counting up and zero-padded, so that names sort as they were
//! written. It begins with [`MARK`] and the version of the format; then records follow. Version 1
//! had no padding, and is read as version 2 is.
//!
//! Invariant: a file of a newer version is never read as if it were of this one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::SpoolError;
use super::record::{self, Owner, Record};
use super::stage::{Output, Stage};

/// The first bytes of every file.
const MARK: [u8; 8] = *b"HPSPOOL\n";
const VERSION: u32 = 2;
const VERSIONS_READ: std::ops::RangeInclusive<u32> = 1..=VERSION;
pub(super) const MARK_BYTES: usize = 12;
const SUFFIX: &str = ".spool";
/// Requests hold what users do.
pub(super) const OWNER_ALONE: u32 = 0o600;

/// The number of a file.
pub(super) type Number = u64;

pub(super) fn path(dir: &Path, number: Number) -> PathBuf {
    dir.join(format!("{number:012}{SUFFIX}"))
}

/// The numbers of the files in `dir`, in the order in which they were written.
pub(super) fn numbers(dir: &Path) -> Result<Vec<Number>, SpoolError> {
    let list = || -> io::Result<Vec<Number>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(dir)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
            numbers.extend(number.and_then(|number| number.parse::<Number>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    };
    list().map_err(|error| SpoolError::io("list", dir, error))
}

/// A new file whose following entries are owed to `owners`; it survives a power cut.
pub(super) fn create(
    dir: &Path,
    number: Number,
    owners: &[Owner],
    stage: &mut Stage,
) -> Result<Output, SpoolError> {
    let path = path(dir, number);
    let mut make = || -> io::Result<Output> {
        let mut output = stage.create(&path)?;
        let (version, owners) = (VERSION.to_le_bytes(), record::owners(owners));
        stage.append(&mut output, [&MARK[..], &version, &owners].into_iter())?;
        output.file.sync_all()?;
        // The name is in the directory, which has to reach the disk as well.
        File::open(dir)?.sync_all()?;
        Ok(output)
    };
    make().map_err(|error| {
        // A file that is only half there must not be found by the next start.
        let _ = fs::remove_file(&path);
        SpoolError::io("create", &path, error)
    })
}

/// The bytes of a file after its first ones were checked.
pub(super) fn read(dir: &Path, number: Number) -> Result<Vec<u8>, SpoolError> {
    let path = path(dir, number);
    let bytes = fs::read(&path).map_err(|error| SpoolError::io("read", &path, error))?;
    let Some((mark, _)) = bytes.split_first_chunk::<MARK_BYTES>() else {
        // Cut before its first record was written: nothing in it was ever acknowledged.
        return Ok(Vec::new());
    };
    if mark[..8] == MARK {
        let version = u32::from_le_bytes([mark[8], mark[9], mark[10], mark[11]]);
        if !VERSIONS_READ.contains(&version) {
            return Err(SpoolError::Version { path, version });
        }
    }
    Ok(bytes)
}

/// Something met on a walk over a file.
#[derive(Debug)]
pub(super) enum Met<'a> {
    /// A record and where it begins.
    Record(u64, Record<'a>),
    /// Bytes that are no record, although records follow them.
    Damage(u64, &'a [u8]),
    /// The file ends here with bytes that are no record.
    Torn(u64),
}

/// Walks all of a file's `bytes`.
pub(super) fn walk<'a>(bytes: &'a [u8], mut visit: impl FnMut(Met<'a>)) {
    let mut at = MARK_BYTES.min(bytes.len());
    while at < bytes.len() {
        if let Ok((record, length)) = record::read(&bytes[at..]) {
            visit(Met::Record(at as u64, record));
            at += length;
            continue;
        }
        match next_record(bytes, at + 1) {
            Some(next) => {
                visit(Met::Damage(at as u64, &bytes[at..next]));
                at = next;
            }
            None => return visit(Met::Torn(at as u64)),
        }
    }
}

fn next_record(bytes: &[u8], mut from: usize) -> Option<usize> {
    loop {
        let at = record::next_magic(bytes, from)?;
        if record::read(&bytes[at..]).is_ok() {
            return Some(at);
        }
        from = at + 1;
    }
}

/// Puts damaged bytes aside for a person to look at.
pub(super) fn quarantine(
    dir: &Path,
    number: Number,
    at: u64,
    bytes: &[u8],
) -> Result<PathBuf, SpoolError> {
    let aside = dir.join("quarantine");
    let path = aside.join(format!("{number:012}-{at}.damaged"));
    let write = || -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&aside)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(OWNER_ALONE);
        options.open(&path)?.write_all(bytes)
    };
    write().map_err(|error| SpoolError::io("put damaged bytes aside in", &path, error))?;
    Ok(path)
}
