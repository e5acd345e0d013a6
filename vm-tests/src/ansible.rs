//! Ansible, as others use it: beside `bramble`, on the same machines.
//!
//! Debian 12's cannot manage machines with Python 3.13, so a newer one is fetched by pip into the store.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use bramble_store::{Artifact, Key, Store};

use crate::operator::Files;
use crate::scenario::Skipped;

/// Raised when the same inputs would be built into something else.
const VERSION: u32 = 1;

/// Ansible itself.
const CORE: &str = "ansible-core==2.19.14";

/// What has its collections, of which few are wanted.
const COMMUNITY: &str = "ansible==12.3.0";

/// The collections that playbooks use, by their directories.
const COLLECTIONS: [&str; 3] = [
    "ansible_collections/ansible/posix/",
    "ansible_collections/community/docker/",
    "ansible_collections/community/library_inventory_filtering_v1/",
];

/// What pip's words mean where it is not there, or where it hears nothing from its index.
const LACKING: [(&str, &str); 3] = [
    ("No module named pip", "there is no pip"),
    ("(from versions: none)", "pip's index does not answer"),
    ("Max retries exceeded", "pip's index does not answer"),
];

/// Unpacks the collections from the archive that it is given into a directory.
const UNPACK: &str = "import sys, zipfile
archive = zipfile.ZipFile(sys.argv[1])
wanted = tuple(sys.argv[3:])
archive.extractall(sys.argv[2], [name for name in archive.namelist() if name.startswith(wanted)])";

/// An Ansible that can be run.
pub struct Ansible {
    artifact: Artifact,
}

/// What a playbook came to, by host.
pub type Recap = BTreeMap<String, Counts>;

/// Tasks of a host, by how they ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Were as they should be, or were changed.
    pub ok: u32,
    /// Were changed, or would be.
    pub changed: u32,
    /// The host did not answer.
    pub unreachable: u32,
    /// Failed.
    pub failed: u32,
}

impl Ansible {
    /// From the store, or fetched now.
    ///
    /// # Errors
    /// When it cannot be fetched; that there is no pip, or that its index does not answer, is a [`Skipped`].
    pub fn get() -> Result<Ansible> {
        let store = Store::open()?;
        let key = Key::builder("ansible", VERSION)
            .text("core", CORE)
            .text("community", COMMUNITY)
            .finish()?;
        let artifact = store.get_or_build(&key, |dir| {
            let lib = dir.join("lib").display().to_string();
            pip(&["install", "--quiet", "--target", &lib, CORE])?;
            let download = tempfile::tempdir()?;
            let to = download.path().display().to_string();
            pip(&["download", "--quiet", "--no-deps", "--dest", &to, COMMUNITY])?;
            let archive = fs::read_dir(download.path())?
                .next()
                .context("pip has fetched nothing")??
                .path();
            let mut unpack = Command::new("python3");
            unpack.args(["-c", UNPACK]).arg(&archive).arg(dir);
            said(unpack.args(COLLECTIONS))
        })?;
        Ok(Ansible { artifact })
    }

    /// Runs a playbook on the hosts of an inventory, as the operator whose `files` these are. What it says goes to
    /// `log`.
    ///
    /// # Errors
    /// When a task fails or a host does not answer: the end of what it said is in the error.
    pub fn play(
        &self,
        files: &Files,
        inventory: &Path,
        playbook: &Path,
        arguments: &[&str],
        log: &Path,
    ) -> Result<Recap> {
        let file = File::options().create(true).append(true).open(log)?;
        let home = files.state().with_file_name("ansible-home");
        let status = self
            .command("playbook")
            .env("ANSIBLE_HOME", &home)
            .env("ANSIBLE_LOCAL_TEMP", home.join("tmp"))
            .env("ANSIBLE_NOCOLOR", "1")
            .env("ANSIBLE_PIPELINING", "1")
            .env("ANSIBLE_TIMEOUT", "120")
            .env(
                "ANSIBLE_SSH_ARGS",
                format!("-F {}", files.state().join("ssh_config").display()),
            )
            .arg("-i")
            .arg(inventory)
            .arg(playbook)
            .arg("-e")
            .arg(format!("bramble_state={}", files.state().display()))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .status()
            .context("cannot run python3")?;
        let text = fs::read_to_string(log)?;
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(40)..].join("\n  ");
        if !status.success() {
            bail!(
                "ansible-playbook failed ({status}); the end of {}:\n  {tail}",
                log.display()
            );
        }
        let recap = recap(&text);
        ensure!(
            !recap.is_empty(),
            "ansible-playbook met no host; the end of {}:\n  {tail}",
            log.display()
        );
        Ok(recap)
    }

    /// A program of Ansible's: `playbook`, `inventory`.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("python3");
        command
            .env("PYTHONPATH", self.artifact.path.join("lib"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("ANSIBLE_COLLECTIONS_PATH", &self.artifact.path)
            .env("LC_ALL", "C.UTF-8")
            .args(["-m", "ansible", program]);
        command
    }
}

