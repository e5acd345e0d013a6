//! The image of a node's SD card: a partition table, a boot partition for the firmware, and the root file system.
//!
//! The image is the same for every node. What makes a card the card of one node is a few files on its boot
//! partition, which `bramble flash` writes and the first boot takes away ([`identity`]).

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, BufReader};
use std::ops::Range;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail};
use bramble_store::{Artifact, Key};

use crate::bmap::{self, Bmap};
use crate::debian::unpacked::Unpacked;
use crate::disk::{self, Zeros};
use crate::fat::Fat;
use crate::initramfs::{self, Boot};
use crate::layer::Layer;
use crate::{Inputs, debian, rootfs};

/// Raised when the same inputs would be built into something else.
const VERSION: u32 = 1;

/// What the image is called in its artefact.
pub const IMAGE: &str = "card.img";

/// Of the root file system before its first boot, in MiB.
const ROOT_SIZE: u32 = 2048;

/// By this file a boot partition is known as one of ours.
pub const MARK: &str = "bramble/card.txt";

const MARK_TEXT: &str = "\
The card of a node that bramble provisions. What a first boot needs is written into this directory by
`bramble flash`, and taken away by the first boot.
";

/// The disk's own id; partitions are known by it and their number.
const DISK_ID: u32 = 0x6272_616d;

/// Partitions begin at multiples of this, which suits the erase blocks of cards.
const ALIGNMENT: u64 = 8 << 20;

/// The boot partition: room for the kernel, its successor, and the firmware.
const BOOT: Range<u64> = ALIGNMENT..ALIGNMENT + (256 << 20);

/// What the firmware must find to start Linux on a Pi 4; see the documentation of its boot folder.
pub const NEEDED: &[&str] = &[
    "bcm2711-rpi-4-b.dtb",
    "cmdline.txt",
    "config.txt",
    "fixup4.dat",
    "initramfs8",
    "kernel8.img",
    "start4.elf",
];

/// The root partition, as the kernel's command line and `/etc/fstab` name it.
fn partuuid(number: u32) -> String {
    format!("PARTUUID={DISK_ID:08x}-{number:02}")
}

/// Settings for the firmware; a node's own may replace them.
const CONFIG: &str = "\
# For the firmware of a Raspberry Pi 4.
arm_64bit=1
kernel=kernel8.img
initramfs initramfs8 followkernel
enable_uart=1
";

/// The kernel's command line.
pub fn command_line() -> String {
    format!(
        "console=tty0 console=ttyS1,115200 root={} rootfstype=ext4 rw rootwait net.ifnames=0\n",
        partuuid(2)
    )
}

/// The files of the boot partition, by path, from the firmware's package and the kernel.
///
/// # Errors
/// The package lacks one that a Pi needs.
pub fn boot_files(
    firmware: &Unpacked,
    kernel: &Boot,
    device_trees: &BTreeMap<String, Vec<u8>>,
) -> Result<BTreeMap<String, Vec<u8>>> {
    const FIRMWARE: &str = "usr/lib/raspi-firmware/";
    let mut files: BTreeMap<String, Vec<u8>> = device_trees.clone();
    for (path, content) in firmware.below(FIRMWARE) {
        // The firmware of a Pi 4, of which a variant may be asked for, and overlays.
        let wanted = ["start4", "fixup4", "overlays/"];
        if wanted.iter().any(|prefix| path.starts_with(prefix)) {
            files.insert(path, content.to_vec());
        }
    }
    let (_, licence) = firmware.licence("raspi-firmware")?;
    files.insert("LICENCE.firmware".to_owned(), licence.to_vec());
    files.insert("kernel8.img".to_owned(), kernel.kernel.clone());
    files.insert("initramfs8".to_owned(), kernel.initramfs.clone());
    files.insert("config.txt".to_owned(), CONFIG.as_bytes().to_vec());
    files.insert("cmdline.txt".to_owned(), command_line().into_bytes());
    files.insert(MARK.to_owned(), MARK_TEXT.as_bytes().to_vec());
    if let Some(missing) = NEEDED.iter().find(|name| !files.contains_key(**name)) {
        bail!("the boot partition would lack {missing}");
    }
    Ok(files)
}

