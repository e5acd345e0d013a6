//! The state directory: the cluster's keys and what follows from them.

use std::path::{Path, PathBuf};

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

    /// The private key the operator logs in with; its public half has `.pub` appended.
    pub(crate) fn operator_key(&self) -> PathBuf {
        self.dir.join("operator_ed25519")
    }

    /// The private key of the nodes' own pair.
    pub(crate) fn cluster_key(&self) -> PathBuf {
        self.dir.join("cluster_ed25519")
    }

    /// The private host key of a node.
    pub(crate) fn host_key(&self, node: &str) -> PathBuf {
        self.dir
            .join("hosts")
            .join(node)
            .join("ssh_host_ed25519_key")
    }

    /// The host keys of all nodes, as ssh wants them.
    pub(crate) fn known_hosts(&self) -> PathBuf {
        self.dir.join("known_hosts")
    }

    /// How ssh reaches each node.
    pub(crate) fn ssh_config(&self) -> PathBuf {
        self.dir.join("ssh_config")
    }
}

/// The public half of a private key file: the same name and `.pub`.
pub(crate) fn public_half(private: &Path) -> PathBuf {
    let mut path = private.as_os_str().to_owned();
    path.push(".pub");
    PathBuf::from(path)
}
