//! Booting once: a machine is started, left to settle, and saved; any number of clones go on from there.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bramble_image::disk::{self, Zeros};
use bramble_image::initramfs;
use bramble_image::layer::Layer;
use bramble_image::rootfs::{self, RootFs};
use bramble_store::{Artifact, Key, Store};
use serde_json::Value;

use crate::client::{Lab, Waiting};
use crate::definition::{Board, Definition, Machine, Start};
use crate::guest::{self, SETTLED};
use crate::launcher::Backend;
use crate::qemu;

/// Longest wait for a boot. It takes under a minute alone on two cores; a busy machine needs longer.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// Raised when the same inputs would give a different template.
const VERSION: u32 = 1;

/// The size of a machine's disk in MiB; what is not used takes no room.
const DISK: u32 = 4096;

/// What its kernel is told. `net.ifnames=0` names the network card `eth0`, as on a Pi. `kpti=off`: a Cortex-A72 needs
/// no page table isolation, but address randomisation turns it on, and then every system call costs an emulated
/// machine its TLB (a boot took 41 s with it and 24 s without).
pub(crate) const COMMAND_LINE: &str =
    "console=ttyAMA0 root=/dev/vda rw net.ifnames=0 kpti=off quiet";

/// What a template is made from.
#[derive(Debug, Clone)]
pub struct Recipe<'a> {
    /// What it is called.
    pub name: &'a str,
    /// A raw image of the root disk, in the store.
    pub disk: &'a Path,
    /// Identifies everything that `disk`, `kernel` and `initramfs` were made from.
    pub made_from: &'a str,
    /// Kernel image.
    pub kernel: &'a Path,
    /// Its initramfs.
    pub initramfs: &'a Path,
    /// Memory in MiB, the clones' as well.
    pub memory: u32,
    /// The number of CPUs, the clones' as well.
    pub cpus: u8,
}

/// Files that a machine has besides those of its root file system. They are only read when its disk is made.
pub struct More<'a> {
    /// What they are called among the inputs of the disk.
    pub name: &'a str,
    /// What they are known by: other files have another.
    pub key: &'a str,
    /// Reads them.
    pub files: &'a dyn Fn() -> Result<Layer>,
}

/// A saved machine. It is kept until the labs of its clones have ended: the store may clear away what nobody holds.
#[derive(Debug)]
pub struct Template {
    artifact: Artifact,
    machine: Machine,
    /// What its disk, kernel and initramfs are in. Held, not read.
    _below: Option<Artifact>,
}

impl Template {
    /// Takes the template from the store, or boots it. `supervisor` is as in [`Lab::launch`].
    ///
    /// # Errors
    /// When the machine does not boot: the end of its console is in the error.
    pub fn get(store: &Store, recipe: &Recipe, supervisor: &[String]) -> Result<Template> {
        let machine = |dir: &Path| Machine {
            name: format!("template-{}", recipe.name),
            board: Board::Virt,
            kernel: recipe.kernel.to_owned(),
            initramfs: recipe.initramfs.to_owned(),
            device_tree: None,
            command_line: COMMAND_LINE.to_owned(),
            disk: dir.join("disk.qcow2"),
            memory: recipe.memory,
            cpus: recipe.cpus,
            niceness: 0,
            start: Start::Boot {
                ram: dir.join("ram"),
            },
        };
        let key = Key::builder(&format!("template-{}", recipe.name), VERSION)
            .text("made-from", recipe.made_from)
            .text("machine", qemu::shape(&machine(Path::new("DIR"))))
            .text("qemu", qemu::version()?)
            .finish()?;
        let artifact = store.get_or_build(&key, |dir| {
            boot(&machine(dir), recipe.disk, dir, supervisor)
        })?;
        Ok(Template {
            machine: machine(&artifact.path),
            artifact,
            _below: None,
        })
    }

    /// As [`Template::get`], with disk, kernel and initramfs made of a root file system, or taken from the store.
    /// `size` is memory in MiB, and CPUs; `name` is part of what the store knows it by. Of a root file system, a name or a
    /// size that is new, a machine is booted first; `node` and (768, 1) are `vm-test`'s.
    ///
    /// # Errors
    /// When they cannot be made, or the machine does not boot.
    pub fn of_rootfs(
        store: &Store,
        name: &str,
        rootfs: &RootFs,
        size: (u32, u8),
        supervisor: &[String],
    ) -> Result<Template> {
        Template::of_rootfs_with(store, name, rootfs, None, size, supervisor)
    }

