//! A cluster's machines in a lab: the house it stands in, and the nodes as they come out of the box with a
//! flashed card.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bramble_cluster::spec::{Cluster, Node, Role};
use bramble_image::layer::Layer;
use bramble_lab::identity::Identity;
use bramble_lab::template::Template;
use bramble_lab::{
    Definition, Event, Gateway, Happened, Lab, Machine, Waiting, fresh_directory, guest,
};

use crate::cards::Card;
use crate::household;
use crate::operator::Files;
use crate::scenario::{Bench, Stock};

/// Longest wait for all machines to answer.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// The managers run what all workers wait for, and on few processors a manager that gets no more than its
/// share holds everybody up.
const WORKER_NICENESS: u8 = 10;

/// How many nodes to a processor came to rest in a swarm with a routing mesh. Twice as many did not every time: their engines
/// took each other for dead, and had so much to tell each other of it that more were.
const NODES_TO_A_PROCESSOR: usize = 4;

const SSH: u16 = 22;

/// The directories of a rehearsal.
#[derive(Debug, Clone)]
pub struct Place {
    /// Disks, identities and keys; gone when the lab is.
    pub scratch: PathBuf,
    /// What everybody said; it stays.
    pub logs: PathBuf,
}

impl Place {
    /// Directories below `directory`, emptied of what an earlier run left.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn fresh(directory: &Path) -> Result<Place> {
        let place = Place::in_directory(directory);
        for dir in [&place.scratch, &place.logs] {
            fresh_directory(dir)?;
        }
        Ok(place)
    }

    /// Directories below `directory`, as they are.
    pub(crate) fn in_directory(directory: &Path) -> Place {
        Place {
            scratch: directory.join("scratch"),
            logs: directory.join("logs"),
        }
    }

    /// The operator's files.
    pub fn files(&self) -> Files {
        Files::below(&self.scratch)
    }
}

/// Starts the machines of `cluster` in a lab of its name, those of `cards` from these, and says how to reach them in the operator's
/// `ssh_config`. The operator's keys must have been made. `stock` says whose card nobody prepared. Returns the port of 127.0.0.1, too, that leads to the search
/// service, for those who look on.
///
/// # Errors
/// When there is no address left for the gateway, keys are missing, or the lab does not start.
pub fn start(
    cluster: &Cluster,
    place: &Place,
    bench: &Bench,
    stock: Stock,
    cards: &[Card],
) -> Result<(Lab, u16)> {
    let files = place.files();
    let mut ports = free_ports(cluster.nodes.len() + 1)?;
    let web = ports.pop().context("no port for the search service")?;
    fs::write(files.ssh_config(), ssh_config(cluster, &ports))?;

    let mut machines = vec![machine(
        &bench.household,
        household::NAME,
        household::MAC,
        &household::identity(cluster),
        place,
    )?];
    for member in &cluster.nodes {
        let card = cards.iter().find(|card| card.node == member.name);
        let mut machine = match card {
            Some(card) => card.machine(member, place)?,
            None => clone_of(cluster, member, place, bench, stock)?,
        };
        if member.role == Role::Worker {
            machine.niceness = WORKER_NICENESS;
        }
        machines.push(machine);
    }
    let mut gateway = gateway(cluster, &ports)?;
    gateway
        .forwards
        .push((web, cluster.first_manager().ip, cluster.search.port));
    let definition = Definition {
        logs: place.logs.clone(),
        scratch: Some(place.scratch.clone()),
        backend: bench.backend.clone(),
        machines,
        gateway: Some(gateway),
    };
    let lab = Lab::launch(&cluster.name, &definition, &bench.supervisor)?;
    Ok((lab, web))
}

/// The port of 127.0.0.1 that leads to the search service, of a lab that [`start`] has started.
///
/// # Errors
/// When none does.
pub(crate) fn web(lab: &Definition, cluster: &Cluster) -> Result<u16> {
    let service = (cluster.first_manager().ip, cluster.search.port);
    let mut forwards = lab.gateway.iter().flat_map(|it| &it.forwards);
    let forward = forwards.find(|(_, address, port)| (*address, *port) == service);
    let (from, ..) = forward.context("no port leads to the search service")?;
    Ok(*from)
}

