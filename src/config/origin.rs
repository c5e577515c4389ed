//! Where each value of the configuration was written, by its path (`service[0].revert`).
//!
//! Invariant: a text with `${…}` is kept as it was written, so that what is printed of the
//! effective configuration holds no secret that came from the environment or a file.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One written value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The key, or the value itself in a list.
    pub span: Range<usize>,
    pub value: Range<usize>,
    /// The text as written, if it takes something from the environment or a file.
    pub reference: Option<String>,
}

/// All written values by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(BTreeMap<String, Origin>);

impl Origins {
    #[must_use]
    pub fn of(table: &DeTable<'_>) -> Self {
        let mut origins = Self::default();
        origins.note_table("", table);
        origins
    }

    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Origin> {
        self.0.get(path)
    }

    #[must_use]
    pub fn span(&self, path: &str) -> Option<Range<usize>> {
        self.get(path).map(|origin| origin.span.clone())
    }

    /// The path of the entry of `list` whose `key` was written at `value`.
    #[must_use]
    pub fn entry(&self, list: &str, key: &str, value: &Range<usize>) -> String {
        let mut entries = (0..).map(|index| format!("{list}[{index}]"));
        let entry = entries
            .by_ref()
            .take_while(|entry| self.0.contains_key(entry))
            .find(|entry| self.get(&join(entry, key)).is_some_and(|origin| origin.value == *value));
        entry.unwrap_or_else(|| list.to_owned())
    }

    /// The place of `path`, or of the nearest table round it that is written.
    #[must_use]
    pub fn nearest(&self, path: &str) -> Option<Range<usize>> {
        let parent = || path.rfind(['.', '[']).map(|end| &path[..end]);
        self.span(path).or_else(|| self.nearest(parent()?))
    }

    fn note_table(&mut self, path: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let path = join(path, key.get_ref());
            self.note(&path, key.span(), value);
        }
    }

    fn note(&mut self, path: &str, span: Range<usize>, value: &Spanned<DeValue<'_>>) {
        let written = value.span();
        let value = value.get_ref();
        let reference = value.as_str().filter(|text| text.contains("${")).map(str::to_owned);
        self.0.insert(path.to_owned(), Origin { span, value: written, reference });
        match value {
            DeValue::Table(table) => self.note_table(path, table),
            DeValue::Array(array) => {
                for (index, item) in array.iter().enumerate() {
                    self.note(&format!("{path}[{index}]"), item.span(), item);
                }
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {}
        }
    }
}

/// The path of `key` below `path`.
#[must_use]
pub fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
