//! The verbs of a rollout: what an agent asks, and what a person answers.
//!
//! Invariant: `request` and `renew` end with 0 only if the gate said `allow` *and* gave a permit,
//! or nothing is left to do because the rollout is confirmed. The word alone is not a permit.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::sleep;

use super::{Session, VerbError};
use crate::cli::{
    ApproveArgs, IdArgs, RejectArgs, RequestArgs, RolloutCommand, SettleArgs, SettleTo, StepArgs,
    TakeBackArgs, Wanted,
};
use crate::client::{Client, segment};
use crate::driver::Deadline;
use crate::exit::Ending;
use crate::render::{self, Table, Tone};

/// How long `--wait` rests between two questions when the gate does not say.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// It never rests shorter or longer than this, whatever the gate says.
const REST: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

pub async fn run(session: &Session, command: RolloutCommand) -> Result<Ending, VerbError> {
    match command {
        RolloutCommand::Request(args) => request(session, args).await,
        RolloutCommand::Renew { step, doing } => {
            let more = json!({ "step": doing });
            Ok(permitted(&advance(session, &step, "renew", more).await?))
        }
        RolloutCommand::Applied { step, revision } => {
            let more = json!({ "revision": revision });
            Ok(taken(&advance(session, &step, "applied", more).await?))
        }
        RolloutCommand::Report { step, claim } => {
            let claim: Map<String, Value> = serde_json::from_str(&claim)
                .map_err(|error| VerbError::Usage(format!("--claim is no JSON object: {error}")))?;
            let more = json!({ "claim": claim });
            Ok(taken(&advance(session, &step, "report", more).await?))
        }
        RolloutCommand::Conclude { id, outcome } => {
            let outcome = match outcome {
                Wanted::Succeeded => "succeeded",
                Wanted::Abandoned => "abandoned",
            };
            say(session, &id, "conclude", json!({ "outcome": outcome })).await
        }
        RolloutCommand::Abort { id, reason } => {
            say(session, &id, "abort", json!({ "reason": reason })).await
        }
        RolloutCommand::Status(IdArgs { id }) => {
            let rollout = session.as_agent()?.get(&path(&id, "")).await?;
            session.show(&rollout, rollout_text);
            Ok(Ending::Done)
        }
        RolloutCommand::List { service } => {
            let query = service.map_or_else(String::new, |s| format!("?service={}", segment(&s)));
            let list = session.as_viewer()?.get(&format!("/v1/rollouts{query}")).await?;
            session.show(&list, list_text);
            Ok(Ending::Done)
        }
    }
}

fn path(id: &str, verb: &str) -> String {
    let id = segment(id);
    if verb.is_empty() { format!("/v1/rollouts/{id}") } else { format!("/v1/rollouts/{id}/{verb}") }
}

/// `value` without the keys that say nothing, because the gate refuses a `null` it did not ask for.
fn without_nulls(mut value: Value) -> Value {
    if let Some(map) = value.as_object_mut() {
        map.retain(|_, value| !value.is_null());
    }
    value
}

async fn request(session: &Session, args: RequestArgs) -> Result<Ending, VerbError> {
    let from = args.from.as_deref().unwrap_or("?");
    let summary =
        args.summary.unwrap_or_else(|| format!("{}: {from} to {}", args.service, args.to));
    let body = without_nulls(json!({
        "change_id": args.change_id,
        "service": args.service,
        "from": args.from,
        "to": args.to,
        "digest": args.digest,
        "agent": args.agent,
        "summary": summary,
        "expected_effect": args.expected_effect,
        "touches_telemetry": args.touches_telemetry,
        "based_on": args.based_on,
    }));
    let deadline = args.wait.map(Deadline::after);
    let mut told = String::new();
    loop {
        let asked = ask(session, &body).await;
        let waits = deadline.is_some_and(|deadline| !deadline.has_passed());
        let rest = match &asked {
            Ok(answer) if permitted(answer) == Ending::Held && waits => {
                let words = reasons_text(answer);
                if words != told {
                    eprintln!("held; waiting\n{words}");
                    told = words;
                }
                answer["retry_after_s"]
                    .as_f64()
                    .map_or(ASK_AGAIN, |s| Duration::try_from_secs_f64(s).unwrap_or(ASK_AGAIN))
            }
            Err(VerbError::Client(error)) if error.may_pass() && waits => {
                let words = error.to_string();
                if words != told {
                    eprintln!("no answer; waiting: {}", render::clean(&words));
                    told = words;
                }
                ASK_AGAIN
            }
            Ok(_) | Err(_) => break finish(session, deadline.is_some(), asked),
        };
        let left = deadline.map_or(Duration::ZERO, Deadline::left);
        sleep(rest.clamp(REST.0, REST.1).min(left)).await;
    }
}

/// The gate is looked for at every question, because it may come back elsewhere.
async fn ask(session: &Session, body: &Value) -> Result<Value, VerbError> {
    Ok(session.as_agent()?.post("/v1/rollouts", body).await?)
}

