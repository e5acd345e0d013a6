//! What goes onto the boot partition of a node's card, beside the kernel and the firmware.
//!
//! Raspberry Pi OS does its first boot in two ways: Bookworm looks for `custom.toml`, `ssh` and `userconf.txt`, Trixie
//! and what follows for the files of cloud-init. Each has a directory of its own here, complete, since an account is to be made
//! once.

use std::path::PathBuf;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Files, Keys, network, yaml_after};
use crate::spec::{Cluster, Node};

/// Grows the root file system on Bookworm, and takes itself out of the command line.
const BOOKWORM_FIRST_BOOT: &str = "init=/usr/lib/raspberrypi-sys-mods/firstboot";

/// The boot partition of Raspberry Pi OS Bookworm.
pub fn bookworm(cluster: &Cluster, node: &Node, keys: &Keys) -> Files {
    Files::from([
        (PathBuf::from("config.txt"), config_txt(cluster)),
        (
            PathBuf::from("cmdline.txt"),
            cmdline_txt(cluster, &[BOOKWORM_FIRST_BOOT]),
        ),
        // Its presence alone starts the server.
        (PathBuf::from("ssh"), String::new()),
        (PathBuf::from("userconf.txt"), userconf_txt(cluster)),
        (
            PathBuf::from("custom.toml"),
            custom_toml(cluster, node, keys),
        ),
    ])
}

/// The boot partition of Raspberry Pi OS Trixie.
pub fn trixie(cluster: &Cluster, node: &Node, keys: &Keys) -> Files {
    let user_data = yaml_after("#cloud-config\n", &user_data(cluster, node, keys));
    let network_config = yaml_after("", &network_config(node));
    let instance = instance(node, &[&user_data, &network_config]);
    let source = format!("ds=nocloud;i={instance}");
    let meta_data = json!({ "instance-id": instance, "local-hostname": node.name });
    Files::from([
        (PathBuf::from("config.txt"), config_txt(cluster)),
        (
            PathBuf::from("cmdline.txt"),
            cmdline_txt(cluster, &["resize", &source]),
        ),
        (PathBuf::from("user-data"), user_data),
        (PathBuf::from("network-config"), network_config),
        (PathBuf::from("meta-data"), yaml_after("", &meta_data)),
    ])
}

/// cloud-init's name for this installation. It follows from the node and what it is told alone: the same card is the
/// same installation, and after a change cloud-init acts anew.
fn instance(node: &Node, contents: &[&str]) -> String {
    let hash = Sha256::digest([&[node.name.as_str()], contents].concat().join("\n"));
    let digits: String = hash
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("bramble-{digits}")
}

/// Settings for the firmware of a Pi 4 without a screen.
///
/// Each line is short enough for any firmware.
fn config_txt(cluster: &Cluster) -> String {
    let mut text = String::from(
        "\
# For the firmware of a Raspberry Pi 4. Lines end after 98 bytes, whatever else stands in them.

# 64 bits, whatever the firmware's age.
arm_64bit=1
kernel=kernel8.img
auto_initramfs=1
arm_boost=1
enable_uart=1
",
    );
    let settings = firmware_settings(cluster);
    if !settings.is_empty() {
        // As `bramble provision` keeps them, which finds nothing to change on such a card.
        text += &format!("\n# BEGIN bramble boot\n{settings}# END bramble boot\n");
    }
    text
}

/// Lines of config.txt that follow from the cluster file.
pub fn firmware_settings(cluster: &Cluster) -> String {
    let boot = &cluster.boot;
    let mut text = String::new();
    if let Some(fan) = boot.poe_fan {
        text += "# The fan of the PoE HAT: millidegrees at which each speed begins.\n";
        for (speed, degrees) in fan.iter().enumerate() {
            text += &format!("dtparam=poe_fan_temp{speed}={degrees}000\n");
        }
    }
    if let Some(overclock) = boot.overclock {
        text += &format!(
            "arm_freq={}\nover_voltage={}\n",
            overclock.arm_freq, overclock.over_voltage
        );
    }
    if !boot.config.is_empty() {
        text += "# From the cluster file.\n";
        text.extend(boot.config.iter().map(|line| format!("{line}\n")));
        // Whoever appends to this file means all models.
        text += "[all]\n";
    }
    text
}

