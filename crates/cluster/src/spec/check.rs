//! From the file as written to a [`Cluster`], with every mistake on the way collected.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::ops::Range;

use ipnet::Ipv4Net;
use toml::Spanned;

use super::problem::Problems;
use super::recover::Recovered;
use super::{Access, Cluster, Docker, Nas, Network, PORTAINER_TAG, Portainer, Search};
use super::{names, wire};

/// Waits for the server in the foreground, with Docker behind it, instead of letting containers start on an empty
/// directory.
const MOUNT_OPTIONS: &str =
    "rw,relatime,hard,_netdev,x-systemd.before=docker.service,x-systemd.mount-timeout=2min";

/// Ports on every node that are taken, and by whom.
const TAKEN_PORTS: [(u16, &str); 4] = [
    (22, "SSH"),
    (2377, "Swarm"),
    (4789, "Swarm"),
    (7946, "Swarm"),
];

/// Names that lead every machine to itself.
pub(super) const TAKEN_HOST_NAMES: [&str; 2] = ["localhost", "localhost.localdomain"];

/// Checks a file. What comes back may be used only if no error was added to `problems`; `None` means that something
/// without a default is missing or unreadable.
pub(super) fn cluster(recovered: Recovered, problems: &mut Problems) -> Option<Cluster> {
    let Recovered { file, removed } = recovered;
    let mut check = Check { problems, removed };
    let top = 0..0;

    check.version(file.version);
    let name = check.required(file.name, "name", &top);
    if let Some(name) = &name {
        check.label(name, "a cluster name");
    }
    let network = check
        .required(file.network, "network", &top)
        .and_then(|network| check.network(network));
    let has_nas = file.nas.is_some() || check.was_removed("nas");
    let nas = file.nas.and_then(|nas| check.nas(nas, network.as_ref()));
    let access = check.access(file.access);
    let docker = check.docker(file.docker);
    let boot = check.boot(file.boot);
    let packages = check.packages(file.packages);
    let nodes = file.nodes.map(Spanned::into_inner).unwrap_or_default();
    let mut nodes = check.nodes(nodes, network.as_ref(), nas.as_ref());
    let mut ports = Ports::default();
    let search = Search {
        port: check.port(&mut ports, "the search", file.search.port, 3000),
    };
    let registry_port = check.port(&mut ports, "the registry", file.registry.port.clone(), 5000);
    let registry = check.registry(
        file.registry,
        registry_port,
        &mut nodes,
        network.as_ref(),
        has_nas,
    );
    let portainer = file
        .portainer
        .map(|portainer| check.portainer(portainer.into_inner(), &mut ports));

    Some(Cluster {
        name: name?.into_inner(),
        network: network?,
        access,
        nas,
        docker,
        boot,
        registry: registry?,
        search,
        portainer,
        packages,
        nodes: nodes.into_iter().map(|node| node.node).collect(),
    })
}

