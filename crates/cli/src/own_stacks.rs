//! The operator's own stacks: compose files in the directory `stacks` beside the cluster file.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use bramble_cluster::spec::{Cluster, Invalid, OwnStack};

use crate::context::Context;
use crate::failure;

/// Reads and checks all of them, in the order of their names. What is doubtful goes to standard error.
///
/// # Errors
/// One cannot be used; the others have been told about then.
pub(crate) fn read(context: &Context, cluster: &Cluster) -> anyhow::Result<Vec<OwnStack>> {
    let mut stacks = Vec::new();
    let mut unusable: Vec<Invalid> = Vec::new();
    for path in files(context)? {
        let file = path.display().to_string();
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {file}"))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        match OwnStack::parse(&name, &file, &text, cluster, &stacks) {
            Ok((stack, doubts)) => {
                doubts.iter().for_each(failure::show);
                stacks.push(stack);
            }
            Err(invalid) => unusable.push(invalid),
        }
    }
    let last = unusable.pop();
    for invalid in unusable {
        failure::report(&invalid.into());
    }
    last.map_or(Ok(stacks), |invalid| Err(invalid.into()))
}

fn files(context: &Context) -> anyhow::Result<Vec<PathBuf>> {
    let dir = context.beside("stacks");
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot list {}", dir.display())),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        if matches!(ending, Some("yml" | "yaml")) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
