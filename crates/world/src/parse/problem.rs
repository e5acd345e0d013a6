//! What can be wrong with a world file, said so that a person can mend it.

use std::fmt;
use std::ops::Range;

use miette::{Diagnostic, LabeledSpan, NamedSource, Severity, SourceCode, SourceSpan};

/// A world file that cannot be used, with every reason found.
///
/// Its [`Display`](fmt::Display) form is one `file:line:column: message` a line; as a [`miette::Report`] it shows the places
/// in the text.
#[derive(Debug, thiserror::Error)]
pub struct Invalid {
    file: NamedSource<String>,
    problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub message: String,
    /// What to do about it, where that is not plain from the message.
    pub help: Option<String>,
    /// Bytes of the text it is about.
    pub span: Range<usize>,
}

impl Problem {
    pub(super) fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Problem {
            message: message.into(),
            help: None,
            span,
        }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// What the TOML reader has to say: bad syntax, a missing or unknown field, a wrong type.
    pub(super) fn syntax(error: &toml::de::Error, text: &str) -> Self {
        Problem::new(
            error.span().unwrap_or(0..text.len().min(1)),
            error.message(),
        )
    }
}

impl Invalid {
    pub(super) fn new(name: &str, text: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.span.start);
        Invalid {
            file: NamedSource::new(name, text.to_owned()),
            problems,
        }
    }

    /// Everything that is wrong, in the order of the file. Never empty.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Line and column of a place, both from 1, the column in characters.
    fn position(&self, at: usize) -> (usize, usize) {
        let text = self.file.inner();
        let before = text.get(..at).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        (line, column)
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let (line, column) = self.position(problem.span.start);
            let newline = if index == 0 { "" } else { "\n" };
            write!(
                f,
                "{newline}{}:{line}:{column}: {}",
                self.file.name(),
                problem.message
            )?;
            if let Some(help) = &problem.help {
                write!(f, " ({help})")?;
            }
        }
        Ok(())
    }
}

impl Diagnostic for Invalid {
    fn severity(&self) -> Option<Severity> {
        Some(Severity::Error)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.file)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = |problem: &Problem| {
            let text = problem.help.clone().unwrap_or_else(|| "here".to_owned());
            LabeledSpan::new_with_span(Some(text), SourceSpan::from(problem.span.clone()))
        };
        Some(Box::new(self.problems.iter().map(label)))
    }
}