/// What a root file system has on a card and not in a rehearsal: its partitions, and what its first boot does.
pub fn layer() -> Layer {
    let fstab = format!(
        "{} / ext4 defaults,noatime 0 1\n{} /boot/firmware vfat defaults,umask=0077 0 0\n",
        partuuid(2),
        partuuid(1)
    );
    Layer::new()
        .file("etc/fstab", 0o644, fstab)
        .directory_of(0, "boot/firmware", 0o755)
        .file("usr/lib/bramble/first-boot", 0o755, FIRST_BOOT)
        .file(
            "etc/systemd/system/bramble-first-boot.service",
            0o644,
            FIRST_BOOT_UNIT,
        )
        .symlink(
            "etc/systemd/system/sysinit.target.wants/bramble-first-boot.service",
            "../bramble-first-boot.service",
        )
}

const FIRST_BOOT: &str = include_str!("first-boot.sh");

const FIRST_BOOT_UNIT: &str = include_str!("first-boot.service");

/// Who a node is.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// Its name, without a domain.
    pub host_name: &'a str,
    /// The account that provisioning logs in to.
    pub user: &'a str,
    /// As in `/etc/shadow`; without it, no password is accepted.
    pub password_hash: Option<&'a str>,
    /// Lines of `authorized_keys`.
    pub authorized_keys: &'a [String],
    /// The private host key, in OpenSSH's format.
    pub host_key: &'a str,
}

/// The files on the boot partition that make a card the card of a node.
pub fn identity(node: &Identity<'_>) -> BTreeMap<String, String> {
    let mut files = BTreeMap::from([
        (
            "bramble/hostname".to_owned(),
            format!("{}\n", node.host_name),
        ),
        ("bramble/user".to_owned(), format!("{}\n", node.user)),
        (
            "bramble/authorized_keys".to_owned(),
            node.authorized_keys.join("\n") + "\n",
        ),
        (
            "bramble/ssh_host_ed25519_key".to_owned(),
            node.host_key.to_owned(),
        ),
    ]);
    if let Some(hash) = node.password_hash {
        files.insert(
            "bramble/password".to_owned(),
            format!("{}:{hash}\n", node.user),
        );
    }
    files
}

/// The image of a card, from the store or built now: `card.img` and its block map, `card.img.bmap`.
///
/// # Errors
/// The lock does not have what it is made of, something cannot be fetched, or a tool is missing or fails.
pub fn get(inputs: &Inputs) -> Result<Artifact> {
    let root = rootfs::node().get(inputs, None)?;
    let firmware = inputs.packages(&debian::firmware())?;
    let modules = [initramfs::ROOT_MODULES, initramfs::CARD_MODULES].concat();
    let files = rootfs::node_layer().with(&layer());
    let key = key(&root.key, &firmware.list(), &modules, &disk::version()?)?;
    inputs.store.get_or_build(&key, |dir| {
        let archive = root.archive();
        let kernel = initramfs::from_rootfs(&archive, &modules)?;
        let boot = boot_files(
            &Unpacked::read(&firmware.fetch()?)?,
            &kernel,
            &initramfs::device_trees(&archive)?,
        )?;
        let (ext4, image) = (dir.join("root.img"), dir.join(IMAGE));
        disk::ext4(&archive, &files, ROOT_SIZE, Zeros::Written, &ext4)?;
        assemble(&boot, &ext4, &image)?;
        fs::remove_file(&ext4)?;
        let map = Bmap::of(&File::open(&image)?)?;
        fs::write(dir.join(format!("{IMAGE}.bmap")), map.render())?;
        Ok(())
    })
}

fn key(root: &Key, firmware: &str, modules: &[&str], mke2fs: &str) -> Result<Key> {
    let files = rootfs::node_layer().with(&layer());
    let command = disk::mke2fs("OUT".as_ref(), ROOT_SIZE, Zeros::Written);
    Key::builder("card", VERSION)
        .text("rootfs", root.hex())
        .text("firmware", firmware)
        .text("files", files.digest())
        .text("init", initramfs::script())
        .text("modules", modules.join(" "))
        .text("mke2fs", command.join(" "))
        .text("mke2fs-version", mke2fs)
        .text("boot", format!("{CONFIG}{}{MARK_TEXT}", command_line()))
        .finish()
}

