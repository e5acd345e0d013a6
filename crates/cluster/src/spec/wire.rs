//! The cluster file as it is written: every field optional, every value with its place in the file.
//!
//! What is required, and what a missing field means, is decided when this becomes a
//! [`Cluster`](super::Cluster), so that all mistakes can be reported together. The doc comments below are
//! also what editors show: they go into the JSON schema.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

use super::{DockerSource, Reboot, Role, Runtime, Upgrade};

type Placed<T> = Option<Spanned<T>>;

/// A cluster of Raspberry Pis.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "bramble cluster file")]
pub struct File {
    /// Version of this file format: 1.
    #[schemars(with = "i64", range(min = 1, max = 1))]
    pub version: Placed<i64>,
    /// What the cluster is called. Lower-case letters, digits and hyphens.
    #[schemars(with = "String")]
    pub name: Placed<String>,
    /// The network all nodes are on.
    #[schemars(with = "Network")]
    pub network: Placed<Network>,
    /// The time zone of every node: `Europe/Berlin`. By default the image's own, which is UTC.
    #[schemars(with = "Option<String>")]
    pub timezone: Placed<String>,
    /// Who may log in.
    #[serde(default)]
    pub access: Access,
    /// The NFSv4 server whose exports every node mounts. Without it there is no shared storage.
    #[schemars(with = "Option<Nas>")]
    pub nas: Placed<Nas>,
    /// How nodes are kept up to date.
    #[serde(default)]
    pub updates: Updates,
    /// How nodes get and configure Docker.
    #[serde(default)]
    pub docker: Docker,
    /// Tailscale, by which nodes are reached from elsewhere. Without this table there is none.
    #[schemars(with = "Option<Tailscale>")]
    pub tailscale: Placed<Tailscale>,
    /// What the firmware and the kernel are told.
    #[serde(default)]
    pub boot: Boot,
    /// The private container registry.
    #[serde(default)]
    pub registry: Registry,
    /// The seed search.
    #[serde(default)]
    pub search: Search,
    /// Portainer, a web page that shows and manages the swarm. Without this table there is none.
    #[schemars(with = "Option<Portainer>")]
    pub portainer: Placed<Portainer>,
    /// Packages every node gets beyond those its services need.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub packages: Vec<Spanned<String>>,
    /// The Pis.
    #[schemars(with = "Vec<Node>", length(min = 1))]
    pub nodes: Placed<Vec<Spanned<Node>>>,
}

/// The network all nodes are on.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The subnet: `192.168.1.0/24`.
    #[schemars(with = "String")]
    pub subnet: Placed<String>,
    /// The router's address. By default the first address of the subnet.
    #[schemars(with = "Option<String>")]
    pub router: Placed<String>,
    /// The domain node names live in. By default `lan`.
    #[schemars(with = "Option<String>")]
    pub domain: Placed<String>,
    /// First and last address that the router gives to machines without a reservation. By default none.
    #[schemars(with = "Option<[String; 2]>")]
    pub dhcp_pool: Placed<Vec<Spanned<String>>>,
}

/// Who may log in.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// The account on every node. By default `pi`.
    #[schemars(with = "Option<String>")]
    pub user: Placed<String>,
    /// Its password, hashed by `openssl passwd -6`. By default none is accepted, only keys are.
    #[schemars(with = "Option<String>")]
    pub password_hash: Placed<String>,
    /// Public keys accepted in addition to the operator's own: `ssh-ed25519 AAAA... name`.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub authorized_keys: Vec<Spanned<String>>,
}

/// The NFSv4 server.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nas {
    /// Its address.
    #[schemars(with = "String")]
    pub server: Placed<String>,
    /// The exports to mount, each at `/mnt/nfs/NAME`. By default `pi-cluster` alone.
    #[schemars(with = "Option<Vec<String>>")]
    pub exports: Placed<Vec<Spanned<String>>>,
    /// The export that `/shared` leads to. By default the first.
    #[schemars(with = "Option<String>")]
    pub shared: Placed<String>,
    /// Mount options.
    #[schemars(with = "Option<String>")]
    pub options: Placed<String>,
}