    /// As [`Template::of_rootfs`], with more files.
    ///
    /// # Errors
    /// As there, and when these files cannot be read.
    pub fn of_rootfs_with(
        store: &Store,
        name: &str,
        rootfs: &RootFs,
        more: Option<&More>,
        (memory, cpus): (u32, u8),
        supervisor: &[String],
    ) -> Result<Template> {
        let (card, lab) = (rootfs::node_layer(), guest::layer());
        let mut key = Key::builder(&format!("machine-{name}"), VERSION);
        if let Some(more) = more {
            key = key.text(more.name, more.key);
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
            .text("mke2fs-version", disk::version()?)
            .finish()?;
        let machine = store.get_or_build(&key, |dir| {
            let boot = initramfs::from_rootfs(&rootfs.archive(), initramfs::ROOT_MODULES)?;
            fs::write(dir.join("vmlinuz"), boot.kernel)?;
            fs::write(dir.join("initramfs"), boot.initramfs)?;
            let more = more.map_or(Ok(Layer::new()), |more| (more.files)())?;
            disk::ext4(
                &rootfs.archive(),
                &card.clone().with(&lab).with(&more),
                DISK,
                Zeros::Holes,
                &dir.join("disk.img"),
            )
        })?;
        let in_machine = |file: &str| machine.path.join(file);
        let recipe = Recipe {
            name,
            disk: &in_machine("disk.img"),
            made_from: key.hex(),
            kernel: &in_machine("vmlinuz"),
            initramfs: &in_machine("initramfs"),
            memory,
            cpus,
        };
        let template = Template::get(store, &recipe, supervisor)
            .with_context(|| format!("no template of the {name} machine"))?;
        Ok(Template {
            _below: Some(machine),
            ..template
        })
    }

    /// Whether it was in the store already.
    pub fn was_cached(&self) -> bool {
        self.artifact.was_cached
    }

    /// Where the store has it: another template is elsewhere.
    pub fn path(&self) -> &Path {
        &self.artifact.path
    }

    /// A machine that goes on from here. Its disk is made in `scratch`, a directory that is made where needed; `identity`
    /// is a file that [`Identity::write`](crate::identity::Identity::write) wrote; `mac` is its network card's address,
    /// such as `52:54:00:00:00:01`, which no other machine of the lab has.
    ///
    /// # Errors
    /// When its disk cannot be made.
    pub fn clone_as(
        &self,
        name: &str,
        mac: &str,
        identity: &Path,
        scratch: &Path,
    ) -> Result<Machine> {
        let disk = scratch.join(format!("{name}.qcow2"));
        overlay(&self.machine.disk, "qcow2", &disk)?;
        Ok(Machine {
            name: name.to_owned(),
            disk,
            start: Start::Clone {
                ram: self.artifact.path.join("ram"),
                state: self.artifact.path.join("state"),
                identity: identity.to_owned(),
                mac: mac.to_owned(),
            },
            ..self.machine.clone()
        })
    }
}

fn boot(machine: &Machine, disk: &Path, dir: &Path, supervisor: &[String]) -> Result<()> {
    overlay(disk, "raw", &machine.disk)?;
    // Memory that is never touched takes no room.
    let Start::Boot { ram } = &machine.start else {
        bail!("a template boots")
    };
    File::create(ram)?.set_len(u64::from(machine.memory) << 20)?;

    let definition = Definition {
        logs: dir.join("logs"),
        scratch: None,
        backend: Backend::Processes,
        machines: vec![machine.clone()],
        gateway: None,
    };
    let mut lab = Lab::launch(&machine.name, &definition, supervisor)?;
    let settled = Waiting {
        machines: vec![machine.name.clone()],
        text: SETTLED,
        patience: PATIENCE,
    };
    lab.wait(&settled, |_| {})
        .context("the template did not boot")?;
    let state = dir.join("state");
    lab.attached().save(&machine.name, &state)?;
    lab.down()?;
    // Nothing in it is anybody's secret, and clones may run as somebody else.
    for file in [ram, &state, &machine.disk] {
        fs::set_permissions(file, Permissions::from_mode(0o644))?;
    }
    Ok(())
}

/// Makes a qcow2 disk that takes over from `base`, which is `raw` or `qcow2`, and leaves it as it is.
///
/// # Errors
/// When it cannot be made, or `qemu-img` is missing.
pub fn overlay(base: &Path, format: &str, disk: &Path) -> Result<()> {
    overlay_of(None, base, format, disk)
}

/// As [`overlay`], of `size` bytes instead of as many as `base` has.
pub(crate) fn overlay_of(size: Option<u64>, base: &Path, format: &str, disk: &Path) -> Result<()> {
    if let Some(parent) = disk.parent() {
        fs::create_dir_all(parent)?;
    }
    let output = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", format, "-b"])
        .args([base, disk])
        .args(size.map(|bytes| bytes.to_string()))
        .output()
        .context("cannot run qemu-img; `cargo xtask doctor` says how to install it")?;
    if !output.status.success() {
        bail!(
            "cannot make {}: {}",
            disk.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// The disks under a copy-on-write disk.
pub(crate) fn bases(disk: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("qemu-img")
        .args(["info", "--force-share", "--backing-chain", "--output=json"])
        .arg(disk)
        .output()
        .context("cannot run qemu-img; `cargo xtask doctor` says how to install it")?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        bail!("cannot look into {}: {}", disk.display(), why.trim());
    }
    let chain: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    let names = chain
        .iter()
        .skip(1)
        .filter_map(|disk| disk["filename"].as_str());
    Ok(names.map(PathBuf::from).collect())
}
