//! The files of packages, without running any of their programs.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use tar::EntryType;

use super::fetch::Deb;
use super::run;
use crate::layer::relative;

/// The files of unpacked packages, by path from the root, without a leading `/`.
#[derive(Debug, Default)]
pub struct Unpacked {
    files: BTreeMap<PathBuf, File>,
    /// Version by package.
    pub versions: BTreeMap<String, String>,
}

/// A file and the package that it is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// The package's name.
    pub package: String,
    /// What it is.
    pub node: Node,
}

/// What a package has at a path; directories are made as needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A file: its mode and content.
    File(u32, Vec<u8>),
    /// A symbolic link and what it reads.
    Symlink(PathBuf),
}

impl Unpacked {
    /// Unpacks packages.
    ///
    /// # Errors
    /// `dpkg-deb` is missing or a package is damaged.
    pub fn read(debs: &[Deb]) -> Result<Unpacked> {
        let mut unpacked = Unpacked::default();
        for deb in debs {
            let (name, version) = (&deb.package.name, &deb.package.version);
            let archive = run(Command::new("dpkg-deb")
                .arg("--fsys-tarfile")
                .arg(deb.path()))
            .with_context(|| format!("cannot unpack {name}"))?;
            unpacked
                .add(name, &archive)
                .with_context(|| format!("cannot unpack {name}"))?;
            unpacked.versions.insert(name.clone(), version.clone());
        }
        Ok(unpacked)
    }

    fn add(&mut self, package: &str, archive: &[u8]) -> Result<()> {
        for entry in tar::Archive::new(archive).entries()? {
            let mut entry = entry?;
            let path = relative(&entry.path()?);
            let node = match entry.header().entry_type() {
                EntryType::Regular => {
                    let mut content = Vec::new();
                    entry.read_to_end(&mut content)?;
                    Node::File(entry.header().mode()? & 0o777, content)
                }
                EntryType::Symlink => match entry.link_name()? {
                    Some(target) => Node::Symlink(target.into_owned()),
                    None => continue,
                },
                _ => continue,
            };
            self.insert(package, path, node);
        }
        Ok(())
    }

    /// Puts a file in its place.
    pub(crate) fn insert(&mut self, package: &str, path: impl Into<PathBuf>, node: Node) {
        let package = package.to_owned();
        self.files.insert(path.into(), File { package, node });
    }

    /// What stands at `path` itself, be it a link.
    pub fn get(&self, path: &Path) -> Option<&File> {
        self.files.get(path)
    }

    /// The files below a directory, by their paths from there.
    pub fn below<'a>(&'a self, dir: &'a str) -> impl Iterator<Item = (String, &'a [u8])> {
        self.files.iter().filter_map(move |(path, file)| {
            let path = path.strip_prefix(dir).ok()?;
            match &file.node {
                Node::File(_, content) => Some((path.display().to_string(), content.as_slice())),
                Node::Symlink(_) => None,
            }
        })
    }

    /// A package's licence, and the path at which it stands: it goes where the package's files go.
    ///
    /// # Errors
    /// The package has none.
    pub fn licence(&self, package: &str) -> Result<(String, &[u8])> {
        let path = format!("usr/share/doc/{package}/copyright");
        let steps = self.resolve(Path::new(&path));
        let found = steps.and_then(|steps| self.get(steps.last()?));
        match found.map(|file| &file.node) {
            Some(Node::File(_, text)) => Ok((path, text)),
            _ => bail!("package {package} has no copyright file"),
        }
    }

    /// The paths from `path` to the file that it leads to: links on the way, then the file. Links of
    /// directories count too. `None` where it leads nowhere.
    pub fn resolve(&self, path: &Path) -> Option<Vec<PathBuf>> {
        let mut steps = Vec::new();
        let mut path = normal(path);
        // As many links as the kernel would follow.
        for _ in 0..40 {
            let link = path.ancestors().find_map(|part| {
                match self.files.get(part).map(|file| &file.node) {
                    Some(Node::Symlink(target)) => Some((part.to_owned(), target)),
                    _ => None,
                }
            });
            let Some((link, target)) = link else {
                let is_file = self.files.contains_key(&path);
                steps.push(path);
                return is_file.then_some(steps);
            };
            let rest = path.strip_prefix(&link).ok()?.to_owned();
            let base = link.parent().unwrap_or(Path::new(""));
            path = normal(&base.join(target).join(rest));
            steps.push(link);
        }
        None
    }
}

/// Without `.`, `..` and the leading `/`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => {
                normal.pop();
            }
            _ => {}
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_files() {
        let mut files = Unpacked::default();
        let link = |target: &str| Node::Symlink(target.into());
        files.insert("a", "usr/lib/x.so.1.2", Node::File(0o644, Vec::new()));
        files.insert("a", "usr/lib/x.so.1", link("x.so.1.2"));
        files.insert("a", "lib", link("usr/lib"));
        files.insert("a", "usr/share/doc/y", link("../../lib"));
        files.insert("a", "absolute", link("/lib/x.so.1"));
        files.insert("a", "loop", link("loop"));
        files.insert("a", "dangling", link("nowhere"));

        let check = |path: &str, expected: Option<&[&str]>| {
            let expected: Option<Vec<PathBuf>> =
                expected.map(|steps| steps.iter().map(PathBuf::from).collect());
            assert_eq!(files.resolve(Path::new(path)), expected, "{path}");
        };
        check("usr/lib/x.so.1.2", Some(&["usr/lib/x.so.1.2"]));
        check(
            "/usr/lib/x.so.1",
            Some(&["usr/lib/x.so.1", "usr/lib/x.so.1.2"]),
        );
        check(
            "/lib/x.so.1",
            Some(&["lib", "usr/lib/x.so.1", "usr/lib/x.so.1.2"]),
        );
        check(
            "usr/share/doc/y/x.so.1.2",
            Some(&["usr/share/doc/y", "usr/lib/x.so.1.2"]),
        );
        check(
            "absolute",
            Some(&["absolute", "lib", "usr/lib/x.so.1", "usr/lib/x.so.1.2"]),
        );
        for nowhere in ["loop", "dangling", "usr/lib", "missing"] {
            check(nowhere, None);
        }
    }
}
