//! The effective configuration as TOML, with the origin of every value beside it.
//!
//! Invariant: what it prints reads back as the same configuration, but for secrets: a value that
//! was filled in from the environment or a file is printed as the reference, and a secret that is
//! written out as a word that is refused when it is read.

use std::fmt::Write as _;

use serde_json::Value;

use super::Loaded;
use super::mistake::Mistake;
use super::origin::join;

/// Comments begin at this column where the value leaves room.
const COMMENT_COLUMN: usize = 40;

/// The whole configuration that is in force.
#[must_use]
pub fn print(loaded: &Loaded) -> String {
    let value = serde_json::to_value(&loaded.config).expect("a configuration has text keys");
    let mut out = String::new();
    let Value::Object(root) = value else { return out };
    for (key, value) in root.iter().filter(|(_, value)| !is_table(value)) {
        line(&mut out, loaded, key, key, value);
    }
    for (key, value) in root.iter().filter(|(_, value)| is_table(value)) {
        table(&mut out, loaded, key, value);
    }
    out
}

/// The same as data.
#[must_use]
pub fn effective(loaded: &Loaded) -> Value {
    let mut value = serde_json::to_value(&loaded.config).expect("a configuration has text keys");
    refer(&mut value, "", loaded);
    value
}

/// Puts references back in place of what they were filled in with.
fn refer(value: &mut Value, path: &str, loaded: &Loaded) {
    if let Some(reference) = loaded.origins.get(path).and_then(|o| o.reference.clone()) {
        *value = Value::String(reference);
        return;
    }
    match value {
        Value::Object(map) => {
            map.iter_mut().for_each(|(key, value)| refer(value, &join(path, key), loaded));
        }
        Value::Array(list) => {
            for (index, value) in list.iter_mut().enumerate() {
                refer(value, &format!("{path}[{index}]"), loaded);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn is_table(value: &Value) -> bool {
    let tables = |list: &Vec<Value>| !list.is_empty() && list.iter().all(Value::is_object);
    value.is_object() || value.as_array().is_some_and(tables)
}

/// Prints `[path]`, or `[[path]]` for every element of an array of tables.
fn table(out: &mut String, loaded: &Loaded, path: &str, value: &Value) {
    match value {
        Value::Object(_) => {
            _ = writeln!(out, "\n[{}]", header(path));
            entries(out, loaded, path, value);
        }
        Value::Array(list) => {
            for (index, element) in list.iter().enumerate() {
                _ = writeln!(out, "\n[[{}]]", header(path));
                entries(out, loaded, &format!("{path}[{index}]"), element);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn entries(out: &mut String, loaded: &Loaded, path: &str, value: &Value) {
    let Value::Object(entries) = value else { return };
    // `revert` reads best on one line; inner tables come last, or they would swallow the keys.
    let (inner, plain): (Vec<_>, Vec<_>) =
        entries.iter().partition(|(key, value)| is_table(value) && key.as_str() != "revert");
    for (key, value) in plain {
        line(out, loaded, &join(path, key), key, value);
    }
    for (key, value) in inner {
        table(out, loaded, &join(path, key), value);
    }
}

fn line(out: &mut String, loaded: &Loaded, path: &str, key: &str, value: &Value) {
    let Some(text) = toml_text(loaded, path, value) else { return };
    let text = format!("{key} = {text}");
    let origin = match loaded.origins.span(path) {
        Some(span) => {
            let at = Mistake::at(&loaded.source, Some(span), "").line;
            let file = loaded.file.as_ref().map(|file| file.display().to_string());
            file.zip(at).map_or_else(String::new, |(file, line)| format!("{file}:{line}"))
        }
        None => loaded.environment.origin(path).unwrap_or("default").to_owned(),
    };
    _ = writeln!(out, "{text:<COMMENT_COLUMN$} # {origin}");
}

/// A value on one line; `None` for one that is not set.
fn toml_text(loaded: &Loaded, path: &str, value: &Value) -> Option<String> {
    if let Some(reference) = loaded.origins.get(path).and_then(|o| o.reference.clone()) {
        return Some(toml::Value::String(reference).to_string());
    }
    Some(match value {
        Value::Null => return None,
        Value::Object(entries) => {
            let entry = |(key, value): (&String, &Value)| {
                toml_text(loaded, &join(path, key), value).map(|text| format!("{key} = {text}"))
            };
            format!("{{ {} }}", entries.iter().filter_map(entry).collect::<Vec<_>>().join(", "))
        }
        Value::Array(list) => {
            let item =
                |(i, value): (usize, &Value)| toml_text(loaded, &format!("{path}[{i}]"), value);
            format!("[{}]", list.iter().enumerate().filter_map(item).collect::<Vec<_>>().join(", "))
        }
        Value::String(text) => toml::Value::String(text.clone()).to_string(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    })
}

/// A value by itself, on one line.
#[must_use]
pub fn plain(value: &Value) -> String {
    toml_text(&Loaded::default(), "", value).unwrap_or_else(|| "none".to_owned())
}

/// A path without the indexes, as TOML writes it in a header.
fn header(path: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for c in path.chars() {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            c if !inside => out.push(c),
            _ => {}
        }
    }
    out
}
