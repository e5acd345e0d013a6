//! What a cluster is: the checked, complete form of `cluster.toml`.
//!
//! [`Cluster::parse`] is the only way in, so whoever holds a [`Cluster`] may rely on what its fields promise:
//! defaults are filled in, every address lies in the subnet, names are unique, there is a manager.

mod boot;
mod check;
mod compose;
mod mac;
mod names;
mod network;
mod nodes;
mod problem;
mod recover;
mod secrets;
mod services;
mod storage;
pub mod wire;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use compose::{OwnStack, ServiceImage};
pub use mac::Mac;
use problem::Problems;
pub use problem::{Invalid, Problem};

/// Where every NFS export appears on every node: `/mnt/nfs/EXPORT`.
pub const NFS_ROOT: &str = "/mnt/nfs";

/// The link that leads to the shared export on every node.
pub const SHARED_LINK: &str = "/shared";

/// The JSON schema of the cluster file, for editors.
pub fn schema() -> schemars::Schema {
    let settings = SchemaSettings::draft07().with_transform(RecursiveTransform(without_null));
    settings
        .into_generator()
        .into_root_schema_for::<wire::File>()
}

/// TOML has no null: what is optional is left out. Defaults that are nothing need not be told either.
fn without_null(schema: &mut Schema) {
    schema.remove("default");
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.retain(|choice| choice["type"] != "null");
        // A reference must stand alone, or its description is lost.
        if let [_] = choices.as_slice() {
            let only = Value::Array(std::mem::take(choices));
            schema.remove("anyOf");
            schema.insert("allOf".to_owned(), only);
        }
    }
}

/// A cluster, complete and consistent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cluster {
    /// What it is called; also names its state directory.
    pub name: String,
    /// The network all nodes are on.
    pub network: Network,
    /// The time zone of every node; the image's own if `None`.
    pub timezone: Option<String>,
    /// Who may log in.
    pub access: Access,
    /// The file server, if there is one.
    pub nas: Option<Nas>,
    /// How nodes are kept up to date.
    pub updates: Updates,
    /// How nodes get and configure Docker.
    pub docker: Docker,
    /// A way to the nodes from elsewhere, if it is wanted.
    pub tailscale: Option<Tailscale>,
    /// What the firmware and the kernel are told.
    pub boot: Boot,
    /// The private container registry.
    pub registry: Registry,
    /// The seed search.
    pub search: Search,
    /// A web page that shows and manages the swarm, if it is wanted.
    pub portainer: Option<Portainer>,
    /// Packages every node gets beyond those its services need.
    pub packages: Vec<String>,
    /// All nodes, in the order of the file. Never empty; at least one is a manager.
    pub nodes: Vec<Node>,
}

/// The network all nodes are on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Network {
    /// The subnet, as a network address: `192.168.1.0/24`.
    pub subnet: Ipv4Net,
    /// The router, which hands out addresses and answers name queries.
    pub router: Ipv4Addr,
    /// The domain node names live in: `lan`.
    pub domain: String,
    /// First and last address for machines without a reservation. No node has one of them.
    pub dhcp_pool: Option<(Ipv4Addr, Ipv4Addr)>,
}

/// Who may log in to the nodes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Access {
    /// The account the operator logs in to, and which owns the cluster's key pair.
    pub user: String,
    /// Its password, as it stands in `/etc/shadow`. Without one, only keys let in.
    pub password_hash: Option<String>,
    /// Public keys, in OpenSSH form, accepted in addition to the operator's and the cluster's own.
    pub authorized_keys: Vec<String>,
}

/// An NFSv4 server and what it exports.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Nas {
    /// The server.
    pub server: Ipv4Addr,
    /// Names of the exports below its NFSv4 root, in the order of the file.
    pub exports: Vec<String>,
    /// The export that `/shared` leads to. One of [`Nas::exports`].
    pub shared: String,
    /// Mount options, as they stand in fstab.
    pub options: String,
}

impl Nas {
    /// Where an export is mounted on every node.
    ///
    /// ```
    /// assert_eq!(bramble_cluster::spec::Nas::mount_point("plex"), "/mnt/nfs/plex");
    /// ```
    pub fn mount_point(export: &str) -> String {
        format!("{NFS_ROOT}/{export}")
    }
}

/// How nodes get and configure Docker.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Docker {
    /// Where the engine comes from.
    pub source: DockerSource,
    /// What it starts containers with.
    pub runtime: Runtime,
    /// Registries to speak plain HTTP with, in addition to the cluster's own: `host:port`.
    pub insecure_registries: Vec<String>,
    /// Whether every node passes on what is asked at a published port, wherever the service runs.
    pub routing_mesh: bool,
    /// Where Docker's own packages come from: `https://download.docker.com`, without a slash at the end.
    pub mirror: String,
    /// The script that [`DockerSource::Script`] runs.
    pub script: String,
}

/// How nodes are kept up to date.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Updates {
    /// Which upgrades of installed packages are made.
    pub upgrade: Upgrade,
    /// Which nodes are rebooted.
    pub reboot: Reboot,
}

/// Which upgrades of installed packages are made.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Upgrade {
    /// None: packages stay as they are.
    #[default]
    None,
    /// All of them, as `apt-get dist-upgrade` does.
    Dist,
}

/// Which nodes are rebooted.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Reboot {
    /// None: it is said which need it.
    Never,
    /// Those that need it, workers first, managers one after the other.
    #[default]
    IfNeeded,
}

/// A way to the nodes from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tailscale {
    /// The file with the auth key on the operator's machine, relative to the cluster file.
    pub auth_key_file: String,
    /// Where its packages come from: `https://pkgs.tailscale.com`, without a slash at the end.
    pub mirror: String,
}

