//! The spool: what makes an acknowledgement outlive a crash.
//!
//! ```text
//!  pipeline ─► append ─► writer thread ─► one write, one sync ─► committed ─► line ─► exporters
//!                             ▲                                                │
//!                             └──────────── settled ◄──────────────────────────┘
//! ```
//!
//! Requests are appended to files as they came, compressed ones compressed. Exporters that keep up
//! have them from memory; those that fall behind read them back. A file goes when all its entries
//! are settled by every exporter they are owed to. See [`writer`] for how requests share a sync,
//! and [`recovery`] for what a start finds.
//!
//! Invariant: what was acknowledged is on disk, or settled. The spool never grows beyond its
//! limit; then requests are refused.

mod reader;
pub(crate) mod record;
mod recovery;
mod segment;
mod stage;
#[cfg(test)]
mod tests;
mod writer;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;

pub(crate) use reader::{Reader, Stored};
pub(crate) use record::{Head, Owner};
pub(crate) use recovery::{Recovered, Resume};
use stage::Stage;
pub(crate) use writer::Committed;
use writer::{Order, Settling, Writer};

/// The place of a record: its file, and the byte in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) number: u64,
    pub(crate) at: u64,
}

/// What can be wrong with the spool.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    #[error("{doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "{} is of version {version} of the spool, which this version does not read; start the \
         newer version to deliver it, or move the file away to lose it", path.display()
    )]
    Version { path: PathBuf, version: u32 },
}

impl SpoolError {
    fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { doing, path: path.to_owned(), source }
    }
}

/// What the thread and the rest of the collector both see.
#[derive(Debug)]
struct Shared {
    /// Bytes of all files.
    used: AtomicU64,
    /// Bytes of requests that are on their way to the files.
    coming: AtomicU64,
    last_number: AtomicU64,
    settling: Mutex<Settling>,
    failing: AtomicBool,
    failures: AtomicU64,
    file_bytes_max: u64,
    /// What a request may take beyond its own bytes.
    overhead_bytes: usize,
}

impl Shared {
    fn settling(&self) -> MutexGuard<'_, Settling> {
        self.settling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How big the spool and its files may become.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) bytes: u64,
    pub(crate) file_bytes: u64,
    /// Whether files are written past the page cache, where the filesystem allows it.
    pub(crate) direct: bool,
}

/// The writing half of an open spool.
#[derive(Debug)]
pub(crate) struct Spool {
    dir: PathBuf,
    limit: u64,
    /// Bytes that the start found damaged.
    damaged_bytes: u64,
    owners: Mutex<Vec<Owner>>,
    shared: Arc<Shared>,
    orders: Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

impl Spool {
    /// Opens the spool in `dir` for entries that are owed to `owners`, with what an earlier run
    /// left in it.
    ///
    /// # Errors
    /// [`SpoolError`] if the directory cannot be written, or a file in it cannot be read.
    pub(crate) fn open(
        dir: &Path,
        limits: Limits,
        owners: Vec<Owner>,
    ) -> Result<(Self, Recovered), SpoolError> {
        fs::create_dir_all(dir).map_err(|error| SpoolError::io("create", dir, error))?;
        let stage = Stage::new(probe(dir)? && limits.direct);
        let recovered = Recovered::read(dir, &owners)?;
        let files = recovered.files.iter();
        let files = files.map(|(number, bytes, last)| (*number, (last.unwrap_or(0), *bytes)));
        let file_bytes = recovered.files.iter().map(|(_, bytes, _)| bytes).sum();
        let shared = Arc::new(Shared {
            used: AtomicU64::new(file_bytes),
            coming: AtomicU64::new(0),
            last_number: AtomicU64::new(recovered.next_number - 1),
            settling: Mutex::default(),
            failing: AtomicBool::new(false),
            failures: AtomicU64::new(0),
            file_bytes_max: limits.file_bytes,
            overhead_bytes: record::HEAD_BYTES + stage.padding_max(),
        });
        let (orders, receiver) = mpsc::channel();
        let writer = Writer {
            dir: dir.to_owned(),
            orders: receiver,
            shared: Arc::clone(&shared),
            owners: owners.clone(),
            next_seq: recovered.next_seq,
            next_number: recovered.next_number,
            files: files.collect(),
            file_bytes,
            current: None,
            stage,
        };
        let thread = std::thread::Builder::new().name("spool".to_owned());
        let thread = thread.spawn(move || writer.run());
        let thread =
            thread.map_err(|error| SpoolError::io("start the thread that writes", dir, error))?;
        let (dir, limit, owners) = (dir.to_owned(), limits.bytes, Mutex::new(owners));
        let (damaged_bytes, thread) = (recovered.damaged_bytes, Some(thread));
        let spool = Self { dir, limit, damaged_bytes, owners, shared, orders, thread };
        Ok((spool, recovered))
    }

