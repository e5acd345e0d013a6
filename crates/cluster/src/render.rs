//! The files that follow from a cluster: pure functions from a [`Cluster`] to text.
//!
//! Each function makes one file, or the lines that are ours in somebody else's; [`files`] makes them all, under the
//! names `bramble render` gives them.

pub mod docker;
pub mod network;
pub mod ssh;
pub mod stacks;
pub mod storage;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::spec::Cluster;
use ssh::HostKeys;
use stacks::Images;

/// Contents of files by their names, which are relative.
pub type Files = BTreeMap<PathBuf, String>;

/// All files of a cluster. Without `host_keys` there is no `known_hosts`.
pub fn files(cluster: &Cluster, images: &Images, host_keys: Option<&HostKeys>) -> Files {
    let mut files = Files::new();
    let mut add = |name: &str, contents: String| files.insert(PathBuf::from(name), contents);
    add("hosts", network::hosts(cluster));
    add("dnsmasq.conf", network::dnsmasq(cluster));
    add("reservations.txt", network::reservations(cluster));
    add("daemon.json", docker::daemon_json(cluster));
    if let Some(nas) = &cluster.nas {
        add("fstab", storage::fstab(nas));
        add("exports", storage::exports(nas, cluster.network.subnet));
    }
    if let Some(host_keys) = host_keys {
        add("known_hosts", ssh::known_hosts(cluster, host_keys));
    }
    for (name, stack) in stacks::all(cluster, images) {
        add(&format!("stacks/{name}.yml"), stack);
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
    let text =
        serde_yaml_ng::to_string(value).expect("the value has string keys and no sinks that fail");
    format!("# {about}\n{text}")
}
