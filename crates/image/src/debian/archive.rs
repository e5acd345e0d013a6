//! Debian's archive as machines see it that install packages by themselves: its suites, with locked packages alone.
//!
//! For a rehearsal, which has no way out. Packages have the place that they have on every mirror, but come
//! uncompressed, since whoever unpacks them is emulated. One of them has a later version: an upgrade that can be made.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bramble_store::{Artifact, Key};
use tar::{Archive, Builder};

use super::fetch::Deb;
use super::mirror::ARCHIVES;
use super::{Along, SUITE, Set, repository};
use crate::Inputs;
use crate::layer::Layer;
use crate::rootfs;

/// Raised when the same inputs would be built into something else.
const VERSION: u32 = 1;

/// What can be installed: what nodes need, what the guide has them have, and what Ansible needs there.
const PACKAGES: &[&str] = &[
    "ca-certificates",
    "crun",
    "curl",
    "docker-cli",
    "docker.io",
    "gnupg2",
    "nfs-common",
    "pass",
    "python3",
    "python3-docker",
    "python3-pip",
    "tzdata",
    "vim",
];

/// What there is a later version of: the package that names the newest kernel. It is on every node, consists of nothing
/// but its name, and asks for a reboot.
const LATER: &str = "linux-image-arm64";

/// What makes a version later than another.
const SUFFIX: &str = "+later1";

/// The suites that Debian's machines look into, and the archives that they are in; upgrades come by the last.
const SUITES: [(&str, &str); 3] = [
    (ARCHIVES[0], ""),
    (ARCHIVES[0], "-updates"),
    (ARCHIVES[1], "-security"),
];

/// The packages of the archive, in the lock file.
pub fn set() -> Set {
    Set {
        name: "archive",
        packages: PACKAGES.to_vec(),
        along: Along::Dependencies,
    }
}

/// The archive, in the store.
pub struct Mirror {
    artifact: Artifact,
    /// Identifies what it was made from.
    pub key: Key,
}

impl Mirror {
    /// From the store, or built now.
    ///
    /// # Errors
    /// The lock does not have its packages, or they cannot be fetched.
    pub fn get(inputs: &Inputs) -> Result<Mirror> {
        let packages = inputs.packages(&set())?;
        let nodes = rootfs::node().set();
        let nodes = inputs.packages(&nodes)?;
        let key = Key::builder("archive", VERSION)
            .text("packages", packages.list())
            .text("upgraded", nodes.version(LATER)?)
            .finish()?;
        let artifact = inputs.store.get_or_build(&key, |dir| {
            let debs = packages.fetch()?;
            let kernel = nodes.fetch()?;
            let kernel = kernel
                .iter()
                .find(|deb| deb.package.name == LATER)
                .with_context(|| format!("nodes have no package {LATER}"))?;
            write(&debs, kernel, dir)
        })?;
        Ok(Mirror { artifact, key })
    }

    /// Whether it was in the store already.
    pub fn was_cached(&self) -> bool {
        self.artifact.was_cached
    }

    /// Its files, below the directory `root` of a machine: `debian` and `debian-security`.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn layer(&self, root: &str) -> Result<Layer> {
        let mut layer = Layer::new();
        for archive in ARCHIVES {
            for file in files(&self.artifact.path.join(archive))? {
                let below = file.strip_prefix(&self.artifact.path)?.display();
                layer = layer
                    .copy(&format!("{root}/{below}"), 0o644, &file)
                    .with_context(|| format!("cannot read {}", file.display()))?;
            }
        }
        Ok(layer)
    }
}

/// Writes `debs` into the directory `dir` as the archives have them, and a later version of `upgraded`.
fn write(debs: &[Deb], upgraded: &Deb, dir: &Path) -> Result<()> {
    let mut indices: BTreeMap<&str, String> = BTreeMap::new();
    for deb in debs {
        let (archive, suffix) = match deb.package.archive == ARCHIVES[1] {
            true => SUITES[2],
            false => SUITES[0],
        };
        let path = placed(dir, archive, &deb.package.file)?;
        repository::unpacked(&deb.path(), &path)
            .with_context(|| format!("cannot read the package {}", deb.package.name))?;
        *indices.entry(suffix).or_default() += &repository::stanza(&path, &deb.package.file)?;
    }
    let (archive, suffix) = SUITES[2];
    let file = format!("pool/updates/main/l/{LATER}{SUFFIX}.deb");
    let path = placed(dir, archive, &file)?;
    later(upgraded, &path)?;
    *indices.entry(suffix).or_default() += &repository::stanza(&path, &file)?;

    for (archive, suffix) in SUITES {
        let suite = format!("{SUITE}{suffix}");
        let index = placed(
            dir,
            archive,
            &format!("dists/{suite}/{}", repository::INDEX),
        )?;
        fs::write(&index, indices.remove(suffix).unwrap_or_default())?;
        let release = repository::release(&suite, &index)?;
        fs::write(
            dir.join(archive).join("dists").join(&suite).join("Release"),
            release,
        )?;
    }
    Ok(())
}

/// Where `file` of `archive` is below `dir`, in a directory that is there now.
fn placed(dir: &Path, archive: &str, file: &str) -> Result<PathBuf> {
    let path = dir.join(archive).join(file);
    fs::create_dir_all(path.parent().unwrap_or(dir))?;
    Ok(path)
}

/// Writes the package `deb` to `to` as it is, under a later version.
fn later(deb: &Deb, to: &Path) -> Result<()> {
    let control = repository::part(&deb.path(), "--ctrl-tarfile")?;
    let mut changed = Builder::new(Vec::new());
    for entry in Archive::new(control.as_slice()).entries()? {
        let mut entry = entry?;
        let mut header = entry.header().clone();
        let name = entry.path()?.into_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        if name.ends_with("control") {
            content = with_later_version(&String::from_utf8_lossy(&content)).into_bytes();
            header.set_size(content.len() as u64);
        }
        changed.append_data(&mut header, name, content.as_slice())?;
    }
    let mut control = changed.into_inner()?;
    control.flush()?;
    repository::assemble(
        control,
        repository::part(&deb.path(), "--fsys-tarfile")?,
        to,
    )
}

fn with_later_version(control: &str) -> String {
    let line = |line: &str| match line.starts_with("Version: ") {
        true => format!("{line}{SUFFIX}\n"),
        false => format!("{line}\n"),
    };
    control.lines().map(line).collect()
}

/// All files below `dir`, sorted.
fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let path = entry?.path();
        match path.is_dir() {
            true => found.extend(files(&path)?),
            false => found.push(path),
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_version_is_later() {
        let control = "Package: linux-image-arm64\nSource: linux-signed-arm64 (6.12.1+1)\nVersion: 6.12.1-1\n\
                       Depends: linux-image-6.12-arm64 (= 6.12.1-1)\n";
        assert_eq!(
            with_later_version(control),
            control.replace("Version: 6.12.1-1\n", "Version: 6.12.1-1+later1\n")
        );
    }
}
