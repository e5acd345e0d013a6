//! How the operator reaches the nodes, and knows that it is them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ssh_key::PublicKey;

use crate::render::network::names;
use crate::spec::{Cluster, Node};

/// Public host keys by node name.
pub type HostKeys = BTreeMap<String, PublicKey>;

/// A `known_hosts` file: a line per node with all its names and its address. Nodes without a key are left out.
pub fn known_hosts(cluster: &Cluster, host_keys: &HostKeys) -> String {
    let line = |node: &Node| {
        let key = host_keys.get(&node.name)?;
        let names = names(cluster, node).join(",");
        let mut key = key.clone();
        // The comment of a key says who made it, which matters to nobody here.
        key.set_comment("");
        let key = key.to_openssh().ok()?;
        Some(format!("{names},{} {}\n", node.ip, key.trim_end()))
    };
    cluster.nodes.iter().filter_map(line).collect()
}

/// What `ssh_config` needs to know of the operator's machine.
#[derive(Debug, Clone)]
pub struct SshPaths {
    /// The operator's private key.
    pub identity: PathBuf,
    /// The file of [`known_hosts`].
    pub known_hosts: PathBuf,
    /// A short directory of mode 0700 for the sockets of shared connections.
    pub control_dir: PathBuf,
    /// A file whose settings win.
    pub include: Option<PathBuf>,
}

/// An `ssh_config` with a host per node, for `ssh -F`.
pub fn ssh_config(cluster: &Cluster, paths: &SshPaths) -> String {
    let mut text = format!(
        "# How to reach the nodes of {}: ssh -F THIS_FILE NODE\n",
        cluster.name
    );
    if let Some(include) = &paths.include {
        text += &format!(
            "\n# What is said first, wins.\nInclude {}\n",
            quoted(include)
        );
    }
    for node in &cluster.nodes {
        // By its address, too, as Ansible calls it.
        let patterns: Vec<String> = [&node.name]
            .into_iter()
            .chain(&node.aliases)
            .cloned()
            .chain([node.ip.to_string()])
            .collect();
        text += &format!(
            "\nHost {}\n  HostName {}\n  HostKeyAlias {}\n",
            patterns.join(" "),
            node.ip,
            node.name
        );
    }
    text += &format!(
        "
Host *
  User {user}
  IdentityFile {identity}
  IdentitiesOnly yes
  UserKnownHostsFile {known_hosts}
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  BatchMode yes
  ForwardAgent no
  ConnectTimeout 30
  ServerAliveInterval 15
  ServerAliveCountMax 4
  ControlMaster auto
  ControlPath \"{control}/%C\"
  ControlPersist 60
  LogLevel ERROR
",
        user = cluster.access.user,
        identity = quoted(&paths.identity),
        known_hosts = quoted(&paths.known_hosts),
        control = paths.control_dir.display().to_string().replace('%', "%%"),
    );
    text
}

/// A path as `ssh_config` wants it: in quotes, as it may have blanks, and without tokens to expand.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('%', "%%"))
}
