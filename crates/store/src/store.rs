use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};

use crate::key::Key;
use crate::lock::Lock;
use crate::sums::{self, Reading, Sums};

/// A directory of artefacts, each built at most once however many processes ask for it.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

/// A finished artefact. While this value lives, [`Store::gc`] leaves the artefact alone.
#[derive(Debug)]
pub struct Artifact {
    /// The directory that the builder filled. Readers must not change it.
    pub path: PathBuf,
    /// False when this very call ran the builder.
    pub was_cached: bool,
    _lease: Lock,
}

/// What [`Store::list`] says of one artefact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The kind given to [`Key::builder`].
    pub kind: String,
    /// The key in hexadecimal.
    pub hex: String,
    /// The artefact's directory.
    pub path: PathBuf,
    /// Bytes that it takes on the disk, which are fewer than would be read where files are sparse.
    pub bytes: u64,
    /// When it was last built or asked for.
    pub last_used: SystemTime,
}

/// What [`Store::gc`] removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Garbage {
    /// What nobody asked for.
    pub artefacts: Vec<Entry>,
    /// What never was an artefact, or is none any more.
    pub left_over: Vec<LeftOver>,
}

/// What somebody has left who was killed while building or removing an artefact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOver {
    /// A directory, or a file.
    pub path: PathBuf,
    /// Bytes that it takes on the disk.
    pub bytes: u64,
}

/// Somebody's hold on an artefact that they did not ask the store for themselves.
#[derive(Debug)]
pub struct Lease {
    _lock: Lock,
}

/// Longest wait for those who read what is damaged: it is gigabytes, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether that long has passed. Each time it is asked, a moment has.
pub(crate) fn patience() -> impl FnMut() -> bool {
    let since = Instant::now();
    move || {
        thread::sleep(Duration::from_millis(50));
        since.elapsed() > PATIENCE
    }
}

impl Store {
    /// Opens the user's store: `$BRAMBLE_STORE`, else `$XDG_CACHE_HOME/bramble`, else `~/.cache/bramble`.
    ///
    /// # Errors
    /// None of the three variables is set, or the directory cannot be made.
    pub fn open() -> Result<Store> {
        match place(|name| env::var_os(name)) {
            Some(root) => Store::at(root),
            None => bail!(
                "store: no place for the cache: set BRAMBLE_STORE, XDG_CACHE_HOME or HOME to an absolute path"
            ),
        }
    }

