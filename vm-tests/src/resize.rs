//! The same cluster with another number of nodes.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail};
use toml::{Table, Value};

/// Fewest and most nodes of a rehearsal: a manager and a worker; as many as one template's memory allows.
pub const NODES: std::ops::RangeInclusive<usize> = 2..=16;

/// The text of a cluster file with its first `count` nodes, or with further workers that continue the last
/// one's name, address and MAC address.
///
/// # Errors
/// When `count` is not in [`NODES`], or the last node's name or addresses cannot be counted on.
pub fn resize(text: &str, count: usize) -> Result<String> {
    if !NODES.contains(&count) {
        bail!(
            "a rehearsal has {} to {} nodes, not {count}",
            NODES.start(),
            NODES.end()
        );
    }
    let mut file: Table = text.parse()?;
    let nodes = file
        .get_mut("nodes")
        .and_then(Value::as_array_mut)
        .context("the cluster file has no nodes")?;
    if nodes.len() == count {
        return Ok(text.to_owned());
    }
    while nodes.len() < count {
        let last = nodes
            .last()
            .and_then(Value::as_table)
            .context("the cluster file has no nodes")?;
        nodes.push(Value::Table(next(last)?));
    }
    nodes.truncate(count);
    Ok(toml::to_string(&file)?)
}

/// The worker after `node`.
fn next(node: &Table) -> Result<Table> {
    let field = |name: &str| {
        node.get(name)
            .and_then(Value::as_str)
            .with_context(|| format!("a node without {name}"))
    };
    let (name, mac, ip) = (field("name")?, field("mac")?, field("ip")?);

    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let number: u32 = match stem {
        "worker" => name[stem.len()..]
            .parse()
            .with_context(|| format!("{name} has no number to count on from"))?,
        _ => 0,
    };
    let ip: Ipv4Addr = ip
        .parse()
        .with_context(|| format!("{name} has the address {ip}"))?;
    let (prefix, last) = mac
        .rsplit_once(':')
        .with_context(|| format!("{name} has the MAC address {mac}"))?;
    let last = u8::from_str_radix(last, 16)?
        .checked_add(1)
        .context("no MAC address is left after the last node's")?;

    let mut worker = Table::new();
    worker.insert("name".to_owned(), format!("worker{}", number + 1).into());
    worker.insert("mac".to_owned(), format!("{prefix}:{last:02x}").into());
    worker.insert(
        "ip".to_owned(),
        Ipv4Addr::from(u32::from(ip) + 1).to_string().into(),
    );
    Ok(worker)
}

#[cfg(test)]
mod tests {
    use bramble_cluster::spec::Cluster;

    use super::*;

    const EIGHT: &str = include_str!("../../fixtures/clusters/eight-pi.toml");

    #[test]
    fn a_cluster_shrinks_and_grows() {
        for (count, last) in [
            (2, "worker1 192.168.1.201"),
            (8, "worker7 192.168.1.207"),
            (16, "worker15 192.168.1.215"),
        ] {
            let text = resize(EIGHT, count).expect("resized");
            let (cluster, _) = Cluster::parse("resized.toml", &text).expect("a cluster");
            let node = cluster.nodes.last().expect("nodes");
            assert_eq!(
                (cluster.nodes.len(), format!("{} {}", node.name, node.ip)),
                (count, last.to_owned())
            );
            assert_eq!(cluster.managers().count(), 1);
        }
    }

    #[test]
    fn a_rehearsal_has_limits() {
        for count in [0, 1, 17] {
            assert!(resize(EIGHT, count).is_err(), "{count}");
        }
    }
}
