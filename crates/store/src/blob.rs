//! Files from elsewhere, by the hash of their content.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::key::{Key, sha256_of_file};
use crate::store::{Artifact, Store, patience};

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
        self.discard_blob(&key, sha256)?;
        Ok(Blob { artifact: get()? })
    }

    /// Unless another process has fetched it again by now.
    fn discard_blob(&self, key: &Key, sha256: &str) -> Result<()> {
        let is_damaged = |dir: &Path| Ok(check(&dir.join(NAME), sha256).is_err());
        self.discard(key, is_damaged, &mut patience())
    }
}

fn check(path: &Path, expected: &str) -> Result<()> {
    let found = sha256_of_file(path).with_context(|| format!("cannot read {}", path.display()))?;
    if found != expected {
        bail!("{} has the SHA-256 {found}, not {expected}", path.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_another_process_has_mended_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path()).unwrap();
        // `printf content | sha256sum`
        let sha256 = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73";
        let blob = store.blob(sha256, |path| Ok(fs::write(path, "content")?));
        let path = blob.unwrap().path();
        let key = Key::builder("blob", 1).text("sha256", sha256).finish();
        let key = key.unwrap();

        store.discard_blob(&key, sha256).unwrap();
        assert!(path.exists());
        fs::write(&path, "cOntent").unwrap();
        store.discard_blob(&key, sha256).unwrap();
        assert!(!path.exists());
    }
}