/// A clone of the template that is this node's.
fn clone_of(
    cluster: &Cluster,
    node: &Node,
    place: &Place,
    bench: &Bench,
    stock: Stock,
) -> Result<Machine> {
    let mut identity = identity(cluster, node, &place.files().state())?;
    let mut template = &bench.node;
    if stock.includes(cluster, &node.name) {
        template = bench.stock.as_ref().context("no stock card was made")?;
        identity.files = identity.files.with(&stock_card());
    }
    machine(
        template,
        &node.name,
        &node.mac.to_string(),
        &identity,
        place,
    )
}

/// Starts the machine of one more node of `cluster`, whose keys must have been made, in a lab that runs, and says how
/// to reach it in the operator's `ssh_config`.
///
/// # Errors
/// When keys are missing, or the machine does not start.
pub fn add(
    lab: &Lab,
    cluster: &Cluster,
    node: &Node,
    place: &Place,
    template: &Template,
) -> Result<()> {
    let files = place.files();
    let port = free_ports(1)?.pop().context("no port for the node")?;
    let hosts = fs::read_to_string(files.ssh_config())?;
    fs::write(files.ssh_config(), hosts + &ssh_host(node, port))?;
    let identity = identity(cluster, node, &files.state())?;
    let (name, mac) = (&node.name, node.mac.to_string());
    let machine = machine(template, name, &mac, &identity, place)?;
    lab.attached().add(&machine)?;
    lab.attached().forward(port, node.ip, SSH)
}

/// Waits until the household machine serves and every node but those of `cards` has its address and answers SSH.
/// `progress` is told how many do.
///
/// # Errors
/// When one does not: the end of its console is in the error.
pub fn wait_until_online(
    lab: &mut Lab,
    cluster: &Cluster,
    cards: &[Card],
    progress: impl Fn(usize, usize),
) -> Result<()> {
    let mut machines = vec![household::NAME.to_owned()];
    let is_clone = |name: &String| !cards.iter().any(|card| card.node == *name);
    let nodes = cluster.nodes.iter().map(|node| node.name.clone());
    machines.extend(nodes.filter(is_clone));
    let (all, mut online) = (machines.len(), 0);
    lab.wait(&Waiting::online(machines, PATIENCE), |event: &Event| {
        if matches!(&event.what, Happened::Says { text } if text == guest::ONLINE) {
            online += 1;
            progress(online, all);
        }
    })
}

fn machine(
    template: &Template,
    name: &str,
    mac: &str,
    identity: &Identity,
    place: &Place,
) -> Result<Machine> {
    let path = place.scratch.join(format!("{name}.identity"));
    identity.write(&path)?;
    template.clone_as(name, mac, &path, &place.scratch)
}

