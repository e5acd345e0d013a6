//! Shared storage: what nodes mount, and what the server exports.

use std::fmt;

use ipnet::Ipv4Net;
use serde::Serialize;

use crate::spec::{Nas, Node};

/// Where the root of a Linux server's NFSv4 exports lies on its disk.
const SERVER_ROOT: &str = "/srv/nfs";

/// All access is squashed to this user and group, the first account of Raspberry Pi OS and Debian.
const SQUASH_ID: u32 = 1000;

/// A mount on every node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// What is mounted: `192.168.1.2:/pi-cluster`.
    pub source: String,
    /// Where: `/mnt/nfs/pi-cluster`.
    pub target: String,
    /// The type of file system, as in fstab.
    pub fstype: &'static str,
    /// Options, joined by commas.
    pub options: String,
}

/// As a line of fstab.
impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Network file systems are never dumped, nor checked at boot.
        write!(
            f,
            "{} {} {} {} 0 0",
            self.source, self.target, self.fstype, self.options
        )
    }
}

/// What a node mounts, in the order of the file.
pub fn mounts(nas: &Nas, node: &Node) -> Vec<Mount> {
    let mount = |export: &String| Mount {
        source: format!("{}:/{export}", nas.server),
        target: Nas::mount_point(export),
        fstype: "nfs4",
        options: nas.options.clone(),
    };
    node.exports.iter().map(mount).collect()
}

/// Our lines in a node's `/etc/fstab`.
pub fn fstab(nas: &Nas, node: &Node) -> String {
    mounts(nas, node)
        .iter()
        .map(|mount| format!("{mount}\n"))
        .collect()
}

/// The name of the rendered file that has them: nodes that mount everything share one.
pub fn fstab_name(nas: &Nas, node: &Node) -> String {
    match node.exports == nas.exports {
        true => "fstab".to_owned(),
        false => format!("fstab-{}", node.name),
    }
}

/// What a Linux server puts into `/etc/exports`.
pub fn exports(nas: &Nas, subnet: Ipv4Net) -> String {
    let squash =
        format!("sync,no_subtree_check,all_squash,anonuid={SQUASH_ID},anongid={SQUASH_ID}");
    // NFSv4 leaves the read-only root only where something is mounted.
    let mut text = format!(
        "# Each directory below {SERVER_ROOT} must be a mount point: a disk's, or of itself by a line of fstab like\n\
         # {SERVER_ROOT}/NAME {SERVER_ROOT}/NAME none bind 0 0\n\
         {SERVER_ROOT} {subnet}(ro,fsid=0,{squash})\n"
    );
    for (export, id) in nas.exports.iter().zip(1..) {
        // A fixed id keeps handles good over a reboot, and is needed on file systems without a UUID.
        text += &format!("{SERVER_ROOT}/{export} {subnet}(rw,fsid={id},{squash})\n");
    }
    text
}