    /// Opens, and makes where needed, the store in the directory `root`.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn at(root: impl Into<PathBuf>) -> Result<Store> {
        let root = root.into();
        let locks = root.join("locks");
        fs::create_dir_all(&locks)
            .with_context(|| format!("store: cannot make {}", locks.display()))?;
        Ok(Store { root })
    }

    /// The directory that holds everything.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the artefact of `key`, running `build` on an empty directory if it is not there yet.
    ///
    /// The directory is on the store's file system and appears under its final name only after `build`
    /// succeeded and its files are on disk. Where two processes ask at once, one builds and the other
    /// waits for the result; if the first fails, the second tries itself. What was there already is read
    /// unless nobody has touched it since it was, and built again if its files are not what they were.
    ///
    /// # Errors
    /// What `build` returned, trouble with the store's own files, or a damaged artefact that somebody is using.
    /// Nothing is kept of a failed build.
    pub fn get_or_build(
        &self,
        key: &Key,
        build: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Artifact> {
        let path = self.path(key.kind(), key.hex());
        let lease = Lock::shared(&self.lock_path(key.kind(), key.hex()))?;
        let damage = sums::damage(&path, Reading::WhatIsNew)?;
        drop(lease);
        let Some(damage) = damage else {
            return self.get_or_build_unread(key, build);
        };
        tracing::warn!("store: building again, because {damage}");
        let is_damaged = |path: &Path| Ok(sums::damage(path, Reading::WhatIsNew)?.is_some());
        self.discard(key, is_damaged, &mut patience())?;
        self.get_or_build_unread(key, build)
    }

    /// As [`Store::get_or_build`], for what its reader holds against a hash of its own.
    pub(crate) fn get_or_build_unread(
        &self,
        key: &Key,
        build: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Artifact> {
        let path = self.path(key.kind(), key.hex());
        let lock = self.lock_path(key.kind(), key.hex());
        let mut build = Some(build);
        loop {
            let lease = Lock::shared(&lock)?;
            if path.is_dir() {
                touch(&lock)?;
                return Ok(Artifact {
                    path,
                    was_cached: build.is_some(),
                    _lease: lease,
                });
            }
            drop(lease);

            let _builder = Lock::exclusive(&lock)?;
            if path.is_dir() {
                continue;
            }
            let Some(build) = build.take() else {
                bail!(
                    "store: {} was removed right after it was built; is another process clearing the store?",
                    path.display()
                );
            };
            self.publish(key, &path, build)
                .with_context(|| format!("building {} {}", key.kind(), key.hex()))?;
        }
    }

    /// Holds the artefact that `path` is in, as long as the lease lives; `None` where it is in none. Whichever store
    /// that is in.
    ///
    /// # Errors
    /// Its lock cannot be taken.
    pub fn lease(path: &Path) -> Result<Option<Lease>> {
        let lock = path.ancestors().find_map(|dir| {
            let (kind, hex) = (dir.parent()?, dir.file_name()?.to_str()?);
            let root = Store {
                root: kind.parent()?.to_owned(),
            };
            let lock = root.lock_path(kind.file_name()?.to_str()?, hex);
            lock.is_file().then_some(lock)
        });
        let lease = |lock: PathBuf| Lock::shared(&lock).map(|lock| Lease { _lock: lock });
        lock.map(lease).transpose()
    }

    /// Everything that is finished, by kind and key.
    ///
    /// # Errors
    /// A directory of the store cannot be read.
    pub fn list(&self) -> Result<Vec<Entry>> {
        let keys = self.keys()?;
        let entries = keys.keys().map(|(kind, hex)| self.entry(kind, hex));
        entries.filter_map(Result::transpose).collect()
    }

    /// Reads everything that is finished against what was published, and tells `each` why it is damaged, or `None`. What
    /// is damaged is built again by whoever next asks for it.
    ///
    /// # Errors
    /// A directory of the store cannot be read.
    pub fn verify(&self, mut each: impl FnMut(&Entry, Option<&str>)) -> Result<()> {
        for entry in self.list()? {
            let _lease = Lock::shared(&self.lock_path(&entry.kind, &entry.hex))?;
            // Somebody removed it meanwhile.
            if !entry.path.is_dir() {
                continue;
            }
            let damage = sums::damage(&entry.path, Reading::All)?;
            each(&entry, damage.as_deref());
        }
        Ok(())
    }

    /// Removes the artefacts that nobody asked for in the last `unused_for`, and what builds have left that were
    /// killed; nothing that somebody is using or building. Returns what it removed, or, where `is_dry_run`, would.
    ///
    /// # Errors
    /// A directory of the store cannot be read or removed.
    pub fn gc(&self, unused_for: Duration, is_dry_run: bool) -> Result<Garbage> {
        let mut garbage = Garbage::default();
        for ((kind, hex), files) in self.keys()? {
            let lock = self.lock_path(&kind, &hex);
            let Some(_sole_user) = Lock::try_exclusive(&lock)? else {
                continue;
            };
            // Others use, build and remove, too: what was seen before the lock was taken may be so no more.
            let is_old = SystemTime::now()
                .duration_since(last_used(&lock))
                .is_ok_and(|age| age >= unused_for);
            let path = self.path(&kind, &hex);
            let left_over = self.left_over(&path, &files)?;
            let entry = self.entry(&kind, &hex)?;
            let doomed = entry.filter(|_| is_old);
            if !is_dry_run {
                left_over.iter().try_for_each(|it| remove_any(&it.path))?;
                if doomed.is_some() {
                    unpublish(&path)?;
                }
                if is_old {
                    fs::remove_file(&lock).ok();
                }
            }
            garbage.artefacts.extend(doomed);
            garbage.left_over.extend(left_over);
        }
        Ok(garbage)
    }

    /// The artefact of a key, if it is there.
    fn entry(&self, kind: &str, hex: &str) -> Result<Option<Entry>> {
        let path = self.path(kind, hex);
        if !path.is_dir() {
            return Ok(None);
        }
        let bytes = match bytes_in(&path) {
            // Somebody removed it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.with_context(|| format!("store: cannot read {}", path.display()))?,
        };
        Ok(Some(Entry {
            kind: kind.to_owned(),
            hex: hex.to_owned(),
            path,
            bytes,
            last_used: last_used(&self.lock_path(kind, hex)),
        }))
    }

    /// Every kind and key of which something is there, if only a lock, with the names of what is beside its artefact.
    fn keys(&self) -> Result<BTreeMap<(String, String), Vec<String>>> {
        let mut keys: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for kind in names_in(&self.root)? {
            if kind == "locks" || !self.root.join(&kind).is_dir() {
                continue;
            }
            for name in names_in(&self.root.join(&kind))? {
                let (hex, is_beside) = match name.split_once('.') {
                    Some((hex, _)) => (hex, true),
                    None => (name.as_str(), false),
                };
                // Nothing else is the store's.
                if !is_hex(hex) {
                    continue;
                }
                let beside = keys.entry((kind.clone(), hex.to_owned())).or_default();
                if is_beside {
                    beside.push(name);
                }
            }
        }
        for lock in names_in(&self.root.join("locks"))? {
            if let Some((kind, hex)) = lock.rsplit_once('-').filter(|(_, hex)| is_hex(hex)) {
                keys.entry((kind.to_owned(), hex.to_owned())).or_default();
            }
        }
        Ok(keys)
    }

    /// What is beside the artefact at `path` and is not of it. Whoever holds its lock alone is sure that nobody is
    /// about to write it.
    fn left_over(&self, path: &Path, beside: &[String]) -> Result<Vec<LeftOver>> {
        let own = match path.is_dir() {
            true => &beside_of(path)[..],
            false => &[],
        };
        let mut left_over = Vec::new();
        for path in beside.iter().map(|name| path.with_file_name(name)) {
            match bytes_in(&path) {
                _ if own.contains(&path) => {}
                Ok(bytes) => left_over.push(LeftOver { path, bytes }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("store: cannot read {}", path.display()));
                }
            }
        }
        Ok(left_over)
    }

    /// Removes what is damaged, unless somebody has built it again by now. Whoever else reads it, to see whether it is
    /// whole, is done soon; `gives_up` says when that is no longer to be hoped.
    pub(crate) fn discard(
        &self,
        key: &Key,
        is_damaged: impl FnOnce(&Path) -> Result<bool>,
        gives_up: &mut dyn FnMut() -> bool,
    ) -> Result<()> {
        let path = self.path(key.kind(), key.hex());
        let lock = self.lock_path(key.kind(), key.hex());
        let Some(_sole_user) = Lock::exclusive_unless(&lock, gives_up)? else {
            bail!(
                "store: {} is damaged, and somebody is using it: end what was started from it, then try again",
                path.display()
            );
        };
        match path.is_dir() && is_damaged(&path)? {
            true => unpublish(&path),
            false => Ok(()),
        }
    }

    fn publish(
        &self,
        key: &Key,
        path: &Path,
        build: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        let partial = partial(path);
        // A builder that was killed cannot clean up; whoever holds the lock next does.
        remove_dir(&partial)?;
        fs::create_dir_all(&partial)
            .with_context(|| format!("store: cannot make {}", partial.display()))?;
        let published = build(&partial).and_then(|()| {
            sync_tree(&partial)
                .and_then(|()| sums::write(path, &Sums::of(&partial)?))
                .and_then(|()| fs::write(manifest_path(path), key.manifest()))
                .and_then(|()| fs::rename(&partial, path))
                .with_context(|| format!("store: cannot publish {}", path.display()))
        });
        if published.is_err() {
            // On a full disk, what is left over keeps the room that the next attempt needs.
            if let Err(left_over) = remove_dir(&partial) {
                tracing::warn!("{left_over:#}");
            }
            for beside in beside_of(path) {
                fs::remove_file(beside).ok();
            }
        }
        published
    }

    fn path(&self, kind: &str, hex: &str) -> PathBuf {
        self.root.join(kind).join(hex)
    }

    fn lock_path(&self, kind: &str, hex: &str) -> PathBuf {
        self.root.join("locks").join(format!("{kind}-{hex}"))
    }
}

