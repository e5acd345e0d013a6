use std::fs::{File, OpenOptions};
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
        match Flock::lock(open(path)?, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Some(Lock { _file: file })),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno).with_context(|| cannot_lock(path)),
        }
    }
}

fn acquire(path: &Path, mode: FlockArg) -> Result<Lock> {
    let mut file = open(path)?;
    loop {
        match Flock::lock(file, mode) {
            Ok(file) => return Ok(Lock { _file: file }),
            Err((again, Errno::EINTR)) => file = again,
            Err((_, errno)) => return Err(errno).with_context(|| cannot_lock(path)),
        }
    }
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
