//! What is installed on every node, and where it comes from.

use std::collections::BTreeMap;

use crate::spec::{Cluster, DockerSource, Runtime};

/// Roots of trust, without which nothing is fetched by HTTPS.
pub const TRUST: &str = "ca-certificates";

/// A place where packages come from beside the distribution. `$ID` and `$CODENAME` stand for the node's own, like
/// `debian` and `trixie`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageSource {
    /// Names its files.
    pub name: &'static str,
    /// Where its packages are.
    pub uri: String,
    /// `stable`, `main`.
    pub component: &'static str,
    /// Where the key that they are signed with is.
    pub key_url: String,
    /// The key's SHA-256, in hexadecimal digits.
    pub key_sha256: &'static str,
    /// `asc` for a key in text, `gpg` for one in bytes.
    pub key_format: &'static str,
}

/// Places beside the distribution that the cluster's packages come from.
pub fn sources(cluster: &Cluster) -> Vec<PackageSource> {
    let mut sources = Vec::new();
    if cluster.docker.source == DockerSource::DockerCe {
        let uri = format!("{}/linux/$ID", cluster.docker.mirror);
        sources.push(PackageSource {
            name: "docker",
            key_url: format!("{uri}/gpg"),
            uri,
            component: "stable",
            // Of fingerprint 9DC8 5822 9FC7 DD38 854A E2D8 8D81 803C 0EBF CD88.
            key_sha256: "1500c1f56fa9e26b9b8f42452a553675796ade0807cdce11975eb98170b3a570",
            key_format: "asc",
        });
    }
    if let Some(tailscale) = &cluster.tailscale {
        let uri = format!("{}/stable/$ID", tailscale.mirror);
        sources.push(PackageSource {
            name: "tailscale",
            key_url: format!("{uri}/$CODENAME.noarmor.gpg"),
            uri,
            component: "main",
            // Of fingerprint 2596 A99E AAB3 3821 893C 0A79 458C A832 957F 5868.
            key_sha256: "3e03dacf222698c60b8e2f990b809ca1b3e104de127767864284e6c228f1fb39",
            key_format: "gpg",
        });
    }
    sources
}

/// Debian packages of every node: what its services need, then what the cluster file adds.
pub fn names(cluster: &Cluster) -> Vec<String> {
    let mut names = vec![TRUST.to_owned()];
    let engine: &[&str] = match cluster.docker.source {
        DockerSource::Distro => &["docker-cli", "docker.io"],
        DockerSource::DockerCe => &["containerd.io", "docker-ce", "docker-ce-cli"],
        // It installs them itself.
        DockerSource::Script => &[],
    };
    names.extend(engine.iter().map(ToString::to_string));
    if cluster.docker.runtime == Runtime::Crun {
        names.push(Runtime::Crun.name().to_owned());
    }
    names.push("nfs-common".to_owned());
    names.extend(cluster.tailscale.as_ref().map(|_| "tailscale".to_owned()));
    names.extend(cluster.timezone.as_ref().map(|_| "tzdata".to_owned()));
    for added in &cluster.packages {
        if !names.contains(added) {
            names.push(added.clone());
        }
    }
    names
}

/// Which of [`names`] older systems do not have, and the first release of Debian that does: up to Bookworm, docker.io
/// held what docker-cli has now.
pub fn since(cluster: &Cluster) -> BTreeMap<String, u32> {
    match cluster.docker.source {
        DockerSource::Distro => BTreeMap::from([("docker-cli".to_owned(), 13)]),
        _ => BTreeMap::new(),
    }
}
