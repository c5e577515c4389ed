//! `doctor`: what is wrong with this installation, line by line, and what to do.
//!
//! Invariant: it changes nothing. What it cannot check is said to be unchecked, and counts as wrong
//! only if Holdpoint holds because of it.

use serde_json::{Value, json};

use super::healthcheck::running;
use super::{Session, VerbError};
use crate::cli::Globals;
use crate::client::{self, Client, ClientError};
use crate::config;
use crate::driver;
use crate::exit::Ending;
use crate::place::{CollectorRun, Place, RoleRun};
use crate::render::{self, Table, Tone};

/// A clock before this (2025-01-01) was never set.
const CLOCK_MIN_MS: u64 = 1_735_689_600_000;

/// One finding.
#[derive(Debug)]
struct Finding {
    what: &'static str,
    ok: bool,
    text: String,
}

fn good(what: &'static str, text: impl Into<String>) -> Finding {
    Finding { what, ok: true, text: text.into() }
}

fn wrong(what: &'static str, text: impl Into<String>) -> Finding {
    Finding { what, ok: false, text: text.into() }
}

pub async fn run(session: &Session, globals: &Globals) -> Result<Ending, VerbError> {
    let place = &session.place;
    let mut findings = vec![configuration(globals), directory(place), exposure(place), clock()];
    findings.extend(roles(place).await);
    match session.as_viewer() {
        Ok(gate) => findings.push(gate_answers(&gate).await),
        Err(error) => findings.push(wrong("gate", error.to_string())),
    }
    findings.push(asymmetry(session).await);
    match session.watchdog() {
        Ok(watchdog) => findings.extend(sight(place, &watchdog).await),
        Err(error) => findings.push(wrong("watchdog", error.to_string())),
    }
    let ok = findings.iter().all(|finding| finding.ok);
    let items = findings.iter().map(|f| json!({ "check": f.what, "ok": f.ok, "message": f.text }));
    let all = json!({ "ok": ok, "items": items.collect::<Vec<_>>() });
    session.show(&all, |_| {
        let mut table = Table::new(&["CHECK", "", "FINDING"]);
        for Finding { what, ok, text } in &findings {
            let state = if *ok {
                render::mark("good", Tone::Good)
            } else {
                render::mark("wrong", Tone::Bad)
            };
            table.row(vec![((*what).to_owned(), Tone::Plain), state, (text.clone(), Tone::Plain)]);
        }
        table.text()
    });
    Ok(if ok { Ending::Done } else { Ending::Denied })
}

fn configuration(globals: &Globals) -> Finding {
    match config::load(globals.config.as_deref()) {
        Ok(loaded) => good(
            "configuration",
            loaded.file.map_or_else(
                || "no file, the defaults are in force".to_owned(),
                |file| format!("{} is good", file.display()),
            ),
        ),
        Err(mistakes) => wrong("configuration", mistakes.to_string()),
    }
}

fn directory(place: &Place) -> Finding {
    let root = place.root().display();
    if !place.root().is_dir() {
        return wrong("data directory", format!("{root} is not there; `holdpoint up` makes it"));
    }
    match Place::create(place.root()) {
        Ok(_) => good("data directory", format!("{root} can be written")),
        Err(error) => wrong("data directory", error.to_string()),
    }
}

fn exposure(place: &Place) -> Finding {
    let exposed = place.exposed();
    if exposed.is_empty() {
        return good("permissions", "keys and tokens are for their owner alone");
    }
    let paths = exposed.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
    wrong("permissions", format!("others can read {0}; chmod go= {0}", paths.join(" ")))
}

fn clock() -> Finding {
    if driver::wall_ms() < CLOCK_MIN_MS {
        return wrong("clock", "the system clock was never set; permits name times by it");
    }
    good("clock", "the system clock is set")
}

