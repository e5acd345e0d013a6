//! How failures look and what they exit with: 1 if something failed, 2 if what was asked makes no sense.

use std::fmt;
use std::process::ExitCode;

use bramble_cluster::spec::Invalid;
use miette::Diagnostic;

/// The exit code of wrong flags, files that do not exist, and cluster files that cannot be used.
pub(crate) const USAGE: u8 = 2;

/// The input is wrong: nothing was done, and nothing will be until it changes.
#[derive(Debug)]
pub(crate) struct Usage {
    message: String,
    help: Option<String>,
}

impl Usage {
    /// What is wrong.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
        }
    }

    /// What to do about it.
    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Usage {}

/// Prints one problem of a cluster file with the line it is about.
pub(crate) fn show(problem: &(impl Diagnostic + Clone + Send + Sync + 'static)) {
    eprintln!("{:?}", miette::Report::new(problem.clone()));
}

/// Prints an error and returns the exit code it asks for.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if let Some(invalid) = error.downcast_ref::<Invalid>() {
        invalid.problems.iter().for_each(show);
        eprintln!("error: {invalid}");
        return ExitCode::from(USAGE);
    }
    eprintln!("error: {}", chain(error));
    if let Some(usage) = error.downcast_ref::<Usage>() {
        if let Some(help) = &usage.help {
            eprintln!("  help: {help}");
        }
        return ExitCode::from(USAGE);
    }
    ExitCode::FAILURE
}

/// The error and what it comes from. Some errors repeat their cause in their own words; that is left out.
fn chain(error: &anyhow::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain().map(ToString::to_string) {
        if parts.last().is_none_or(|last| !last.ends_with(&cause)) {
            parts.push(cause);
        }
    }
    parts.join(": ")
}