fn pip(arguments: &[&str]) -> Result<()> {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "--disable-pip-version-check"])
        .args(arguments);
    said(&mut pip).map_err(|error| match lacking(&error) {
        Some(what) => Skipped(format!("Ansible cannot be had, for {what}: {error:#}")).into(),
        None => error,
    })
}

/// What pip's error says this machine is lacking; anything else that goes wrong is no lack.
fn lacking(error: &anyhow::Error) -> Option<&'static str> {
    let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    if error.downcast_ref().is_some_and(missing) {
        return Some("there is no python3");
    }
    let text = error.to_string();
    // The index has versions, of which this Python can have none.
    if text.contains("Requires-Python") {
        return None;
    }
    let says = |(words, _): &&(&str, _)| text.contains(words);
    LACKING.iter().find(says).map(|(_, what)| *what)
}

/// Runs a command whose words matter if it fails.
fn said(command: &mut Command) -> Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .context("cannot run python3")?;
    if !output.status.success() {
        let shown = format!("{command:?}").replace('"', "");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let lines: Vec<&str> = text.trim().lines().collect();
        let tail = lines[lines.len().saturating_sub(5)..].join("\n");
        bail!("`{shown}` failed ({}): {tail}", output.status);
    }
    Ok(())
}

/// The last recap that a playbook printed: lines like `worker1 : ok=3 changed=1 unreachable=0 failed=0 ...`.
fn recap(text: &str) -> Recap {
    let Some((_, lines)) = text.rsplit_once("PLAY RECAP") else {
        return Recap::new();
    };
    let host = |line: &str| {
        let (host, counts) = line.split_once(" : ")?;
        let count = |name: &str| {
            let words = counts.split_whitespace();
            words
                .filter_map(|word| word.split_once('='))
                .find(|(found, _)| *found == name)?
                .1
                .parse()
                .ok()
        };
        let counts = Counts {
            ok: count("ok")?,
            changed: count("changed")?,
            unreachable: count("unreachable")?,
            failed: count("failed")?,
        };
        Some((host.trim().to_owned(), counts))
    };
    lines.lines().filter_map(host).collect()
}

/// Where `bramble render` has put the playbook and the inventory, below the directory that it wrote to.
pub fn rendered(out: &Path) -> (PathBuf, PathBuf) {
    let dir = out.join("ansible");
    (dir.join("inventory.yml"), dir.join("playbook.yml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_be_had_is_lacking() {
        let missing = || anyhow::Error::from(io::Error::from(io::ErrorKind::NotFound));
        assert_eq!(
            lacking(&missing().context("cannot run python3")),
            Some("there is no python3")
        );
        for (said, expected) in [
            (
                "/usr/bin/python3: No module named pip",
                Some("there is no pip"),
            ),
            (
                "ERROR: Could not find a version that satisfies the requirement ansible-core==2.19.14 (from versions: none)\n\
                 ERROR: No matching distribution found for ansible-core==2.19.14",
                Some("pip's index does not answer"),
            ),
            (
                "ERROR: Could not install packages due to an OSError: HTTPSConnectionPool(host='index', port=443): \
                 Max retries exceeded with url: /simple",
                Some("pip's index does not answer"),
            ),
            (
                "ERROR: Ignored the following versions that require a different python version: 2.19.14 Requires-Python >=3.11\n\
                 ERROR: Could not find a version that satisfies the requirement ansible-core==2.19.14 (from versions: none)",
                None,
            ),
            (
                "ERROR: Could not find a version that satisfies the requirement ansible-core==99.1 (from versions: 2.19.13)",
                None,
            ),
            ("error: externally-managed-environment", None),
            ("OSError: [Errno 28] No space left on device", None),
        ] {
            let error = anyhow::anyhow!("`python3 -m pip` failed (exit status: 1): {said}");
            assert_eq!(lacking(&error), expected, "{said}");
        }
    }

    #[test]
    fn the_last_recap_counts() {
        let text = "\
PLAY RECAP *****
worker1                    : ok=1    changed=1    unreachable=0    failed=0    skipped=0    rescued=0    ignored=0

PLAY RECAP *****
manager1                   : ok=30   changed=12   unreachable=0    failed=0    skipped=3    rescued=0    ignored=0
worker1                    : ok=28   changed=0    unreachable=1    failed=2    skipped=3    rescued=0    ignored=0
";
        let counts = |ok, changed, unreachable, failed| Counts {
            ok,
            changed,
            unreachable,
            failed,
        };
        let expected = [
            ("manager1", counts(30, 12, 0, 0)),
            ("worker1", counts(28, 0, 1, 2)),
        ];
        let expected: Recap = expected.map(|(host, it)| (host.to_owned(), it)).into();
        assert_eq!(recap(text), expected);
    }
}
