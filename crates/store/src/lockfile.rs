//! The lock file: every input of a build that is not in the repository, by name, version and content.
//!
//! A build takes what the lock says and resolves nothing. Addresses of mirrors are not part of it: a package
//! is known by its path within its archive, and by its hash, wherever it comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Component, Path};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// The format that this code reads and writes.
const FORMAT: u32 = 1;

const HEADER: &str = "\
# Every input of a build that is not in this repository. Builds take what stands here and nothing else.
# Written by `cargo xtask lock`, which also prints what changed; not meant to be edited.

";

/// What stands in a lock file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockFile {
    format: u32,
    /// The release that packages are from: `trixie`.
    pub suite: String,
    /// Versions of the programs that builds run, by name, as they were when the lock was written. A different
    /// one may make something else of the same inputs.
    #[serde(default)]
    pub tools: BTreeMap<String, String>,
    /// What was asked for, by the name of the set: the rest of a set is what that depends on.
    #[serde(default)]
    pub sets: BTreeMap<String, Vec<String>>,
    /// Container images that others build.
    #[serde(default)]
    pub image: Vec<Image>,
    /// Packages, by name.
    #[serde(default)]
    pub package: Vec<Package>,
}

/// A package: one file of an archive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// `docker.io`
    pub name: String,
    /// `26.1.5+dfsg1-9+b11`
    pub version: String,
    /// `arm64`, or `all`.
    pub architecture: String,
    /// Which of its publisher's archives has it: `debian` or `debian-security`.
    pub archive: String,
    /// Its path there: `pool/main/d/docker.io/...`.
    pub file: String,
    /// In bytes.
    pub size: u64,
    /// Of the file, in hexadecimal.
    pub sha256: String,
    /// The sets that need it.
    pub sets: BTreeSet<String>,
}

/// A container image of somebody else's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// `portainer/agent`
    pub name: String,
    /// What it was asked for by.
    pub tag: String,
    /// `sha256:` and 64 digits; missing until somebody who can reach its registry resolves it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

impl LockFile {
    /// A lock that names nothing yet.
    pub fn new(suite: &str) -> LockFile {
        LockFile {
            format: FORMAT,
            suite: suite.to_owned(),
            tools: BTreeMap::new(),
            sets: BTreeMap::new(),
            image: Vec::new(),
            package: Vec::new(),
        }
    }

    /// Reads the lock file at `path`.
    ///
    /// # Errors
    /// It is not there, is no TOML (the line is shown), or says what cannot be.
    pub fn read(path: &Path) -> Result<LockFile> {
        let text = fs::read_to_string(path).with_context(|| {
            format!(
                "cannot read the lock file {}; `cargo xtask lock` writes one",
                path.display()
            )
        })?;
        Self::parse(&text).with_context(|| format!("the lock file {} is damaged", path.display()))
    }

    /// Reads the text of a lock file.
    ///
    /// # Errors
    /// As [`LockFile::read`].
    pub fn parse(text: &str) -> Result<LockFile> {
        let lock: LockFile = toml::from_str(text)?;
        ensure!(
            lock.format == FORMAT,
            "its format is {}, this program knows {FORMAT}",
            lock.format
        );
        let mut names = BTreeSet::new();
        for package in &lock.package {
            package
                .check(&lock.sets)
                .with_context(|| format!("package {}", package.name))?;
            if !names.insert((&package.name, &package.architecture)) {
                bail!("package {} is there twice", package.name);
            }
        }
        Ok(lock)
    }

    /// The text of the file: sorted, one fact a line.
    pub fn render(&self) -> Result<String> {
        let mut sorted = self.clone();
        sorted.package.sort();
        sorted.image.sort();
        Ok(HEADER.to_owned() + &toml::to_string_pretty(&sorted)?)
    }

