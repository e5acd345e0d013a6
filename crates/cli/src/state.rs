//! The state directory: the cluster's keys, and what follows from them.

use std::fs::{self, DirBuilder};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use bramble_cluster::render::Keys;
use bramble_cluster::render::ssh::{self, HostKeys, SshPaths};
use bramble_cluster::spec::Cluster;
use ssh_key::PublicKey;

use crate::failure::Usage;

/// Longest directory in which ssh can make its sockets: their names take 57 bytes of the 107 that a path may have.
const LONGEST_CONTROL_DIR: usize = 49;

/// Where it is written how a node that has another host key gets its own from a state directory.
pub(crate) const HOST_KEYS_GUIDE: &str = "`Cards` in docs/guide.md";

/// Where each thing lies in a state directory, which need not exist.
#[derive(Debug, Clone)]
pub(crate) struct State {
    dir: PathBuf,
}

impl State {
    /// The state directory at `dir`.
    pub(crate) fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The directory itself.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where keys lie that are to come, while `bramble rekey` has not brought them to all nodes.
    pub(crate) fn next(&self) -> Self {
        Self::at(self.dir.join("next"))
    }

    /// Where keys lie that are to go, while `bramble rekey` has not revoked them everywhere.
    pub(crate) fn old(&self) -> Self {
        Self::at(self.dir.join("old"))
    }

    /// The private key the operator logs in with; see [`public_half`] for its other half.
    pub(crate) fn operator_key(&self) -> PathBuf {
        self.dir.join("operator_ed25519")
    }

    /// The private key of the nodes' own pair.
    pub(crate) fn cluster_key(&self) -> PathBuf {
        self.dir.join("cluster_ed25519")
    }

    /// The private host key of a node.
    pub(crate) fn host_key(&self, node: &str) -> PathBuf {
        self.host_key_dir().join(node).join("ssh_host_ed25519_key")
    }

    /// The directory of all host keys.
    pub(crate) fn host_key_dir(&self) -> PathBuf {
        self.dir.join("hosts")
    }

    /// The host keys of all nodes, as ssh wants them.
    pub(crate) fn known_hosts(&self) -> PathBuf {
        self.dir.join("known_hosts")
    }

    /// How ssh reaches each node.
    pub(crate) fn ssh_config(&self) -> PathBuf {
        self.dir.join("ssh_config")
    }

    /// The public halves of all keys.
    ///
    /// # Errors
    /// One was not made yet, which is for `bramble keys` to change.
    pub(crate) fn public_keys(&self, cluster: &Cluster) -> anyhow::Result<Keys> {
        Ok(Keys {
            operator: read_public(&public_half(&self.operator_key()))?,
            cluster: read_public(&public_half(&self.cluster_key()))?,
            hosts: self.host_keys(cluster.nodes.iter().map(|node| &node.name))?,
        })
    }

    fn host_keys<'a>(&self, nodes: impl Iterator<Item = &'a String>) -> anyhow::Result<HostKeys> {
        let key = |name: &String| {
            Ok((
                name.clone(),
                read_public(&public_half(&self.host_key(name)))?,
            ))
        };
        nodes.map(key).collect()
    }

    /// Brings `known_hosts` and `ssh_config` up to date, and makes the directory of ssh's sockets. The settings in
    /// `include` win.
    ///
    /// # Errors
    /// The keys were not made yet, or there is no file `include`.
    pub(crate) fn write_ssh_files(
        &self,
        cluster: &Cluster,
        include: Option<&Path>,
    ) -> anyhow::Result<()> {
        let mut known_hosts = ssh::known_hosts(cluster, &self.public_keys(cluster)?.hosts);
        // A node may have its next key already. Not all are there while they are being made, or after a node was added.
        let next = self.next();
        let there = cluster.nodes.iter().map(|node| &node.name);
        let there = there.filter(|name| public_half(&next.host_key(name)).exists());
        known_hosts += &ssh::known_hosts(cluster, &next.host_keys(there)?);
        if let Some(missing) = include.filter(|include| !include.is_file()) {
            return Err(Usage::new(format!("there is no ssh_config {}", missing.display())).into());
        }
        let paths = SshPaths {
            identity: self.operator_key(),
            known_hosts: self.known_hosts(),
            control_dir: control_dir()?,
            include: include.map(std::path::absolute).transpose()?,
        };
        replace(&self.known_hosts(), known_hosts.as_bytes())?;
        replace(
            &self.ssh_config(),
            ssh::ssh_config(cluster, &paths).as_bytes(),
        )?;
        Ok(())
    }
}

