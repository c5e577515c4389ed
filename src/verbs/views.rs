//! The verbs that only look: status, services, verdicts, explain, replay, audit.
//!
//! Invariant: nothing here changes anything, so the viewer's token is enough.

use serde_json::{Value, json};

use super::{Session, VerbError, freezes, rollouts};
use crate::cli::{AuditArgs, IdArgs, VerdictsArgs};
use crate::client::{ClientError, segment};
use crate::exit::Ending;
use crate::place::{CollectorRun, Listen, RoleRun};
use crate::render::{self, Table, Tone};

/// The states in which a rollout holds its share of the budget.
const IN_FLIGHT: [&str; 7] =
    ["held", "allowed", "applying", "baking", "inconclusive", "reverting", "stuck"];

pub async fn status(session: &Session) -> Result<Ending, VerbError> {
    let place = &session.place;
    let collector = place.run::<CollectorRun>("collector").filter(RoleRun::exists);
    let watchdog = place.run::<Listen>("watchdog").filter(RoleRun::exists);
    let gate = session.as_viewer()?;
    let services = gate.get("/v1/services").await?;
    let freezes = gate.get("/v1/freezes").await?;
    let mut rollouts = gate.get("/v1/rollouts?limit=1000").await?;
    if let Some(items) = rollouts["items"].as_array_mut() {
        items.retain(|rollout| {
            rollout["state"].as_str().is_none_or(|state| IN_FLIGHT.contains(&state))
        });
    }
    let status = json!({
        "roles": {
            "collector": collector.map(|run| run.http),
            "watchdog": watchdog.map(|run| run.listen),
            "gate": gate.base(),
        },
        "freezes": freezes["items"],
        "rollouts": rollouts["items"],
        "services": services["items"],
    });
    session.show(&status, status_text);
    Ok(Ending::Done)
}

fn status_text(status: &Value) -> String {
    let mut parts = Vec::new();
    let mut roles = Table::new(&["ROLE", "STATE", "AT"]);
    for role in ["collector", "watchdog", "gate"] {
        let at = &status["roles"][role];
        let state = if at.is_null() {
            render::mark("not running here", Tone::Odd)
        } else {
            render::mark("running", Tone::Good)
        };
        roles.row(vec![(role.to_owned(), Tone::Plain), state, render::or_dash(at)]);
    }
    parts.push(roles.text());
    let list = |name: &str| status[name].as_array().into_iter().flatten();
    let freezes = freezes::table(list("freezes"));
    parts.push(if freezes.is_empty() {
        "no freeze is in force".to_owned()
    } else {
        freezes.text()
    });
    parts.push(if list("rollouts").next().is_none() {
        "no rollout is in flight".to_owned()
    } else {
        rollouts::list_text(&json!({ "items": status["rollouts"] }))
    });
    parts.push(services_text(&json!({ "items": status["services"] })));
    parts.join("\n\n")
}

pub async fn services(session: &Session) -> Result<Ending, VerbError> {
    let list = session.as_viewer()?.get("/v1/services").await?;
    session.show(&list, services_text);
    Ok(Ending::Done)
}

fn services_text(list: &Value) -> String {
    let mut table = Table::new(&[
        "SERVICE",
        "ENVIRONMENT",
        "VERDICT",
        "LIVE FOR",
        "REVERT",
        "FROZEN",
        "REASON",
    ]);
    for service in list["items"].as_array().into_iter().flatten() {
        let revert = match (&service["revert"], service["dry_run"].as_str()) {
            (Value::Null, _) => render::mark("none", Tone::Odd),
            (_, Some("failed")) => render::mark("dry run failed", Tone::Bad),
            (how, _) => render::or_dash(how),
        };
        table.row(vec![
            render::or_dash(&service["service"]),
            render::or_dash(&service["environment"]),
            render::verdict(service["verdict"].as_str().unwrap_or("unknown")),
            render::age(&service["live_ms"]),
            revert,
            render::or_dash(&service["frozen_by"]),
            match service["drift"].as_str() {
                Some(revision) => render::mark(&format!("drift: runs {revision}"), Tone::Bad),
                None => render::or_dash(&service["reason"]),
            },
        ]);
    }
    if table.is_empty() { "no service was heard yet".to_owned() } else { table.text() }
}

