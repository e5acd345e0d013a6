//! What every rehearsal stands on: booted templates of root file systems, from the store.

use anyhow::Result;
use bramble_image::debian::archive::Mirror;
use bramble_image::rootfs::RootFs;
use bramble_lab::template::{More, Template};
use bramble_store::Store;

use crate::household;

/// How large a machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Emulated CPUs.
    pub cpus: u8,
    /// Memory in MiB.
    pub memory: u32,
}

impl Size {
    /// A node, unless somebody asks for another. A real Pi has more; this is what Docker and a miner need.
    pub const NODE: Size = Size {
        cpus: 1,
        memory: 768,
    };

    /// The household machine.
    pub const HOUSEHOLD: Size = Size {
        cpus: 1,
        memory: 384,
    };
}

/// Boots, or takes from the store, a template of nodes of a size. `name` says of which.
///
/// # Errors
/// When it cannot be built or does not boot.
pub fn node_template(
    store: &Store,
    name: &str,
    rootfs: &RootFs,
    size: Size,
    supervisor: &[String],
) -> Result<Template> {
    Template::of_rootfs(store, name, rootfs, (size.memory, size.cpus), supervisor)
}

/// Boots, or takes from the store, the template of the household machine.
///
/// # Errors
/// When it cannot be built or does not boot.
pub fn household_template(
    store: &Store,
    rootfs: &RootFs,
    mirror: &Mirror,
    supervisor: &[String],
) -> Result<Template> {
    let Size { cpus, memory } = Size::HOUSEHOLD;
    let more = More {
        name: "mirror",
        key: mirror.key.hex(),
        files: &|| mirror.layer(household::MIRROR_ROOT),
    };
    Template::of_rootfs_with(
        store,
        "household",
        rootfs,
        Some(&more),
        (memory, cpus),
        supervisor,
    )
}