fn finish(
    session: &Session,
    waited: bool,
    asked: Result<Value, VerbError>,
) -> Result<Ending, VerbError> {
    let answer = asked?;
    session.show(&answer, answer_text);
    let ending = permitted(&answer);
    if ending == Ending::Held && waited {
        eprintln!("holdpoint: still held when the wait was over");
        return Ok(Ending::Denied);
    }
    if ending == Ending::Undecided {
        return Err(VerbError::Answer("permit beside its decision"));
    }
    Ok(ending)
}

/// What an answer means for one who wants to go on: only a permit lets him.
fn permitted(answer: &Value) -> Ending {
    match answer["decision"].as_str() {
        Some("allow") if answer["permit"]["token"].is_string() => Ending::Done,
        Some("allow") if answer["rollout"]["state"] == "confirmed" => Ending::Done,
        Some("hold") => Ending::Held,
        Some("deny") => Ending::Denied,
        Some(_) | None => Ending::Undecided,
    }
}

/// What an answer means for one who reported a fact: it is recorded, whatever comes of it.
fn taken(answer: &Value) -> Ending {
    if answer["decision"].as_str() == Some("deny") { Ending::Denied } else { Ending::Done }
}

async fn advance(
    session: &Session,
    step: &StepArgs,
    verb: &str,
    more: Value,
) -> Result<Value, VerbError> {
    let gate = session.as_agent()?;
    let epoch = match step.epoch {
        Some(epoch) => epoch,
        None => epoch_now(&gate, &step.id).await?,
    };
    let mut body = without_nulls(more);
    body["epoch"] = epoch.into();
    let answer = gate.post(&path(&step.id, verb), &body).await?;
    session.show(&answer, answer_text);
    Ok(answer)
}

/// The epoch of the rollout as it stands.
async fn epoch_now(gate: &Client, id: &str) -> Result<u64, VerbError> {
    let value = gate.get(&path(id, "")).await?;
    let rollout = value.get("rollout").unwrap_or(&value);
    let epoch = rollout["epoch"].as_u64().or_else(|| value["permit"]["epoch"].as_u64());
    epoch.ok_or(VerbError::Answer("epoch; give the permit's with --epoch"))
}

async fn say(session: &Session, id: &str, verb: &str, body: Value) -> Result<Ending, VerbError> {
    let answer = session.as_agent()?.post(&path(id, verb), &body).await?;
    session.show(&answer, answer_text);
    Ok(taken(&answer))
}

pub async fn approve(session: &Session, args: ApproveArgs) -> Result<Ending, VerbError> {
    let expires_in_s = args.expires_in.map(|time| time.as_secs().max(1));
    let more = json!({ "reason": args.reason, "expires_in_s": expires_in_s });
    answer_for_it(session, &args.id, "approve", args.digest, more).await
}

pub async fn reject(session: &Session, args: RejectArgs) -> Result<Ending, VerbError> {
    let more = json!({ "reason": args.reason });
    answer_for_it(session, &args.id, "reject", args.digest, more).await
}

/// A person's word is bound to a digest: the one given, else the one shown now, which is said.
async fn answer_for_it(
    session: &Session,
    id: &str,
    verb: &str,
    digest: Option<String>,
    more: Value,
) -> Result<Ending, VerbError> {
    let gate = session.as_operator()?;
    let digest = match digest {
        Some(digest) => digest,
        None => {
            let value = gate.get(&path(id, "")).await?;
            let rollout = value.get("rollout").unwrap_or(&value);
            let digest = rollout["digest"].as_str().ok_or(VerbError::Answer("digest"))?;
            eprintln!("{verb}: {}", render::clean(digest));
            digest.to_owned()
        }
    };
    let mut body = without_nulls(more);
    body["digest"] = digest.into();
    let answer = gate.post(&path(id, verb), &body).await?;
    session.show(&answer, answer_text);
    Ok(Ending::Done)
}

pub async fn settle(session: &Session, args: SettleArgs) -> Result<Ending, VerbError> {
    let to = match args.to {
        SettleTo::Confirmed => "confirmed",
        SettleTo::Reverting => "reverting",
    };
    let body = json!({ "to": to, "reason": args.reason });
    let answer = session.as_operator()?.post(&path(&args.id, "settle"), &body).await?;
    session.show(&answer, answer_text);
    Ok(Ending::Done)
}

