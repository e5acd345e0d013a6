//! One apply at a time.

use std::{
    fs::{self, File},
    io,
};

use anyhow::{Context, Result};
use bramble_provision::System;
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

const FILE: &str = "/run/bramble/lock";

/// Takes this node's lock, and waits for it where another has it; then `waiting` is told once.
///
/// The lock is gone with the process that holds it, however that ends.
pub(crate) fn take(
    system: &System,
    waiting: impl FnOnce(String) -> io::Result<()>,
) -> Result<Flock<File>> {
    let path = system.path(FILE);
    let open = || {
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        File::options().create(true).append(true).open(&path)
    };
    let file = open().with_context(|| format!("cannot open {} (as root?)", path.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((file, Errno::EWOULDBLOCK)) => {
            waiting("another apply is under way on this node; waiting for its end".into())?;
            Flock::lock(file, FlockArg::LockExclusive)
                .map_err(|(_, error)| error)
                .context("cannot wait for the lock")
        }
        Err((_, error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;

    #[test]
    fn the_second_waits_for_the_first() {
        let root = tempfile::tempdir().unwrap();
        let (told, tell) = mpsc::channel();
        let first = take(&System::rooted(root.path()), |_| {
            panic!("nobody else is there")
        })
        .unwrap();
        let path = root.path().to_owned();
        let second = thread::spawn(move || {
            take(&System::rooted(path), |message| {
                told.send(message).unwrap();
                Ok(())
            })
            .map(drop)
        });
        assert!(tell.recv().unwrap().contains("waiting"));
        drop(first);
        second.join().unwrap().unwrap();
    }
}
