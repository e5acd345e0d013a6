//! What every rehearsal stands on: booted templates of root file systems, from the store.

use anyhow::{Context, Result};
use bramble_image::debian::archive::Mirror;
use bramble_image::disk::{self, Zeros};
use bramble_image::initramfs;
use bramble_image::layer::Layer;
use bramble_image::rootfs::{self, RootFs};
use bramble_lab::guest;
use bramble_lab::template::{self, Template};
use bramble_store::{Key, Store};

use crate::household;

/// Raised when the same inputs would be built into something else.
const VERSION: u32 = 1;

/// The size of a machine's disk in MiB; what is not used takes no room.
const DISK: u32 = 4096;

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
    template_of(store, name, rootfs, None, size, supervisor)
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
    let (name, size) = ("household", Size::HOUSEHOLD);
    template_of(store, name, rootfs, Some(mirror), size, supervisor)
}

fn template_of(
    store: &Store,
    name: &str,
    rootfs: &RootFs,
    mirror: Option<&Mirror>,
    size: Size,
    supervisor: &[String],
) -> Result<Template> {
    let (card, lab) = (rootfs::node_layer(), guest::layer());
    let mut key = Key::builder(&format!("machine-{name}"), VERSION);
    if let Some(mirror) = mirror {
        key = key.text("mirror", mirror.key.hex());
    }
    let key = key
        .text("rootfs", rootfs.key.hex())
        .text("card", card.digest())
        .text("lab", lab.digest())
        .text("init", initramfs::script())
        .text("modules", initramfs::ROOT_MODULES.join(" "))
        .text(
            "mke2fs",
            disk::mke2fs("OUT".as_ref(), DISK, Zeros::Holes).join(" "),
        )
        .finish()?;
    let machine = store.get_or_build(&key, |dir| {
        let boot = initramfs::from_rootfs(&rootfs.archive(), initramfs::ROOT_MODULES)?;
        std::fs::write(dir.join("vmlinuz"), boot.kernel)?;
        std::fs::write(dir.join("initramfs"), boot.initramfs)?;
        let served = mirror.map_or(Ok(Layer::new()), |it| it.layer(household::MIRROR_ROOT))?;
        disk::ext4(
            &rootfs.archive(),
            &card.clone().with(&lab).with(&served),
            DISK,
            Zeros::Holes,
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
        memory: size.memory,
        cpus: size.cpus,
    };
    Template::get(store, &recipe, supervisor)
        .with_context(|| format!("no template of the {name} machine"))
}
