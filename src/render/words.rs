//! Marks, tones and units for the words of the glossary.
//!
//! Invariant: a value that is not known is shown as a dash and never as 0.

use serde_json::Value;

/// How a word is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Good,
    Odd,
    Bad,
}

impl Tone {
    pub(super) fn paint(self, text: &str, colour: bool) -> String {
        let code = match self {
            Self::Plain => return text.to_owned(),
            Self::Good => 32,
            Self::Odd => 33,
            Self::Bad => 31,
        };
        if colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// A word with the mark of its tone, so that it reads without colour.
#[must_use]
pub fn mark(word: &str, tone: Tone) -> (String, Tone) {
    let mark = match tone {
        Tone::Plain => "·",
        Tone::Good => "✔",
        Tone::Odd => "!",
        Tone::Bad => "✖",
    };
    (format!("{mark} {word}"), tone)
}

/// A verdict with its mark.
#[must_use]
pub fn verdict(word: &str) -> (String, Tone) {
    let tone = match word {
        "live" => Tone::Good,
        "idle" => Tone::Plain,
        "unknown" | "heartbeat_lost" => Tone::Odd,
        _ => Tone::Bad,
    };
    mark(word, tone)
}

/// A decision or the state of a rollout with its mark.
#[must_use]
pub fn decision(word: &str) -> (String, Tone) {
    let tone = match word {
        "allow" | "allowed" | "confirmed" | "reverted" => Tone::Good,
        "hold" | "held" | "inconclusive" | "reverting" => Tone::Odd,
        "deny" | "denied" | "stuck" => Tone::Bad,
        _ => Tone::Plain,
    };
    mark(word, tone)
}

/// What stands at `value`, as text; `None` if nothing does.
#[must_use]
pub fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Array(list) => {
            let items: Vec<String> = list.iter().filter_map(text).collect();
            (!items.is_empty()).then(|| items.join(", "))
        }
        Value::Object(_) => Some(value.to_string()),
    }
}

/// [`text`] for a cell.
#[must_use]
pub fn or_dash(value: &Value) -> (String, Tone) {
    (text(value).unwrap_or_else(|| "–".to_owned()), Tone::Plain)
}

/// Milliseconds as people say them.
#[must_use]
pub fn age(value: &Value) -> (String, Tone) {
    let Some(ms) = value.as_u64() else { return or_dash(&Value::Null) };
    let text = match ms {
        0..=999 => format!("{ms} ms"),
        1_000..=9_999 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        10_000..=119_999 => format!("{} s", ms / 1_000),
        120_000..=7_199_999 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    };
    (text, Tone::Plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_known_is_a_dash_and_never_zero() {
        assert_eq!(age(&Value::Null).0, "–");
        assert_eq!(or_dash(&Value::Null).0, "–");
        assert_eq!(or_dash(&json!("")).0, "–");
        assert_eq!(age(&json!(0)).0, "0 ms");
        assert_eq!(age(&json!(1_250)).0, "1.2 s");
        assert_eq!(age(&json!(120_000)).0, "2 min");
    }
}
