//! How a command ends when it does not end well.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use bramble_world::parse::Invalid;

use crate::filter::Problem;
use crate::output;

/// Why a command failed, which decides its exit code.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The person asked for something that makes no sense: exit code 2.
    Usage(String),
    /// A world file is wrong: exit code 2, with the place in the file.
    World(Box<Invalid>),
    /// A filter is wrong: exit code 2, with the place in it.
    Filter(Box<Problem>),
    /// The person ended it: exit code 130, as shells have it.
    Interrupted(String),
    /// Something went wrong on the way: exit code 1.
    Failed(anyhow::Error),
}

impl Failure {
    pub(crate) fn print(self) -> ExitCode {
        let for_people = std::io::stderr().is_terminal();
        let (told, code) = match self {
            Failure::Usage(message) => (format!("error: {message}"), 2),
            Failure::World(invalid) if for_people => {
                (format!("{:?}", miette::Report::new(*invalid)), 2)
            }
            // One `file:line:column: message` a line, for editors and logs.
            Failure::World(invalid) => (invalid.to_string(), 2),
            Failure::Filter(problem) if for_people => {
                (format!("{:?}", miette::Report::new(*problem)), 2)
            }
            Failure::Filter(problem) => (problem.to_string(), 2),
            Failure::Interrupted(message) => (message, 130),
            Failure::Failed(error) => (format!("error: {error:#}"), 1),
        };
        output::tell(&told);
        ExitCode::from(code)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Failure::Failed(error)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Usage(message) | Failure::Interrupted(message) => f.write_str(message),
            Failure::World(invalid) => invalid.fmt(f),
            Failure::Filter(problem) => problem.fmt(f),
            Failure::Failed(error) => write!(f, "{error:#}"),
        }
    }
}
