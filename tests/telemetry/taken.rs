//! What a taker has taken down, by who said it.
//!
//! Invariant: a line that is not OTLP/JSON is a failure, not skipped; the last may be unfinished.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use super::process::Process;

/// Everything that one service said.
#[derive(Debug, Default)]
pub struct Taken {
    pub resource: Value,
    /// The names of its spans.
    pub spans: Vec<Value>,
    pub logs: Vec<Value>,
    /// By name, as they were said last.
    pub metrics: BTreeMap<String, Value>,
    /// Where its log records and spans are from.
    pub scopes: Vec<String>,
}

impl Taken {
    pub fn of(taker: &Process, service: &str) -> Self {
        let text = fs::read_to_string(taker.taken_file()).unwrap_or_default();
        let mut taken = Self::default();
        for line in text.lines() {
            let Ok(request) = serde_json::from_str::<Value>(line) else {
                assert!(text.ends_with(line), "{line}");
                continue;
            };
            for (list, parts, records) in [
                ("resourceSpans", "scopeSpans", "spans"),
                ("resourceLogs", "scopeLogs", "logRecords"),
                ("resourceMetrics", "scopeMetrics", "metrics"),
            ] {
                for one in array(&request[list]) {
                    if attribute(&one["resource"], "service.name") == service {
                        taken.resource = one["resource"].clone();
                        array(&one[parts]).iter().for_each(|part| taken.take(part, records));
                    }
                }
            }
        }
        taken
    }

    fn take(&mut self, part: &Value, records: &str) {
        let name = part["scope"]["name"].as_str().unwrap_or_default();
        for record in array(&part[records]) {
            match records {
                "spans" => self.spans.push(record.clone()),
                "logRecords" => self.logs.push(record.clone()),
                _ => drop(self.metrics.insert(text(&record["name"]), record.clone())),
            }
            self.scopes.push(name.to_owned());
        }
    }

    pub fn has_span(&self, name: &str) -> bool {
        self.spans.iter().any(|span| span["name"] == name)
    }

    pub fn has_log(&self, part: &str) -> bool {
        self.logs.iter().any(|log| text(&log["body"]["stringValue"]).contains(part))
    }

    /// The points of a metric, whatever its type.
    pub fn points(&self, name: &str) -> Vec<Value> {
        let metric = self.metrics.get(name).unwrap_or(&Value::Null);
        let of = |kind: &str| array(&metric[kind]["dataPoints"]).to_vec();
        ["sum", "gauge", "histogram"].into_iter().flat_map(of).collect()
    }
}

pub fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// An attribute of a resource, a span or a point; empty if it has none.
pub fn attribute(of: &Value, key: &str) -> String {
    let found = array(&of["attributes"]).iter().find(|attribute| attribute["key"] == key);
    found.map_or_else(String::new, |found| text(&found["value"]["stringValue"]))
}

/// A value of 64 bits, which JSON has as a text.
pub fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}
