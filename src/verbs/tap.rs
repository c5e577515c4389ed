//! `collector tap`: what passes through the running collector, a record a line.
//!
//! Invariant: what the collector did not show is said, so that nobody takes a sample for the whole.

use serde_json::Value;

use super::{Session, VerbError};
use crate::cli::{Output, TapArgs};
use crate::exit::Ending;
use crate::place::{CollectorRun, RoleRun};
use crate::render;

/// Shows records until the collector ends or so many were shown.
pub async fn run(session: &Session, args: TapArgs) -> Result<Ending, VerbError> {
    let run = session.place.run::<CollectorRun>("collector").filter(RoleRun::exists);
    let Some(run) = run else {
        let dir = session.place.root().display();
        return Err(VerbError::Usage(format!("no collector runs in {dir}; start `holdpoint up`")));
    };
    let http = reqwest::Client::builder().no_proxy().build();
    let http = http.map_err(|error| VerbError::Usage(error.to_string()))?;
    let mut query = Vec::new();
    query.extend(args.service.map(|service| ("service", service)));
    query.extend(args.signal.map(|signal| ("signal", signal)));
    query.extend(args.count.map(|count| ("n", count.to_string())));
    let query: Vec<_> = query
        .into_iter()
        .map(|(key, value)| format!("{key}={}", crate::client::segment(&value)))
        .collect();
    let url = format!("http://{}/v1/tap?{}", run.admin, query.join("&"));
    let unreachable = |error: reqwest::Error| VerbError::Usage(format!("tap {url}: {error}"));
    let mut answer = http.get(&url).send().await.map_err(unreachable)?;
    if !answer.status().is_success() {
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        return Err(VerbError::Usage(format!("the collector answers {status}: {text}")));
    }
    let mut rest = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
        rest.extend_from_slice(&chunk);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            show(session.output, &line);
        }
    }
    Ok(Ending::Done)
}

fn show(output: Output, line: &[u8]) {
    let Ok(record) = serde_json::from_slice::<Value>(line) else { return };
    match (output, record["skipped_requests"].as_u64()) {
        (Output::Table, Some(skipped)) => eprintln!("({skipped} requests passed unseen)"),
        (Output::Table, None) => render::say(&words(&record)),
        // One object a line, so that it can be read as it comes.
        (Output::Json | Output::Yaml, _) => render::say(&record.to_string()),
    }
}

/// One aligned line.
fn words(record: &Value) -> String {
    let text = |key: &str| render::clean(record[key].as_str().unwrap_or("-"));
    let measure = match (record["duration_ms"].as_f64(), record["points"].as_u64()) {
        (Some(ms), _) => format!("{ms:.1} ms"),
        (None, Some(points)) => format!("{points} points"),
        (None, None) => "-".to_owned(),
    };
    let attributes: Vec<_> = record["attributes"].as_object().map_or(Vec::new(), |attributes| {
        let shown = |(key, value): (&String, &Value)| match value.as_str() {
            Some(text) => format!("{key}={text}"),
            None => format!("{key}={value}"),
        };
        attributes.iter().map(shown).collect()
    });
    format!(
        "{:<7} {:<20} {:<9} {:<5} {:>11}  {}  {}",
        text("signal"),
        text("service"),
        text("kind"),
        text("status"),
        measure,
        text("name"),
        render::clean(&attributes.join(" "))
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn a_record_is_one_line_whatever_is_in_it() {
        let record = json!({
            "signal": "traces", "service": "shop", "kind": "server", "status": "error",
            "name": "GET /\n\u{1b}[31m", "duration_ms": 12.345, "attributes": {"a": "b", "n": 1}
        });
        let line = super::words(&record);
        assert!(line.starts_with("traces  shop "), "{line}");
        assert!(line.contains("12.3 ms") && line.ends_with("a=b n=1"), "{line}");
        assert!(!line.contains(['\n', '\u{1b}']), "{line}");
    }
}