    /// The packages of a set, by name. `asked` is what the set is to be made of today.
    ///
    /// # Errors
    /// The lock has no such set, or one that was made of something else: it must be written anew.
    pub fn set(&self, name: &str, asked: &[&str]) -> Result<Vec<&Package>> {
        let locked = self.sets.get(name).with_context(|| {
            format!(
                "the lock file has no packages for {name}: write it anew with `cargo xtask lock`"
            )
        })?;
        let (locked, asked): (BTreeSet<&str>, BTreeSet<&str>) = (
            locked.iter().map(String::as_str).collect(),
            asked.iter().copied().collect(),
        );
        if locked != asked {
            let names =
                |names: Vec<&&str>| names.into_iter().copied().collect::<Vec<_>>().join(", ");
            bail!(
                "the lock file is older than what {name} is made of (new: [{}]; gone: [{}]): \
                 write it anew with `cargo xtask lock`",
                names(asked.difference(&locked).collect()),
                names(locked.difference(&asked).collect()),
            );
        }
        let mut packages: Vec<&Package> = self
            .package
            .iter()
            .filter(|package| package.sets.contains(name))
            .collect();
        packages.sort();
        Ok(packages)
    }

    /// How `newer` differs from this one, in the order of names.
    pub fn changes(&self, newer: &LockFile) -> Vec<Change> {
        let mut changes = by_name(
            "",
            self.package.iter().map(|p| (p.name.clone(), p.identity())),
            newer.package.iter().map(|p| (p.name.clone(), p.identity())),
        );
        let image = |image: &Image| {
            let digest = image.digest.clone();
            (
                format!("{}:{}", image.name, image.tag),
                digest.unwrap_or_else(|| "unresolved".to_owned()),
            )
        };
        changes.extend(by_name(
            "image ",
            self.image.iter().map(image),
            newer.image.iter().map(image),
        ));
        let set = |(name, asked): (&String, &Vec<String>)| (name.clone(), asked.join(" "));
        changes.extend(by_name(
            "set ",
            self.sets.iter().map(set),
            newer.sets.iter().map(set),
        ));
        let pair = |(name, version): (&String, &String)| (name.clone(), version.clone());
        changes.extend(by_name(
            "tool ",
            self.tools.iter().map(pair),
            newer.tools.iter().map(pair),
        ));
        changes
    }
}

impl Package {
    fn check(&self, sets: &BTreeMap<String, Vec<String>>) -> Result<()> {
        ensure!(
            self.sha256.len() == 64 && self.sha256.bytes().all(is_hex),
            "{:?} is no SHA-256 in lower-case hexadecimal",
            self.sha256
        );
        let plain = |path: &str| {
            let mut parts = Path::new(path).components();
            !path.is_empty() && parts.all(|part| matches!(part, Component::Normal(_)))
        };
        ensure!(
            plain(&self.file) && plain(&self.archive),
            "{}/{} is no path within an archive",
            self.archive,
            self.file
        );
        if let Some(unknown) = self.sets.iter().find(|set| !sets.contains_key(*set)) {
            bail!("there is no set {unknown}");
        }
        Ok(())
    }

    /// What makes two packages of a name the same.
    fn identity(&self) -> String {
        format!(
            "{} ({})",
            self.version,
            &self.sha256[..12.min(self.sha256.len())]
        )
    }
}

fn is_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

/// One line of what [`LockFile::changes`] found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It was not there.
    Added {
        /// Its name.
        name: String,
        /// Its version.
        to: String,
    },
    /// It is no longer there.
    Removed {
        /// Its name.
        name: String,
        /// Its version.
        from: String,
    },
    /// It is another version, or the same version with another content.
    Changed {
        /// Its name.
        name: String,
        /// What it was.
        from: String,
        /// What it is.
        to: String,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Added { name, to } => write!(f, "+ {name} {to}"),
            Change::Removed { name, from } => write!(f, "- {name} {from}"),
            Change::Changed { name, from, to } => write!(f, "~ {name} {from} -> {to}"),
        }
    }
}

