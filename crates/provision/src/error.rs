//! What can go wrong on a node.

use std::{io, path::PathBuf};

use crate::Ran;

/// Why a resource could not be checked or applied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system said no.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb: `read`, `write`.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A command ended with a failure.
    #[error("`{}` failed ({})", .0.command, .0.status)]
    Command(Ran),
    /// The Docker engine refused a request.
    #[error("the Docker engine refused {request}: {message} ({status})")]
    Engine {
        /// Method and path.
        request: String,
        /// HTTP status code.
        status: u16,
        /// The engine's own words.
        message: String,
    },
    /// The node is in a state that must be resolved by a person; the text says how.
    #[error("{0}")]
    State(String),
}

impl Error {
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    pub(crate) fn state(text: impl Into<String>) -> Self {
        Self::State(text.into())
    }
}