/// Where the Docker engine comes from.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum DockerSource {
    /// The distribution's own `docker.io` package.
    #[default]
    Distro,
    /// Docker's own packages, from its own repository.
    DockerCe,
    /// Docker's own packages, by its own script.
    Script,
}

/// What the engine starts containers with, and looks after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Runtime {
    /// Written in C. On emulated nodes it starts a container with a third less work, and asks after its health with half,
    /// which every service pays for each minute.
    Crun,
    /// The engine's own.
    Runc,
}

impl Runtime {
    /// Of those who have not chosen. A distribution's crun goes with its own engine; an engine that is newer than the
    /// distribution may ask for what its crun does not know.
    pub(crate) fn of(source: DockerSource) -> Runtime {
        match source {
            DockerSource::Distro => Runtime::Crun,
            DockerSource::DockerCe | DockerSource::Script => Runtime::Runc,
        }
    }

    /// Its name, also its program's and its package's.
    pub fn name(self) -> &'static str {
        match self {
            Runtime::Crun => "crun",
            Runtime::Runc => "runc",
        }
    }
}

/// What the firmware and the kernel are told.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Boot {
    /// Degrees Celsius, rising, at which the fan of a PoE HAT goes to its four speeds. The firmware's own if `None`.
    pub poe_fan: Option<[u8; 4]>,
    /// Faster than the maker meant it.
    pub overclock: Option<Overclock>,
    /// More lines for config.txt, each at most 98 bytes.
    pub config: Vec<String>,
    /// More words for the kernel command line.
    pub cmdline: Vec<String>,
}

/// Faster than the maker meant it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Overclock {
    /// Highest frequency of the processor cores, in MHz.
    pub arm_freq: u16,
    /// Steps of 25 mV above the usual voltage.
    pub over_voltage: u8,
}

/// The private container registry.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Registry {
    /// The name it is reached by; an alias of [`Registry::node`].
    pub host: String,
    /// Its port on [`Registry::node`], and on no other.
    pub port: u16,
    /// Where its data lies on [`Registry::node`]: under [`SHARED_LINK`] if there is a NAS.
    pub data: String,
    /// The node it runs on. The first manager unless the file says otherwise.
    pub node: String,
}

impl Registry {
    /// What stands before the slash of an image reference: `cluster.gov:5000`.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// The seed search.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Search {
    /// The port its web service is published on, on the first manager alone.
    pub port: u16,
}

/// The tag of Portainer's images where the cluster file names none.
pub const PORTAINER_TAG: &str = "lts";

/// Portainer: a web page that shows and manages the swarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Portainer {
    /// The port its page is published on, by HTTPS, on every node.
    pub port: u16,
    /// The tag of its images.
    pub tag: String,
}

/// The label of the node on whose disk the ledger of the search lies.
pub const LEDGER: &str = "ledger";

/// One Raspberry Pi.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Node {
    /// Its host name.
    pub name: String,
    /// What it does in the swarm.
    pub role: Role,
    /// Its network card.
    pub mac: Mac,
    /// Its address, pinned by the router.
    pub ip: Ipv4Addr,
    /// Other names it answers to. Holds the registry's host on the registry's node.
    pub aliases: Vec<String>,
    /// Exports of the NAS that it mounts, in the order of the NAS. Holds the shared one, if there is a NAS.
    pub exports: Vec<String>,
    /// Swarm node labels, for placement constraints. One node has [`LEDGER`].
    pub labels: BTreeMap<String, String>,
}

impl Node {
    /// Whether the ledger of the search lies on its disk.
    pub fn keeps_ledger(&self) -> bool {
        self.labels.get(LEDGER).is_some_and(|value| value == "true")
    }
}

/// What a node does in the swarm.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Keeps the swarm's state and schedules.
    Manager,
    /// Runs what it is given.
    #[default]
    Worker,
}

impl Cluster {
    /// Reads a cluster file. `file` is the name to call it by, `text` what it contains.
    ///
    /// Returns the cluster and what is doubtful about it, in file order.
    ///
    /// # Errors
    /// All that is wrong with the file, each with its place.
    pub fn parse(file: &str, text: &str) -> Result<(Self, Vec<Problem>), Invalid> {
        let (text, secrets) = secrets::blank_out(text);
        let mut problems = Problems::new(file, text.clone());
        let cluster = recover::read(&text, &mut problems)
            .and_then(|file| check::cluster(file, &mut problems));
        for secret in secrets {
            // What else is wrong with such a line does not matter.
            problems.forget_at(&secret.span);
            problems
                .error(secret.span, format!("{} has no place in a cluster file", secret.what))
                .help_is("take it out, and change it wherever it is used: this file is meant to be shared");
        }
        let failed = problems.has_errors();
        let problems = problems.into_list();
        match cluster {
            Some(cluster) if !failed => Ok((cluster, problems)),
            _ => Err(Invalid {
                file: file.to_owned(),
                problems,
            }),
        }
    }

    /// Nodes that are managers, in file order. Never empty.
    pub fn managers(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.role == Role::Manager)
    }

    /// Nodes that are workers, in file order.
    pub fn workers(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.role == Role::Worker)
    }

    /// The first manager: it starts the swarm, and what must not move is pinned to it.
    pub fn first_manager(&self) -> &Node {
        self.managers()
            .next()
            .expect("`parse` lets no cluster without a manager through")
    }

    /// The node of that name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// The node the registry runs on.
    pub fn registry_node(&self) -> &Node {
        self.node(&self.registry.node)
            .expect("`parse` lets no unknown registry node through")
    }
}
