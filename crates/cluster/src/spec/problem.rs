//! What is wrong with a cluster file, and where.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, Severity, SourceCode};

/// One thing that is wrong, or doubtful, with a cluster file. Rendered by `miette` with the line it is about.
#[derive(Debug, Clone)]
pub struct Problem {
    severity: Severity,
    message: String,
    help: Option<String>,
    labels: Vec<(Range<usize>, String)>,
    source: Arc<NamedSource<String>>,
}

impl Problem {
    /// Whether the file may be used in spite of it.
    pub fn is_warning(&self) -> bool {
        self.severity == Severity::Warning
    }

    /// Line and column, both from 1, of the place it is about; the start of the file if it is about all of it.
    pub fn position(&self) -> (usize, usize) {
        let offset = self.labels.first().map_or(0, |(span, _)| span.start);
        let before = &self.source.inner()[..offset];
        let line = before.matches('\n').count() + 1;
        let column = before
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .chars()
            .count()
            + 1;
        (line, column)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn severity(&self) -> Option<Severity> {
        Some(self.severity)
    }

    fn help(&self) -> Option<Box<dyn fmt::Display + '_>> {
        self.help.as_ref().map(|help| Box::new(help) as _)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().enumerate().map(
            |(index, (span, text))| {
                let text = (!text.is_empty()).then(|| text.clone());
                match index {
                    0 => LabeledSpan::new_primary_with_span(text, span.clone()),
                    _ => LabeledSpan::new_with_span(text, span.clone()),
                }
            },
        )))
    }
}

/// A cluster file that cannot be used: all that is wrong with it, in file order, warnings included.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{file} cannot be used: {}", count(.problems))]
pub struct Invalid {
    /// The file's name as it was given.
    pub file: String,
    /// At least one of them is an error.
    pub problems: Vec<Problem>,
}

/// "1 error", "2 errors and 1 warning".
fn count(problems: &[Problem]) -> String {
    let warnings = problems
        .iter()
        .filter(|problem| problem.is_warning())
        .count();
    let plural = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let errors = plural(problems.len() - warnings, "error");
    match warnings {
        0 => errors,
        n => format!("{errors} and {}", plural(n, "warning")),
    }
}

/// Collects problems while a file is read.
pub(super) struct Problems {
    source: Arc<NamedSource<String>>,
    list: Vec<Problem>,
}

impl Problems {
    pub(super) fn new(file: &str, text: String) -> Self {
        let source = Arc::new(NamedSource::new(file, text).with_language("toml"));
        Self {
            source,
            list: Vec::new(),
        }
    }

    /// Adds an error about `span`. The label stands at the line, the message above it.
    pub(super) fn error(&mut self, span: Range<usize>, message: impl Into<String>) -> &mut Problem {
        self.push(Severity::Error, span, message.into())
    }

    pub(super) fn warning(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
    ) -> &mut Problem {
        self.push(Severity::Warning, span, message.into())
    }

    fn push(&mut self, severity: Severity, span: Range<usize>, message: String) -> &mut Problem {
        self.list.push(Problem {
            severity,
            message,
            help: None,
            labels: vec![(span, String::new())],
            source: self.source.clone(),
        });
        self.list.last_mut().expect("just pushed")
    }

    /// The text at `span`.
    pub(super) fn text(&self, span: &Range<usize>) -> &str {
        &self.source.inner()[span.clone()]
    }

    /// Drops what was found in the lines of `span`.
    pub(super) fn forget_at(&mut self, span: &Range<usize>) {
        let text = self.source.inner();
        let start = text[..span.start]
            .rfind('\n')
            .map_or(0, |newline| newline + 1);
        let end = text[span.end..]
            .find('\n')
            .map_or(text.len(), |length| span.end + length);
        self.list.retain(|problem| {
            problem
                .labels
                .iter()
                .all(|(place, _)| place.end < start || place.start > end)
        });
    }

    pub(super) fn has_errors(&self) -> bool {
        self.list.iter().any(|problem| !problem.is_warning())
    }

    /// All of them, in file order.
    pub(super) fn into_list(mut self) -> Vec<Problem> {
        self.list.sort_by_key(Problem::position);
        self.list
    }
}

impl Problem {
    /// Says what to do about it.
    pub(super) fn help_is(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }

    /// Says something at the place it is about.
    pub(super) fn here(&mut self, text: impl Into<String>) -> &mut Self {
        if let Some((_, label)) = self.labels.first_mut() {
            *label = text.into();
        }
        self
    }

    /// Points at another place that has to do with it.
    pub(super) fn also(&mut self, span: Range<usize>, text: impl Into<String>) -> &mut Self {
        self.labels.push((span, text.into()));
        self
    }
}
