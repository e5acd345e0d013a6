//! A boot partition of a node's own: what its first boot is to do, in the form that the image on it understands.

use anyhow::Context as _;
use bramble_cluster::render::{Files, boot};
use bramble_cluster::spec::{Cluster, Node};
use bramble_image::card;
use bramble_image::fat::Fat;
use serde::Serialize;

use crate::failure::Usage;
use crate::state::State;

/// Which system an image has, as far as its first boot is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum System {
    /// Made by `cargo xtask image`
    Bramble,
    /// Raspberry Pi OS 12, from before cloud-init
    Bookworm,
    /// Raspberry Pi OS 13 and later: cloud-init
    Trixie,
}

impl System {
    /// What the boot partition looks like.
    ///
    /// # Errors
    /// It looks like none of those we know.
    pub(crate) fn of(partition: &Fat<'_>) -> anyhow::Result<System> {
        if partition.read(card::MARK)?.is_some() {
            return Ok(System::Bramble);
        }
        for name in ["user-data", "meta-data"] {
            if partition.read(name)?.is_some() {
                return Ok(System::Trixie);
            }
        }
        let command_line = partition.read("cmdline.txt")?.unwrap_or_default();
        let command_line = String::from_utf8_lossy(&command_line).into_owned();
        if command_line.contains("raspberrypi-sys-mods/firstboot") {
            return Ok(System::Bookworm);
        }
        if command_line.contains("init_resize") {
            return Err(Usage::new(
                "the image is of Raspberry Pi OS 11 or older, whose first boot takes neither a name nor keys",
            )
            .help("take an image of version 12 or later")
            .into());
        }
        Err(
            Usage::new("the image's boot partition does not say what its first boot understands")
                .help(
                    "if it is Raspberry Pi OS, say which with --system bookworm or --system trixie",
                )
                .into(),
        )
    }
}

/// Writes what makes `partition` the one of `node`, and returns the names of the files written.
///
/// # Errors
/// There are no keys yet, or the partition is full.
pub(crate) fn customise(
    partition: &Fat<'_>,
    system: System,
    cluster: &Cluster,
    node: &Node,
    state: &State,
) -> anyhow::Result<Vec<String>> {
    let keys = state.public_keys(cluster)?;
    let host_key = read_key(state, &node.name)?;
    let mut files = match system {
        System::Bramble => card::identity(&card::Identity {
            host_name: &node.name,
            user: &cluster.access.user,
            password_hash: cluster.access.password_hash.as_deref(),
            authorized_keys: &keys.authorized(cluster),
            host_key: &host_key,
        })
        .into_iter()
        .map(|(name, text)| (name.into(), text))
        .collect(),
        System::Bookworm => boot::bookworm(cluster, node, &keys),
        System::Trixie => trixie(boot::trixie(cluster, node, &keys), &host_key)?,
    };
    // Only the image knows where its root file system is.
    let own = partition.read("cmdline.txt")?.unwrap_or_default();
    if let Some(line) = files.get_mut(std::path::Path::new("cmdline.txt")) {
        *line = with_root_of(line, &String::from_utf8_lossy(&own));
    }
    let mut written = Vec::new();
    for (name, text) in files {
        let name = name.display().to_string();
        partition.write(&name, text.as_bytes())?;
        written.push(name);
    }
    Ok(written)
}

fn read_key(state: &State, node: &str) -> anyhow::Result<String> {
    let path = state.host_key(node);
    std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read the host key {}", path.display()))
}

/// cloud-init is given the host key that `known_hosts` already knows, instead of making one.
fn trixie(mut files: Files, host_key: &str) -> anyhow::Result<Files> {
    let user_data = files
        .get_mut(std::path::Path::new("user-data"))
        .context("the boot partition of Trixie has no user-data")?;
    *user_data += "ssh_keys:\n  ed25519_private: |\n";
    for line in host_key.lines() {
        *user_data += &format!("    {line}\n");
    }
    Ok(files)
}

/// `line` with the `root=` of `own`, if that has one.
fn with_root_of(line: &str, own: &str) -> String {
    let Some(root) = own
        .split_whitespace()
        .find(|word| word.starts_with("root="))
    else {
        return line.to_owned();
    };
    let word = |word| {
        if str::starts_with(word, "root=") {
            root
        } else {
            word
        }
    };
    let words: Vec<&str> = line.split_whitespace().map(word).collect();
    words.join(" ") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_file_system_stays_where_it_is() {
        let ours = "console=tty1 root=LABEL=rootfs rootwait\n";
        assert_eq!(
            with_root_of(ours, "quiet root=PARTUUID=1-02 rw\n"),
            "console=tty1 root=PARTUUID=1-02 rootwait\n"
        );
        assert_eq!(with_root_of(ours, "quiet\n"), ours);
    }

    #[test]
    fn cloud_init_gets_the_host_key() {
        let files = Files::from([(
            "user-data".into(),
            "#cloud-config\nhostname: a\n".to_owned(),
        )]);
        let files = trixie(files, "-----BEGIN-----\nabc\n-----END-----\n").unwrap();
        let text = &files[std::path::Path::new("user-data")];
        let read: serde_json::Value = serde_yaml_ng::from_str(text).unwrap();
        assert_eq!(
            read["ssh_keys"]["ed25519_private"],
            "-----BEGIN-----\nabc\n-----END-----\n"
        );
    }
}