/// How nodes get and configure Docker.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Docker {
    /// Where the engine comes from.
    #[schemars(with = "Option<DockerSource>")]
    pub source: Placed<DockerSource>,
    /// What it starts containers with. By default `crun` for the distribution's engine, and `runc` for Docker's own.
    #[serde(default)]
    pub runtime: Option<Runtime>,
    /// Registries to speak plain HTTP with, in addition to the cluster's own: `host:port`.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub insecure_registries: Vec<Spanned<String>>,
    /// Whether every node passes on what is asked at a published port, wherever the service runs: Swarm's routing mesh. By
    /// default it does. Without it nodes have less to tell each other, and services of your own publish ports with `mode: host`,
    /// on the nodes where they run.
    #[serde(default)]
    pub routing_mesh: Option<bool>,
    /// Where Docker's own packages come from. By default `https://download.docker.com`.
    #[schemars(with = "Option<String>")]
    pub mirror: Placed<String>,
    /// The script that installs Docker with the source `script`. By default `https://get.docker.com`.
    #[schemars(with = "Option<String>")]
    pub script: Placed<String>,
}

/// How nodes are kept up to date.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Updates {
    /// Which upgrades of installed packages `bramble provision` makes. By default none.
    #[schemars(with = "Option<Upgrade>")]
    pub upgrade: Placed<Upgrade>,
    /// Whether `bramble provision` reboots nodes. By default those that need it.
    #[schemars(with = "Option<Reboot>")]
    pub reboot: Placed<Reboot>,
}

/// Tailscale, by which nodes are reached from elsewhere.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tailscale {
    /// A file with the auth key that lets nodes in, relative to this file. It is read when nodes are provisioned.
    #[schemars(with = "String")]
    pub auth_key_file: Placed<String>,
    /// Where Tailscale's packages come from. By default `https://pkgs.tailscale.com`.
    #[schemars(with = "Option<String>")]
    pub mirror: Placed<String>,
}

/// What the firmware and the kernel are told.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// Degrees Celsius at which the fan of a PoE HAT goes to its four speeds, slowest first.
    #[schemars(with = "Option<[i64; 4]>")]
    pub poe_fan: Placed<Vec<Spanned<i64>>>,
    /// Faster than the maker meant it. By default nothing is.
    #[schemars(with = "Option<Overclock>")]
    pub overclock: Placed<Overclock>,
    /// More lines for config.txt.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub config: Vec<Spanned<String>>,
    /// More words for the kernel command line.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub cmdline: Vec<Spanned<String>>,
}

/// Faster than the maker meant it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Overclock {
    /// Highest frequency of the processor cores, in MHz. A Pi 4 has 1500 or 1800.
    #[schemars(with = "i64")]
    pub arm_freq: Placed<i64>,
    /// Steps of 25 mV above the usual voltage. By default 0.
    #[schemars(with = "Option<i64>")]
    pub over_voltage: Placed<i64>,
}

/// The private container registry.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// The name it is reached by. By default `registry.` and the domain.
    #[schemars(with = "Option<String>")]
    pub host: Placed<String>,
    /// Its port. By default 5000.
    #[schemars(with = "Option<u16>")]
    pub port: Placed<i64>,
    /// Where its data lies. By default `/shared/registry`, or `/var/lib/bramble/registry` without a NAS.
    #[schemars(with = "Option<String>")]
    pub data: Placed<String>,
    /// The node it runs on. By default the first manager.
    #[schemars(with = "Option<String>")]
    pub node: Placed<String>,
}

/// The seed search.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// The port of its web page and API. By default 3000.
    #[schemars(with = "Option<u16>")]
    pub port: Placed<i64>,
}

/// Portainer, a web page that shows and manages the swarm.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Portainer {
    /// The port of its page, spoken to by HTTPS. By default 9443.
    #[schemars(with = "Option<u16>")]
    pub port: Placed<i64>,
    /// The tag of its images. By default `lts`.
    #[schemars(with = "Option<String>")]
    pub tag: Placed<String>,
}

/// One Raspberry Pi.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Its host name.
    #[schemars(with = "String")]
    pub name: Placed<String>,
    /// What it does in the swarm. By default a worker.
    #[schemars(with = "Option<Role>")]
    pub role: Placed<Role>,
    /// Its hardware address, printed by `ip link`: `dc:a6:32:01:02:03`.
    #[schemars(with = "String")]
    pub mac: Placed<String>,
    /// The address the router pins to it.
    #[schemars(with = "String")]
    pub ip: Placed<String>,
    /// Other names it answers to.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub aliases: Vec<Spanned<String>>,
    /// Exports of the NAS that it mounts, beside the shared one. By default all.
    #[schemars(with = "Option<Vec<String>>")]
    pub exports: Placed<Vec<Spanned<String>>>,
    /// Swarm node labels, for placement constraints.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub labels: BTreeMap<Spanned<String>, String>,
}
