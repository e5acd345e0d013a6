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
    if text.trim().is_empty() {
        problems
            .error(0..0, "the file is empty")
            .help_is("`bramble init` writes one");
        return None;
    }
    let (mut table, errors) = DeTable::parse_recoverable(text);
    // One mistake may break the syntax in several ways, of which the first tells most.
    if let Some(error) = errors.first() {
        match unclosed(error, text) {
            Some(place) => {
                problems
                    .error(place, "this list does not end")
                    .help_is("it ends with `]`, and its elements have a comma between them");
            }
            None => report(error, problems),
        }
        return None;
    }

    let mut removed = Vec::new();
    let mut lists = Vec::new();
    loop {
        let error = match File::deserialize(Deserializer::from(table.clone())) {
            Ok(file) => return Some(Recovered { file, removed }),
            Err(error) => error,
        };
        let span = error.span().unwrap_or(0..0);
        let (key, list) = remove_from_table(table.get_mut(), &span)?;
        // Of several elements of a list that are wrong in the same way, one is enough to be told.
        if list.is_none() || !lists.contains(&list) {
            report(&error, problems);
        }
        removed.push(key);
        lists.push(list);
    }
}

/// The end of a list without its `]`, if `error` is that the next line was taken for its next element.
fn unclosed(error: &toml::de::Error, text: &str) -> Option<Range<usize>> {
    let span = error.span()?;
    let begin = text[..span.start].rfind('\n')? + 1;
    let line = text[begin..].lines().next()?;
    let is_entry = |line: &str| {
        let key = line.split_once('=').map(|(key, _)| key.trim());
        let is_key = |key: &str| {
            !key.is_empty()
                && key
                    .chars()
                    .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
        };
        key.is_some_and(is_key) || line.starts_with('[')
    };
    if !error.message().contains("array") || !is_entry(line) {
        return None;
    }
    let mut above = text[..begin]
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    let last = above.next_back()?.trim_end();
    let end = last.as_ptr() as usize - text.as_ptr() as usize + last.len();
    let sign = last.chars().next_back().map_or(0, char::len_utf8);
    Some(end - sign..end)
}

/// Reports an error in the words of this file rather than those of its reader.
fn report(error: &toml::de::Error, problems: &mut Problems) {
    let span = error.span().unwrap_or(0..0);
    let (message, help) = explained(error.message(), problems.text(&span));
    let problem = problems.error(span, message);
    if let Some(help) = help {
        problem.help_is(help);
    }
}

/// What `message` about `text` means, and what to do about it.
fn explained(message: &str, text: &str) -> (String, Option<String>) {
    match message.split('`').collect::<Vec<_>>().as_slice() {
        ["unknown field ", key, known @ ..] => (
            format!("there is no key `{key}` here"),
            Some(match TOP.contains(key) {
                true => format!(
                    "`{key}` stands at the top of the file, before the first table; here are known: {}",
                    words(known).join(", ")
                ),
                false => meant(key, known),
            }),
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
        _ => wrong_kind(message, text).unwrap_or_else(|| (message.to_owned(), None)),
    }
}

/// Keys of the file itself that are no tables: written below a table, they are taken for the table's.
const TOP: [&str; 4] = ["version", "name", "timezone", "packages"];

/// What `message` means if it is that a value is of another kind than it must be.
fn wrong_kind(message: &str, text: &str) -> Option<(String, Option<String>)> {
    let (_, expected) = message
        .strip_prefix("invalid type: ")?
        .rsplit_once(", expected ")?;
    let (kind, help) = match expected {
        "a string" => ("text in quotes", format!("write it as `\"{text}\"`")),
        "i64" | "an integer" => {
            let bare = text.trim_matches(['"', '\'']);
            let help = match bare.parse::<i64>() {
                Ok(_) => format!("leave the quotes out: `{bare}`"),
                Err(_) => "such as 1".to_owned(),
            };
            ("a whole number", help)
        }
        "a sequence" if text.starts_with('[') => {
            let many = text.replace('[', "[[").replace(']', "]]");
            ("a list of tables", format!("write it as `{many}`"))
        }
        "a sequence" => ("a list", format!("write it as `[{text}]`")),
        _ => (
            "a table",
            "it begins with its name in brackets: `[network]`".to_owned(),
        ),
    };
    // What fills several lines is shown anyway.
    let help = (text.lines().count() == 1).then_some(help);
    Some((format!("this must be {kind}"), help))
}

/// How errors about text without quotes begin.
const UNQUOTED: [&str; 3] = [
    "invalid float",
    "invalid integer",
    "string values must be quoted",
];

/// Which of the known words, between which others stand, was meant.
fn meant(word: &str, known: &[&str]) -> String {
    let known = words(known);
    let nearest = known
        .iter()
        .copied()
        .max_by(|a, b| likeness(word, a).total_cmp(&likeness(word, b)));
    match nearest.filter(|nearest| is_meant(word, nearest)) {
        Some(nearest) => format!("is `{nearest}` meant? known are: {}", known.join(", ")),
        None => format!("known are: {}", known.join(", ")),
    }
}

/// Every other one, as between them stands what joins them.
fn words<'a>(known: &[&'a str]) -> Vec<&'a str> {
    known.iter().skip(1).step_by(2).copied().collect()
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

/// What was taken out: its key, and where the list begins that it was an element of.
type Removed = (String, Option<usize>);

/// Takes out the entry whose key or value lies at `span`.
fn remove_from_table(table: &mut DeTable<'_>, span: &Range<usize>) -> Option<Removed> {
    let found = table
        .iter()
        .find(|(key, value)| key.span() == *span || value.span() == *span);
    if let Some(key) = found.map(|(key, _)| key.clone()) {
        table.remove(&key);
        return Some((key.into_inner().into_owned(), None));
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
) -> Option<Removed> {
    let begin = value.span().start;
    let DeValue::Array(array) = value.get_mut() else {
        return None;
    };
    if array.iter().any(|element| element.span() == *span) {
        *array = array
            .iter()
            .filter(|element| element.span() != *span)
            .cloned()
            .collect();
        return Some((key.to_owned(), Some(begin)));
    }
    array
        .iter_mut()
        .find_map(|element| match element.get_mut() {
            DeValue::Table(inner) => remove_from_table(inner, span),
            DeValue::Array(_) => remove_from_array(element, key, span),
            _ => None,
        })
}
