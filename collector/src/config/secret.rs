//! A header's value, which may be a secret: a text, a file, or an environment variable.
//!
//! Invariant: the text itself appears in no log, no debug output and no printed configuration.
//! What is printed in its place is refused when it is read, so it is never sent by mistake.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize, Serializer};

/// What stands for a text that is not shown.
const HIDDEN: &str = "(hidden)";

/// Where the value of a header comes from.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    rename_all = "lowercase",
    expecting = "a header's value is a text, { file = \"/path\" } or { env = \"NAME\" }"
)]
pub enum HeaderSource {
    /// The value itself.
    Text(String),
    /// The content of a file without its last line end; read again when the file changes.
    File(FileSource),
    /// An environment variable, read at the start.
    Env(EnvSource),
}

/// `{ file = "/path" }`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSource {
    pub file: PathBuf,
}

/// `{ env = "NAME" }`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvSource {
    pub env: String,
}

impl HeaderSource {
    /// What is wrong with it, as far as that shows without reading a file.
    pub(super) fn mistake(&self) -> Option<String> {
        match self {
            Self::Text(text) if text == HIDDEN => Some(format!(
                "is `{HIDDEN}`, which is what is printed in place of a secret; write the value, \
                 {{ file = … }} or {{ env = … }}"
            )),
            Self::Env(EnvSource { env }) if std::env::var_os(env).is_none() => {
                Some(format!("names the environment variable `{env}`, which is not set"))
            }
            Self::Text(_) | Self::File(_) | Self::Env(_) => None,
        }
    }
}

impl From<&str> for HeaderSource {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl fmt::Debug for HeaderSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str(HIDDEN),
            Self::File(source) => source.fmt(f),
            Self::Env(source) => source.fmt(f),
        }
    }
}

impl Serialize for HeaderSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(_) => serializer.serialize_str(HIDDEN),
            Self::File(source) => source.serialize(serializer),
            Self::Env(source) => source.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_never_shown_and_what_is_shown_for_it_is_never_taken() {
        let secret: HeaderSource = serde_json::from_str(r#""s3cret""#).expect("a text");
        assert_eq!(format!("{secret:?}"), HIDDEN);
        let printed = serde_json::to_string(&secret).expect("text");
        assert!(!printed.contains("s3cret"));
        let again: HeaderSource = serde_json::from_str(&printed).expect("a text");
        assert!(again.mistake().expect("refused").contains("in place of a secret"));
        assert_eq!(secret.mistake(), None);
    }

    #[test]
    fn files_and_variables_are_told_apart_and_shown() {
        for json in [r#"{"file":"/run/key"}"#, r#"{"env":"HOLDPOINT_NOT_SET"}"#] {
            let source: HeaderSource = serde_json::from_str(json).expect(json);
            assert_eq!(serde_json::to_string(&source).expect("text"), json);
        }
        let wrong = serde_json::from_str::<HeaderSource>(r#"{"path":"/run/key"}"#);
        assert!(wrong.expect_err("unknown").to_string().contains("{ file ="));
        let unset = HeaderSource::Env(EnvSource { env: "HOLDPOINT_NOT_SET".to_owned() });
        assert!(unset.mistake().expect("refused").contains("is not set"));
    }
}
