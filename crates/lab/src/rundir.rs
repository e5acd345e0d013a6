//! Where the sockets of running labs are: a short path, readable by nobody else.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::unistd::getuid;

/// The directory of one lab. It is locked, shared, by whoever keeps the lab alive; one that nobody locks is
/// the remains of a lab that was killed together with its supervisor, and is removed by the next.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// Held, not read.
    _lock: File,
}

impl RunDir {
    /// Makes the directory of the lab `name`, after sweeping up what dead labs left.
    ///
    /// # Errors
    /// When a lab of that name runs, or the directory cannot be made.
    pub fn create(name: &str) -> Result<RunDir> {
        let parent = parent()?;
        sweep(&parent)?;
        // Locked before it has its name, so that nobody sweeps it in between.
        let (path, unnamed) = (
            parent.join(name),
            parent.join(format!(".{name}-{}", std::process::id())),
        );
        DirBuilder::new()
            .mode(0o700)
            .create(&unnamed)
            .with_context(|| format!("cannot make {}", unnamed.display()))?;
        let held = RunDir::hold(unnamed.clone())?;
        if let Err(error) = fs::rename(&unnamed, &path) {
            fs::remove_dir_all(&unnamed)?;
            match error.kind() {
                ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists => {
                    bail!("a lab called {name} is running; `cargo xtask vm down` ends it")
                }
                _ => return Err(error).with_context(|| format!("cannot make {}", path.display())),
            }
        }
        Ok(RunDir { path, ..held })
    }

    /// Keeps the existing directory `path` alive from here, too.
    ///
    /// # Errors
    /// When it is not there.
    pub(crate) fn hold(path: PathBuf) -> Result<RunDir> {
        let lock = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(lock_file(&path));
        let lock = lock.with_context(|| format!("cannot open the lock of {}", path.display()))?;
        lock.lock_shared()?;
        Ok(RunDir { path, _lock: lock })
    }

    /// The directories of the labs that run now.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn running() -> Result<Vec<PathBuf>> {
        let parent = parent()?;
        sweep(&parent)?;
        let entries =
            fs::read_dir(&parent).with_context(|| format!("cannot list {}", parent.display()))?;
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| !is_unnamed(path));
        paths.sort();
        Ok(paths)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn lock_file(path: &Path) -> PathBuf {
    path.join("lock")
}

/// Paths of sockets may be 107 bytes long, so this is no place deep in somebody's home.
fn parent() -> Result<PathBuf> {
    let uid = getuid();
    let path = match std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) => Path::new(&dir).join("bramble-lab"),
        None => PathBuf::from(format!("/tmp/bramble-lab-{uid}")),
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&path)
        .with_context(|| format!("cannot make {}", path.display()))?;
    let found = fs::symlink_metadata(&path)?;
    if !found.is_dir() || found.uid() != uid.as_raw() || found.mode() & 0o077 != 0 {
        bail!(
            "{} is not a directory of yours alone; remove it, or set XDG_RUNTIME_DIR",
            path.display()
        );
    }
    Ok(path)
}

/// Whether a directory is still being made.
fn is_unnamed(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Removes the directories that no process holds.
fn sweep(parent: &Path) -> Result<()> {
    for entry in
        fs::read_dir(parent).with_context(|| format!("cannot list {}", parent.display()))?
    {
        let path = entry?.path();
        // One without a lock is being removed by its owner.
        let Ok(lock) = File::open(lock_file(&path)) else {
            continue;
        };
        if is_unnamed(&path) {
            continue;
        }
        match lock.try_lock() {
            // Two may sweep at once, and what neither could remove is swept by the next.
            Ok(()) => drop(fs::remove_dir_all(&path)),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_holds_is_swept() -> Result<()> {
        let parent = tempfile::tempdir()?;
        let [dead, alive, begun] = ["dead", "alive", "begun"].map(|name| parent.path().join(name));
        for dir in [&dead, &alive, &begun] {
            fs::create_dir(dir)?;
        }
        drop(RunDir::hold(dead.clone())?);
        let _held = RunDir::hold(alive.clone())?;

        sweep(parent.path())?;
        assert_eq!(
            [dead, alive, begun].map(|dir| dir.exists()),
            [false, true, true]
        );
        Ok(())
    }
}