pub async fn verdicts(session: &Session, args: VerdictsArgs) -> Result<Ending, VerbError> {
    let watchdog = session.watchdog()?;
    match args.service {
        None => {
            let list = watchdog.get("/v1/verdicts").await?;
            session.show(&list, verdicts_text);
        }
        Some(service) => {
            let one = watchdog.get(&format!("/v1/verdicts/{}", segment(&service))).await?;
            session.show(&one, verdict_text);
        }
    }
    Ok(Ending::Done)
}

fn verdicts_text(list: &Value) -> String {
    let mut table = Table::new(&["SERVICE", "VERDICT", "FOR", "BEATS", "STAGE", "REASON"]);
    for item in list["items"].as_array().into_iter().flatten() {
        table.row(vec![
            render::or_dash(&item["service"]),
            render::verdict(item["verdict"].as_str().unwrap_or("unknown")),
            render::age(&item["since_ms"]),
            render::or_dash(&item["beats"]["state"]),
            render::or_dash(&item["stage"]),
            render::or_dash(&item["reason"]),
        ]);
    }
    if table.is_empty() { "no service was heard yet".to_owned() } else { table.text() }
}

fn verdict_text(item: &Value) -> String {
    let (verdict, _) = render::verdict(item["verdict"].as_str().unwrap_or("unknown"));
    let mut lines = vec![
        format!(
            "{verdict}  {} for {}",
            render::or_dash(&item["service"]).0,
            render::age(&item["since_ms"]).0
        ),
        format!("  {}", render::or_dash(&item["reason"]).0),
    ];
    let beats = &item["beats"];
    lines.push(format!(
        "  beats    {}, last {} ago, every {}",
        render::or_dash(&beats["state"]).0,
        render::age(&beats["age_ms"]).0,
        render::age(&beats["interval_ms"]).0
    ));
    for (signal, evidence) in item["signals"].as_object().into_iter().flatten() {
        lines.push(format!(
            "  {signal:<8} {}, last {} ago, {} records{}",
            render::or_dash(&evidence["state"]).0,
            render::age(&evidence["last_arrival_age_ms"]).0,
            render::or_dash(&evidence["records"]).0,
            if evidence["expected"] == json!(true) { ", expected" } else { "" }
        ));
    }
    let witness = &item["witness"];
    if witness.is_object() {
        lines.push(format!(
            "  witness  {}: {} requests by the beats, {} spans",
            render::or_dash(&witness["state"]).0,
            render::or_dash(&witness["requests"]).0,
            render::or_dash(&witness["records"]).0
        ));
    }
    lines.push(format!(
        "  probes   {}, last right answer {} ago",
        render::or_dash(&item["probes"]["state"]).0,
        render::age(&item["probes"]["age_ms"]).0
    ));
    render::clean_lines(&lines.join("\n"))
}

