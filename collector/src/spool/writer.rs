//! The thread that writes the spool: one write and one sync for all requests that wait.
//!
//! While the disk syncs one group, the requests of the next one gather; so the cost of a sync is
//! shared by as many requests as arrive in its time, and a lone request waits for nobody.
//! Settlements gather in a list of their own, which is looked at with each group and for a while
//! after it, so that they wake nobody while requests come.
//!
//! Invariant: a request's `committed` is called with its place only after its bytes and the sync
//! of its file succeeded. After a failed write or sync nothing more is written to that file: what
//! it holds beyond the last good group was promised to nobody.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use bytes::Bytes;
use tracing::{error, info, warn};
use watchdog_core::tick::Tick;

use super::record::{self, HEAD_BYTES, Head, Owner};
use super::segment::{self, Number};
use super::stage::{Output, Stage};
use super::{Place, Shared, SpoolError};
use crate::driver;

const GROUP_MAX: usize = 500;
const GROUP_BYTES_MAX: usize = 8 << 20;
/// How long settlements gather while no request is written. Losing them costs duplicates only.
const SETTLE_EVERY_MS: u64 = 20;

/// What is called when a request is on disk, or could not be written.
pub(crate) type Committed = Box<dyn FnOnce(Result<(u64, Place), Arc<SpoolError>>) + Send>;

/// What the thread is asked to do.
pub(super) enum Order {
    /// The head's `seq` is given by the thread.
    Append {
        head: Head,
        body: Bytes,
        committed: Committed,
    },
    /// There are settlements, and nobody was going to look at them.
    Settle,
    /// Following entries are owed to these.
    Owners(Vec<Owner>),
    Stop,
}

/// The writing side of the spool.
pub(super) struct Writer {
    pub(super) dir: PathBuf,
    pub(super) orders: Receiver<Order>,
    pub(super) shared: Arc<Shared>,
    pub(super) owners: Vec<Owner>,
    pub(super) next_seq: u64,
    pub(super) next_number: Number,
    /// Files that are still there, with the last entry in each and their size.
    pub(super) files: BTreeMap<Number, (u64, u64)>,
    pub(super) file_bytes: u64,
    /// The file that is written to.
    pub(super) current: Option<(Number, Output)>,
    pub(super) stage: Stage,
}

/// Settlements that are not written yet.
#[derive(Debug, Default)]
pub(super) struct Settling {
    settled: Vec<(Owner, u64)>,
    /// All entries before it are settled.
    low: u64,
    /// Whether the thread looks at them soon without being woken.
    is_watched: bool,
}

impl Settling {
    /// Takes one in; whether the thread must be woken for it.
    pub(super) fn settle(&mut self, owner: Owner, seq: u64, low: u64) -> bool {
        self.settled.push((owner, seq));
        self.low = self.low.max(low);
        !std::mem::replace(&mut self.is_watched, true)
    }
}

struct Append {
    head: Head,
    body: Bytes,
    committed: Committed,
}

/// Orders that are carried out together.
#[derive(Default)]
struct Group {
    appends: VecDeque<Append>,
    bytes: usize,
    settled: Vec<(Owner, u64)>,
    low: u64,
    owners: Option<Vec<Owner>>,
    stop: bool,
    /// Whether anything of it was to be written.
    was_busy: bool,
}

impl Writer {
    pub(super) fn run(mut self) {
        let mut group = Group::default();
        loop {
            self.gather(&mut group);
            let is_last = group.stop;
            self.carry_out(&mut group);
            if is_last {
                return self.finish();
            }
        }
    }

    /// Waits for what is to be done and takes what has gathered beside it.
    fn gather(&mut self, group: &mut Group) {
        let mut until = self.look_again_at(group.was_busy);
        while group.is_empty() {
            let order = match until {
                None => self.orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(until) => {
                    let left_ms = until.since_ms(driver::now());
                    self.orders.recv_timeout(Duration::from_millis(left_ms))
                }
            };
            match order {
                Ok(Order::Settle) => until = Some(driver::now().plus_ms(SETTLE_EVERY_MS)),
                Ok(order) => group.take(order),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => group.stop = true,
            }
        }
        while group.has_room()
            && let Ok(order) = self.orders.try_recv()
        {
            group.take(order);
        }
        let mut settling = self.shared.settling();
        std::mem::swap(&mut group.settled, &mut settling.settled);
        group.low = settling.low;
        group.was_busy = !group.appends.is_empty() || !group.settled.is_empty();
    }

    /// When settlements are to be written if no request comes; `None` if the thread may sleep until
    /// it is woken, because all there is is settled or nothing was for a while.
    fn look_again_at(&self, was_busy: bool) -> Option<Tick> {
        let mut settling = self.shared.settling();
        let is_owed = settling.low < self.next_seq;
        settling.is_watched = !settling.settled.is_empty() || (is_owed && was_busy);
        settling.is_watched.then(|| driver::now().plus_ms(SETTLE_EVERY_MS))
    }

