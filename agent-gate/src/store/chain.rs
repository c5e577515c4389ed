//! The audit log's hash chain: each row carries the hash of the one before.
//!
//! A row that is changed, taken out or put in later breaks every hash after it, so whoever kept
//! one old hash can tell. `hash = SHA-256(prev || record)`; the first `prev` is 32 zero bytes.
//!
//! Invariant: what is hashed is the exact text that is kept and served, never a re-encoding.

use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{AuditEntry, AuditRow};

/// The newest row's number and hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub seq: u64,
    pub hash: [u8; 32],
}

impl Head {
    /// Before the first row.
    pub const START: Self = Self { seq: 0, hash: [0; 32] };
}

/// What the log says, as text: the keys in their order.
#[derive(Serialize)]
struct Record<'a> {
    at_ms: u64,
    detail: &'a RawValue,
    seq: u64,
    sight_sha256: Option<String>,
    subject: &'a str,
    what: &'a str,
    who: &'a str,
}

/// The row that keeps `entry` after `head`, and the new head.
#[must_use]
pub fn append(head: Head, entry: &AuditEntry) -> (AuditRow, Head) {
    let seq = head.seq + 1;
    let record = Record {
        at_ms: entry.at_ms,
        detail: serde_json::from_str(&entry.detail).expect("a detail is JSON"),
        seq,
        sight_sha256: entry.sight.as_deref().map(sight_hash),
        subject: &entry.subject,
        what: &entry.what,
        who: &entry.who,
    };
    let record = serde_json::to_string(&record).expect("its keys are texts");
    let hash = link(&head.hash, &record);
    let row = AuditRow { seq, record, prev: head.hash.to_vec(), hash: hash.to_vec() };
    (row, Head { seq, hash })
}

/// What a record holds of the sight that stands beside it.
#[must_use]
pub fn sight_hash(sight: &str) -> String {
    hex::encode(Sha256::digest(sight))
}

/// The hash of `record` after `prev`.
#[must_use]
pub fn link(prev: &[u8; 32], record: &str) -> [u8; 32] {
    Sha256::new().chain_update(prev).chain_update(record.as_bytes()).finalize().into()
}

/// The number of the first row that does not follow from the one before it, if any.
#[must_use]
pub fn broken_at(head: Head, rows: &[AuditRow]) -> Option<u64> {
    let mut head = head;
    for row in rows {
        let hash = link(&head.hash, &row.record);
        if row.seq != head.seq + 1 || row.prev != head.hash || row.hash != hash {
            return Some(row.seq);
        }
        head = Head { seq: row.seq, hash };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<AuditRow> {
        let mut head = Head::START;
        (0..3)
            .map(|n| {
                let entry = AuditEntry {
                    at_ms: n,
                    who: "gate".into(),
                    what: "freeze".into(),
                    subject: format!("frz-{n}"),
                    detail: format!("{{\"n\":{n}}}"),
                    sight: Some("[]".into()),
                };
                let (row, next) = append(head, &entry);
                head = next;
                row
            })
            .collect()
    }

    #[test]
    fn a_row_that_is_changed_or_taken_out_breaks_the_chain() {
        assert_eq!(broken_at(Head::START, &rows()), None);
        let mut changed = rows();
        changed[1].record = changed[1].record.replace("freeze", "nothing");
        assert_eq!(broken_at(Head::START, &changed), Some(2));
        let mut shorter = rows();
        shorter.remove(1);
        assert_eq!(broken_at(Head::START, &shorter), Some(3));
    }
}
