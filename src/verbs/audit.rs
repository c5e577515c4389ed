//! `audit verify` and `backup`: the gate's store, without asking the gate.
//!
//! Invariant: nothing is written to the store. A journal is whole only if every entry was read and
//! its hash made again.

use std::fmt::Write;

use agent_gate::config::StoreKind;
use agent_gate::store::chain::Head;
use agent_gate::store::postgres::Database;
use agent_gate::store::{Journal, sqlite};
use serde_json::json;

use super::{Session, VerbError};
use crate::cli::{BackupArgs, Globals, VerifyArgs};
use crate::config;
use crate::exit::Ending;

pub async fn verify(
    session: &Session,
    globals: &Globals,
    args: VerifyArgs,
) -> Result<Ending, VerbError> {
    let database = if args.store.is_some() { None } else { database(globals)? };
    let (store, journal) = match database {
        Some(database) => (database.name().to_owned(), database.verify().await?),
        None => {
            let file = args.store.unwrap_or_else(|| session.place.gate_db());
            (file.display().to_string(), sqlite::verify(&file).await?)
        }
    };
    let (head, found) = match journal {
        Journal::Whole(head) => (head, None),
        Journal::Broken(found) => (found.whole, Some(found)),
    };
    let broken = found.map(|found| json!({ "entry": found.entry, "reason": found.reason }));
    let result = json!({
        "store": store,
        "whole": found.is_none(),
        "entries": head.seq,
        "head": hex::encode(head.hash),
        "broken": broken,
    });
    session.show(&result, |_| match found {
        None => format!("{store}: whole, {}", words(head)),
        Some(found) => format!(
            "{store}: broken, entry {} {}\n  before it {} whole",
            found.entry,
            found.reason,
            words(head)
        ),
    });
    Ok(if found.is_none() { Ending::Done } else { Ending::Denied })
}

pub async fn backup(
    session: &Session,
    globals: &Globals,
    args: BackupArgs,
) -> Result<Ending, VerbError> {
    let file = args.file.display().to_string();
    if let Some(database) = database(globals)? {
        return Err(VerbError::Usage(format!(
            "the gate's state is in {}, and nothing was written: a database is copied by its own \
             tools, while gates run, with `pg_dump --schema=holdpoint --format=custom \
             --file={file} URL`; after `pg_restore`, `holdpoint audit verify` checks the journal",
            database.name()
        )));
    }
    let head = sqlite::backup(&session.place.gate_db(), &args.file).await?;
    let result = json!({ "file": file, "entries": head.seq, "head": hex::encode(head.hash) });
    session.show(&result, |_| format!("{file}: written and verified, {}", words(head)));
    Ok(Ending::Done)
}

/// The database of the configuration, if the gate's state is in one.
fn database(globals: &Globals) -> Result<Option<Database>, VerbError> {
    match config::load(globals.config.as_deref())?.config.gate.store {
        StoreKind::Sqlite => Ok(None),
        StoreKind::Postgres(url) => Database::new(&url.0).map(Some).map_err(VerbError::Usage),
    }
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
