//! What the files of an earlier run still owe.
//!
//! Every entry since the last settled ones is read once. What is damaged is put aside and told,
//! and what follows it is still delivered; an end that was torn by a crash was never acknowledged
//! and is cut off.
//!
//! Invariant: an entry that was acknowledged and not settled for one of its owners is owed to that
//! owner again, unless its bytes are damaged or the owner is gone, and both are counted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::path::Path;

use tracing::{info, warn};

use super::record::{Head, Owner, Record};
use super::segment::{self, Met, Number};
use super::{Place, SpoolError};
use crate::kind::Kind;
use crate::ledger::PerKind;

/// Settled entries that are remembered before those below the first owed one are forgotten.
const SETTLED_KEPT: usize = 4_096;

/// What one exporter is owed.
#[derive(Debug, Default)]
pub(crate) struct Owed {
    unsettled: BTreeMap<u64, Unsettled>,
    /// Settled ones, of which only those above the first unsettled one matter.
    settled: BTreeSet<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Unsettled {
    kind: Kind,
    records: u64,
    bytes: u64,
    place: Place,
}

/// Where an exporter goes on.
#[derive(Debug)]
pub(crate) struct Resume {
    /// The first entry that is owed, or the next one to be written.
    pub(crate) seq: u64,
    pub(crate) place: Option<Place>,
    /// Entries after it that are settled.
    pub(crate) settled: BTreeSet<u64>,
    /// Kind, records and body bytes of each owed entry.
    pub(crate) owed: Vec<(Kind, u64, u64)>,
}

/// What an earlier run left.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    pub(crate) next_seq: u64,
    pub(crate) next_number: Number,
    /// Files with their sizes and the last entry in each.
    pub(super) files: Vec<(Number, u64, Option<u64>)>,
    pub(crate) damaged_bytes: u64,
    /// Entries that are missing where bytes are damaged.
    pub(crate) damaged_entries: u64,
    /// Records by kind that are owed to anybody.
    pub(crate) found: PerKind<u64>,
    owed: BTreeMap<Owner, Owed>,
    /// The owners of the entries that are being read.
    current: Vec<Owner>,
    last_seq: Option<u64>,
    /// Whether something is missing or damaged since the last entry that was read.
    is_broken: bool,
}

impl Recovered {
    /// A first start.
    pub(crate) fn nothing() -> Self {
        Self { next_seq: 1, next_number: 1, ..Self::default() }
    }

    /// Reads the spool in `dir`, for exporters that are `owners`.
    ///
    /// # Errors
    /// [`SpoolError`] if a file cannot be read, or is of another version.
    pub(crate) fn read(dir: &Path, owners: &[Owner]) -> Result<Self, SpoolError> {
        let mut recovered = Self::nothing();
        let numbers = segment::numbers(dir)?;
        let last = numbers.last().copied();
        for number in numbers {
            recovered.is_broken |= recovered.last_seq.is_some() && number != recovered.next_number;
            recovered.file(dir, number, Some(number) == last)?;
            recovered.next_number = number + 1;
        }
        recovered.count(owners);
        Ok(recovered)
    }

    fn file(&mut self, dir: &Path, number: Number, is_last: bool) -> Result<(), SpoolError> {
        let bytes = segment::read(dir, number)?;
        let (mut damages, mut torn, mut last_entry) = (Vec::new(), None, None);
        segment::walk(&bytes, |met| match met {
            Met::Record(at, record) => {
                if let Some(seq) = self.record(Place { number, at }, record) {
                    last_entry = Some(seq);
                }
            }
            Met::Damage(at, bytes) => {
                self.is_broken = true;
                damages.push((at, bytes));
            }
            Met::Torn(at) => torn = Some(at),
        });
        let mut length = bytes.len() as u64;
        if let Some(at) = torn {
            if is_last {
                info!(file = number, at, "the end of the spool was torn off by a crash; cut off");
                cut(dir, number, at)?;
                length = at;
            } else {
                self.is_broken = true;
                damages.push((at, &bytes[usize::try_from(at).expect("it is in memory")..]));
            }
        }
        for (at, bytes) in damages {
            self.damaged_bytes += bytes.len() as u64;
            match segment::quarantine(dir, number, at, bytes) {
                Ok(aside) => warn!(file = number, at, bytes = bytes.len(),
                    aside = %aside.display(),
                    "a part of the spool is damaged; what follows it is delivered"),
                // No room to put it aside is no reason to keep back what is good.
                Err(error) => warn!(file = number, at, bytes = bytes.len(), %error,
                    "a part of the spool is damaged; what follows it is delivered"),
            }
        }
        self.files.push((number, length, last_entry));
        Ok(())
    }

