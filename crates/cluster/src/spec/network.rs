//! Checks of the network and of addresses on it.

use std::net::Ipv4Addr;
use std::ops::Range;

use ipnet::Ipv4Net;
use toml::Spanned;

use super::check::Check;
use super::{Network, wire};

/// Networks that Docker gives away by itself: those of bridges and of the swarm's first overlays.
const DOCKERS_OWN: [&str; 3] = ["172.17.0.0/16", "172.18.0.0/16", "10.0.0.0/20"];

impl Check<'_> {
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

    pub(super) fn network(&mut self, network: Spanned<wire::Network>) -> Option<Network> {
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
            dhcp_pool: None,
        };
        let router = match network.router {
            None => found.router,
            Some(router) => {
                let ip = self.address(&router)?;
                self.address_on(&found, ip, &router.span());
                ip
            }
        };
        let dhcp_pool = network
            .dhcp_pool
            .and_then(|pool| self.dhcp_pool(&found, router, &pool));
        Some(Network {
            router,
            dhcp_pool,
            ..found
        })
    }

    /// First and last address for machines without a reservation.
    fn dhcp_pool(
        &mut self,
        network: &Network,
        router: Ipv4Addr,
        pool: &Spanned<Vec<Spanned<String>>>,
    ) -> Option<(Ipv4Addr, Ipv4Addr)> {
        let [first, last] = pool.get_ref().as_slice() else {
            let n = pool.get_ref().len();
            self.problems
                .error(
                    pool.span(),
                    format!("a pool has a first and a last address, not {n}"),
                )
                .help_is("write `dhcp_pool = [\"192.168.1.100\", \"192.168.1.199\"]`");
            return None;
        };
        let (first_ip, last_ip) = (self.address(first)?, self.address(last)?);
        self.address_on(network, first_ip, &first.span());
        self.address_on(network, last_ip, &last.span());
        if first_ip > last_ip {
            self.problems
                .error(last.span(), format!("the pool ends before {first_ip}"))
                .help_is("write the lower address first");
            return None;
        }
        if (first_ip..=last_ip).contains(&router) {
            self.problems
                .error(
                    pool.span(),
                    format!("the router's address {router} is in the pool"),
                )
                .help_is("a machine without a reservation could be given it");
        }
        Some((first_ip, last_ip))
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
        self.is_usable(subnet.trunc(), text)
            .then_some(subnet.trunc())
    }

    fn is_usable(&mut self, subnet: Ipv4Net, text: &Spanned<String>) -> bool {
        let ip = subnet.network();
        let use_instead =
            "homes use 192.168.0.0/16, 10.0.0.0/8 and 172.16.0.0/12, or parts of them";
        if ip.is_loopback() || ip.is_link_local() || ip.is_multicast() || ip.octets()[0] == 0 {
            self.problems
                .error(text.span(), format!("no router can give out {subnet}"))
                .help_is(use_instead);
            return false;
        }
        if !ip.is_private() {
            self.problems
                .warning(
                    text.span(),
                    format!("{subnet} belongs to somebody on the Internet"),
                )
                .help_is(use_instead);
        } else if let Some(own) = DOCKERS_OWN.iter().find(|own| overlap(subnet, own)) {
            self.problems
                .warning(
                    text.span(),
                    format!("{subnet} overlaps {own}, which Docker uses for its own networks"),
                )
                .help_is("containers could not reach what has such an address at home: use another subnet");
        }
        true
    }

    /// Whether any node has an address in the subnet, which is written at `subnet`.
    pub(super) fn has_nodes(
        &mut self,
        network: &Network,
        nodes: &[Spanned<wire::Node>],
        subnet: &Range<usize>,
    ) -> bool {
        let ips = nodes
            .iter()
            .filter_map(|node| node.get_ref().ip.as_ref()?.get_ref().parse().ok());
        let ips: Vec<Ipv4Addr> = ips.collect();
        if ips.len() < 2 || ips.iter().any(|ip| network.subnet.contains(ip)) {
            return true;
        }
        self.problems
            .error(
                subnet.clone(),
                format!("no node has an address in {}", network.subnet),
            )
            .help_is(format!(
                "the first has {}: is another subnet meant?",
                ips[0]
            ));
        false
    }
}

fn overlap(subnet: Ipv4Net, other: &str) -> bool {
    other
        .parse::<Ipv4Net>()
        .is_ok_and(|other| other.contains(&subnet.network()) || subnet.contains(&other.network()))
}

/// First and last address that a machine in `subnet` can have.
fn usable(subnet: Ipv4Net) -> (Ipv4Addr, Ipv4Addr) {
    let (network, broadcast) = (u32::from(subnet.network()), u32::from(subnet.broadcast()));
    (Ipv4Addr::from(network + 1), Ipv4Addr::from(broadcast - 1))
}
