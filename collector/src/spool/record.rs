//! One record of a spool file, as bytes.
//!
//! ```text
//! magic 4 │ crc32 4 │ type 1 │ kind 1 │ form 1 │ 0 │ body length 4 │ seq 8 │ records 8 │
//! plain length 8 │ body
//! ```
//!
//! All numbers are little-endian. The checksum covers everything after itself. Four types: an
//! entry is a request as it came; a settlement says that exporters are done with entries; owners
//! say which exporters the entries after it are owed to; padding fills a block of the disk.
//!
//! Invariant: bytes that were torn, cut or changed are never read as a record.

use crate::arrival::Form;
use crate::kind::Kind;

pub(super) const HEAD_BYTES: usize = 40;
const MAGIC: u32 = u32::from_le_bytes(*b"HPr1");
const CHECKED_FROM: usize = 8;

/// Names one exporter across restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Owner(pub(crate) u64);

/// What is known of a request without its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Grows by one with each entry, across restarts.
    pub(crate) seq: u64,
    pub(crate) kind: Kind,
    pub(crate) form: Form,
    pub(crate) records: u64,
    /// Bytes of the request without compression.
    pub(crate) plain_bytes: u64,
}

/// A record, borrowed from the file's bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    Entry(Head, &'a [u8]),
    Settled(Vec<(Owner, u64)>),
    Owners(Vec<Owner>),
    Padding,
}

/// Why no record begins at some place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRecord {
    /// The bytes end before the record would.
    Cut,
    /// They are not those of a record.
    Damaged,
}

const ENTRY: u8 = 1;
const SETTLED: u8 = 2;
const OWNERS: u8 = 3;
const PADDING: u8 = 4;

/// The head of an entry whose body follows.
pub(super) fn entry_head(head: &Head, body: &[u8]) -> [u8; HEAD_BYTES] {
    let kind = u8::try_from(head.kind.place()).expect("there are four kinds");
    let types = [ENTRY, kind, head.form.number(), 0];
    seal(types, head.seq, head.records, head.plain_bytes, body)
}

/// A whole record that says so many entries are settled.
pub(super) fn settled(settled: &[(Owner, u64)]) -> Vec<u8> {
    let words = settled.iter().flat_map(|(owner, seq)| [owner.0, *seq]);
    whole(SETTLED, words)
}

/// A whole record that says who the following entries are owed to.
pub(super) fn owners(owners: &[Owner]) -> Vec<u8> {
    whole(OWNERS, owners.iter().map(|owner| owner.0))
}

/// A whole record of so many bytes that says nothing.
pub(super) fn padding(bytes: usize) -> Vec<u8> {
    let body = vec![0; bytes.checked_sub(HEAD_BYTES).expect("a record has a head")];
    let mut record = seal([PADDING, 0, 0, 0], 0, 0, 0, &body).to_vec();
    record.extend_from_slice(&body);
    record
}

fn whole(kind: u8, words: impl Iterator<Item = u64>) -> Vec<u8> {
    let body: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    let mut record = seal([kind, 0, 0, 0], 0, 0, 0, &body).to_vec();
    record.extend_from_slice(&body);
    record
}

fn seal(types: [u8; 4], seq: u64, records: u64, plain: u64, body: &[u8]) -> [u8; HEAD_BYTES] {
    let length = u32::try_from(body.len()).expect("requests are limited to 1 GiB");
    let mut head = [0; HEAD_BYTES];
    head[..4].copy_from_slice(&MAGIC.to_le_bytes());
    head[8..12].copy_from_slice(&types);
    head[12..16].copy_from_slice(&length.to_le_bytes());
    head[16..24].copy_from_slice(&seq.to_le_bytes());
    head[24..32].copy_from_slice(&records.to_le_bytes());
    head[32..40].copy_from_slice(&plain.to_le_bytes());
    let sum = checksum(&head, body);
    head[4..8].copy_from_slice(&sum.to_le_bytes());
    head
}

fn checksum(head: &[u8; HEAD_BYTES], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&head[CHECKED_FROM..]);
    hasher.update(body);
    hasher.finalize()
}

