//! Where the sockets of running labs are: a short path, readable by nobody else.

use std::fmt;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use nix::unistd::getuid;
use serde::{Deserialize, Serialize};

use crate::remains::Remains;

/// What all that belongs to one run of a lab is known by: its directory, and a number that no other run in that
/// directory has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct RunId {
    directory: PathBuf,
    number: String,
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}#{}", self.directory.display(), self.number)
    }
}

impl RunId {
    /// A number of nobody else's.
    fn new(directory: &Path) -> Result<RunId> {
        let time = SystemTime::UNIX_EPOCH.elapsed()?.as_nanos();
        Ok(RunId {
            directory: directory.to_owned(),
            number: format!("{}.{time}", std::process::id()),
        })
    }

    /// What [`fmt::Display`] wrote of one.
    pub(crate) fn parse(text: &str) -> Option<RunId> {
        let (directory, number) = text.rsplit_once('#')?;
        Some(RunId {
            directory: directory.into(),
            number: number.to_owned(),
        })
    }

    /// What the lab is called.
    pub(crate) fn lab(&self) -> String {
        name(&self.directory)
    }

    /// Whether somebody keeps it alive.
    pub(crate) fn is_alive(&self) -> Result<bool> {
        Ok(
            Record::read(&self.directory).is_some_and(|record| record.run == *self)
                && is_held(&self.directory)?,
        )
    }
}

/// What a lab leaves behind if it is killed, for whoever finds it: kept in its directory.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) run: RunId,
    /// As in [`crate::Definition`].
    pub(crate) scratch: Option<PathBuf>,
}

impl Record {
    const FILE: &str = "run.json";

    /// `None` where there is none, or half of one.
    pub(crate) fn read(directory: &Path) -> Option<Record> {
        let text = fs::read(directory.join(Record::FILE)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    fn write(&self) -> Result<()> {
        let path = self.run.directory.join(Record::FILE);
        fs::write(&path, serde_json::to_vec(self)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// The file in a lab's scratch that says whose it is.
pub(crate) const OWNER: &str = ".lab";

/// The lab that runs in the directory `scratch`, if one does.
pub(crate) fn owner(scratch: &Path) -> Result<Option<String>> {
    let owner = fs::read_to_string(scratch.join(OWNER)).unwrap_or_default();
    match RunId::parse(&owner) {
        Some(run) if run.is_alive()? => Ok(Some(run.lab())),
        _ => Ok(None),
    }
}

/// The directory of one lab. It is locked, shared, by whoever keeps the lab alive; one that nobody locks is
/// the remains of a lab that was killed together with its supervisor, and is removed by the next.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// Held, not read.
    _lock: File,
}

/// What a lab is called, by its directory.
pub(crate) fn name(directory: &Path) -> String {
    let name = directory.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

impl RunDir {
    /// Makes the directory of the lab `name`, after sweeping up what dead labs left.
    ///
    /// # Errors
    /// When the name is none or too long, a lab of that name runs, or the directory cannot be made.
    pub fn create(name: &str) -> Result<RunDir> {
        let parent = parent()?;
        check_name(name, &parent)?;
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

    /// Gives the run a number, and notes what goes with it.
    pub(crate) fn begin(&self, scratch: Option<&Path>) -> Result<RunId> {
        let run = RunId::new(&self.path)?;
        if let Some(scratch) = scratch {
            let owner = scratch.join(OWNER);
            fs::write(&owner, run.to_string())
                .with_context(|| format!("cannot write {}", owner.display()))?;
        }
        let record = Record {
            run,
            scratch: scratch.map(std::path::absolute).transpose()?,
        };
        record.write()?;
        Ok(record.run)
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

    /// Refuses to go on where a lab called `name` runs, which may use the very files that would be made anew.
    ///
    /// # Errors
    /// When one runs, or nobody can tell.
    pub fn refuse_if_running(name: &str) -> Result<()> {
        if RunDir::running()?.iter().any(|dir| dir.ends_with(name)) {
            bail!("a lab called {name} is running; `cargo xtask vm down` ends it");
        }
        Ok(())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Paths of sockets have room for 107 bytes, see unix(7), of which a machine's name may take 32.
fn check_name(name: &str, parent: &Path) -> Result<()> {
    const ROOM: usize = 107 - "/".len() - 32 - ".qmp".len();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || !name.chars().all(plain) {
        bail!("a lab's name is of letters, digits, `-` and `_`, not `{name}`");
    }
    let most = ROOM.saturating_sub(parent.as_os_str().len() + "/".len());
    if name.len() > most {
        bail!(
            "a lab's name has at most {most} letters here, and `{name}` has {}",
            name.len()
        );
    }
    Ok(())
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

/// Whether some process holds the directory of a lab.
pub(crate) fn is_held(path: &Path) -> Result<bool> {
    Ok(try_hold(path)?.is_none())
}

/// The directory of a dead lab, held so that nobody else sweeps it. `None` where somebody keeps the lab alive, or it is
/// being made or removed.
fn try_hold(path: &Path) -> Result<Option<File>> {
    // One without a lock is being removed by its owner.
    let Ok(lock) = File::open(lock_file(path)) else {
        return Ok(None);
    };
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// The directories that no process holds.
pub(crate) fn dead() -> Result<Vec<PathBuf>> {
    dead_below(&parent()?)
}

fn dead_below(parent: &Path) -> Result<Vec<PathBuf>> {
    let mut dead = Vec::new();
    for entry in
        fs::read_dir(parent).with_context(|| format!("cannot list {}", parent.display()))?
    {
        let path = entry?.path();
        if !is_unnamed(&path) && try_hold(&path)?.is_some() {
            dead.push(path);
        }
    }
    Ok(dead)
}

/// Puts away what dead labs have left that their directories know of.
fn sweep(parent: &Path) -> Result<()> {
    for path in dead_below(parent)? {
        // Two may sweep at once.
        if let Some(_held) = try_hold(&path)? {
            Remains::in_directory(&path)?.clear_away()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_labs_name_is_a_short_word() {
        let parent = Path::new("/run/user/1000/bramble-lab");
        let long = "a".repeat(44);
        for name in ["eight-pi", "test_2", &long[1..]] {
            check_name(name, parent).expect(name);
        }
        for (name, why) in [
            ("", "not ``"),
            ("a/b", "not `a/b`"),
            (".a", "not `.a`"),
            (&*long, "at most 43 letters here"),
        ] {
            let error = check_name(name, parent).expect_err(why).to_string();
            assert!(error.contains(why), "{error}");
        }
    }

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
