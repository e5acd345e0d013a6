//! Debian's ARM64 packages, fetched and unpacked without running any of their programs.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use bramble_store::{Artifact, Key, Store};
use tar::EntryType;

use crate::layer::relative;
use crate::rootfs::SUITE;

/// Fetches `packages` and all that they depend on into the store: a directory of `.deb` files.
///
/// The key holds the packages' names, so what was fetched once stays until it is removed from the store.
///
/// # Errors
/// `mmdebstrap` is missing or fails; its own words are in the error.
pub fn fetch(store: &Store, packages: &[&str]) -> Result<Artifact> {
    store.get_or_build(&key(packages)?, |dir| {
        run(&fetch_command(packages, dir))?;
        let archives = dir.join("archives");
        for name in file_names(&archives)? {
            if name.ends_with(".deb") {
                fs::rename(archives.join(&name), dir.join(&name))?;
            }
        }
        fs::remove_dir_all(&archives)?;
        Ok(())
    })
}

/// The key of what [`fetch`] fetches.
pub(crate) fn key(packages: &[&str]) -> Result<Key> {
    let command = fetch_command(packages, Path::new("DIR"));
    Key::builder("debian-packages", 1)
        .text("command", command.join("\n"))
        .finish()
}

/// Ends in `DIR/archives`: mmdebstrap copies apt's directory of downloads out before it unpacks them.
fn fetch_command(packages: &[&str], dir: &Path) -> Vec<String> {
    vec![
        "mmdebstrap".to_owned(),
        "--variant=extract".to_owned(),
        "--arch=arm64".to_owned(),
        "--aptopt=APT::Install-Recommends \"false\"".to_owned(),
        format!(
            "--extract-hook=copy-out /var/cache/apt/archives '{}'",
            dir.display()
        ),
        format!("--include={}", packages.join(",")),
        SUITE.to_owned(),
        "/dev/null".to_owned(),
    ]
}

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
    /// Reads the `.deb` files in `dir`.
    ///
    /// # Errors
    /// `dpkg-deb` is missing or a package is damaged.
    pub fn read(dir: &Path) -> Result<Unpacked> {
        let mut unpacked = Unpacked::default();
        for name in file_names(dir)? {
            let path = dir.join(&name);
            let deb = path.display().to_string();
            let shown = run(&dpkg_deb(&[
                "--show",
                "--showformat=${Package} ${Version}",
                &deb,
            ]))?;
            let shown = String::from_utf8_lossy(&shown).into_owned();
            let (package, version) = shown
                .split_once(' ')
                .with_context(|| format!("{deb} does not say what package it is"))?;
            let archive = run(&dpkg_deb(&["--fsys-tarfile", &deb]))?;
            unpacked
                .add(package, &archive)
                .with_context(|| format!("cannot unpack {deb}"))?;
            let versions = &mut unpacked.versions;
            versions.insert(package.to_owned(), version.to_owned());
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

fn file_names(dir: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn dpkg_deb(args: &[&str]) -> Vec<String> {
    let words = std::iter::once("dpkg-deb").chain(args.iter().copied());
    words.map(str::to_owned).collect()
}

fn run(argv: &[String]) -> Result<Vec<u8>> {
    let output = Command::new(&argv[0])
        .args(&argv[1..])
        .stdin(Stdio::null())
        .output()
        .with_context(|| {
            format!(
                "cannot run {}; `cargo xtask doctor` says how to install it",
                argv[0]
            )
        })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("`{}` failed ({}):\n{said}", argv.join(" "), output.status);
    }
    Ok(output.stdout)
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

    #[test]
    fn packages_are_fetched_with_one_call() {
        let command = fetch_command(&["redis-server", "redis-tools"], Path::new("/store/x"));
        insta::assert_snapshot!(command.join("\n"));
    }
}