/// Words of the kernel command line that follow from the cluster file.
pub fn kernel_words(cluster: &Cluster) -> Vec<String> {
    // The device tree switches memory accounting off, and Docker ignores limits without it.
    let memory = "cgroup_enable=memory".to_owned();
    let own = cluster.boot.cmdline.iter();
    [memory].into_iter().chain(own.cloned()).collect()
}

/// The kernel command line: one line. The root file system is found by its label.
fn cmdline_txt(cluster: &Cluster, first_boot: &[&str]) -> String {
    let always = [
        "console=serial0,115200",
        "console=tty1",
        "root=LABEL=rootfs",
        "rootfstype=ext4",
        "fsck.repair=yes",
        "rootwait",
    ];
    let own = kernel_words(cluster);
    let own = own.iter().map(String::as_str);
    let words: Vec<&str> = always
        .into_iter()
        .chain(own)
        .chain(first_boot.iter().copied())
        .collect();
    words.join(" ") + "\n"
}

/// The account. Without a password hash, no password is accepted.
fn userconf_txt(cluster: &Cluster) -> String {
    let access = &cluster.access;
    format!(
        "{}:{}\n",
        access.user,
        access.password_hash.as_deref().unwrap_or("*")
    )
}

/// The name and the keys, which are read on the boot that grows the file system.
fn custom_toml(cluster: &Cluster, node: &Node, keys: &Keys) -> String {
    let access = &cluster.access;
    let table = |pairs: Vec<(&str, toml::Value)>| {
        let pairs = pairs
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value));
        pairs.collect::<toml::Table>()
    };
    let mut user = vec![("name", access.user.as_str().into())];
    if let Some(hash) = &access.password_hash {
        user.extend([
            ("password", hash.as_str().into()),
            ("password_encrypted", true.into()),
        ]);
    }
    let custom = table(vec![
        ("config_version", 1.into()),
        (
            "system",
            table(vec![("hostname", node.name.as_str().into())]).into(),
        ),
        ("user", table(user).into()),
        (
            "ssh",
            table(vec![
                ("enabled", true.into()),
                ("password_authentication", false.into()),
                ("authorized_keys", keys.authorized(cluster).into()),
            ])
            .into(),
        ),
    ]);
    custom.to_string()
}

fn user_data(cluster: &Cluster, node: &Node, keys: &Keys) -> Value {
    let access = &cluster.access;
    let mut user = json!({
        "name": access.user,
        "shell": "/bin/bash",
        "sudo": "ALL=(ALL) NOPASSWD:ALL",
        "lock_passwd": access.password_hash.is_none(),
        "ssh_authorized_keys": keys.authorized(cluster),
    });
    if let Some(hash) = &access.password_hash {
        user["hashed_passwd"] = json!(hash);
    }
    json!({
        "hostname": node.name,
        "fqdn": network::names(cluster, node)[0],
        // Names of nodes are kept in a block of their own.
        "manage_etc_hosts": false,
        // In the singular it changes the image's own account and keeps its groups.
        "user": user,
        "ssh_pwauth": false,
        "timezone": cluster.timezone.as_deref().unwrap_or("Etc/UTC"),
        // cloud-init makes keys, but does not start the server.
        "runcmd": [["systemctl", "enable", "--now", "ssh"]],
    })
}

fn network_config(node: &Node) -> Value {
    json!({
        "network": {
            "version": 2,
            "ethernets": {
                "eth0": {
                    "match": { "macaddress": node.mac },
                    "set-name": "eth0",
                    "dhcp4": true,
                    // What needs the network waits for it.
                    "optional": false,
                },
            },
        },
    })
}