/// What flashing gives a node: its host key and the operator's public key. Its name comes with provisioning.
fn identity(cluster: &Cluster, node: &Node, state: &Path) -> Result<Identity> {
    let read = |path: PathBuf| {
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let host_keys = state.join("hosts").join(&node.name);
    Ok(Identity {
        hostname: "bramble".to_owned(),
        user: cluster.access.user.clone(),
        authorized_keys: read(state.join("operator_ed25519.pub"))?,
        host_key: Some((
            read(host_keys.join("ssh_host_ed25519_key"))?,
            read(host_keys.join("ssh_host_ed25519_key.pub"))?,
        )),
        files: household::trust(),
        configure: None,
    })
}

/// What a card of Raspberry Pi OS has on its boot partition that provisioning reads. The emulated machine is started
/// without it.
fn stock_card() -> Layer {
    let kernel = "console=serial0,115200 console=tty1 root=LABEL=rootfs rootfstype=ext4 fsck.repair=yes rootwait\n";
    Layer::new()
        .file("boot/firmware/cmdline.txt", 0o755, kernel)
        .file("boot/firmware/config.txt", 0o755, "[all]\narm_64bit=1\n")
}

/// Takes the two highest addresses of the subnet that are nobody's.
fn gateway(cluster: &Cluster, ports: &[u16]) -> Result<Gateway> {
    let network = &cluster.network;
    let taken = |address: &Ipv4Addr| {
        *address == network.router
            || cluster
                .nas
                .as_ref()
                .is_some_and(|nas| nas.server == *address)
            || cluster.nodes.iter().any(|node| node.ip == *address)
    };
    let broadcast = u32::from(network.subnet.broadcast());
    let lowest = u32::from(network.subnet.network());
    let mut free = (lowest + 1..broadcast)
        .rev()
        .map(Ipv4Addr::from)
        .filter(|address| !taken(address));
    let (Some(address), Some(name_server)) = (free.next(), free.next()) else {
        bail!(
            "{} has no two addresses left for the rehearsal's gateway",
            network.subnet
        );
    };
    let forwards = cluster
        .nodes
        .iter()
        .zip(ports)
        .map(|(node, port)| (*port, node.ip, SSH))
        .collect();
    Ok(Gateway {
        subnet: network.subnet.to_string(),
        address,
        name_server,
        forwards,
    })
}

fn ssh_config(cluster: &Cluster, ports: &[u16]) -> String {
    let hosts = cluster.nodes.iter().zip(ports);
    hosts.map(|(node, port)| ssh_host(node, *port)).collect()
}

fn ssh_host(node: &Node, port: u16) -> String {
    format!(
        "Host {} {}\n  HostName 127.0.0.1\n  Port {port}\n",
        node.name, node.ip
    )
}

/// Ports of 127.0.0.1 that nobody listens on now.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let listeners: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<_, _>>()?;
    Ok(listeners
        .iter()
        .map(|listener| Ok(listener.local_addr()?.port()))
        .collect::<std::io::Result<_>>()?)
}

/// What there is to say, if a host of so many processors may be too small for the cluster.
pub(crate) fn crowded(cluster: &Cluster, processors: usize) -> Option<String> {
    let nodes = cluster.nodes.len();
    let is_crowded = cluster.docker.routing_mesh && nodes > processors * NODES_TO_A_PROCESSOR;
    is_crowded.then(|| {
        format!(
            "note: {nodes} emulated nodes on {processors} processors may take each other for dead without end, once they are a \
             swarm with a routing mesh; without one (`docker.routing_mesh = false` in the cluster file) sixteen on two came to rest"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_are_too_many_for_their_processors_are_told_of() {
        let text = include_str!("../../fixtures/clusters/sixteen-pi.toml");
        let sixteen = |mesh: bool| {
            let value = format!("routing_mesh = {mesh}");
            cluster(&text.replace("routing_mesh = false", &value))
        };
        assert_eq!(crowded(&sixteen(false), 2), None);
        assert_eq!(crowded(&sixteen(true), 4), None);
        assert!(crowded(&sixteen(true), 2).is_some_and(|note| note.contains("16 emulated nodes")));
    }

    fn cluster(text: &str) -> Cluster {
        Cluster::parse("cluster.toml", text).expect("a cluster").0
    }

    #[test]
    fn the_gateway_takes_what_is_nobodys() {
        let text = include_str!("../../fixtures/clusters/eight-pi.toml");
        let way_in = gateway(&cluster(text), &[40200, 40201]).expect("a gateway");
        assert_eq!(
            (way_in.address, way_in.name_server),
            ([192, 168, 1, 254].into(), [192, 168, 1, 253].into())
        );
        assert_eq!(
            way_in.forwards,
            [
                (40200, [192, 168, 1, 200].into(), 22),
                (40201, [192, 168, 1, 201].into(), 22)
            ]
        );

        let crowded = text.replace("192.168.1.207", "192.168.1.254");
        let way_in = gateway(&cluster(&crowded), &[]).expect("a gateway");
        assert_eq!(
            (way_in.address, way_in.name_server),
            ([192, 168, 1, 253].into(), [192, 168, 1, 252].into())
        );
    }

    #[test]
    fn a_fresh_place_is_empty_and_private() -> Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir()?;
        let place = Place::fresh(dir.path())?;
        fs::write(place.scratch.join("old.qcow2"), "")?;
        let place = Place::fresh(dir.path())?;
        assert!(!place.scratch.join("old.qcow2").exists());
        assert_eq!(
            fs::metadata(&place.scratch)?.permissions().mode() & 0o777,
            0o700
        );
        Ok(())
    }
}
