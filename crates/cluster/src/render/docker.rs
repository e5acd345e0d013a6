//! The configuration of the Docker engine.

use serde_json::{Value, json};

use super::json;
use crate::spec::{Cluster, Runtime};

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
    let runtime = cluster.docker.runtime;
    let mut settings = json!({
        "default-runtime": runtime.name(),
        "insecure-registries": insecure_registries(cluster),
        "log-driver": "json-file",
        "log-opts": { "max-size": "10m", "max-file": "3" },
    });
    if runtime == Runtime::Crun {
        // An engine knows runc without being told, and no other.
        let program = format!("/usr/bin/{}", runtime.name());
        settings["runtimes"] = json!({ runtime.name(): { "path": program } });
    }
    settings
}

/// `/etc/docker/daemon.json`, whole.
pub fn daemon_json(cluster: &Cluster) -> String {
    json(&daemon(cluster))
}
