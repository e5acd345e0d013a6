//! YAML whose values know their places.

use std::ops::Range;

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};

/// A YAML file of one document.
pub(super) struct Document<'a> {
    root: MarkedYaml<'a>,
    text: &'a str,
    /// Where each character begins, in bytes, and where the last ends: the reader counts characters.
    offsets: Vec<usize>,
}

/// A value in a document.
pub(super) type Value<'a> = MarkedYaml<'a>;

impl<'a> Document<'a> {
    /// Reads it. What is wrong comes with its place.
    pub(super) fn read(text: &'a str) -> Result<Self, (Range<usize>, String)> {
        let mut offsets: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        offsets.push(text.len());
        let documents = MarkedYaml::load_from_str(text).map_err(|error| {
            let at = error.marker().index().min(offsets.len() - 1);
            (offsets[at]..offsets[at], error.info().to_owned())
        })?;
        let Ok([root]) = <[_; 1]>::try_from(documents) else {
            return Err((0..0, "a compose file has one document".to_owned()));
        };
        Ok(Self {
            root,
            text,
            offsets,
        })
    }

    pub(super) fn root(&self) -> &Value<'a> {
        &self.root
    }

    /// Where a value stands; of one with many lines, the first.
    pub(super) fn span(&self, value: &Value) -> Range<usize> {
        let last = self.offsets.len() - 1;
        let start = self.offsets[value.span.start.index().min(last)];
        let end = self.offsets[value.span.end.index().min(last)].max(start);
        let line = self.text[start..end]
            .find('\n')
            .map_or(end, |length| start + length);
        start..line
    }

    /// Where the text `written` ends that a value begins with, quotes aside; `None` if it is written otherwise.
    pub(super) fn end_of(&self, value: &Value, written: &str) -> Option<usize> {
        let span = self.span(value);
        let at = self.text[span.clone()].find(written)?;
        Some(span.start + at + written.len())
    }
}

/// Keys and values of a mapping; nothing if it is none.
pub(super) fn entries<'v, 'a>(value: &'v Value<'a>) -> Vec<(&'v Value<'a>, &'v Value<'a>)> {
    match &value.data {
        YamlData::Mapping(mapping) => mapping.iter().collect(),
        YamlData::Tagged(_, inner) => entries(inner),
        _ => Vec::new(),
    }
}

/// Elements of a sequence; nothing if it is none.
pub(super) fn elements<'v, 'a>(value: &'v Value<'a>) -> &'v [Value<'a>] {
    match &value.data {
        YamlData::Sequence(sequence) => sequence,
        YamlData::Tagged(_, inner) => elements(inner),
        _ => &[],
    }
}

/// The value of a key, with the key.
pub(super) fn entry<'v, 'a>(
    value: &'v Value<'a>,
    key: &str,
) -> Option<(&'v Value<'a>, &'v Value<'a>)> {
    entries(value)
        .into_iter()
        .find(|(found, _)| text(found).as_deref() == Some(key))
}

/// The value of a key.
pub(super) fn get<'v, 'a>(value: &'v Value<'a>, key: &str) -> Option<&'v Value<'a>> {
    entry(value, key).map(|(_, value)| value)
}

/// A scalar as text.
pub(super) fn text(value: &Value) -> Option<String> {
    match &value.data {
        YamlData::Value(Scalar::String(text)) => Some(text.to_string()),
        YamlData::Value(Scalar::Integer(number)) => Some(number.to_string()),
        YamlData::Value(Scalar::Boolean(truth)) => Some(truth.to_string()),
        YamlData::Value(Scalar::FloatingPoint(number)) => Some(number.to_string()),
        YamlData::Representation(text, ..) => Some(text.to_string()),
        YamlData::Tagged(_, inner) => self::text(inner),
        _ => None,
    }
}

/// The text under a key.
pub(super) fn text_of(value: &Value, key: &str) -> Option<String> {
    get(value, key).and_then(text)
}
