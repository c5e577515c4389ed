//! One entry of the audit journal after the other, whichever store they come from.
//!
//! Invariant: an entry that cannot be read is a broken one, never skipped.

use serde::Deserialize;

use super::chain::{self, Head};
use super::{AuditRow, Break, Journal};

/// How many of the newest entries a gate checks before it starts.
pub const START_CHECK_MAX: i64 = 10_000;

pub const UNREADABLE: &str = "cannot be read";
pub const MISSING: &str = "is missing";
pub const SHORT_HASH: &str = "has a hash that is not 32 bytes long";

/// What stands beside a record and is only named in it.
#[derive(Debug)]
pub struct Beside {
    pub subject: String,
    pub sight: Option<String>,
}

/// What a record says of the columns beside it.
#[derive(Deserialize)]
struct Named {
    seq: u64,
    subject: String,
    sight_sha256: Option<String>,
}

/// The head after `row`, or why it is not the row that was written after `head`.
pub fn follow(head: Head, row: &AuditRow, beside: Option<Beside>) -> Result<Head, &'static str> {
    if row.seq != head.seq + 1 {
        return Err("does not follow the one before it: an entry between them is missing");
    }
    if chain::broken_at(head, std::slice::from_ref(row)).is_some() {
        return Err("is not what was written: its text and its hashes do not belong together");
    }
    let next = Head { seq: row.seq, hash: chain::link(&head.hash, &row.record) };
    if let Some(Beside { subject, sight }) = beside {
        let named: Named = serde_json::from_str(&row.record).map_err(|_| UNREADABLE)?;
        if named.seq != row.seq || named.subject != subject {
            return Err("has a number or a subject that its text does not have");
        }
        if named.sight_sha256 != sight.as_deref().map(chain::sight_hash) {
            return Err("has another sight than was written with it");
        }
    }
    Ok(next)
}

pub const fn broken(entry: u64, reason: &'static str, whole: Head) -> Journal {
    Journal::Broken(Break { entry, reason, whole })
}