/// The public half of a private key file: the same name and `.pub`.
pub(crate) fn public_half(private: &Path) -> PathBuf {
    let mut path = private.as_os_str().to_owned();
    path.push(".pub");
    PathBuf::from(path)
}

/// Reads a public key.
pub(crate) fn read_public(path: &Path) -> anyhow::Result<PublicKey> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let usage = Usage::new(format!("there is no key {}", path.display()));
            return Err(usage
                .help("make the cluster's keys with `bramble keys`")
                .into());
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    PublicKey::from_openssh(&text)
        .with_context(|| format!("{} is no OpenSSH public key", path.display()))
}

/// Makes a directory that nobody else can enter, and closes it if it was there and open.
pub(crate) fn private_dir(dir: &Path) -> anyhow::Result<()> {
    let failed = || format!("cannot make the private directory {}", dir.display());
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(failed)?;
    let mode = fs::metadata(dir).with_context(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).with_context(failed)?;
    }
    Ok(())
}

/// Replaces a file in one step, unless it has these contents already. Returns whether it changed.
pub(crate) fn replace(path: &Path, contents: &[u8]) -> anyhow::Result<bool> {
    if fs::read(path).is_ok_and(|found| found == contents) {
        return Ok(false);
    }
    let failed = || format!("cannot write {}", path.display());
    let dir = path
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let readable = fs::Permissions::from_mode(0o644);
    let mut file = tempfile::Builder::new()
        .permissions(readable)
        .tempfile_in(dir)
        .with_context(failed)?;
    file.write_all(contents).with_context(failed)?;
    file.persist(path).with_context(failed)?;
    Ok(true)
}

/// The directory of ssh's sockets: short, and closed to others, who could hand us theirs otherwise.
fn control_dir() -> anyhow::Result<PathBuf> {
    let uid = nix::unistd::getuid();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join("bramble"));
    let usable = |dir: &PathBuf| {
        let parent_exists = dir.parent().is_some_and(Path::is_dir);
        dir.is_absolute() && parent_exists && dir.as_os_str().len() <= LONGEST_CONTROL_DIR
    };
    let dir = runtime
        .filter(usable)
        .unwrap_or_else(|| PathBuf::from(format!("/tmp/bramble-{uid}")));

    let failed = || format!("cannot make {} for ssh's shared connections", dir.display());
    match DirBuilder::new().mode(0o700).create(&dir) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        made => made.with_context(failed)?,
    }
    let found = fs::symlink_metadata(&dir).with_context(failed)?;
    if !found.is_dir() || found.uid() != uid.as_raw() || found.mode() & 0o077 != 0 {
        bail!(
            "{} is open to others: remove it, or make it yours with `chmod 700`",
            dir.display()
        );
    }
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_says_how_a_node_gets_its_host_key() {
        let guide = include_str!("../../../docs/guide.md");
        let title = HOST_KEYS_GUIDE.split('`').nth(1).unwrap_or_default();
        let section = guide.split("\n## ").find(|text| text.starts_with(title));
        let section = section.unwrap_or_default();
        assert!(
            section.contains("tar -C $state/hosts/$node -c ssh_host_ed25519_key"),
            "{section}"
        );
    }
}
