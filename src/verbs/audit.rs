//! `audit verify` and `backup`: the gate's store as a file, without asking the gate.
//!
//! Invariant: the store is opened read-only. A journal is whole only if every entry was read and
//! its hash made again.

use std::fmt::Write;

use agent_gate::store::chain::Head;
use agent_gate::store::{Journal, sqlite};
use serde_json::json;

use super::{Session, VerbError};
use crate::cli::{BackupArgs, VerifyArgs};
use crate::exit::Ending;

pub async fn verify(session: &Session, args: VerifyArgs) -> Result<Ending, VerbError> {
    let store = args.store.unwrap_or_else(|| session.place.gate_db());
    let journal = sqlite::verify(&store).await?;
    let (head, found) = match journal {
        Journal::Whole(head) => (head, None),
        Journal::Broken(found) => (found.whole, Some(found)),
    };
    let broken = found.map(|found| json!({ "entry": found.entry, "reason": found.reason }));
    let result = json!({
        "store": store.display().to_string(),
        "whole": found.is_none(),
        "entries": head.seq,
        "head": hex::encode(head.hash),
        "broken": broken,
    });
    session.show(&result, |_| match found {
        None => format!("{}: whole, {}", store.display(), words(head)),
        Some(found) => format!(
            "{}: broken, entry {} {}\n  before it {} whole",
            store.display(),
            found.entry,
            found.reason,
            words(head)
        ),
    });
    Ok(if found.is_none() { Ending::Done } else { Ending::Denied })
}

pub async fn backup(session: &Session, args: BackupArgs) -> Result<Ending, VerbError> {
    let head = sqlite::backup(&session.place.gate_db(), &args.file).await?;
    let file = args.file.display().to_string();
    let result = json!({ "file": file, "entries": head.seq, "head": hex::encode(head.hash) });
    session.show(&result, |_| format!("{file}: written and verified, {}", words(head)));
    Ok(Ending::Done)
}

fn words(head: Head) -> String {
    let mut text = match head.seq {
        1 => "1 entry".to_owned(),
        count => format!("{count} entries"),
    };
    if head != Head::START {
        write!(text, ", head {}", hex::encode(head.hash)).expect("a String takes all text");
    }
    text
}
