use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};

use crate::key::Key;
use crate::lock::Lock;
use crate::sums::{self, Sums, damage};

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
    /// Bytes in its files as they would be read; sparse files may take less on disk.
    pub bytes: u64,
    /// When it was last built or asked for.
    pub last_used: SystemTime,
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
    /// waits for the result; if the first fails, the second tries itself. What was there already is read,
    /// and built again if its files are not what they were.
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
        let damage = damage(&path)?;
        drop(lease);
        let Some(damage) = damage else {
            return self.get_or_build_unread(key, build);
        };
        tracing::warn!("store: building again, because {damage}");
        self.discard(key, &path)?;
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

    /// Everything that is finished, by kind and key.
    ///
    /// # Errors
    /// A directory of the store cannot be read.
    pub fn list(&self) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for kind in names_in(&self.root)? {
            if kind == "locks" {
                continue;
            }
            for hex in names_in(&self.root.join(&kind))? {
                let path = self.path(&kind, &hex);
                if hex.contains('.') || !path.is_dir() {
                    continue;
                }
                entries.push(Entry {
                    bytes: bytes_in(&path)?,
                    last_used: last_used(&self.lock_path(&kind, &hex)),
                    kind: kind.clone(),
                    hex,
                    path,
                });
            }
        }
        Ok(entries)
    }

    /// Removes the artefacts that nobody asked for in the last `unused_for` and that nobody is using,
    /// and returns what it removed.
    ///
    /// # Errors
    /// A directory of the store cannot be read or removed.
    pub fn gc(&self, unused_for: Duration) -> Result<Vec<Entry>> {
        let now = SystemTime::now();
        let mut removed = Vec::new();
        for entry in self.list()? {
            let age = now.duration_since(entry.last_used).unwrap_or_default();
            if age < unused_for {
                continue;
            }
            let lock = self.lock_path(&entry.kind, &entry.hex);
            let Some(_sole_user) = Lock::try_exclusive(&lock)? else {
                continue;
            };
            unpublish(&entry.path)?;
            removed.push(entry);
        }
        Ok(removed)
    }

    /// Removes the artefact of `key`, once nobody is using it; there need not be one.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self, key: &Key) -> Result<()> {
        let path = self.path(key.kind(), key.hex());
        let _sole_user = Lock::exclusive(&self.lock_path(key.kind(), key.hex()))?;
        match path.is_dir() {
            true => unpublish(&path),
            false => Ok(()),
        }
    }

    /// Removes what is damaged, unless somebody has built it again by now.
    fn discard(&self, key: &Key, path: &Path) -> Result<()> {
        let lock = self.lock_path(key.kind(), key.hex());
        let Some(_sole_user) = Lock::try_exclusive(&lock)? else {
            bail!(
                "store: {} is damaged, and somebody is using it: end what was started from it, then try again",
                path.display()
            );
        };
        match damage(path)? {
            Some(_) => unpublish(path),
            None => Ok(()),
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
            for beside in [sums::path(path), manifest_path(path)] {
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
    for beside in [sums::path(path), manifest_path(path)] {
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

fn remove_dir(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("store: cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
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

fn bytes_in(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    walk(dir, &mut |_, meta| {
        if meta.is_file() {
            bytes += meta.len();
        }
        Ok(())
    })
    .with_context(|| format!("store: cannot read {}", dir.display()))?;
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
}