    fn carry_out(&mut self, group: &mut Group) {
        let mut appends = std::mem::take(&mut group.appends);
        let written = self.write(&mut appends, &group.settled);
        match written {
            Ok(places) => {
                self.shared.failing.store(false, Ordering::Relaxed);
                for (append, place) in appends.into_iter().zip(places) {
                    (append.committed)(Ok((append.head.seq, place)));
                }
            }
            Err(error) => {
                if !self.shared.failing.swap(true, Ordering::Relaxed) {
                    error!(%error, "cannot write the spool; requests are refused until it works");
                }
                self.shared.failures.fetch_add(1, Ordering::Relaxed);
                self.abandon();
                let error = Arc::new(error);
                for append in appends {
                    (append.committed)(Err(Arc::clone(&error)));
                }
            }
        }
        // Settlements that could not be written cost duplicates after a crash, and no more.
        group.settled.clear();
        group.bytes = 0;
        if let Some(owners) = group.owners.take() {
            self.owners = owners;
            self.current = None;
        }
        self.collect(group.low);
    }

    /// Writes a group and syncs it if there are requests in it; where each of them is.
    fn write(
        &mut self,
        appends: &mut VecDeque<Append>,
        settled: &[(Owner, u64)],
    ) -> Result<Vec<Place>, SpoolError> {
        if appends.is_empty() && settled.is_empty() {
            return Ok(Vec::new());
        }
        if self.current.as_ref().is_none_or(|(_, file)| file.length >= self.shared.file_bytes_max) {
            self.roll()?;
        }
        let (number, output) = self.current.as_mut().expect("it was just made sure of");
        let (number, start) = (*number, output.length);
        let mut at = start;
        let mut places = Vec::with_capacity(appends.len());
        let mut heads = Vec::with_capacity(appends.len());
        for append in appends.iter_mut() {
            append.head.seq = self.next_seq;
            self.next_seq += 1;
            places.push(Place { number, at });
            heads.push(record::entry_head(&append.head, &append.body));
            at += (HEAD_BYTES + append.body.len()) as u64;
        }
        let settled = if settled.is_empty() { Vec::new() } else { record::settled(settled) };
        let requests = heads.iter().zip(appends.iter());
        let requests = requests.flat_map(|(head, append)| [head.as_slice(), &append.body]);
        let path = || segment::path(&self.dir, number);
        self.stage
            .append(output, requests.chain([settled.as_slice()]))
            .map_err(|error| SpoolError::io("write", &path(), error))?;
        let length = output.length;
        if !appends.is_empty()
            && let Err(error) = output.file.sync_data()
        {
            // The next start must not take for whole what the disk did not.
            output.length = start;
            return Err(SpoolError::io("sync", &path(), error));
        }
        self.count(length - start);
        if let Some(last) = appends.back() {
            self.files.insert(number, (last.head.seq, length));
        }
        Ok(places)
    }

    /// Leaves the current file as it was after its last good group. What was written of the failed
    /// one was promised to nobody, and must not look like damage to the next start.
    fn abandon(&mut self) {
        let Some((number, output)) = self.current.take() else { return };
        if let Err(error) = output.file.set_len(output.length) {
            warn!(file = number, %error, "cannot cut off what could not be written whole");
        }
    }

    /// Begins a new file.
    fn roll(&mut self) -> Result<(), SpoolError> {
        self.current = None;
        let number = self.next_number;
        let output = segment::create(&self.dir, number, &self.owners, &mut self.stage)?;
        let length = output.length;
        self.next_number += 1;
        self.shared.last_number.store(number, Ordering::Release);
        self.count(length);
        self.files.insert(number, (0, length));
        self.current = Some((number, output));
        Ok(())
    }

    fn count(&mut self, bytes: u64) {
        self.file_bytes += bytes;
        self.shared.used.store(self.file_bytes, Ordering::Relaxed);
    }

    /// Deletes files from the oldest on in which everything is settled.
    fn collect(&mut self, low: u64) {
        let current = self.current.as_ref().map(|(number, _)| *number);
        while let Some((number, (last, _))) = self.files.first_key_value() {
            let number = *number;
            if *last >= low || Some(number) == current {
                return;
            }
            let path = segment::path(&self.dir, number);
            let bytes = fs::metadata(&path).map_or(0, |metadata| metadata.len());
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                // A disk that takes no writes either is told already.
                if !self.shared.failing.load(Ordering::Relaxed) {
                    error!(path = %path.display(), %error, "cannot delete a file of the spool");
                }
                return;
            }
            self.files.remove(&number);
            self.file_bytes = self.file_bytes.saturating_sub(bytes);
            self.shared.used.store(self.file_bytes, Ordering::Relaxed);
        }
    }

    /// The clean end: if everything is settled, nothing stays.
    fn finish(mut self) {
        let low = self.shared.settling().low;
        self.current = None;
        self.collect(low);
        info!(bytes = self.file_bytes, "the spool is closed");
    }
}

impl Group {
    fn take(&mut self, order: Order) {
        match order {
            Order::Append { head, body, committed } => {
                self.bytes += body.len();
                self.appends.push_back(Append { head, body, committed });
            }
            // What there is is taken with the group.
            Order::Settle => {}
            Order::Owners(owners) => self.owners = Some(owners),
            Order::Stop => self.stop = true,
        }
    }

    fn is_empty(&self) -> bool {
        self.appends.is_empty() && self.owners.is_none() && !self.stop
    }

    fn has_room(&self) -> bool {
        let is_open = !self.stop && self.owners.is_none();
        is_open && self.appends.len() < GROUP_MAX && self.bytes < GROUP_BYTES_MAX
    }
}
