//! From TOML text to a typed value, with every mistake and not only the first.
//!
//! `serde` stops at the first error. So the entry it stopped at is noted, taken out of the tree,
//! and the rest is read again, until it reads. What was taken out falls back to its default, which
//! nobody uses, because a file with mistakes starts nothing.
//!
//! Invariant: the loop ends, because every turn removes an entry or gives up.

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::expand;
use super::mistake::{Mistake, in_our_words};
use super::origin::Origins;

/// What a text holds: the value, where each part of it stands, and what is wrong with it.
#[derive(Debug)]
pub struct Reading<T> {
    pub value: T,
    pub origins: Origins,
    pub mistakes: Vec<Mistake>,
}

pub fn read<T: DeserializeOwned + Default>(source: &str) -> Reading<T> {
    let (mut table, errors) = DeTable::parse_recoverable(source);
    let mut mistakes: Vec<Mistake> =
        errors.iter().map(|error| Mistake::at(source, error.span(), error.message())).collect();
    // Before `${…}` is filled in, so that secrets are shown as they were written.
    let origins = Origins::of(table.get_ref());
    let expansion = expand::table(table.get_mut());
    mistakes
        .extend(expansion.into_iter().map(|(span, text)| Mistake::at(source, Some(span), text)));
    let mut pruned = Vec::new();
    let value = loop {
        let error = match T::deserialize(Deserializer::from(table.clone())) {
            Ok(value) => break value,
            Err(error) => error,
        };
        let span = error.span();
        // A value that lost a wrong part is not blamed for the hole.
        let follows = |span: &Range<usize>| pruned.iter().any(|part| covers(span, part));
        if !span.as_ref().is_some_and(follows) {
            mistakes.push(Mistake::at(source, span.clone(), in_our_words(error.message())));
        }
        let Some(span) = span else { break T::default() };
        pruned.push(span.clone());
        if !prune_table(table.get_mut(), &span) {
            break T::default();
        }
    };
    Reading { value, origins, mistakes }
}

fn covers(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// Removes the deepest entry that `span` is in; false if there is none.
fn prune_table(table: &mut DeTable<'_>, span: &Range<usize>) -> bool {
    for (_, value) in table.iter_mut() {
        if prune_value(value.get_mut(), span) {
            return true;
        }
    }
    let hit = table
        .iter()
        .find(|(key, value)| covers(&key.span(), span) || covers(&value.span(), span))
        .map(|(key, _)| key.get_ref().to_string());
    hit.is_some_and(|key| table.remove(key.as_str()).is_some())
}

fn prune_value(value: &mut DeValue<'_>, span: &Range<usize>) -> bool {
    match value {
        DeValue::Table(table) => prune_table(table, span),
        DeValue::Array(array) => {
            if array.iter_mut().any(|item| prune_value(item.get_mut(), span)) {
                return true;
            }
            let before = array.len();
            *array = array.clone().into_iter().filter(|item| !covers(&item.span(), span)).collect();
            array.len() < before
        }
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => false,
    }
}