/// Ports on every node that services have, with whose they are and where that is written.
#[derive(Default)]
struct Ports(BTreeMap<u16, (&'static str, Option<Range<usize>>)>);

/// Reads and reports.
pub(super) struct Check<'a> {
    pub(super) problems: &'a mut Problems,
    /// Keys that are there, but were unreadable and reported already.
    removed: Vec<String>,
}

impl Check<'_> {
    /// Whether `key` is in the file, though its value could not be read.
    pub(super) fn was_removed(&self, key: &str) -> bool {
        self.removed.iter().any(|removed| removed == key)
    }

    /// The value, or an error that the table at `table` lacks it.
    pub(super) fn required<T>(
        &mut self,
        value: Option<Spanned<T>>,
        key: &str,
        table: &Range<usize>,
    ) -> Option<Spanned<T>> {
        if value.is_none() && !self.was_removed(key) {
            let whose = if table.is_empty() {
                "the file"
            } else {
                "this table"
            };
            self.problems
                .error(table.clone(), format!("`{key}` is missing"))
                .here(format!("{whose} has no `{key}`"));
        }
        value
    }

    fn version(&mut self, version: Option<Spanned<i64>>) {
        let Some(version) = self.required(version, "version", &(0..0)) else {
            return;
        };
        if *version.get_ref() != 1 {
            self.problems
                .error(
                    version.span(),
                    format!("file format version {} is not known", version.get_ref()),
                )
                .help_is("this bramble reads `version = 1`");
        }
    }

    /// Reports a name of one label that is none. `what` has its article.
    pub(super) fn label(&mut self, name: &Spanned<String>, what: &str) {
        if !names::is_label(name.get_ref()) {
            self.problems
                .error(name.span(), format!("\"{}\" cannot be {what}", name.get_ref()))
                .help_is("use at most 63 lower-case letters, digits and hyphens, with no hyphen at either end");
        }
    }

    /// Reports a name with dots that is none.
    pub(super) fn host_name(&mut self, name: &Spanned<String>, what: &str) {
        if !names::is_host_name(name.get_ref()) {
            self.problems.error(name.span(), format!("\"{}\" cannot be {what}", name.get_ref())).help_is(
                "use labels of lower-case letters, digits and hyphens, joined by dots, with no hyphen at either end",
            );
        }
    }

    pub(super) fn address(&mut self, text: &Spanned<String>) -> Option<Ipv4Addr> {
        let parsed = text.get_ref().parse().ok();
        if parsed.is_none() {
            self.problems
                .error(
                    text.span(),
                    format!("\"{}\" is not an IPv4 address", text.get_ref()),
                )
                .help_is("an address is four numbers from 0 to 255, like 192.168.1.200");
        }
        parsed
    }

    /// Reports an address that no machine on the network can have.
    pub(super) fn address_on(&mut self, network: &Network, ip: Ipv4Addr, span: &Range<usize>) {
        let subnet = network.subnet;
        let problem = if !subnet.contains(&ip) {
            format!("{ip} is outside the subnet {subnet}")
        } else if ip == subnet.network() {
            format!("{ip} is the address of the subnet {subnet} itself")
        } else if ip == subnet.broadcast() {
            format!("{ip} is the broadcast address of the subnet {subnet}")
        } else {
            return;
        };
        let (first, last) = usable(subnet);
        self.problems
            .error(span.clone(), problem)
            .help_is(format!("machines can have {first} to {last}"));
    }

    fn network(&mut self, network: Spanned<wire::Network>) -> Option<Network> {
        let table = network.span();
        let network = network.into_inner();
        let domain = network.domain;
        if let Some(domain) = &domain {
            self.host_name(domain, "a domain");
        }
        let subnet = self
            .required(network.subnet, "subnet", &table)
            .and_then(|subnet| self.subnet(&subnet))?;
        let found = Network {
            subnet,
            router: usable(subnet).0,
            domain: domain.map_or_else(|| "lan".to_owned(), Spanned::into_inner),
        };
        let Some(router) = network.router else {
            return Some(found);
        };
        let ip = self.address(&router)?;
        self.address_on(&found, ip, &router.span());
        Some(Network {
            router: ip,
            ..found
        })
    }

    fn subnet(&mut self, text: &Spanned<String>) -> Option<Ipv4Net> {
        let Ok(subnet) = text.get_ref().parse::<Ipv4Net>() else {
            self.problems
                .error(
                    text.span(),
                    format!("\"{}\" is not a subnet", text.get_ref()),
                )
                .help_is("a subnet is an address and a prefix length, like 192.168.1.0/24");
            return None;
        };
        if subnet.addr() != subnet.network() {
            let right = subnet.trunc();
            self.problems
                .error(
                    text.span(),
                    format!("{subnet} is an address within a subnet"),
                )
                .help_is(format!("the subnet is {right}"));
        }
        if subnet.prefix_len() > 29 || subnet.prefix_len() < 8 {
            self.problems
                .error(
                    text.span(),
                    format!("{subnet} has no sensible size for a home network"),
                )
                .help_is("use a prefix length from 8 to 29; most routers use 24");
            return None;
        }
        Some(subnet.trunc())
    }

    fn nas(&mut self, nas: Spanned<wire::Nas>, network: Option<&Network>) -> Option<Nas> {
        let table = nas.span();
        let nas = nas.into_inner();
        let server = self
            .required(nas.server, "server", &table)
            .and_then(|text| {
                let ip = self.address(&text)?;
                // It may well be behind the router, or be the router.
                if let Some(network) = network.filter(|network| network.subnet.contains(&ip)) {
                    self.address_on(network, ip, &text.span());
                }
                Some(ip)
            });
        let exports = match nas.exports {
            Some(exports) => self.exports(exports),
            None => vec!["pi-cluster".to_owned()],
        };
        let shared = match nas.shared {
            Some(shared) => {
                if !exports.contains(shared.get_ref()) {
                    self.problems
                        .error(
                            shared.span(),
                            format!("\"{}\" is not among the exports", shared.get_ref()),
                        )
                        .help_is(format!("`/shared` can lead to: {}", exports.join(", ")));
                }
                Some(shared.into_inner())
            }
            None => exports.first().cloned(),
        };
        let options = match nas.options {
            Some(options) => {
                self.mount_options(&options);
                options.into_inner()
            }
            None => MOUNT_OPTIONS.to_owned(),
        };
        Some(Nas {
            server: server?,
            exports,
            shared: shared?,
            options,
        })
    }

    fn exports(&mut self, exports: Spanned<Vec<Spanned<String>>>) -> Vec<String> {
        if exports.get_ref().is_empty() {
            self.problems
                .error(exports.span(), "a NAS without exports is of no use")
                .help_is("name at least one export, or leave out the table `nas`");
        }
        let exports = exports.into_inner();
        for export in &exports {
            if !names::is_path_component(export.get_ref()) {
                self.problems.error(export.span(), format!("\"{}\" cannot be an export", export.get_ref())).help_is(
                    "give its name below the server's NFSv4 root, without slashes: letters, digits, `-`, `_` and `.`",
                );
            }
        }
        self.unique(
            "export",
            exports
                .iter()
                .map(|export| (export.get_ref().clone(), export.span())),
        );
        exports.into_iter().map(Spanned::into_inner).collect()
    }

    fn mount_options(&mut self, options: &Spanned<String>) {
        let text = options.get_ref();
        if text.is_empty()
            || text.contains(|c: char| c.is_whitespace())
            || text.split(',').any(str::is_empty)
        {
            self.problems
                .error(options.span(), format!("\"{text}\" are no mount options"))
                .help_is(format!(
                    "join options by commas, without blanks, like \"{MOUNT_OPTIONS}\""
                ));
            return;
        }
        if text.split(',').any(|option| option == "bg") {
            self.problems
                .error(
                    options.span(),
                    "mount option `bg` lets Docker start before the export is there",
                )
                .help_is(
                    "leave out `bg`: containers would write to the empty directory below the mount",
                );
        }
        if text.split(',').any(|option| option == "soft") {
            self.problems
                .warning(
                    options.span(),
                    "mount option `soft` loses data when the server is slow",
                )
                .help_is("use `hard`: programs then wait for the server instead of getting errors");
        }
    }

    fn access(&mut self, access: wire::Access) -> Access {
        if let Some(user) = access
            .user
            .as_ref()
            .filter(|user| !names::is_user(user.get_ref()))
        {
            self.problems.error(user.span(), format!("\"{}\" cannot be the account", user.get_ref())).help_is(
                "use at most 32 lower-case letters, digits and hyphens, starting with a letter, and not `root`",
            );
        }
        if let Some(hash) = access
            .password_hash
            .as_ref()
            .filter(|hash| !names::is_password_hash(hash.get_ref()))
        {
            self.problems
                .error(hash.span(), "this is no password hash")
                .help_is("make one with `openssl passwd -6`; a password itself has no place in this file");
        }
        for key in &access.authorized_keys {
            if let Err(error) = ssh_key::PublicKey::from_openssh(key.get_ref()) {
                self.problems
                    .error(
                        key.span(),
                        format!("this is not an OpenSSH public key: {error}"),
                    )
                    .help_is("paste the line of a `.pub` file: `ssh-ed25519 AAAA... name`");
            }
        }
        Access {
            password_hash: access.password_hash.map(Spanned::into_inner),
            user: access
                .user
                .map_or_else(|| "pi".to_owned(), Spanned::into_inner),
            authorized_keys: access
                .authorized_keys
                .into_iter()
                .map(Spanned::into_inner)
                .collect(),
        }
    }

    fn docker(&mut self, docker: wire::Docker) -> Docker {
        for registry in &docker.insecure_registries {
            if !names::is_registry(registry.get_ref()) {
                self.problems
                    .error(registry.span(), format!("\"{}\" is not a registry", registry.get_ref()))
                    .help_is("write host and port without `http://`, like registry.lan:5000, or a subnet");
            }
        }
        Docker {
            source: docker.source.map(Spanned::into_inner).unwrap_or_default(),
            insecure_registries: docker
                .insecure_registries
                .into_iter()
                .map(Spanned::into_inner)
                .collect(),
        }
    }

    fn packages(&mut self, packages: Vec<Spanned<String>>) -> Vec<String> {
        for package in &packages {
            if !names::is_package(package.get_ref()) {
                self.problems.error(
                    package.span(),
                    format!("\"{}\" is not a package name", package.get_ref()),
                );
            }
        }
        self.unique(
            "package",
            packages
                .iter()
                .map(|package| (package.get_ref().clone(), package.span())),
        );
        packages.into_iter().map(Spanned::into_inner).collect()
    }

    /// The port on every node of the service `whose`: `default` if the file has none.
    fn port(
        &mut self,
        ports: &mut Ports,
        whose: &'static str,
        written: Option<Spanned<i64>>,
        default: u16,
    ) -> u16 {
        let number = match written
            .as_ref()
            .map(|port| (u16::try_from(*port.get_ref()), port))
        {
            None => default,
            Some((Ok(number), _)) if number > 0 => number,
            Some((_, port)) => {
                self.problems
                    .error(port.span(), format!("{} is not a port", port.get_ref()))
                    .help_is("ports go from 1 to 65535");
                return default;
            }
        };
        let span = written.map(|port| port.span());
        let taken = TAKEN_PORTS
            .iter()
            .find(|(port, _)| *port == number)
            .map(|(_, whose)| (*whose, None));
        if let Some((other, place)) = taken.or_else(|| ports.0.get(&number).cloned()) {
            // One of them is written down, since the defaults differ.
            let span = span.clone().or(place).unwrap_or(0..0);
            self.problems.error(
                span,
                format!("{other} and {whose} both want port {number} on every node"),
            );
        }
        ports.0.insert(number, (whose, span));
        number
    }

    fn portainer(&mut self, portainer: wire::Portainer, ports: &mut Ports) -> Portainer {
        if let Some(tag) = portainer
            .tag
            .as_ref()
            .filter(|tag| !names::is_path_component(tag.get_ref()))
        {
            self.problems
                .error(
                    tag.span(),
                    format!("\"{}\" cannot be the tag of an image", tag.get_ref()),
                )
                .help_is("use letters, digits, `-`, `_` and `.`, like `lts` or `2.27.9`");
        }
        Portainer {
            port: self.port(ports, "Portainer", portainer.port, 9443),
            tag: portainer
                .tag
                .map_or_else(|| PORTAINER_TAG.to_owned(), Spanned::into_inner),
        }
    }

    /// Reports every item that was there before, and points at the first.
    pub(super) fn unique(
        &mut self,
        what: &str,
        items: impl IntoIterator<Item = (String, Range<usize>)>,
    ) {
        let mut seen = BTreeMap::new();
        for (item, span) in items {
            if let Some(first) = seen.get(&item) {
                let first: &Range<usize> = first;
                self.problems
                    .error(span, format!("{what} {item} is used twice"))
                    .here("again here")
                    .also(first.clone(), "first here");
            } else {
                seen.insert(item, span);
            }
        }
    }
}

/// First and last address that a machine in `subnet` can have.
fn usable(subnet: Ipv4Net) -> (Ipv4Addr, Ipv4Addr) {
    let (network, broadcast) = (u32::from(subnet.network()), u32::from(subnet.broadcast()));
    (Ipv4Addr::from(network + 1), Ipv4Addr::from(broadcast - 1))
}
