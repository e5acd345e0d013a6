//! Files from elsewhere, by the hash of their content.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::key::{Key, sha256_of_file};
use crate::store::{Artifact, Store};

/// What the file of a blob is called in its directory.
const NAME: &str = "blob";

/// A file whose content is what its hash says. While this value lives, it stays in the store.
#[derive(Debug)]
pub struct Blob {
    artifact: Artifact,
}

impl Blob {
    /// Where the file is. Readers must not change it.
    pub fn path(&self) -> PathBuf {
        self.artifact.path.join(NAME)
    }

    /// False when it had to be fetched.
    pub fn was_cached(&self) -> bool {
        self.artifact.was_cached
    }
}

impl Store {
    /// The file with the hash `sha256` (64 lower-case hexadecimal digits). If it is not there, or is no longer
    /// what it was, `fetch` is to write it to the path that it is given.
    ///
    /// # Errors
    /// What `fetch` returned; that what it wrote is something else; or trouble with the store's own files.
    pub fn blob(&self, sha256: &str, fetch: impl Fn(&Path) -> Result<()>) -> Result<Blob> {
        let key = Key::builder("blob", 1).text("sha256", sha256).finish()?;
        let get = || {
            self.get_or_build_unread(&key, |dir| {
                let path = dir.join(NAME);
                fetch(&path)?;
                check(&path, sha256)
            })
        };
        let blob = Blob { artifact: get()? };
        if !blob.was_cached() {
            return Ok(blob);
        }
        let Err(damage) = check(&blob.path(), sha256) else {
            return Ok(blob);
        };
        tracing::warn!("store: fetching again, because {damage:#}");
        drop(blob);
        self.remove(&key)?;
        Ok(Blob { artifact: get()? })
    }
}

fn check(path: &Path, expected: &str) -> Result<()> {
    let found = sha256_of_file(path).with_context(|| format!("cannot read {}", path.display()))?;
    if found != expected {
        bail!("{} has the SHA-256 {found}, not {expected}", path.display());
    }
    Ok(())
}
