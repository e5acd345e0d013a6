//! The Docker engine: what it is installed from, and its configuration.

use serde_json::{Value, json};

use super::json;
use crate::spec::Cluster;

/// What every node needs before anything else: the engine, the network file system, and roots of trust.
const PACKAGES: [&str; 4] = ["ca-certificates", "docker-cli", "docker.io", "nfs-common"];

/// Debian packages of every node: what its services need, then what the cluster file adds.
pub fn packages(cluster: &Cluster) -> Vec<String> {
    let own = PACKAGES.map(str::to_owned);
    let added = cluster
        .packages
        .iter()
        .filter(|added| !PACKAGES.contains(&added.as_str()))
        .cloned();
    own.into_iter().chain(added).collect()
}

/// Registries that every daemon speaks plain HTTP with.
pub fn insecure_registries(cluster: &Cluster) -> Vec<String> {
    let registry = &cluster.registry;
    let mut registries = vec![
        "localhost".to_owned(),
        registry.authority(),
        format!("localhost:{}", registry.port),
        format!("{}:{}", cluster.registry_node().ip, registry.port),
    ];
    for extra in &cluster.docker.insecure_registries {
        if !registries.contains(extra) {
            registries.push(extra.clone());
        }
    }
    registries
}

/// What must stand in `/etc/docker/daemon.json`, beside whatever else does.
pub fn daemon(cluster: &Cluster) -> Value {
    // `live-restore` must stay off: a daemon in a swarm refuses to start with it.
    json!({
        "insecure-registries": insecure_registries(cluster),
        "log-driver": "json-file",
        "log-opts": { "max-size": "10m", "max-file": "3" },
    })
}

/// `/etc/docker/daemon.json`, whole.
pub fn daemon_json(cluster: &Cluster) -> String {
    json(&daemon(cluster))
}
