//! What a node is, and what is installed on it.

use bramble_cluster::render::boot;
use bramble_cluster::render::packages::{self, PackageSource};
use bramble_cluster::spec::{Cluster, DockerSource, Node, Upgrade};
use bramble_provision::Resource;
use bramble_provision::resource::{
    AptSource, DockerScript, FirmwareConfig, Hostname, KernelCmdline, Packages, Tailscale,
    Timezone, Units,
};

use super::Keys;

/// How old lists of packages may be before an upgrade looks for newer ones, in hours.
const MAX_AGE_HOURS: u32 = 24;

/// Everything from the host name to what the firmware is told.
pub(super) fn system(cluster: &Cluster, node: &Node) -> Vec<Resource> {
    let mut resources = vec![Resource::Hostname(Hostname {
        name: node.name.clone(),
    })];
    let sources = packages::sources(cluster);
    if !sources.is_empty() {
        resources.push(Resource::Packages(Packages {
            group: "trust".into(),
            names: vec![packages::TRUST.into()],
            since: Default::default(),
        }));
    }
    resources.extend(sources.into_iter().map(source));
    if cluster.updates.upgrade == Upgrade::Dist {
        resources.push(Resource::Upgrade(bramble_provision::resource::Upgrade {
            max_age_hours: MAX_AGE_HOURS,
        }));
    }
    resources.push(Resource::Packages(Packages {
        group: String::new(),
        names: packages::names(cluster),
        since: packages::since(cluster),
    }));
    if cluster.docker.source == DockerSource::Script {
        resources.push(Resource::DockerScript(DockerScript {
            url: cluster.docker.script.clone(),
            mirror: Some(cluster.docker.mirror.clone()),
        }));
    }
    resources.extend(
        cluster
            .timezone
            .clone()
            .map(|name| Resource::Timezone(Timezone { name })),
    );
    resources.push(Resource::KernelCmdline(KernelCmdline {
        words: boot::kernel_words(cluster),
    }));
    // Also when there are none: those of an earlier cluster file go.
    resources.push(Resource::FirmwareConfig(FirmwareConfig {
        content: boot::firmware_settings(cluster),
    }));
    resources
}

/// A way in from elsewhere, where there is a key to it.
pub(super) fn tailscale(keys: &Keys) -> Vec<Resource> {
    let Some(auth_key) = keys.tailscale.clone() else {
        return Vec::new();
    };
    vec![
        Resource::Units(Units {
            names: vec!["tailscaled.service".into()],
        }),
        Resource::Tailscale(Tailscale { auth_key }),
    ]
}

fn source(source: PackageSource) -> Resource {
    Resource::AptSource(AptSource {
        name: source.name.into(),
        uri: source.uri,
        component: source.component.into(),
        key_url: source.key_url,
        key_sha256: source.key_sha256.into(),
        key_format: source.key_format.into(),
    })
}
