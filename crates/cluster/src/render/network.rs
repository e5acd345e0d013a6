//! Names and addresses: what nodes, and the router, know of each other.

use std::fmt::Write as _;

use crate::spec::{Cluster, Node};

/// All names of a node, the fully qualified first: `manager1.lan manager1 cluster.gov`.
pub fn names(cluster: &Cluster, node: &Node) -> Vec<String> {
    let mut names = vec![
        format!("{}.{}", node.name, cluster.network.domain),
        node.name.clone(),
    ];
    for alias in &node.aliases {
        if !names.contains(alias) {
            names.push(alias.clone());
        }
    }
    names
}

/// Our lines in `/etc/hosts`: every node, the same on each of them.
pub fn hosts(cluster: &Cluster) -> String {
    let line = |node: &Node| format!("{} {}\n", node.ip, names(cluster, node).join(" "));
    cluster.nodes.iter().map(line).collect()
}

/// What to type into any router: a name, a hardware address and an address per line.
pub fn reservations(cluster: &Cluster) -> String {
    let width = cluster
        .nodes
        .iter()
        .map(|node| node.name.len())
        .max()
        .unwrap_or_default()
        .max("NAME".len());
    let mut text = format!("{:width$}  {:17}  ADDRESS\n", "NAME", "MAC");
    for node in &cluster.nodes {
        // Padding applies to strings only.
        let mac = node.mac.to_string();
        writeln!(text, "{:width$}  {mac:17}  {}", node.name, node.ip).expect("a String takes all");
    }
    text
}

/// A configuration for the router's dnsmasq: addresses by MAC to the nodes alone, and their names to everyone.
pub fn dnsmasq(cluster: &Cluster) -> String {
    let network = &cluster.network;
    let (subnet, router, domain) = (network.subnet, network.router, &network.domain);
    let (who, range) = match network.dhcp_pool {
        None => (
            "Addresses by reservation only: an unknown machine gets none from here.",
            format!("{},static", subnet.network()),
        ),
        Some((first, last)) => (
            "Addresses by reservation; unknown machines get one of these.",
            format!("{first},{last}"),
        ),
    };
    let mut text = format!(
        "\
# DHCP reservations and names of the cluster {name}, for dnsmasq on the router.

# Names of this domain are answered here or nowhere.
domain={domain}
local=/{domain}/
domain-needed
bogus-priv

# {who}
dhcp-authoritative
dhcp-range={range},{mask},12h
dhcp-option=option:router,{router}
dhcp-option=option:dns-server,{router}

",
        name = cluster.name,
        mask = subnet.netmask(),
    );
    for node in &cluster.nodes {
        writeln!(text, "dhcp-host={},{},{}", node.mac, node.name, node.ip)
            .expect("a String takes all");
    }
    text.push('\n');
    for node in &cluster.nodes {
        writeln!(
            text,
            "host-record={},{}",
            names(cluster, node).join(","),
            node.ip
        )
        .expect("a String takes all");
    }
    text
}
