//! Directories for what the programs of a build read, and what becomes of them when a build is killed.

use std::env;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use tempfile::TempDir;

/// A large directory that others than its maker may have to enter: `mmdebstrap`, which without being root itself reads with
/// ids that are nobody's, or a second user. Homes, where the store is, are often closed to these.
///
/// It is locked as long as its build lives: what nobody locks is left of one that was killed, and goes with the next.
#[derive(Debug)]
pub struct Shared {
    dir: TempDir,
    /// Held, not read.
    _lock: File,
}

impl Shared {
    /// Makes one whose name begins with `prefix`, after sweeping up those that dead builds left.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(prefix: &str) -> Result<Shared> {
        // Memory often stands behind /tmp, and all packages unpacked are larger than some.
        let large = [Path::new("/var/tmp").to_owned(), env::temp_dir()];
        let large = large.iter().find(|dir| dir.is_dir());
        let large = large.context("there is no directory for temporary files")?;
        Shared::below(large, prefix)
    }

    fn below(place: &Path, prefix: &str) -> Result<Shared> {
        let failed = || format!("cannot make a directory in {}", place.display());
        sweep(place, prefix, |dir| {
            // What cannot be removed is another user's, whose next build removes it.
            let _ = fs::remove_dir_all(dir);
        })
        .with_context(failed)?;
        loop {
            let dir = tempfile::Builder::new().prefix(prefix).tempdir_in(place);
            let dir = dir.with_context(failed)?;
            match lock(dir.path()) {
                Ok(lock) => return Ok(Shared { dir, _lock: lock }),
                // Another build has swept it away in between.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error).with_context(failed),
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Lets everybody read all that is in it, whatever the umask said.
    ///
    /// # Errors
    /// When something in it is not ours.
    pub fn open_to_all(&self) -> Result<()> {
        open_to_all(self.path())
    }
}

/// Locks a directory that is there. Who sweeps one away holds the lock until it is gone.
fn lock(dir: &Path) -> io::Result<File> {
    let lock = File::open(dir)?;
    lock.lock()?;
    fs::metadata(dir).map(|_| lock)
}

/// Calls `remove` with each directory of that prefix that nobody locks, which is locked until that is over.
fn sweep(place: &Path, prefix: &str, remove: impl Fn(&Path)) -> io::Result<()> {
    for entry in fs::read_dir(place)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(prefix) {
            continue;
        }
        if let Ok(lock) = File::open(entry.path())
            && lock.try_lock().is_ok()
        {
            remove(&entry.path());
        }
    }
    Ok(())
}

fn open_to_all(path: &Path) -> Result<()> {
    let failed = || format!("cannot let others read {}", path.display());
    let is_dir = path.is_dir();
    let mode = if is_dir { 0o755 } else { 0o644 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).with_context(failed)?;
    if is_dir {
        for entry in fs::read_dir(path).with_context(failed)? {
            open_to_all(&entry.with_context(failed)?.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_a_dead_build_left_goes_with_the_next() {
        let place = tempfile::tempdir().expect("a directory");
        let alive = Shared::below(place.path(), "bramble-test-").expect("made");
        // A process that is killed lets go of its locks, and removes nothing.
        let dead = place.path().join("bramble-test-killed");
        let other = place.path().join("bramble-other-killed");
        for dir in [&dead, &other] {
            fs::create_dir_all(dir.join("packages")).expect("made");
        }
        let next = Shared::below(place.path(), "bramble-test-").expect("made");
        assert_eq!(
            [alive.path(), next.path(), other.as_path(), dead.as_path()].map(Path::exists),
            [true, true, true, false]
        );
        let path = next.path().to_owned();
        drop(next);
        assert!(!path.exists());
    }

    #[test]
    fn nobody_takes_a_directory_that_is_being_removed() {
        let place = tempfile::tempdir().expect("a directory");
        let dead = place.path().join("bramble-test-killed");
        fs::create_dir(&dead).expect("made");
        let removed = Cell::new(0);
        sweep(place.path(), "bramble-test-", |dir| {
            let other = File::open(dir).expect("there");
            assert!(other.try_lock().is_err(), "the sweep has let go of it");
            removed.set(removed.get() + 1);
        })
        .expect("swept");
        assert_eq!(removed.get(), 1);
    }

    #[test]
    fn what_is_shared_is_open_to_all() {
        let place = tempfile::tempdir().expect("a directory");
        let shared = Shared::below(place.path(), "bramble-test-").expect("made");
        let (below, file) = (shared.path().join("a/b"), shared.path().join("a/b/c"));
        fs::create_dir_all(&below).expect("made");
        fs::write(&file, "").expect("written");
        for path in [&below, &file] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o700)).expect("closed");
        }
        shared.open_to_all().expect("shared");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(
            [mode(shared.path()), mode(&below), mode(&file)],
            [0o755, 0o755, 0o644]
        );
    }
}
