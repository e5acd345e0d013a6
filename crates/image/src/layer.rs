//! Files laid over a root file system.
//!
//! A root file system is carried as a tar archive, so that owners and modes survive without root
//! rights. A [`Layer`] replaces, adds and removes paths while the archive streams past.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tar::{Archive, Builder, EntryType, Header};

use crate::EPOCH;

/// What stands at a path of a [`Layer`].
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    File(Vec<u8>),
    /// A file of this machine: where it lies, its size and its SHA-256.
    Copy(PathBuf, u64, String),
    Symlink(PathBuf),
    Directory,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    node: Node,
    mode: u32,
    owner: u32,
}

/// Paths to add, to replace and to leave out. Paths are relative to the root, without a leading `/`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layer {
    entries: BTreeMap<PathBuf, Entry>,
    removed: BTreeSet<PathBuf>,
}

impl Layer {
    /// A layer that changes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// A file of root's, `mode` as in `chmod`.
    pub fn file(self, path: &str, mode: u32, content: impl Into<Vec<u8>>) -> Self {
        self.entry(path, mode, 0, Node::File(content.into()))
    }

    /// A file that belongs to the user and the group `owner`.
    pub fn file_of(self, owner: u32, path: &str, mode: u32, content: impl Into<Vec<u8>>) -> Self {
        self.entry(path, mode, owner, Node::File(content.into()))
    }

    /// A copy of the file `from` of this machine, read when the layer is written.
    ///
    /// # Errors
    /// When `from` cannot be read.
    pub fn copy(self, path: &str, mode: u32, from: &Path) -> io::Result<Self> {
        let size = from.metadata()?.len();
        let sha256 = bramble_store::sha256_of_file(from)?;
        Ok(self.entry(path, mode, 0, Node::Copy(from.to_owned(), size, sha256)))
    }

    /// A directory that belongs to the user and the group `owner`.
    pub fn directory_of(self, owner: u32, path: &str, mode: u32) -> Self {
        self.entry(path, mode, owner, Node::Directory)
    }

    /// A symbolic link at `path` that reads `target`.
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(path, 0o777, 0, Node::Symlink(target.into()))
    }

    /// Leaves out what the root file system has at `path`.
    pub fn remove(mut self, path: &str) -> Self {
        self.removed.insert(path.into());
        self
    }

    /// This layer with `above` laid over it.
    pub fn with(mut self, above: &Layer) -> Self {
        self.entries.extend(above.entries.clone());
        self.removed.extend(above.removed.iter().cloned());
        self
    }

    fn entry(mut self, path: &str, mode: u32, owner: u32, node: Node) -> Self {
        self.entries
            .insert(path.into(), Entry { node, mode, owner });
        self
    }

    /// SHA-256 of everything the layer says, in hexadecimal: an input of whatever is built from it.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for (path, entry) in &self.entries {
            let node = match &entry.node {
                // Where it lies plays no part.
                Node::Copy(_, _, sha256) => format!("Copy({sha256})"),
                node => format!("{node:?}"),
            };
            hash.update(format!(
                "{path:?} {:o} {} {node}\n",
                entry.mode, entry.owner
            ));
        }
        for path in &self.removed {
            hash.update(format!("- {path:?}\n"));
        }
        hash.finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// The layer alone, as a tar archive.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn write_tar(&self, out: impl Write) -> io::Result<()> {
        let mut archive = Builder::new(out);
        self.append_to(&mut archive, &mut BTreeSet::new())?;
        archive.into_inner()?.flush()
    }

    /// Copies the tar archive `base` to `out` with the layer applied.
    ///
    /// # Errors
    /// When `base` is no tar archive or `out` cannot be written.
    pub fn write_over(&self, base: impl Read, out: impl Write) -> io::Result<()> {
        let mut archive = Builder::new(out);
        let mut directories = BTreeSet::new();
        for entry in Archive::new(base).entries()? {
            let mut entry = entry?;
            let path = relative(&entry.path()?);
            if self.removed.contains(&path) || self.entries.contains_key(&path) {
                continue;
            }
            let mut header = entry.header().clone();
            header.set_mtime(header.mtime()?.min(EPOCH));
            if header.entry_type() == EntryType::Directory {
                directories.insert(path.clone());
            }
            let name = Path::new(".").join(&path);
            match entry.link_name()? {
                Some(target) => archive.append_link(&mut header, name, target)?,
                None => archive.append_data(&mut header, name, &mut entry)?,
            }
        }
        self.append_to(&mut archive, &mut directories)?;
        archive.into_inner()?.flush()
    }

    /// Appends the entries, and the directories above them that `directories` does not list.
    fn append_to(
        &self,
        archive: &mut Builder<impl Write>,
        directories: &mut BTreeSet<PathBuf>,
    ) -> io::Result<()> {
        for (path, entry) in &self.entries {
            let above: Vec<&Path> = path.ancestors().skip(1).collect();
            for directory in above.into_iter().rev() {
                let named =
                    !directory.as_os_str().is_empty() && !self.entries.contains_key(directory);
                if named && directories.insert(directory.to_owned()) {
                    append(
                        archive,
                        directory,
                        &Entry {
                            node: Node::Directory,
                            mode: 0o755,
                            owner: 0,
                        },
                    )?;
                }
            }
            append(archive, path, entry)?;
        }
        Ok(())
    }
}

