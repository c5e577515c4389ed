//! The verbs of waivers: planned silence.
//!
//! Invariant: a waiver needs the operator's token; an agent's is never tried.

use serde_json::{Value, json};

use super::{Session, VerbError};
use crate::cli::WaiveCommand;
use crate::client::segment;
use crate::exit::Ending;
use crate::render::{self, Table};

pub async fn run(session: &Session, command: WaiveCommand) -> Result<Ending, VerbError> {
    match command {
        WaiveCommand::Add(args) => {
            let span_ms = u64::try_from(args.span.as_millis()).unwrap_or(u64::MAX);
            let mut body = json!({"scope": args.scope, "reason": args.reason, "span_ms": span_ms});
            if !args.verdicts.is_empty() {
                body["verdicts"] = json!(args.verdicts);
            }
            let waiver = session.as_operator()?.post("/v1/waivers", &body).await?;
            session.show(&waiver, |waiver| table(std::iter::once(waiver)).text());
        }
        WaiveCommand::End(args) => {
            let path = format!("/v1/waivers/{}/end", segment(&args.id));
            let body = json!({ "reason": args.reason });
            let waiver = session.as_operator()?.post(&path, &body).await?;
            session.show(&waiver, |waiver| table(std::iter::once(waiver)).text());
        }
        WaiveCommand::List(args) => {
            let query = if args.all { "?all=true" } else { "" };
            let list = session.as_viewer()?.get(&format!("/v1/waivers{query}")).await?;
            session.show(&list, |list| {
                let table = table(list["items"].as_array().into_iter().flatten());
                if table.is_empty() { "no silence is planned".to_owned() } else { table.text() }
            });
        }
    }
    Ok(Ending::Done)
}

fn table<'a>(waivers: impl Iterator<Item = &'a Value>) -> Table {
    let mut table = Table::new(&["WAIVER", "SCOPE", "VERDICTS", "FROM", "UNTIL", "BY", "REASON"]);
    for waiver in waivers {
        let cell = |name: &str| render::or_dash(&waiver[name]);
        let words = waiver["verdicts"].as_array().into_iter().flatten();
        let words: Vec<&str> = words.filter_map(Value::as_str).collect();
        let ended = &waiver["ended"];
        let until = if ended.is_null() { cell("until") } else { render::or_dash(&ended["at"]) };
        table.row(vec![
            cell("id"),
            cell("scope"),
            render::or_dash(&json!(words.join(" "))),
            cell("from"),
            until,
            cell("by"),
            cell("reason"),
        ]);
    }
    table
}
