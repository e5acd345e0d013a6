//! Reading the file's shape, past the first mistake.
//!
//! `serde` stops at the first unknown key or wrong type. Here such an entry is reported and taken out, and the rest
//! is read again, until nothing of the kind is left.

use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::problem::Problems;
use super::wire::File;

/// What could be read of a file.
pub(super) struct Recovered {
    pub(super) file: File,
    /// Keys that were taken out: nobody need say that they are missing.
    pub(super) removed: Vec<String>,
}

/// Reads `text`. `None` if its syntax is broken, since anything found after that would be about another file.
pub(super) fn read(text: &str, problems: &mut Problems) -> Option<Recovered> {
    let (mut table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        problems.error(error.span().unwrap_or(0..0), error.message());
    }
    if !errors.is_empty() {
        return None;
    }

    let mut removed = Vec::new();
    loop {
        let error = match File::deserialize(Deserializer::from(table.clone())) {
            Ok(file) => return Some(Recovered { file, removed }),
            Err(error) => error,
        };
        let span = error.span().unwrap_or(0..0);
        problems.error(
            span.clone(),
            error
                .message()
                .replace("expected i64", "expected an integer"),
        );
        removed.push(remove_from_table(table.get_mut(), &span)?);
    }
}

/// Takes out the entry whose key or value lies at `span`, and returns its key.
fn remove_from_table(table: &mut DeTable<'_>, span: &Range<usize>) -> Option<String> {
    let found = table
        .iter()
        .find(|(key, value)| key.span() == *span || value.span() == *span);
    if let Some(key) = found.map(|(key, _)| key.clone()) {
        table.remove(&key);
        return Some(key.into_inner().into_owned());
    }
    table
        .iter_mut()
        .find_map(|(key, value)| match value.get_mut() {
            DeValue::Table(inner) => remove_from_table(inner, span),
            DeValue::Array(_) => remove_from_array(value, key.get_ref(), span),
            _ => None,
        })
}

/// The same for the elements of the array `value`, which stands under `key`.
fn remove_from_array(
    value: &mut Spanned<DeValue<'_>>,
    key: &str,
    span: &Range<usize>,
) -> Option<String> {
    let DeValue::Array(array) = value.get_mut() else {
        return None;
    };
    if array.iter().any(|element| element.span() == *span) {
        *array = array
            .iter()
            .filter(|element| element.span() != *span)
            .cloned()
            .collect();
        return Some(key.to_owned());
    }
    array
        .iter_mut()
        .find_map(|element| match element.get_mut() {
            DeValue::Table(inner) => remove_from_table(inner, span),
            DeValue::Array(_) => remove_from_array(element, key, span),
            _ => None,
        })
}