/// The record at the start of `bytes`, and how long it is.
pub(super) fn read(bytes: &[u8]) -> Result<(Record<'_>, usize), NoRecord> {
    let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or(NoRecord::Cut)?;
    let length = body_length(head).ok_or(NoRecord::Damaged)?;
    let body = rest.get(..length).ok_or(NoRecord::Cut)?;
    if checksum(head, body) != word32(head, 4) {
        return Err(NoRecord::Damaged);
    }
    let record = match head[8] {
        ENTRY => Record::Entry(entry(head).ok_or(NoRecord::Damaged)?, body),
        SETTLED => {
            let (pairs, _) = body.as_chunks::<16>();
            let pair = |pair: &[u8; 16]| (Owner(word64(pair, 0)), word64(pair, 8));
            Record::Settled(pairs.iter().map(pair).collect())
        }
        OWNERS => {
            let (words, _) = body.as_chunks::<8>();
            Record::Owners(words.iter().map(|word| Owner(u64::from_le_bytes(*word))).collect())
        }
        PADDING => Record::Padding,
        _ => return Err(NoRecord::Damaged),
    };
    Ok((record, HEAD_BYTES + length))
}

/// The length of the body that a head announces, if it is a head.
pub(super) fn body_length(head: &[u8; HEAD_BYTES]) -> Option<usize> {
    if word32(head, 0) == MAGIC { usize::try_from(word32(head, 12)).ok() } else { None }
}

fn entry(head: &[u8; HEAD_BYTES]) -> Option<Head> {
    Some(Head {
        seq: word64(head, 16),
        kind: *Kind::ALL.get(usize::from(head[9]))?,
        form: Form::from_number(head[10])?,
        records: word64(head, 24),
        plain_bytes: word64(head, 32),
    })
}

/// Where the next record might begin after `from`.
pub(super) fn next_magic(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    let found = rest.windows(4).position(|window| window == MAGIC.to_le_bytes())?;
    Some(from + found)
}

fn word32(bytes: &[u8], at: usize) -> u32 {
    let word = bytes[at..].first_chunk().expect("heads are long enough");
    u32::from_le_bytes(*word)
}

fn word64(bytes: &[u8], at: usize) -> u64 {
    let word = bytes[at..].first_chunk().expect("heads are long enough");
    u64::from_le_bytes(*word)
}

#[cfg(test)]
mod tests {
    use watchdog_core::tally::Signal;

    use super::*;

    fn head(seq: u64) -> Head {
        let kind = Kind::Tallied(Signal::Logs);
        Head { seq, kind, form: Form::Gzip, records: 7, plain_bytes: 300 }
    }

    fn entry_bytes(seq: u64, body: &[u8]) -> Vec<u8> {
        [&entry_head(&head(seq), body)[..], body].concat()
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        let body = b"some bytes";
        let bytes = entry_bytes(9, body);
        assert_eq!(read(&bytes), Ok((Record::Entry(head(9), body), bytes.len())));
        let pairs = vec![(Owner(3), 4), (Owner(u64::MAX), 6)];
        let bytes = settled(&pairs);
        assert_eq!(read(&bytes), Ok((Record::Settled(pairs), bytes.len())));
        let bytes = owners(&[Owner(1), Owner(2)]);
        assert_eq!(read(&bytes), Ok((Record::Owners(vec![Owner(1), Owner(2)]), bytes.len())));
        for length in [HEAD_BYTES, HEAD_BYTES + 1, 4_096] {
            assert_eq!(read(&padding(length)), Ok((Record::Padding, length)));
        }
    }

    #[test]
    fn a_record_that_is_cut_or_changed_anywhere_is_no_record() {
        let bytes = entry_bytes(1, b"some bytes");
        for end in 0..bytes.len() {
            assert_eq!(read(&bytes[..end]), Err(NoRecord::Cut), "cut at {end}");
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                assert!(read(&changed).is_err(), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn the_next_record_is_found_after_rubbish() {
        let bytes = [b"rubbish HPr".to_vec(), entry_bytes(2, b"x")].concat();
        assert_eq!(next_magic(&bytes, 0), Some(11));
        assert_eq!(next_magic(&bytes, 12), None);
    }
}