pub async fn explain(session: &Session, args: IdArgs) -> Result<Ending, VerbError> {
    let gate = session.as_viewer()?;
    let id = segment(&args.id);
    match gate.get(&format!("/v1/rollouts/{id}")).await {
        Ok(rollout) => session.show(&rollout, rollouts::rollout_text),
        Err(ClientError::Refused { status, .. }) if status == reqwest::StatusCode::NOT_FOUND => {
            let decision = gate.get(&format!("/v1/decisions/{id}")).await?;
            session.show(&decision, decision_text);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Ending::Done)
}

/// A decision on one screen: what was said, on what evidence, by which rule.
fn decision_text(item: &Value) -> String {
    let inputs = &item["record"]["inputs"];
    let (evidence, budget) = (&inputs["evidence"], &inputs["budget"]);
    let word = |value: &Value| render::or_dash(value).0;
    let request = &inputs["request"];
    let mut lines = vec![
        format!(
            "{}  {} at {}, on {}",
            render::decision(&word(&item["decision"])).0,
            word(&item["id"]),
            word(&item["at"]),
            word(&item["rollout"])
        ),
        format!(
            "  asked     {} of {}: {} -> {}, {}",
            word(&inputs["question"]),
            word(&item["service"]),
            word(&inputs["from"]),
            word(&request["to"]),
            word(&request["digest"])
        ),
        format!("  says      {} ({})", word(&request["summary"]), word(&request["agent"])),
    ];
    for reason in item["reasons"].as_array().into_iter().flatten() {
        let rule = &reason["rule"];
        let by = if rule.is_null() {
            String::new()
        } else {
            format!(" ({} in {})", word(&rule["key"]), word(&rule["table"]))
        };
        let (code, message) = (word(&reason["code"]), word(&reason["message"]));
        lines.push(format!("  because   {code}: {message}{by}"));
    }
    lines.push(format!(
        "  sight     {} for {}, attested {} ago: {}",
        word(&evidence["verdict"]),
        render::age(&evidence["live_ms"]).0,
        render::age(&evidence["age_ms"]).0,
        word(&evidence["reason"])
    ));
    for seen in evidence["revisions"].as_array().into_iter().flatten() {
        lines.push(format!(
            "  revision  {}: {} instances, {} records, {} requests, {} errors, {} witnessed",
            word(&seen["revision"]),
            word(&seen["instances"]),
            word(&seen["records"]),
            word(&seen["requests"]),
            word(&seen["errors"]),
            word(&seen["witnessed"])
        ));
    }
    lines.push(format!(
        "  rules     policy {}, {} of {} in flight, dwell {}, approval {}",
        word(&inputs["policy_hash"]).chars().take(12).collect::<String>(),
        word(&budget["in_use"]),
        word(&budget["limit"]),
        render::age(&inputs["policy"]["dwell_ms"]).0,
        if inputs["needs_approval"] == json!(true) { "needed" } else { "not needed" }
    ));
    lines.push(format!("  again     holdpoint replay {}", word(&item["id"])));
    render::clean_lines(&lines.join("\n"))
}

pub async fn audit(session: &Session, args: AuditArgs) -> Result<Ending, VerbError> {
    let AuditArgs { after, limit } = args;
    let query = [("after", after), ("limit", limit)]
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| format!("{name}={value}")))
        .collect::<Vec<_>>()
        .join("&");
    let path = if query.is_empty() { "/v1/audit".to_owned() } else { format!("/v1/audit?{query}") };
    let list = session.as_viewer()?.get(&path).await?;
    session.show(&list, |list| {
        let mut table = Table::new(&["SEQ", "AT", "WHO", "WHAT", "SUBJECT"]);
        for entry in list["items"].as_array().into_iter().flatten() {
            let cells = ["seq", "at", "who", "what", "subject"];
            table.row(cells.iter().map(|name| render::or_dash(&entry[*name])).collect());
        }
        table.text()
    });
    Ok(Ending::Done)
}

/// One entry of a journal or timeline on one line: time and kind first, then the rest.
pub(super) fn entry_text(entry: &Value) -> String {
    let Some(map) = entry.as_object() else { return entry.to_string() };
    let first = ["seq", "at", "kind", "event", "state", "message"];
    let lead = first.iter().filter_map(|key| map.get(*key).and_then(render::text));
    let rest = map
        .iter()
        .filter(|(key, _)| !first.contains(&key.as_str()))
        .filter_map(|(key, value)| render::text(value).map(|text| format!("{key}={text}")));
    lead.chain(rest).collect::<Vec<_>>().join("  ")
}