fn by_name(
    what: &str,
    old: impl Iterator<Item = (String, String)>,
    new: impl Iterator<Item = (String, String)>,
) -> Vec<Change> {
    let (old, new): (BTreeMap<_, _>, BTreeMap<_, _>) = (old.collect(), new.collect());
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let change = |name: &String| {
        let shown = format!("{what}{name}");
        match (old.get(name).cloned(), new.get(name).cloned()) {
            (None, Some(to)) => Some(Change::Added { name: shown, to }),
            (Some(from), None) => Some(Change::Removed { name: shown, from }),
            (Some(from), Some(to)) if from != to => Some(Change::Changed {
                name: shown,
                from,
                to,
            }),
            _ => None,
        }
    };
    names.into_iter().filter_map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str) -> Package {
        Package {
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: "arm64".to_owned(),
            archive: "debian".to_owned(),
            file: format!("pool/main/{name}_{version}_arm64.deb"),
            size: 12,
            sha256: "0123456789abcdef".repeat(4),
            sets: BTreeSet::from(["node".to_owned()]),
        }
    }

    fn lock(packages: &[Package]) -> LockFile {
        let mut lock = LockFile::new("trixie");
        lock.sets.insert("node".to_owned(), vec!["zsh".to_owned()]);
        lock.tools.insert("mke2fs".to_owned(), "1.47.2".to_owned());
        lock.image.push(Image {
            name: "portainer/agent".to_owned(),
            tag: "2.33.5".to_owned(),
            digest: None,
        });
        lock.package = packages.to_vec();
        lock
    }

    #[test]
    fn the_file_is_sorted_and_reads_back() {
        let lock = lock(&[package("zsh", "5.9"), package("libc6", "2.41")]);
        let text = lock.render().unwrap();
        insta::assert_snapshot!(text);
        let mut read = LockFile::parse(&text).unwrap();
        assert_eq!(read.render().unwrap(), text);
        read.package.reverse();
        assert_eq!(read, lock);
    }

    #[test]
    fn a_set_is_what_was_asked_for() {
        let mut other = package("dash", "1");
        other.sets = BTreeSet::new();
        let lock = lock(&[package("zsh", "5.9"), other, package("libc6", "2.41")]);
        let names: Vec<&str> = lock
            .set("node", &["zsh"])
            .unwrap()
            .iter()
            .map(|p| p.name.as_str())
            .collect();
        assert_eq!(names, ["libc6", "zsh"]);
        let message = |name: &str, asked: &[&str]| lock.set(name, asked).unwrap_err().to_string();
        assert_eq!(
            message("redis", &[]),
            "the lock file has no packages for redis: write it anew with `cargo xtask lock`"
        );
        assert_eq!(
            message("node", &["fish"]),
            "the lock file is older than what node is made of (new: [fish]; gone: [zsh]): \
             write it anew with `cargo xtask lock`"
        );
    }

    #[test]
    fn changes_are_named() {
        let old = lock(&[package("a", "1"), package("b", "1"), package("c", "1")]);
        let mut content = package("c", "1");
        content.sha256 = "f".repeat(64);
        let mut new = lock(&[package("b", "2"), content, package("d", "1")]);
        new.image[0].digest = Some("sha256:00".to_owned());
        new.tools.insert("rustc".to_owned(), "1.95.0".to_owned());
        new.sets
            .insert("node".to_owned(), vec!["zsh".to_owned(), "dash".to_owned()]);
        let shown: Vec<String> = old.changes(&new).iter().map(Change::to_string).collect();
        insta::assert_snapshot!(shown.join("\n"));
        assert_eq!(old.changes(&old), []);
    }

    #[test]
    fn damage_is_named() {
        let text = lock(&[package("zsh", "5.9")]).render().unwrap();
        let message = |from: &str, to: &str| {
            assert!(text.contains(from), "{from} is not in {text}");
            format!(
                "{:#}",
                LockFile::parse(&text.replacen(from, to, 1)).unwrap_err()
            )
        };
        let cases = [
            (
                "format = 1",
                "format = 2",
                "its format is 2, this program knows 1",
            ),
            ("0123456789abcdef", "0123456789ABCDEF", "is no SHA-256"),
            ("pool/main", "../main", "is no path within an archive"),
            ("\"node\"", "\"knot\"", "package zsh: there is no set knot"),
            ("size = 12", "size = -12", "line "),
            ("size = 12", "length = 12", "unknown field `length`"),
        ];
        for (from, to, expected) in cases {
            let message = message(from, to);
            assert!(message.contains(expected), "{message}");
        }
        let twice = lock(&[package("zsh", "5.9"), package("zsh", "6")])
            .render()
            .unwrap();
        assert_eq!(
            LockFile::parse(&twice).unwrap_err().to_string(),
            "package zsh is there twice"
        );
    }
}