/// Relative values are ignored, as the XDG base directory specification asks.
fn place(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name: &str| {
        variable(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("BRAMBLE_STORE")
        .or_else(|| absolute("XDG_CACHE_HOME").map(|cache| cache.join("bramble")))
        .or_else(|| absolute("HOME").map(|home| home.join(".cache/bramble")))
}

/// Half-removed must look like half-built: not there.
fn unpublish(path: &Path) -> Result<()> {
    let doomed = partial(path);
    remove_dir(&doomed)?;
    fs::rename(path, &doomed)
        .with_context(|| format!("store: cannot remove {}", path.display()))?;
    remove_dir(&doomed)?;
    for beside in beside_of(path) {
        fs::remove_file(beside).ok();
    }
    Ok(())
}

fn partial(path: &Path) -> PathBuf {
    path.with_extension("partial")
}

fn manifest_path(path: &Path) -> PathBuf {
    path.with_extension("json")
}

/// What stands beside an artefact and goes with it.
fn beside_of(path: &Path) -> [PathBuf; 3] {
    [
        sums::path(path),
        sums::stamps_path(path),
        manifest_path(path),
    ]
}

fn touch(lock: &Path) -> Result<()> {
    File::options()
        .write(true)
        .open(lock)
        .and_then(|file| file.set_modified(SystemTime::now()))
        .with_context(|| format!("store: cannot touch {}", lock.display()))
}

fn last_used(lock: &Path) -> SystemTime {
    fs::metadata(lock)
        .and_then(|meta| meta.modified())
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

fn remove_any(path: &Path) -> Result<()> {
    match path.is_dir() {
        true => remove_dir(path),
        false => fs::remove_file(path)
            .with_context(|| format!("store: cannot remove {}", path.display())),
    }
}

fn remove_dir(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("store: cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn is_hex(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The sorted names in a directory, without those that are no text: the store makes none of these.
fn names_in(dir: &Path) -> Result<Vec<String>> {
    let mut names = fs::read_dir(dir)
        .and_then(|entries| {
            entries
                .map(|entry| Ok(entry?.file_name().into_string().ok()))
                .filter_map(Result::transpose)
                .collect::<io::Result<Vec<String>>>()
        })
        .with_context(|| format!("store: cannot read {}", dir.display()))?;
    names.sort();
    Ok(names)
}

/// What it takes on the disk; `stat` counts that in blocks of 512 bytes.
fn bytes_in(path: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    walk(path, &mut |_, meta| {
        bytes += meta.blocks() * 512;
        Ok(())
    })?;
    Ok(bytes)
}

/// After a power cut the renamed directory must not be found full of empty files.
fn sync_tree(dir: &Path) -> io::Result<()> {
    walk(dir, &mut |path, meta| {
        if meta.is_file() || meta.is_dir() {
            File::open(path)?.sync_all()?;
        }
        Ok(())
    })
}

pub(crate) fn walk(
    path: &Path,
    visit: &mut dyn FnMut(&Path, &fs::Metadata) -> io::Result<()>,
) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            walk(&entry?.path(), visit)?;
        }
    }
    visit(path, &meta)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_has_one_place() {
        let check = |variables: &[(&str, &str)], expected: Option<&str>| {
            let lookup = |name: &str| {
                let found = variables.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| OsString::from(value))
            };
            assert_eq!(place(lookup).as_deref(), expected.map(Path::new));
        };
        let (store, xdg, home) = (
            ("BRAMBLE_STORE", "/s"),
            ("XDG_CACHE_HOME", "/x"),
            ("HOME", "/h"),
        );
        check(&[store, xdg, home], Some("/s"));
        check(&[xdg, home], Some("/x/bramble"));
        check(&[home], Some("/h/.cache/bramble"));
        check(&[("BRAMBLE_STORE", ""), home], Some("/h/.cache/bramble"));
        check(
            &[("XDG_CACHE_HOME", "a/b"), home],
            Some("/h/.cache/bramble"),
        );
        check(&[], None);
    }

    #[test]
    fn what_is_damaged_waits_for_its_readers_and_is_looked_at_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path()).unwrap();
        let key = Key::builder("thing", 1).finish().unwrap();
        let build = || store.get_or_build(&key, |dir| Ok(fs::write(dir.join("file"), "1")?));
        let hopeless = &mut || true;

        let in_use = build().unwrap();
        let error = store.discard(&key, |_| Ok(true), hopeless).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("is damaged, and somebody is using it"),
            "{error}"
        );
        assert!(in_use.path.is_dir());

        let mut reader = Some(in_use);
        let mut reads_to_the_end = || {
            reader = None;
            false
        };
        let is_damaged = |path: &Path| Ok(!path.join("file").exists());
        store
            .discard(&key, is_damaged, &mut reads_to_the_end)
            .unwrap();
        assert!(reader.is_none());
        assert!(build().unwrap().was_cached, "somebody had mended it");

        store.discard(&key, |_| Ok(true), hopeless).unwrap();
        assert!(!build().unwrap().was_cached);
    }
}