async fn roles(place: &Place) -> Vec<Finding> {
    let running = running(place);
    let mut findings = Vec::new();
    for role in ["collector", "watchdog", "gate"] {
        let Some((_, at)) = running.iter().find(|(name, _)| *name == role) else {
            findings.push(wrong(role, "does not run here; start it with `holdpoint up`"));
            continue;
        };
        let answer = reqwest::Client::builder()
            .no_proxy()
            .timeout(std::time::Duration::from_secs(2))
            .build()
            .map(|http| http.get(format!("http://{at}/readyz")).send());
        findings.push(match answer {
            Ok(answer) => match answer.await {
                Ok(answer) if answer.status().is_success() => good(role, format!("ready at {at}")),
                Ok(answer) => wrong(role, format!("not ready at {at} ({})", answer.status())),
                Err(_) => wrong(role, format!("does not answer at {at}; does it hang?")),
            },
            Err(error) => wrong(role, error.to_string()),
        });
    }
    findings
}

async fn gate_answers(gate: &Client) -> Finding {
    match gate.get("/v1/freezes").await {
        Ok(list) => match list["items"].as_array().map(Vec::len) {
            Some(0) => good("freezes", "none is in force"),
            Some(count) => good("freezes", format!("{count} in force; see `holdpoint freezes`")),
            None => wrong("freezes", "the gate's answer cannot be read"),
        },
        Err(error) => wrong("freezes", error.to_string()),
    }
}

/// The agent's token must not be able to thaw or approve. Asked about what does not exist, so that
/// nothing can change: an operator would be told 404, the agent must be told 403.
async fn asymmetry(session: &Session) -> Finding {
    const WHAT: &str = "agent's token";
    let token = session.place.token("agent");
    let agent = match (token, client::gate(&session.place, "agent")) {
        (Ok(_), Ok(agent)) => agent,
        (Err(error), _) => return wrong(WHAT, error.to_string()),
        (_, Err(error)) => return wrong(WHAT, error.to_string()),
    };
    for (path, body) in [
        ("/v1/rollouts/doctor-asks/approve", json!({ "digest": "none", "reason": "doctor" })),
        ("/v1/freezes/doctor-asks/thaw", json!({ "reason": "doctor" })),
    ] {
        match agent.post(path, &body).await {
            Err(ClientError::Refused { status, .. }) if status == 403 => {}
            Err(error) if error.may_pass() => return wrong(WHAT, error.to_string()),
            Ok(_) | Err(_) => {
                return wrong(WHAT, format!("the gate does not refuse it {path}"));
            }
        }
    }
    good(WHAT, "cannot approve and cannot thaw")
}

/// Whether the watchdog sees: the collector's beat, its probes, and the gate hears it.
async fn sight(place: &Place, watchdog: &Client) -> Vec<Finding> {
    let list = match watchdog.get("/v1/verdicts").await {
        Ok(list) => list,
        Err(error) => return vec![wrong("verdicts", error.to_string())],
    };
    let items: Vec<&Value> = list["items"].as_array().into_iter().flatten().collect();
    let mut findings = Vec::new();
    findings.push(match place.run::<CollectorRun>("collector").filter(RoleRun::exists) {
        Some(_) => good("collector's process", "is the one in its run file"),
        None => wrong("collector's process", "is gone; its watchdog starts it again"),
    });
    let blind: Vec<String> = items
        .iter()
        .filter(|item| !matches!(item["verdict"].as_str(), Some("live" | "idle")))
        .filter_map(|item| render::text(&item["service"]))
        .collect();
    findings.push(match (items.is_empty(), blind.is_empty()) {
        (true, _) => good("services", "none was heard yet"),
        (false, true) => good("services", format!("{} heard, all in sight", items.len())),
        (false, false) => wrong("services", format!("not in sight: {}", blind.join(", "))),
    });
    if let Some(item) = items.first() {
        let state = render::or_dash(&item["probes"]["state"]).0;
        findings.push(if state == "returning" {
            good("probes", "come back right")
        } else {
            wrong("probes", format!("{state}; the path through the collector is not proven"))
        });
    }
    findings
}