/// A person takes a rollout back. With `--wait` only the signal on the old revision is success.
pub async fn revert(session: &Session, args: TakeBackArgs) -> Result<Ending, VerbError> {
    let gate = session.as_operator()?;
    let body = json!({ "to": "reverting", "reason": args.reason });
    let mut answer = gate.post(&path(&args.id, "settle"), &body).await?;
    let deadline = Deadline::after(args.wait.unwrap_or_default());
    let state = |answer: &Value| {
        let rollout = answer.get("rollout").unwrap_or(answer);
        rollout["state"].as_str().map(str::to_owned)
    };
    while state(&answer).as_deref() == Some("reverting") && !deadline.has_passed() {
        sleep(REST.0.min(deadline.left())).await;
        answer = gate.get(&path(&args.id, "")).await?;
    }
    session.show(&answer, answer_text);
    Ok(match (state(&answer).as_deref(), args.wait) {
        (Some("reverted"), _) | (Some("reverting"), None) => Ending::Done,
        (Some("reverting"), Some(_)) => Ending::Held,
        (Some(_) | None, _) => Ending::Denied,
    })
}

fn reasons_text(answer: &Value) -> String {
    let reasons = answer["reasons"].as_array().map(Vec::as_slice).unwrap_or_default();
    let line = |reason: &Value| {
        let (code, _) = render::or_dash(&reason["code"]);
        let message = render::text(&reason["message"]).unwrap_or_default();
        let service = render::text(&reason["service"]).map(|s| format!(" [{s}]"));
        render::clean(&format!("  {code}{}: {message}", service.unwrap_or_default()))
    };
    reasons.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The answer of all calls about one rollout, in words.
fn answer_text(answer: &Value) -> String {
    let rollout = answer.get("rollout").unwrap_or(answer);
    let mut lines = Vec::new();
    if let Some(decision) = answer["decision"].as_str() {
        lines.push(render::decision(decision).0);
    }
    lines.push(headline(rollout));
    let reasons = reasons_text(answer);
    if !reasons.is_empty() {
        lines.push(reasons);
    }
    let permit = &answer["permit"];
    if permit.is_object() {
        let (expires, _) = render::age(&permit["expires_in_ms"]);
        let (epoch, _) = render::or_dash(&permit["epoch"]);
        lines.push(format!("  permit, epoch {epoch}, expires in {expires}:"));
        lines.push(render::or_dash(&permit["token"]).0);
    }
    if let Some(retry) = render::text(&answer["retry_after_s"]) {
        lines.push(format!("  ask again in {retry} s"));
    }
    if let Some(url) = render::text(&answer["approval_url"]) {
        lines.push(format!("  to be approved at {url}"));
    }
    lines.join("\n")
}

fn headline(rollout: &Value) -> String {
    let part = |name: &str| render::or_dash(&rollout[name]).0;
    render::clean(&format!(
        "  {} {}: {} -> {}, {}",
        part("id"),
        part("service"),
        part("from"),
        part("to"),
        part("state")
    ))
}

/// One rollout with all that the gate tells of it.
pub(super) fn rollout_text(value: &Value) -> String {
    let mut lines = vec![answer_text(value)];
    let rollout = value.get("rollout").unwrap_or(value);
    let shown = ["id", "service", "from", "to", "state", "timeline", "reasons"];
    for (key, part) in rollout.as_object().into_iter().flatten() {
        if let Some(text) = render::text(part).filter(|_| !shown.contains(&key.as_str())) {
            lines.push(render::clean(&format!("  {key}: {text}")));
        }
    }
    let timeline = value.get("timeline").or_else(|| rollout.get("timeline"));
    for entry in timeline.and_then(Value::as_array).into_iter().flatten() {
        lines.push(render::clean(&format!("  {}", super::views::entry_text(entry))));
    }
    lines.join("\n")
}

pub(super) fn list_text(list: &Value) -> String {
    let mut table = Table::new(&["ROLLOUT", "SERVICE", "FROM", "TO", "STATE", "AGENT"]);
    for rollout in list["items"].as_array().into_iter().flatten() {
        let cell = |name: &str| render::or_dash(&rollout[name]);
        let state = rollout["state"].as_str();
        table.row(vec![
            cell("id"),
            cell("service"),
            cell("from"),
            cell("to"),
            state.map_or_else(|| ("–".to_owned(), Tone::Plain), render::decision),
            cell("agent"),
        ]);
    }
    if table.is_empty() { "no rollouts".to_owned() } else { table.text() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_allow_without_a_permit_is_no_decision() {
        let ending = |text: &str| permitted(&serde_json::from_str(text).unwrap());
        assert_eq!(ending(r#"{"decision": "allow", "permit": {"token": "hp1"}}"#), Ending::Done);
        assert_eq!(ending(r#"{"decision": "allow", "permit": null}"#), Ending::Undecided);
        assert_eq!(ending(r#"{"decision": "allow"}"#), Ending::Undecided);
        let over = r#"{"decision": "allow", "permit": null, "rollout": {"state": "confirmed"}}"#;
        assert_eq!(ending(over), Ending::Done, "nothing is left to do");
        assert_eq!(ending(r#"{"decision": "hold"}"#), Ending::Held);
        assert_eq!(ending(r#"{"decision": "deny"}"#), Ending::Denied);
        for none in [r#"{"decision": "ALLOW"}"#, "{}", "null", "[]", r#""allow""#] {
            assert_eq!(ending(none), Ending::Undecided, "{none}");
        }
    }
}
