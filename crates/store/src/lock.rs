use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// A held advisory lock; dropping it, or the death of the process, lets go.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Waits until nobody holds the lock exclusively.
    pub(crate) fn shared(path: &Path) -> Result<Lock> {
        acquire(path, FlockArg::LockShared)
    }

    /// Waits until nobody else holds the lock at all.
    pub(crate) fn exclusive(path: &Path) -> Result<Lock> {
        acquire(path, FlockArg::LockExclusive)
    }

    /// Takes the lock exclusively, or returns `None` where somebody else has it.
    pub(crate) fn try_exclusive(path: &Path) -> Result<Option<Lock>> {
        attempt(path, FlockArg::LockExclusiveNonblock)
    }

    /// As [`Lock::try_exclusive`], and again until `gives_up` says so.
    pub(crate) fn exclusive_unless(
        path: &Path,
        mut gives_up: impl FnMut() -> bool,
    ) -> Result<Option<Lock>> {
        loop {
            match Lock::try_exclusive(path)? {
                None if !gives_up() => {}
                outcome => return Ok(outcome),
            }
        }
    }
}

fn acquire(path: &Path, mode: FlockArg) -> Result<Lock> {
    attempt(path, mode)?.with_context(|| cannot_lock(path))
}

/// `None` where somebody else has the lock, and `mode` is not to wait.
fn attempt(path: &Path, mode: FlockArg) -> Result<Option<Lock>> {
    loop {
        match Flock::lock(open(path)?, mode) {
            // Whoever clears the store removes lock files, too: one that is there no more keeps nobody out.
            Ok(file) if is_at(&file, path) => return Ok(Some(Lock { _file: file })),
            Ok(_) | Err((_, Errno::EINTR)) => {}
            Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
            Err((_, errno)) => return Err(errno).with_context(|| cannot_lock(path)),
        }
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let id = |meta: fs::Metadata| (meta.dev(), meta.ino());
    let ids: io::Result<_> = file
        .metadata()
        .and_then(|own| Ok((id(own), id(fs::metadata(path)?))));
    ids.is_ok_and(|(own, there)| own == there)
}

fn open(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .with_context(|| cannot_lock(path))
}

fn cannot_lock(path: &Path) -> String {
    format!("store: cannot lock {}", path.display())
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_lock_that_was_removed_meanwhile_is_taken_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let clearing = Lock::exclusive(&path).unwrap();
        let waiting = open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        drop(clearing);
        assert!(!is_at(&waiting, &path));

        let held = Lock::exclusive(&path).unwrap();
        assert!(!is_at(&waiting, &path), "another file has its name");
        assert!(Lock::try_exclusive(&path).unwrap().is_none());
        thread::scope(|scope| {
            let next = scope.spawn(|| Lock::exclusive(&path).map(|_| path.exists()));
            fs::remove_file(&path).unwrap();
            drop(held);
            assert!(next.join().unwrap().unwrap());
        });
    }
}
