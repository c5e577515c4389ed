//! How results are written: data to standard output, words to standard error.
//!
//! Invariant: text from outside (names, reasons, summaries) never reaches a terminal with a control
//! or invisible character in it.

mod table;
mod words;

use std::io::{self, IsTerminal, Write};

use serde_json::Value;
use watchdog_core::names::is_unprintable;

use crate::cli::Output;

pub use table::Table;
pub use words::{Tone, age, decision, mark, or_dash, text, verdict};

/// Writes a text to standard output. A reader that went away is no error of ours.
pub fn say(text: &str) {
    let mut out = io::stdout().lock();
    drop(writeln!(out, "{text}").and_then(|()| out.flush()));
}

/// Writes data to standard output as the person asked; as JSON where a table makes no sense.
pub fn print_data(output: Output, value: &Value) {
    match output {
        Output::Yaml => match serde_saphyr::to_string(value) {
            Ok(text) => say(text.trim_end()),
            Err(error) => eprintln!("holdpoint: write YAML: {error}"),
        },
        Output::Table | Output::Json => {
            say(&serde_json::to_string_pretty(value).expect("a JSON value can be written"));
        }
    }
}

/// `text` made safe for a terminal, on one line.
#[must_use]
pub fn clean(text: &str) -> String {
    let safe = |c: char| match c {
        '\n' | '\t' => ' ',
        c if is_unprintable(c) => '\u{FFFD}',
        c => c,
    };
    text.chars().map(safe).collect()
}

/// [`clean`] for every line of `text`.
#[must_use]
pub fn clean_lines(text: &str) -> String {
    text.lines().map(clean).collect::<Vec<_>>().join("\n")
}

/// Whether standard output takes colour: a terminal, and `NO_COLOR` is not set.
#[must_use]
pub fn colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn text_from_outside_cannot_move_the_cursor() {
        assert_eq!(clean("a\u{1b}[2Jb\nc\u{202E}d"), "a\u{FFFD}[2Jb c\u{FFFD}d");
    }
}