/// A path of an archive without the `./` that most of them begin with.
pub(crate) fn relative(path: &Path) -> PathBuf {
    path.strip_prefix(".")
        .unwrap_or(path)
        .components()
        .collect()
}

fn append(archive: &mut Builder<impl Write>, path: &Path, entry: &Entry) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(entry.mode);
    header.set_uid(entry.owner.into());
    header.set_gid(entry.owner.into());
    header.set_mtime(EPOCH);
    header.set_size(0);
    let name = Path::new(".").join(path);
    match &entry.node {
        Node::Directory => {
            header.set_entry_type(EntryType::Directory);
            archive.append_data(&mut header, name, io::empty())
        }
        Node::Symlink(target) => {
            header.set_entry_type(EntryType::Symlink);
            archive.append_link(&mut header, name, target)
        }
        Node::File(content) => {
            header.set_entry_type(EntryType::Regular);
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, name, content.as_slice())
        }
        Node::Copy(from, size, _) => {
            header.set_entry_type(EntryType::Regular);
            header.set_size(*size);
            archive.append_data(&mut header, name, std::fs::File::open(from)?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a tar archive holds: path, mode, owner, and content or link target.
    fn listing(archive: &[u8]) -> Vec<(String, u32, u64, String)> {
        let mut archive = Archive::new(archive);
        let entries = archive.entries().expect("a tar archive");
        entries
            .map(|entry| {
                let mut entry = entry.expect("an entry");
                let path = relative(&entry.path().expect("a path"))
                    .display()
                    .to_string();
                let (mode, owner) = (
                    entry.header().mode().expect("mode"),
                    entry.header().uid().expect("uid"),
                );
                let mut text = entry
                    .link_name()
                    .expect("a link name")
                    .map(|target| format!("-> {}", target.display()))
                    .unwrap_or_default();
                entry.read_to_string(&mut text).expect("text");
                (path, mode, owner, text)
            })
            .collect()
    }

    #[test]
    fn a_layer_adds_replaces_and_removes() {
        let mut base = Vec::new();
        Layer::new()
            .file("etc/hostname", 0o644, "raspberrypi\n")
            .file("etc/motd", 0o644, "welcome\n")
            .symlink("bin", "usr/bin")
            .write_tar(&mut base)
            .expect("a base");

        let mut merged = Vec::new();
        Layer::new()
            .file("etc/hostname", 0o600, "worker3\n")
            .file_of(1000, "home/pi/.ssh/authorized_keys", 0o600, "key\n")
            .directory_of(1000, "home/pi/.ssh", 0o700)
            .remove("etc/motd")
            .write_over(base.as_slice(), &mut merged)
            .expect("a merged archive");

        let expected = [
            ("bin", 0o777, 0, "-> usr/bin"),
            ("etc", 0o755, 0, ""),
            ("home", 0o755, 0, ""),
            ("etc/hostname", 0o600, 0, "worker3\n"),
            ("home/pi", 0o755, 0, ""),
            ("home/pi/.ssh", 0o700, 1000, ""),
            ("home/pi/.ssh/authorized_keys", 0o600, 1000, "key\n"),
        ];
        let mut found = listing(&merged);
        found.sort();
        let mut expected: Vec<_> = expected
            .map(|(path, mode, owner, text)| (path.to_owned(), mode, owner, text.to_owned()))
            .into();
        expected.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn long_names_survive() {
        let long = format!("usr/lib/{}/module.ko", "deep/".repeat(40));
        let mut base = Vec::new();
        Layer::new()
            .file(&long, 0o644, "x")
            .write_tar(&mut base)
            .expect("a base");
        let mut merged = Vec::new();
        Layer::new()
            .write_over(base.as_slice(), &mut merged)
            .expect("a merged archive");
        assert_eq!(listing(&base), listing(&merged));
    }

    #[test]
    fn the_digest_follows_content_mode_owner_and_removals() {
        let layers = [
            Layer::new(),
            Layer::new().file("a", 0o644, "1"),
            Layer::new().file("a", 0o644, "2"),
            Layer::new().file("a", 0o600, "1"),
            Layer::new().file_of(1, "a", 0o644, "1"),
            Layer::new().symlink("a", "1"),
            Layer::new().remove("a"),
        ];
        let digests: BTreeSet<String> = layers.iter().map(Layer::digest).collect();
        assert_eq!(digests.len(), layers.len());
    }
}