    /// Takes room for a request of so many bytes; `None` if the spool is full.
    pub(crate) fn reserve(&self, bytes: usize) -> Option<Room> {
        let bytes = (bytes + self.shared.overhead_bytes) as u64;
        let coming = self.shared.coming.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let room = Room { bytes, shared: Arc::clone(&self.shared) };
        (self.shared.used.load(Ordering::Relaxed) + coming <= self.limit).then_some(room)
    }

    /// Writes a request; `committed` is called on the writer's thread.
    pub(crate) fn append(&self, room: Room, head: Head, body: Bytes, committed: Committed) {
        let committed: Committed = Box::new(move |result| {
            drop(room);
            committed(result);
        });
        // The thread ends after the last append.
        let _ = self.orders.send(Order::Append { head, body, committed });
    }

    /// `owner` is done with an entry, and all owners with those before `low`.
    pub(crate) fn settle(&self, owner: Owner, seq: u64, low: u64) {
        let wakes = self.shared.settling().settle(owner, seq, low);
        if wakes {
            let _ = self.orders.send(Order::Settle);
        }
    }

    /// Entries from here on are owed to `owners`.
    pub(crate) fn set_owners(&self, owners: Vec<Owner>) {
        let mut known = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != owners {
            known.clone_from(&owners);
            let _ = self.orders.send(Order::Owners(owners));
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file that is written to, or was last.
    pub(crate) fn last_number(&self) -> u64 {
        self.shared.last_number.load(Ordering::Acquire)
    }

    pub(crate) fn used_bytes(&self) -> u64 {
        self.shared.used.load(Ordering::Relaxed)
    }

    pub(crate) const fn damaged_bytes(&self) -> u64 {
        self.damaged_bytes
    }

    pub(crate) const fn limit_bytes(&self) -> u64 {
        self.limit
    }

    /// Whether the last write failed.
    pub(crate) fn is_failing(&self) -> bool {
        self.shared.failing.load(Ordering::Relaxed)
    }

    pub(crate) fn failures(&self) -> u64 {
        self.shared.failures.load(Ordering::Relaxed)
    }
}

impl Drop for Spool {
    /// Writes what was ordered, and ends the thread.
    fn drop(&mut self) {
        let _ = self.orders.send(Order::Stop);
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            // A writer that panicked has nothing more to write.
            let _ = thread.join();
        }
    }
}

/// Room in the spool for a request that is not written yet.
#[derive(Debug)]
pub(crate) struct Room {
    bytes: u64,
    shared: Arc<Shared>,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.shared.coming.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Whether the directory can be written, told at the start and not by the first request; and
/// whether it can be past the page cache.
fn probe(dir: &Path) -> Result<bool, SpoolError> {
    let path = dir.join("writable");
    let tried = fs::write(&path, b"").and_then(|()| fs::remove_file(&path));
    tried.map_err(|error| SpoolError::io("write to", &path, error))?;
    let is_direct = stage::is_direct_at(&path);
    // What was only to be tried may not be there.
    let _ = fs::remove_file(&path);
    Ok(is_direct)
}