    /// Takes in a record; its number if it is an entry.
    fn record(&mut self, place: Place, record: Record<'_>) -> Option<u64> {
        match record {
            Record::Entry(head, body) => {
                self.entry(&head, place, body.len() as u64);
                return Some(head.seq);
            }
            Record::Settled(settled) => {
                for (owner, seq) in settled {
                    self.owed.entry(owner).or_default().settle(seq);
                }
            }
            Record::Owners(owners) => self.current = owners,
            Record::Padding => {}
        }
        None
    }

    fn entry(&mut self, head: &Head, place: Place, bytes: u64) {
        // Files at the start are deleted, and a write that failed used up numbers: only a gap
        // across damage is a loss.
        let expected = self.last_seq.map_or(head.seq, |last| last + 1);
        if std::mem::take(&mut self.is_broken) {
            self.damaged_entries += head.seq.saturating_sub(expected);
        }
        self.last_seq = Some(head.seq);
        self.next_seq = self.next_seq.max(head.seq + 1);
        let unsettled = Unsettled { kind: head.kind, records: head.records, bytes, place };
        for owner in &self.current {
            let owed = self.owed.entry(*owner).or_default();
            owed.unsettled.insert(head.seq, unsettled);
        }
    }

    /// Where `owner` goes on; what was owed to it leaves this.
    pub(crate) fn resume(&mut self, owner: Owner) -> Resume {
        let Owed { unsettled, mut settled } = self.owed.remove(&owner).unwrap_or_default();
        let seq = unsettled.first_key_value().map_or(self.next_seq, |(seq, _)| *seq);
        let place = unsettled.first_key_value().map(|(_, first)| first.place);
        settled = settled.split_off(&seq);
        // What was never owed to this owner is passed over like what is settled.
        if let Some(last) = unsettled.last_key_value().map(|(last, _)| *last) {
            settled.extend((seq..last).filter(|seq| !unsettled.contains_key(seq)));
            settled.extend(last + 1..self.next_seq);
        }
        let owed = unsettled.values().map(|one| (one.kind, one.records, one.bytes)).collect();
        Resume { seq, place, settled, owed }
    }

    /// Counts what is owed to any of `owners`, once.
    fn count(&mut self, owners: &[Owner]) {
        let mut owed = BTreeMap::new();
        for owner in owners {
            if let Some(Owed { unsettled, .. }) = self.owed.get(owner) {
                owed.extend(unsettled.iter().map(|(seq, one)| (*seq, (one.kind, one.records))));
            }
        }
        for (kind, records) in owed.into_values() {
            *self.found.of(kind) += records;
        }
    }

    /// Kind and records of each entry that was owed to an exporter that is not configured any
    /// more. Call it after [`Self::resume`] for all that are.
    pub(crate) fn removed(&self) -> Vec<(Kind, u64)> {
        let left = self.owed.values().flat_map(|owed| owed.unsettled.values());
        left.map(|one| (one.kind, one.records)).collect()
    }
}

impl Resume {
    /// Nothing is owed before `seq`.
    pub(crate) fn at(seq: u64) -> Self {
        Self { seq, place: None, settled: BTreeSet::new(), owed: Vec::new() }
    }
}

impl Owed {
    fn settle(&mut self, seq: u64) {
        self.unsettled.remove(&seq);
        self.settled.insert(seq);
        if self.settled.len() > SETTLED_KEPT {
            let first = self.unsettled.first_key_value().map_or(seq + 1, |(seq, _)| *seq);
            self.settled = self.settled.split_off(&first);
        }
    }
}

fn cut(dir: &Path, number: Number, at: u64) -> Result<(), SpoolError> {
    let path = segment::path(dir, number);
    let file = OpenOptions::new().write(true).open(&path);
    let cut = file.and_then(|file| {
        file.set_len(at)?;
        file.sync_all()
    });
    cut.map_err(|error| SpoolError::io("cut", &path, error))
}
