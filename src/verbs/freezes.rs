//! The verbs of freezes: stop the line, lift the stop.
//!
//! Invariant: a freeze needs the agent's token only, a thaw the operator's.

use serde_json::{Value, json};

use super::{Session, VerbError};
use crate::cli::{FreezeArgs, FreezesArgs, ThawArgs};
use crate::client::segment;
use crate::exit::Ending;
use crate::render::{self, Table, Tone};

pub async fn freeze(session: &Session, args: FreezeArgs) -> Result<Ending, VerbError> {
    let body = json!({ "scope": args.scope, "reason": args.reason });
    let freeze = session.as_agent()?.post("/v1/freezes", &body).await?;
    session.show(&freeze, |freeze| table(std::iter::once(freeze)).text());
    Ok(Ending::Done)
}

pub async fn thaw(session: &Session, args: ThawArgs) -> Result<Ending, VerbError> {
    let mut body = json!({ "reason": args.reason });
    if args.override_cause {
        body["override"] = true.into();
    }
    let path = format!("/v1/freezes/{}/thaw", segment(&args.id));
    let freeze = session.as_operator()?.post(&path, &body).await?;
    session.show(&freeze, |freeze| table(std::iter::once(freeze)).text());
    Ok(Ending::Done)
}

pub async fn list(session: &Session, args: FreezesArgs) -> Result<Ending, VerbError> {
    let query = if args.all { "?all=true" } else { "" };
    let list = session.as_viewer()?.get(&format!("/v1/freezes{query}")).await?;
    session.show(&list, |list| {
        let table = table(list["items"].as_array().into_iter().flatten());
        if table.is_empty() { "no freeze is in force".to_owned() } else { table.text() }
    });
    Ok(Ending::Done)
}

/// How many targets hold it, and how many never can.
fn fenced(fenced: &Value) -> (String, Tone) {
    let (Some(done), Some(total)) = (fenced["done"].as_u64(), fenced["total"].as_u64()) else {
        return ("–".to_owned(), Tone::Plain);
    };
    match fenced["unfenceable"].as_u64() {
        Some(0) | None => (format!("{done} of {total}"), Tone::Plain),
        Some(never) => render::mark(&format!("{done} of {total}, {never} cannot be"), Tone::Odd),
    }
}

/// For how long an old permit can still be used somewhere.
fn stale(fenced: &Value) -> (String, Tone) {
    match (fenced["stale_apply"].as_str(), &fenced["permits_end_at"]) {
        (Some("impossible"), _) => render::mark("impossible", Tone::Good),
        (Some("until_permits_end"), Value::Null) => ("no permit is out".to_owned(), Tone::Plain),
        (Some("until_permits_end"), end) => {
            (format!("until {}", render::or_dash(end).0), Tone::Plain)
        }
        (Some(_), _) => render::mark("at any time", Tone::Bad),
        (None, _) => ("–".to_owned(), Tone::Plain),
    }
}

/// Freezes as a table.
pub(super) fn table<'a>(freezes: impl Iterator<Item = &'a Value>) -> Table {
    let mut table = Table::new(&[
        "FREEZE",
        "SCOPE",
        "STAGE",
        "FENCED",
        "STALE APPLY",
        "CAUSE",
        "BY",
        "AT",
        "REASON",
    ]);
    for freeze in freezes {
        let cell = |name: &str| render::or_dash(&freeze[name]);
        let (stage, _) = cell("stage");
        let stage = if freeze["thawed"].is_null() {
            render::mark(&stage, Tone::Bad)
        } else {
            render::mark("thawed", Tone::Good)
        };
        let at = cell("at");
        table.row(vec![
            cell("id"),
            cell("scope"),
            stage,
            fenced(&freeze["fenced"]),
            stale(&freeze["fenced"]),
            cell("cause"),
            cell("by"),
            at,
            cell("reason"),
        ]);
    }
    table
}
