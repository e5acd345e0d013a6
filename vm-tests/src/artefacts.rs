//! What every rehearsal stands on: root file systems and booted templates, from the store.

use std::path::PathBuf;

use anyhow::{Context, Result};
use bramble_image::rootfs::{self, Recipe};
use bramble_image::{disk, initramfs};
use bramble_lab::guest;
use bramble_lab::template::{self, Template};
use bramble_store::{Artifact, Key, Store};

/// Raised when the same inputs would be built into something else.
const VERSION: u32 = 1;

/// The size of a machine's disk in MiB; what is not used takes no room.
const DISK: u32 = 4096;

/// Memory of a node in MiB. A real Pi has more; this is what Docker and a miner need.
pub const NODE_MEMORY: u32 = 768;

/// Memory of the household machine in MiB.
pub const HOUSEHOLD_MEMORY: u32 = 384;

/// A root file system in the store.
pub struct RootFs {
    artifact: Artifact,
    /// Identifies what it was made from.
    key: Key,
}

impl RootFs {
    /// Whether it was in the store already.
    pub fn was_cached(&self) -> bool {
        self.artifact.was_cached
    }

    fn archive(&self) -> PathBuf {
        self.artifact.path.join("rootfs.tar")
    }
}

/// The root file system of the nodes. `mirror` is a Debian mirror; without it, `mmdebstrap` chooses.
///
/// # Errors
/// When it cannot be built: the end of `mmdebstrap`'s log is in the error.
pub fn node_rootfs(store: &Store, mirror: Option<&str>) -> Result<RootFs> {
    rootfs_of(store, &rootfs::node(), None, mirror)
}

/// The root file system of the household machine, which goes on from the nodes'.
///
/// # Errors
/// As [`node_rootfs`].
pub fn household_rootfs(store: &Store, node: &RootFs, mirror: Option<&str>) -> Result<RootFs> {
    rootfs_of(store, &rootfs::household(), Some(node), mirror)
}

fn rootfs_of(
    store: &Store,
    recipe: &Recipe,
    base: Option<&RootFs>,
    mirror: Option<&str>,
) -> Result<RootFs> {
    let key = Key::builder(recipe.name, VERSION)
        .text("command", recipe.inputs())
        .text("base", base.map_or("", |base| base.key.hex()))
        .finish()?;
    let artifact = store.get_or_build(&key, |dir| {
        let archive = base.map(RootFs::archive);
        recipe.build(
            archive.as_deref(),
            mirror,
            &dir.join("rootfs.tar"),
            &dir.join("mmdebstrap.log"),
        )
    })?;
    Ok(RootFs { artifact, key })
}

/// Boots, or takes from the store, the template of the nodes.
///
/// # Errors
/// When it cannot be built or does not boot.
pub fn node_template(store: &Store, rootfs: &RootFs, supervisor: &[String]) -> Result<Template> {
    template_of(store, "node", rootfs, NODE_MEMORY, supervisor)
}

/// Boots, or takes from the store, the template of the household machine.
///
/// # Errors
/// When it cannot be built or does not boot.
pub fn household_template(
    store: &Store,
    rootfs: &RootFs,
    supervisor: &[String],
) -> Result<Template> {
    template_of(store, "household", rootfs, HOUSEHOLD_MEMORY, supervisor)
}

fn template_of(
    store: &Store,
    name: &str,
    rootfs: &RootFs,
    memory: u32,
    supervisor: &[String],
) -> Result<Template> {
    let (card, lab) = (rootfs::node_layer(), guest::layer());
    let key = Key::builder(&format!("machine-{name}"), VERSION)
        .text("rootfs", rootfs.key.hex())
        .text("card", card.digest())
        .text("lab", lab.digest())
        .text("init", initramfs::script())
        .text("modules", initramfs::ROOT_MODULES.join(" "))
        .text("mke2fs", disk::mke2fs("OUT".as_ref(), DISK).join(" "))
        .finish()?;
    let machine = store.get_or_build(&key, |dir| {
        let boot = initramfs::from_rootfs(&rootfs.archive(), initramfs::ROOT_MODULES)?;
        std::fs::write(dir.join("vmlinuz"), boot.kernel)?;
        std::fs::write(dir.join("initramfs"), boot.initramfs)?;
        disk::ext4(
            &rootfs.archive(),
            &card.clone().with(&lab),
            DISK,
            &dir.join("disk.img"),
        )
    })?;
    let in_machine = |file: &str| machine.path.join(file);
    let recipe = template::Recipe {
        name,
        disk: &in_machine("disk.img"),
        made_from: key.hex(),
        kernel: &in_machine("vmlinuz"),
        initramfs: &in_machine("initramfs"),
        memory,
        cpus: 1,
    };
    Template::get(store, &recipe, supervisor)
        .with_context(|| format!("no template of the {name} machine"))
}
