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
        report(error, problems);
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
        let span = report(&error, problems);
        removed.push(remove_from_table(table.get_mut(), &span)?);
    }
}

/// Reports an error in the words of this file rather than those of its reader. Returns its place.
fn report(error: &toml::de::Error, problems: &mut Problems) -> Range<usize> {
    let span = error.span().unwrap_or(0..0);
    let (message, help) = explained(error.message(), problems.text(&span));
    let problem = problems.error(span.clone(), message);
    if let Some(help) = help {
        problem.help_is(help);
    }
    span
}

/// What `message` about `text` means, and what to do about it.
fn explained(message: &str, text: &str) -> (String, Option<String>) {
    match message.split('`').collect::<Vec<_>>().as_slice() {
        ["unknown field ", key, known @ ..] => (
            format!("there is no key `{key}` here"),
            Some(meant(key, known)),
        ),
        ["unknown variant ", value, known @ ..] => (
            format!("\"{value}\" is not known here"),
            Some(meant(value, known)),
        ),
        ["duplicate key"] => (
            format!("`{text}` stands here a second time"),
            Some("leave out one of the two".to_owned()),
        ),
        ["wanted string or table"] => (
            "this must be one of a few words, in quotes".to_owned(),
            Some("`bramble schema` says which".to_owned()),
        ),
        _ if text.starts_with("[[") => {
            let one = text.replace("[[", "[").replace("]]", "]");
            (format!("there is one of this, not a list: `{one}`"), None)
        }
        _ if UNQUOTED.iter().any(|sign| message.starts_with(sign)) => {
            let help = "text stands in quotes: `ip = \"192.168.1.200\"`";
            (
                "this value cannot be read".to_owned(),
                Some(help.to_owned()),
            )
        }
        _ => (in_toml_words(message), None),
    }
}

/// How errors about text without quotes begin.
const UNQUOTED: [&str; 3] = [
    "invalid float",
    "invalid integer",
    "string values must be quoted",
];

/// Which of the known words, between which others stand, was meant.
fn meant(word: &str, known: &[&str]) -> String {
    let known: Vec<&str> = known.iter().skip(1).step_by(2).copied().collect();
    let nearest = known
        .iter()
        .copied()
        .max_by(|a, b| likeness(word, a).total_cmp(&likeness(word, b)));
    match nearest.filter(|nearest| is_meant(word, nearest)) {
        Some(nearest) => format!("is `{nearest}` meant? known are: {}", known.join(", ")),
        None => format!("known are: {}", known.join(", ")),
    }
}

/// Whether somebody who wrote `word` may have meant `other`.
pub(super) fn is_meant(word: &str, other: &str) -> bool {
    likeness(word, other) > 0.85
}

fn likeness(word: &str, other: &str) -> f64 {
    let word = word.to_lowercase();
    // Short words with two letters exchanged have little in common by the first measure.
    let one_slip = strsim::osa_distance(&word, other) == 1;
    strsim::jaro_winkler(&word, other).max(if one_slip { 0.9 } else { 0.0 })
}

fn in_toml_words(message: &str) -> String {
    let message = match message.split_once("struct ") {
        Some((before, _)) => format!("{before}a table"),
        None => message.to_owned(),
    };
    message
        .replace("a sequence", "a list")
        .replace(": map,", ": table,")
        .replace("i64", "an integer")
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
