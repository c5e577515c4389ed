//! A mistake in the configuration file: where it is, what it is and what was probably meant.
//!
//! Invariant: a mistake never repeats the value of a string, because that may be a secret.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// How alike two keys must be for one to be offered for the other, from 0 to 1.
const LIKENESS_MIN: f64 = 0.75;

/// One mistake, with the line it is on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// From 1; `None` if the mistake is of the file as a whole.
    pub line: Option<usize>,
    pub column: Option<usize>,
    pub text: String,
}

impl Mistake {
    pub fn whole(text: impl Into<String>) -> Self {
        Self { line: None, column: None, text: text.into() }
    }

    pub fn at(source: &str, span: Option<Range<usize>>, text: impl Into<String>) -> Self {
        let Some(before) = span.and_then(|span| source.get(..span.start)) else {
            return Self::whole(text);
        };
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: Some(before.matches('\n').count() + 1),
            column: Some(before[start..].chars().count() + 1),
            text: text.into(),
        }
    }
}

/// All mistakes of one file. Nothing was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes {
    pub file: PathBuf,
    pub list: Vec<Mistake>,
}

impl Mistakes {
    pub fn of(file: &Path, mut list: Vec<Mistake>) -> Self {
        list.sort();
        list.dedup();
        Self { file: file.to_owned(), list }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        for Mistake { line, column, text } in &self.list {
            write!(f, "{file}:")?;
            for place in [line, column].into_iter().flatten() {
                write!(f, "{place}:")?;
            }
            writeln!(f, " {text}")?;
        }
        let count = self.list.len();
        write!(f, "{count} mistake{} in {file}", if count == 1 { "" } else { "s" })
    }
}

impl std::error::Error for Mistakes {}

/// Puts what `serde` says of a wrong key into our words, with the key that was probably meant.
#[must_use]
pub fn in_our_words(message: &str) -> String {
    let Some(rest) = message.strip_prefix("unknown field `") else {
        return message.replace("missing field", "missing key").replace("field", "key");
    };
    let (key, expected) = rest.split_once('`').unwrap_or((rest, ""));
    let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    let score = |known: &str| strsim::jaro_winkler(key, known);
    let nearest = known.iter().copied().max_by(|a, b| score(a).total_cmp(&score(b)));
    match nearest.filter(|nearest| score(nearest) >= LIKENESS_MIN) {
        Some(nearest) => format!("unknown key `{key}`; did you mean `{nearest}`?"),
        None if known.is_empty() => format!("unknown key `{key}`"),
        None => format!("unknown key `{key}`; known here: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_key_is_offered_and_a_far_one_is_not() {
        let meant = in_our_words("unknown field `lisen`, expected one of `listen`, `store`");
        assert_eq!(meant, "unknown key `lisen`; did you mean `listen`?");
        let lost = in_our_words("unknown field `zzz`, expected `listen` or `store`");
        assert_eq!(lost, "unknown key `zzz`; known here: listen, store");
    }

    #[test]
    fn lines_and_columns_count_from_one() {
        let at = |start| {
            let mistake = Mistake::at("ä = 1\nb = 2", Some(start..start), "");
            (mistake.line, mistake.column)
        };
        assert_eq!(at(0), (Some(1), Some(1)));
        assert_eq!(at(7), (Some(2), Some(1)));
        assert_eq!(at(11), (Some(2), Some(5)));
    }
}