/// Writes the image `out` of a boot partition with `boot` and the ext4 image `root`.
///
/// # Errors
/// A file cannot be read or written, or the boot partition is too small.
pub fn assemble(boot: &BTreeMap<String, Vec<u8>>, root: &Path, out: &Path) -> Result<()> {
    let failed = || format!("cannot write the image {}", out.display());
    let root = File::open(root).with_context(|| format!("cannot open {}", root.display()))?;
    let length = root.metadata()?.len();
    let disk = File::options()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(out)
        .with_context(failed)?;
    let place = BOOT.end..BOOT.end + length.next_multiple_of(ALIGNMENT);
    disk.set_len(place.end).with_context(failed)?;
    disk.write_all_at(&partition_table(&[(0x0c, BOOT), (0x83, place.clone())])?, 0)
        .with_context(failed)?;

    let fat = Fat::format(&disk, BOOT, "bootfs", DISK_ID)?;
    for (path, content) in boot {
        fat.write(path, content)?;
    }
    fat.close()?;
    copy_sparse(&root, length, &disk, place.start).with_context(failed)
}

/// What the names of compressed images begin with until they are whole.
const PARTIAL: &str = ".bramble-card-";

/// Compresses the file `image` to `out` with Zstandard. What is called `out` is whole, or not there, and nobody may read
/// it who may not read `image`.
///
/// # Errors
/// A file cannot be read or written.
pub fn compress(image: &Path, out: &Path) -> Result<()> {
    let failed = || format!("cannot compress {} to {}", image.display(), out.display());
    let dir = match out.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    };
    sweep(dir).with_context(failed)?;
    let readers = fs::metadata(image)
        .with_context(failed)?
        .permissions()
        .mode()
        & 0o066;
    let partial = tempfile::Builder::new()
        .prefix(PARTIAL)
        .permissions(Permissions::from_mode(0o600 | readers))
        .tempfile_in(dir)
        .with_context(failed)?;
    // Whoever sweeps leaves alone what is locked.
    partial.as_file().lock().with_context(failed)?;
    packed(image, partial.as_file()).with_context(failed)?;
    partial.persist(out).with_context(failed)?;
    Ok(())
}

/// Removes what runs that were killed have left, which may hold a node's private key.
fn sweep(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let is_partial = entry.file_name().to_string_lossy().starts_with(PARTIAL);
        if is_partial && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn packed(image: &Path, out: &File) -> io::Result<()> {
    /// Beyond it, an image gets little smaller for a lot of time.
    const LEVEL: i32 = 9;
    let from = File::open(image)?;
    let mut packed = zstd::Encoder::new(out, LEVEL)?;
    packed.include_checksum(true)?;
    packed.set_pledged_src_size(Some(from.metadata()?.len()))?;
    io::copy(&mut BufReader::with_capacity(1 << 20, from), &mut packed)?;
    packed.finish()?.sync_all()
}

/// The sector with the partition table of up to four `(type, bytes)`.
fn partition_table(partitions: &[(u8, Range<u64>)]) -> Result<[u8; 512]> {
    /// Cylinder, head and sector of what lies beyond what these can say.
    const BEYOND: [u8; 3] = [0xfe, 0xff, 0xff];
    let mut sector = [0; 512];
    sector[440..444].copy_from_slice(&DISK_ID.to_le_bytes());
    for (entry, (kind, bytes)) in sector[446..510].chunks_exact_mut(16).zip(partitions) {
        let sectors =
            |bytes: u64| u32::try_from(bytes / 512).context("a partition lies beyond 2 TiB");
        entry[1..4].copy_from_slice(&BEYOND);
        entry[4] = *kind;
        entry[5..8].copy_from_slice(&BEYOND);
        entry[8..12].copy_from_slice(&sectors(bytes.start)?.to_le_bytes());
        entry[12..16].copy_from_slice(&sectors(bytes.end - bytes.start)?.to_le_bytes());
    }
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    Ok(sector)
}

fn copy_sparse(from: &File, length: u64, to: &File, at: u64) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    for range in bmap::data(from, length)? {
        let mut position = range.start;
        while position < range.end {
            let part = (range.end - position).min(buffer.len() as u64) as usize;
            from.read_exact_at(&mut buffer[..part], position)?;
            to.write_all_at(&buffer[..part], at + position)?;
            position += part as u64;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_mke2fs_makes_another_card() {
        let root = Key::builder("rootfs-node", 1).finish().expect("a key");
        let key = |version: &str| {
            let key = key(&root, "raspi-firmware 1", &["ext4"], version);
            key.expect("a key").hex().to_owned()
        };
        assert_eq!(key("mke2fs 1.47.2"), key("mke2fs 1.47.2"));
        assert_ne!(key("mke2fs 1.47.2"), key("mke2fs 1.47.3"));
    }
}
