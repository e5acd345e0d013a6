//! What is known of the runs of a lab, beside its logs, for whoever looks on from elsewhere.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::Run;

/// The file `runs.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Whether no more will come of them.
    pub(super) is_over: bool,
    pub(super) runs: Vec<Run>,
}

/// Keeps what is known so far of `runs`, the last of which goes on, in the `logs` of a lab that has been started, where
/// [`serve`](super::serve) and `cargo xtask vm page` find it. [`write`](super::write) keeps what came of them.
///
/// # Errors
/// When it cannot be written.
pub fn keep(runs: &[Run], logs: &Path) -> Result<()> {
    let kept = Kept {
        is_over: false,
        runs: runs.to_owned(),
    };
    kept.write(logs)
}

impl Kept {
    const FILE: &str = "runs.json";

    pub(super) fn over(runs: &[Run]) -> Kept {
        Kept {
            is_over: true,
            runs: runs.to_owned(),
        }
    }

    /// Whoever reads it reads all of it.
    pub(super) fn write(&self, logs: &Path) -> Result<()> {
        let (path, unnamed) = (logs.join(Kept::FILE), logs.join(".runs.json"));
        fs::write(&unnamed, serde_json::to_vec(self)?)
            .and_then(|()| fs::rename(&unnamed, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Those of a lab that had the same logs before are nobody's.
    pub(crate) fn forget(logs: &Path) {
        // Mostly there is none.
        let _ = fs::remove_file(logs.join(Kept::FILE));
    }

    /// `None` where nobody has said what is done with the lab.
    pub(super) fn read(logs: &Path) -> Option<Kept> {
        let kept = fs::read(logs.join(Kept::FILE)).ok()?;
        serde_json::from_slice(&kept).ok()
    }
}
