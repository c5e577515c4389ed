//! `${NAME}` and `${file:/path}` in string values, so that no secret stands in the file.
//!
//! `$$` writes a dollar sign. Text that was filled in is not looked at again.
//!
//! Invariant: what cannot be filled in is a mistake, never an empty string.

use std::env;
use std::fs;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// Fills in every string below `table`; gives back what could not be.
pub fn table(table: &mut DeTable<'_>) -> Vec<(Range<usize>, String)> {
    let mut failed = Vec::new();
    for (_, value) in table.iter_mut() {
        let span = value.span();
        fill(value.get_mut(), span, &mut failed);
    }
    failed
}

fn fill(value: &mut DeValue<'_>, span: Range<usize>, failed: &mut Vec<(Range<usize>, String)>) {
    match value {
        DeValue::String(text) => match expanded(text) {
            Ok(filled) => *text = filled.into(),
            Err(error) => failed.push((span, error)),
        },
        DeValue::Array(array) => {
            for item in array.iter_mut() {
                let span = item.span();
                fill(item.get_mut(), span, failed);
            }
        }
        DeValue::Table(inner) => failed.extend(table(inner)),
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
    }
}

fn expanded(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let (name, after) = after.split_once('}').ok_or("`${` without `}`")?;
            out.push_str(&looked_up(name)?);
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn looked_up(name: &str) -> Result<String, String> {
    if let Some(path) = name.strip_prefix("file:") {
        let text = fs::read_to_string(path).map_err(|error| format!("read {path}: {error}"))?;
        return Ok(text.trim_end_matches(['\r', '\n']).to_owned());
    }
    env::var(name).map_err(|error| match error {
        env::VarError::NotPresent => format!("environment variable `{name}` is not set"),
        env::VarError::NotUnicode(_) => format!("environment variable `{name}` is not UTF-8"),
    })
}

#[cfg(test)]
mod tests {
    use super::expanded;

    #[test]
    fn files_and_dollars_are_filled_in_and_the_rest_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "s3${X}\n").unwrap();
        let text = format!("a$$b$c-${{file:{}}}", path.display());
        assert_eq!(expanded(&text).unwrap(), "a$b$c-s3${X}");
    }

    #[test]
    fn what_is_not_there_is_a_mistake_and_not_empty() {
        let error = expanded("${HOLDPOINT_TEST_NOT_SET}").unwrap_err();
        assert!(error.contains("HOLDPOINT_TEST_NOT_SET` is not set"), "{error}");
        assert!(expanded("${file:/nowhere}").unwrap_err().starts_with("read /nowhere"));
        assert!(expanded("${open").is_err());
    }
}
