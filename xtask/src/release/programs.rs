//! The programs of a release, without a trace of where they were compiled.

use std::env::consts::ARCH;
use std::path::PathBuf;

use anyhow::Result;

use crate::cross::{self, Choice};

/// What is handed out.
pub(super) struct Programs {
    /// By name.
    pub(super) all: Vec<(String, PathBuf)>,
    /// The search service for the nodes.
    pub(super) search: PathBuf,
    /// Who compiled for the nodes.
    pub(super) choice: Choice,
}

/// Compiles them: what the nodes run, and, `for_operators`, what these run, for this machine's kind and for the nodes'.
///
/// # Errors
/// The compiler's, with the end of its log.
pub(super) fn build(for_operators: bool) -> Result<Programs> {
    let choice = cross::choose(false)?;
    let nodes = cross::build(&choice)?;
    let mut all = vec![
        ("bramble-node-aarch64".to_owned(), nodes.node),
        ("bramble-search-aarch64".to_owned(), nodes.search.clone()),
    ];
    if for_operators {
        all.push((
            "bramble-aarch64".to_owned(),
            cross::build_operator(&choice)?,
        ));
    }
    if for_operators && ARCH != "aarch64" {
        let here = cross::build_for_host()?;
        all.push((format!("bramble-{ARCH}"), here.bramble));
        all.push((format!("bramble-search-{ARCH}"), here.search));
    }
    Ok(Programs {
        all,
        search: nodes.search,
        choice,
    })
}
