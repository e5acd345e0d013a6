//! The files that follow from a cluster: pure functions from a [`Cluster`] to text.
//!
//! Each function makes one file, or the lines that are ours in somebody else's; [`files`] makes them all, under the
//! names `bramble render` gives them.

pub mod ansible;
pub mod boot;
pub mod docker;
pub mod network;
pub mod packages;
pub mod ssh;
pub mod stacks;
pub mod storage;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use ssh_key::PublicKey;

use crate::spec::Cluster;
use ssh::HostKeys;
use stacks::Images;

/// Contents of files by their names, which are relative.
pub type Files = BTreeMap<PathBuf, String>;

/// The public halves of a cluster's keys.
#[derive(Debug, Clone)]
pub struct Keys {
    /// Lets the operator in.
    pub operator: PublicKey,
    /// Lets the nodes in to each other.
    pub cluster: PublicKey,
    /// What each node proves itself with.
    pub hosts: HostKeys,
}

impl Keys {
    /// All keys that let in to the account on every node, as lines of `authorized_keys`.
    pub fn authorized(&self, cluster: &Cluster) -> Vec<String> {
        let own = [&self.operator, &self.cluster]
            .into_iter()
            .filter_map(|key| key.to_openssh().ok());
        own.chain(cluster.access.authorized_keys.iter().cloned())
            .collect()
    }
}

/// All files of a cluster. What follows from keys is left out without them.
pub fn files(cluster: &Cluster, images: &Images, keys: Option<&Keys>) -> Files {
    let mut files = Files::new();
    let mut add = |name: &str, contents: String| files.insert(PathBuf::from(name), contents);
    add("hosts", network::hosts(cluster));
    add("dnsmasq.conf", network::dnsmasq(cluster));
    add("reservations.txt", network::reservations(cluster));
    add("daemon.json", docker::daemon_json(cluster));
    if let Some(nas) = &cluster.nas {
        for node in &cluster.nodes {
            add(&storage::fstab_name(nas, node), storage::fstab(nas, node));
        }
        add("exports", storage::exports(nas, cluster.network.subnet));
    }
    for (name, stack) in stacks::all(cluster, images) {
        add(&format!("stacks/{name}.yml"), stack);
    }
    for (name, contents) in stacks::configs() {
        add(&format!("stacks/{name}"), contents.to_owned());
    }
    add("seeds-local.yml", stacks::local::seeds());
    if let Some(keys) = keys {
        add("known_hosts", ssh::known_hosts(cluster, &keys.hosts));
        add("ansible/inventory.yml", ansible::inventory(cluster));
        add("ansible/playbook.yml", ansible::playbook(cluster, keys));
        for node in &cluster.nodes {
            for (system, card) in [
                ("bookworm", boot::bookworm(cluster, node, keys)),
                ("trixie", boot::trixie(cluster, node, keys)),
            ] {
                for (name, contents) in card {
                    add(
                        &format!("boot/{}/{system}/{}", node.name, name.display()),
                        contents,
                    );
                }
            }
        }
    }
    files
}

/// JSON as it stands in a file.
fn json(value: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(value)
        .expect("the value has string keys and no sinks that fail");
    text + "\n"
}

/// YAML as it stands in a file, under a comment that says where it comes from.
fn yaml(about: &str, value: &impl Serialize) -> String {
    yaml_after(&format!("# {about}\n"), value)
}

/// YAML as it stands in a file, after whole lines of a heading.
fn yaml_after(heading: &str, value: &impl Serialize) -> String {
    let text =
        serde_yaml_ng::to_string(value).expect("the value has string keys and no sinks that fail");
    format!("{heading}{text}")
}
