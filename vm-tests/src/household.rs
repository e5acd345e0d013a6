//! The household machine: the router and the NAS that a cluster finds in the house it stands in, and what the router
//! leads to: a mirror of Debian's packages, under the names that Debian's own have.
//!
//! The files of router and NAS are those that `bramble render` gives a person for their own.

use std::net::Ipv4Addr;

use anyhow::Result;
use bramble_cluster::render::{network, storage};
use bramble_cluster::spec::{Cluster, Nas};
use bramble_image::layer::Layer;
use bramble_image::rootfs::FIRST_USER_ID;
use bramble_lab::Attached;
use bramble_lab::identity::Identity;

/// What the machine is called in the lab.
pub const NAME: &str = "household";

/// Its network card's address: locally administered, so no node's.
pub const MAC: &str = "52:54:00:b0:00:02";

/// Where the files of the mirror are, without a slash at the beginning.
pub const MIRROR_ROOT: &str = "srv/mirror";

/// What a node of a rehearsal is told so that the mirror will do: nobody signs it, for what is in it was held against the
/// lock when it was made.
pub fn trust() -> Layer {
    let unsigned =
        "APT::Get::AllowUnauthenticated \"true\";\nAcquire::AllowInsecureRepositories \"true\";\n";
    Layer::new().file("etc/apt/apt.conf.d/90bramble-lab", 0o644, unsigned)
}

/// The router's and the NAS's addresses, exports and reservations of `cluster`.
pub fn identity(cluster: &Cluster) -> Identity {
    let mut files = Layer::new()
        .file(
            "etc/systemd/network/10-lan.network",
            0o644,
            addresses(cluster),
        )
        .file("etc/dnsmasq.conf", 0o644, network::dnsmasq(cluster))
        .file("etc/systemd/system/dnsmasq.service", 0o644, DNSMASQ)
        .file("etc/systemd/system/mirror.service", 0o644, MIRROR);
    // For when it starts anew; a clone's services are started by its script.
    for unit in OWN_UNITS {
        let path = format!("/etc/systemd/system/{unit}");
        files = files.symlink(&format!("{WANTED}/{unit}"), &path);
    }
    if let Some(nas) = &cluster.nas {
        files = files
            .file(
                "etc/exports",
                0o644,
                storage::exports(nas, cluster.network.subnet),
            )
            .file("etc/nfs.conf.d/lab.conf", 0o644, NFS)
            .file("etc/fstab", 0o644, fstab(nas))
            .symlink(
                &format!("{WANTED}/nfs-server.service"),
                "/usr/lib/systemd/system/nfs-server.service",
            );
        for export in &nas.exports {
            files = files.directory_of(FIRST_USER_ID, &format!("srv/nfs/{export}"), 0o755);
        }
    }
    Identity {
        hostname: NAME.to_owned(),
        user: cluster.access.user.clone(),
        authorized_keys: String::new(),
        host_key: None,
        files,
        configure: Some(configure(cluster)),
    }
}

/// Leads the names of Debian's mirrors, which stand in this machine's own sources of packages as in the nodes', to this
/// machine.
fn mirror_names(router: Ipv4Addr) -> String {
    format!(
        "mkdir -p /etc/dnsmasq.d
sed -nE 's|^deb (\\[.*\\] )?https?://([^/ ]+)/.*|address=/\\2/{router}|p' /etc/apt/sources.list \\
    | sort -u > /etc/dnsmasq.d/mirror.conf\n"
    )
}

fn addresses(cluster: &Cluster) -> String {
    let prefix = cluster.network.subnet.prefix_len();
    let nas = cluster.nas.as_ref().map(|nas| nas.server);
    let mut file =
        "[Match]\nName=eth0\n\n[Network]\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n".to_owned();
    for address in nas.into_iter().chain([cluster.network.router]) {
        file += &format!("Address={address}/{prefix}\n");
    }
    file
}

/// NFSv4 clients see the exports as directories of their own only where something is mounted.
fn fstab(nas: &Nas) -> String {
    let mut file = "LABEL=rootfs / ext4 defaults,noatime 0 1\n".to_owned();
    for export in &nas.exports {
        file += &format!("/srv/nfs/{export} /srv/nfs/{export} none bind 0 0\n");
    }
    file
}

/// Has the router of a lab that runs know those of `grown` whom it did not know in `before`, as a person does who adds
/// what `bramble render` says to the router's own.
///
/// # Errors
/// When the machine does not do as it is told.
pub fn reserve(lab: &Attached, before: &Cluster, grown: &Cluster) -> Result<()> {
    let known = network::dnsmasq(before);
    let wanted = network::dnsmasq(grown);
    let new = wanted.lines().filter(|line| !known.contains(line));
    let lines: Vec<String> = new.map(|line| format!("'{line}'")).collect();
    let add = format!(
        "printf '%s\\n' {} >> /etc/dnsmasq.conf && systemctl restart dnsmasq.service",
        lines.join(" ")
    );
    lab.type_in(NAME, &add)?;
    Ok(())
}

fn configure(cluster: &Cluster) -> String {
    let (units, names) = (OWN_UNITS.join(" "), mirror_names(cluster.network.router));
    let mut script = format!(
        "#!/bin/sh\nset -eu\nnetworkctl reload\n{names}systemctl daemon-reload\nsystemctl start {units}\n"
    );
    if cluster.nas.is_some() {
        script += "mount --all\nsystemctl start nfs-server.service\n";
    }
    script
}

/// What is started at every boot.
const WANTED: &str = "etc/systemd/system/multi-user.target.wants";

/// What is started by units of its own.
const OWN_UNITS: [&str; 2] = ["dnsmasq.service", "mirror.service"];

/// Only on the network: the machine's own resolver has port 53 of the loopback.
const DNSMASQ: &str = "[Unit]
Description=Addresses and names of the house

[Service]
ExecStart=/usr/sbin/dnsmasq --keep-in-foreground --interface=eth0 --except-interface=lo --bind-dynamic \
  --conf-dir=/etc/dnsmasq.d,*.conf
Restart=on-failure
";

const MIRROR: &str = "[Unit]
Description=Debian's packages

[Service]
ExecStart=/bin/busybox httpd -f -p 80 -h /srv/mirror
Restart=on-failure
";

/// After a start, a server waits for its former clients to come back before it serves anybody; a NAS that
/// was never up has none.
const NFS: &str = "[nfsd]
grace-time=10
lease-time=10
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn router_and_nas_follow_the_cluster_file() {
        let text = include_str!("../../fixtures/clusters/eight-pi.toml");
        let (cluster, _) = Cluster::parse("eight-pi.toml", text).expect("a cluster");
        insta::assert_snapshot!("addresses", addresses(&cluster));
        insta::assert_snapshot!(mirror_names(cluster.network.router));
        assert!(MIRROR.contains(&format!("/{MIRROR_ROOT}\n")));

        let moved = text.replace("\"192.168.1.2\"", "\"192.168.1.9\"");
        let (moved, _) = Cluster::parse("moved.toml", &moved).expect("a cluster");
        assert!(addresses(&moved).contains("Address=192.168.1.9/24"));
        assert_ne!(identity(&moved), identity(&cluster));
    }
}
