//! Checks of the nodes, and of the registry, which is an alias of one of them.

use std::net::Ipv4Addr;
use std::ops::Range;

use toml::Spanned;

use super::check::{Check, TAKEN_HOST_NAMES};
use super::{LEDGER, Mac, NFS_ROOT, Nas, Network, Node, Registry, Role, SHARED_LINK, names, wire};

/// Where registry data lies on a cluster without a NAS.
const LOCAL_REGISTRY_DATA: &str = "/var/lib/bramble/registry";

/// A node on its way in, with the places of what others may be compared with.
pub(super) struct Draft {
    pub(super) node: Node,
    name: Range<usize>,
    mac: Option<Range<usize>>,
    ip: Option<Range<usize>>,
    role: Option<Range<usize>>,
    aliases: Vec<Range<usize>>,
    /// What it asks for, before that is held against what there is.
    pub(super) exports: Option<Spanned<Vec<Spanned<String>>>>,
}

impl Check<'_> {
    pub(super) fn nodes(
        &mut self,
        nodes: Vec<Spanned<wire::Node>>,
        network: Option<&Network>,
        nas: Option<&Nas>,
    ) -> Vec<Draft> {
        if nodes.is_empty() {
            if !self.was_removed("nodes") {
                self.problems
                    .error(0..0, "a cluster needs nodes")
                    .help_is("add a table `[[nodes]]` for each Pi");
            }
            return Vec::new();
        }
        let mut nodes: Vec<Draft> = nodes
            .into_iter()
            .map(|node| self.one_node(node, network, nas))
            .collect();
        self.ledger(&mut nodes);

        let names = nodes.iter().flat_map(|draft| {
            let own = (draft.node.name.clone(), draft.name.clone());
            let aliases = draft
                .node
                .aliases
                .iter()
                .cloned()
                .zip(draft.aliases.iter().cloned());
            std::iter::once(own)
                .filter(|(name, _)| !name.is_empty())
                .chain(aliases)
        });
        self.unique("the name", names.collect::<Vec<_>>());
        let macs = nodes
            .iter()
            .filter_map(|draft| Some((draft.node.mac.to_string(), draft.mac.clone()?)));
        self.unique("the MAC address", macs.collect::<Vec<_>>());
        let ips = nodes
            .iter()
            .filter_map(|draft| Some((draft.node.ip.to_string(), draft.ip.clone()?)));
        self.unique("the address", ips.collect::<Vec<_>>());
        if let Some(network) = network {
            self.aliases_are_free(&nodes, network);
            self.none_is_in_the_pool(&nodes, network);
        }
        self.roles(&nodes);
        nodes
    }

    fn one_node(
        &mut self,
        node: Spanned<wire::Node>,
        network: Option<&Network>,
        nas: Option<&Nas>,
    ) -> Draft {
        let table = node.span();
        let node = node.into_inner();
        let name = self.required(node.name, "name", &table);
        if let Some(name) = &name {
            self.label(name, "a host name");
            self.not_taken(name);
        }
        let mac = self.required(node.mac, "mac", &table);
        let ip = self.required(node.ip, "ip", &table);
        for alias in &node.aliases {
            self.host_name(alias, "a host name");
            self.not_taken(alias);
        }
        let labels = node.labels.keys();
        for label in labels.filter(|label| !names::is_path_component(label.get_ref())) {
            self.problems
                .error(
                    label.span(),
                    format!("\"{}\" cannot be a node label", label.get_ref()),
                )
                .help_is("use letters, digits, `-`, `_` and `.`");
        }

        let good_mac = mac.as_ref().and_then(|mac| self.mac(mac));
        let good_ip = ip
            .as_ref()
            .and_then(|ip| self.node_address(ip, network, nas));
        let role = node.role.as_ref().map(Spanned::span);
        Draft {
            name: name.as_ref().map_or(table, Spanned::span),
            mac: good_mac.and(mac.as_ref()).map(Spanned::span),
            ip: good_ip.and(ip.as_ref()).map(Spanned::span),
            aliases: node.aliases.iter().map(Spanned::span).collect(),
            node: Node {
                name: name.map(Spanned::into_inner).unwrap_or_default(),
                role: node.role.map(Spanned::into_inner).unwrap_or_default(),
                mac: good_mac.unwrap_or_default(),
                ip: good_ip.unwrap_or(Ipv4Addr::UNSPECIFIED),
                exports: Vec::new(),
                aliases: node.aliases.into_iter().map(Spanned::into_inner).collect(),
                labels: node
                    .labels
                    .into_iter()
                    .map(|(key, value)| (key.into_inner(), value))
                    .collect(),
            },
            role,
            exports: node.exports,
        }
    }

    /// Reports nodes in the pool all at once: it is rather the pool that is wrong.
    fn none_is_in_the_pool(&mut self, nodes: &[Draft], network: &Network) {
        let Some((first, last)) = network.dhcp_pool else {
            return;
        };
        let mut inside = nodes.iter().filter_map(|draft| {
            let span = draft.ip.clone()?;
            (first..=last)
                .contains(&draft.node.ip)
                .then_some((draft.node.ip, span))
        });
        let Some((ip, span)) = inside.next() else {
            return;
        };
        let problem = self
            .problems
            .error(
                span,
                format!("{ip} is in the pool for machines without a reservation"),
            )
            .help_is(format!(
                "use an address that is not from {first} to {last}, or make the pool smaller"
            ));
        for (_, span) in inside {
            problem.also(span, "this, too");
        }
    }

    /// The ledger of the search lies on the node that is labelled for it, else on the first manager, which is labelled so here.
    fn ledger(&mut self, nodes: &mut [Draft]) {
        let keeps = |draft: &&Draft| draft.node.keeps_ledger();
        let mut keepers = nodes.iter().filter(keeps);
        if let (Some(one), Some(other)) = (keepers.next(), keepers.next()) {
            self.problems
                .error(
                    other.name.clone(),
                    format!(
                        "{} is to keep the ledger of the search, too",
                        other.node.name
                    ),
                )
                .also(one.name.clone(), "this node already does")
                .help_is(format!("label one node `{LEDGER} = \"true\"`, or none"));
        }
        let here = nodes.iter().any(|draft| keeps(&draft));
        let first = nodes
            .iter_mut()
            .find(|draft| draft.node.role == Role::Manager);
        if let Some(first) = first.filter(|_| !here) {
            let label = (LEDGER.to_owned(), "true".to_owned());
            first.node.labels.extend([label]);
        }
    }

    /// Every node also answers to its name in the domain, and to its address.
    fn aliases_are_free(&mut self, nodes: &[Draft], network: &Network) {
        for draft in nodes {
            for (alias, span) in draft.node.aliases.iter().zip(&draft.aliases) {
                let full =
                    |other: &&Draft| format!("{}.{}", other.node.name, network.domain) == *alias;
                if let Some(other) = nodes
                    .iter()
                    .filter(|other| other.name != draft.name)
                    .find(full)
                {
                    self.problems
                        .error(
                            span.clone(),
                            format!("{alias} is already a name of {}", other.node.name),
                        )
                        .also(other.name.clone(), "this node");
                }
            }
        }
    }

    fn not_taken(&mut self, name: &Spanned<String>) {
        if TAKEN_HOST_NAMES.contains(&name.get_ref().as_str()) {
            self.problems.error(
                name.span(),
                format!("{} is every machine's name for itself", name.get_ref()),
            );
        }
        if name.get_ref().bytes().all(|b| b.is_ascii_digit()) && names::is_label(name.get_ref()) {
            self.problems
                .error(
                    name.span(),
                    format!("\"{}\" would be taken for an address", name.get_ref()),
                )
                .help_is("use a name with a letter in it");
        }
    }

    fn mac(&mut self, text: &Spanned<String>) -> Option<Mac> {
        let mac: Mac = match text.get_ref().parse() {
            Ok(mac) => mac,
            Err(error) => {
                self.problems
                    .error(
                        text.span(),
                        format!("\"{}\" is not a MAC address", text.get_ref()),
                    )
                    .help_is(error.to_string());
                return None;
            }
        };
        if mac.is_group() || mac == Mac::default() {
            self.problems
                .error(
                    text.span(),
                    format!("{mac} is no network card's own address"),
                )
                .help_is("`ip link show eth0` on the Pi prints it after `link/ether`");
        }
        Some(mac)
    }

    fn node_address(
        &mut self,
        text: &Spanned<String>,
        network: Option<&Network>,
        nas: Option<&Nas>,
    ) -> Option<Ipv4Addr> {
        let ip = self.address(text)?;
        if let Some(network) = network {
            self.address_on(network, ip, &text.span());
            if ip == network.router {
                self.problems
                    .error(text.span(), format!("{ip} is the router's address"));
            }
        }
        if nas.is_some_and(|nas| nas.server == ip) {
            self.problems
                .error(text.span(), format!("{ip} is the NAS's address"));
        }
        Some(ip)
    }

    fn roles(&mut self, nodes: &[Draft]) {
        let managers: Vec<&Draft> = nodes
            .iter()
            .filter(|draft| draft.node.role == Role::Manager)
            .collect();
        let Some(first) = managers.first() else {
            if !self.was_removed("role") {
                self.problems
                    .error(nodes[0].name.clone(), "no node is a manager")
                    .here("this one could be")
                    .help_is("give at least one node `role = \"manager\"`; the others are workers");
            }
            return;
        };
        let first = first.role.clone().unwrap_or_default();
        if managers.len().is_multiple_of(2) {
            let (n, failures) = (managers.len(), (managers.len() - 1) / 2);
            self.problems
                .warning(
                    first.clone(),
                    format!(
                        "{n} managers bear the loss of {failures}, as {} would",
                        n - 1
                    ),
                )
                .help_is(
                    "a swarm works while more than half of its managers do: use an odd number",
                );
        }
        if managers.len() == nodes.len() {
            self.problems
                .warning(first, "no node is a worker")
                .help_is("the search computes on workers only; it will not get on");
        }
    }

    /// The registry; its host becomes an alias of its node.
    pub(super) fn registry(
        &mut self,
        registry: wire::Registry,
        port: u16,
        nodes: &mut [Draft],
        network: Option<&Network>,
        has_nas: bool,
        nas: Option<&Nas>,
    ) -> Option<Registry> {
        let data = self.registry_data(registry.data, has_nas, nas);
        let host = registry.host;
        if let Some(host) = &host {
            self.host_name(host, "the registry's name");
        }
        let host_span = host.as_ref().map_or(0..0, Spanned::span);
        let host = match host {
            Some(host) => host.into_inner(),
            None => format!("registry.{}", network?.domain),
        };

        let index = match &registry.node {
            Some(wanted) => {
                let found = nodes
                    .iter()
                    .position(|draft| draft.node.name == *wanted.get_ref());
                if found.is_none() {
                    self.problems.error(
                        wanted.span(),
                        format!("there is no node {}", wanted.get_ref()),
                    );
                }
                found?
            }
            None => nodes
                .iter()
                .position(|draft| draft.node.role == Role::Manager)?,
        };
        let node = nodes[index].node.name.clone();
        let answers = |node: &Node| node.name == host || node.aliases.contains(&host);
        match nodes.iter().find(|draft| answers(&draft.node)) {
            Some(other) if other.node.name != node => {
                let other = &other.node.name;
                self.problems
                    .error(
                        host_span,
                        format!("{host} is a name of {other}, but the registry runs on {node}"),
                    )
                    .help_is(format!(
                        "set `node = \"{other}\"` in the table `registry`, or give it another name"
                    ));
            }
            Some(_) => {}
            None => nodes[index].node.aliases.push(host.clone()),
        }
        Some(Registry {
            host,
            port,
            data,
            node,
        })
    }

    fn registry_data(
        &mut self,
        data: Option<Spanned<String>>,
        has_nas: bool,
        nas: Option<&Nas>,
    ) -> String {
        let Some(data) = data else {
            return if has_nas {
                format!("{SHARED_LINK}/registry")
            } else {
                LOCAL_REGISTRY_DATA.to_owned()
            };
        };
        let path = data.get_ref();
        let is_shared = [SHARED_LINK, NFS_ROOT].iter().any(|root| {
            path.strip_prefix(root)
                .is_some_and(|rest| rest.starts_with('/'))
        });
        if !names::is_absolute_path(path) {
            self.problems
                .error(data.span(), format!("\"{path}\" is not an absolute path"))
                .help_is(
                    "use letters, digits, `-`, `_` and `.` between slashes, like /shared/registry",
                );
        } else if has_nas && !is_shared {
            self.problems
                .error(data.span(), format!("{path} is not on the shared export"))
                .help_is(format!(
                    "put it under {SHARED_LINK}, so that images survive the loss of a card"
                ));
        } else if !has_nas && is_shared {
            self.problems
                .error(
                    data.span(),
                    format!("{path} is on a NAS, but there is no table `nas`"),
                )
                .help_is(format!(
                    "add the table, or use a local directory like {LOCAL_REGISTRY_DATA}"
                ));
        }
        let mounted = nas.map_or(&[][..], |nas| &nas.exports);
        let below = data.get_ref().strip_prefix(NFS_ROOT);
        let export = below.and_then(|rest| rest.strip_prefix('/')?.split('/').next());
        if let Some(export) =
            export.filter(|export| nas.is_some() && !mounted.iter().any(|m| m == export))
        {
            self.problems
                .error(
                    data.span(),
                    format!("no export is mounted at {NFS_ROOT}/{export}"),
                )
                .help_is(format!("the NAS has: {}", mounted.join(", ")));
        }
        data.into_inner()
    }
}
