//! The initramfs: just enough to reach the root file system.
//!
//! Debian's own carries hundreds of modules and a shell library, and takes minutes to build under
//! emulation. Ours is a static busybox, a script, and the modules that the root disk and ext4 need, taken
//! from the root file system's archive: built on the host in a second, and loaded by the machine in another.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cpio::newc::{Builder, trailer};
use tar::Archive;

use crate::layer::relative;

/// The script that the kernel runs first.
const INIT: &str = include_str!("init.sh");

/// What stands between a kernel and an ext4 root on a virtio disk or on an SD card, by module name.
///
/// ext4 needs `crc32c` of the crypto library at run time, which its module does not declare.
pub const ROOT_MODULES: &[&str] = &["crc32c_generic", "virtio_blk", "ext4"];

/// What a Pi 4 needs beyond these to reach its SD card: the controller, and what powers it.
pub const CARD_MODULES: &[&str] = &["fixed", "gpio_regulator", "sdhci_iproc"];

/// A kernel and the initramfs that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// The kernel image, as it is under `/boot`.
    pub kernel: Vec<u8>,
    /// The initramfs: an uncompressed newc archive.
    pub initramfs: Vec<u8>,
}

/// The script that is in every initramfs: an input of whatever one is part of.
pub fn script() -> &'static str {
    INIT
}

/// Takes the kernel out of the archive of a root file system and makes an initramfs of `modules`, by name,
/// and of all that they depend on.
///
/// # Errors
/// When the archive cannot be read, has no kernel, no `busybox`, or not one of the modules.
pub fn from_rootfs(rootfs: &Path, modules: &[&str]) -> Result<Boot> {
    let mut found = pick(rootfs, |path| {
        path == Path::new("usr/bin/busybox")
            || path.ends_with("modules.dep")
            || path.parent() == Some(Path::new("boot"))
                && path
                    .file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-"))
    })?;
    let mut take = |what: &str, wanted: &dyn Fn(&Path) -> bool| -> Result<(PathBuf, Vec<u8>)> {
        let path = found.keys().find(|path| wanted(path)).cloned();
        let path = path.with_context(|| format!("{} has no {what}", rootfs.display()))?;
        let content = found.remove(&path).unwrap_or_default();
        Ok((path, content))
    };
    let (_, busybox) = take("static busybox", &|path| path.ends_with("busybox"))?;
    let (_, kernel) = take("kernel", &|path| path.starts_with("boot"))?;
    let (dep_path, dep) = take("modules.dep", &|path| path.ends_with("modules.dep"))?;

    let order = load_order(&String::from_utf8_lossy(&dep), modules)?;
    let tree = dep_path.parent().unwrap_or(Path::new(""));
    let wanted: BTreeSet<PathBuf> = order.iter().map(|module| tree.join(module)).collect();
    let packed = pick(rootfs, |path| wanted.contains(path))?;

    let mut plain = Vec::new();
    for module in &order {
        let bytes = packed
            .get(&tree.join(module))
            .with_context(|| format!("{} lacks {module}", rootfs.display()))?;
        plain.push((
            module_name(module),
            unpack(bytes).with_context(|| format!("cannot unpack {module}"))?,
        ));
    }
    Ok(Boot {
        kernel,
        initramfs: archive(&busybox, &plain)?,
    })
}

/// The device trees of the Pi 4 and its kin in the archive of a root file system, by name.
///
/// # Errors
/// The archive cannot be read.
pub fn device_trees(rootfs: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let trees = pick(rootfs, |path| {
        let name = path.file_name().map(|name| name.to_string_lossy());
        let is_tree =
            name.is_some_and(|name| name.starts_with("bcm2711-") && name.ends_with(".dtb"));
        is_tree && path.starts_with("usr/lib")
    })?;
    let named = |(path, content): (PathBuf, Vec<u8>)| {
        let name = path.file_name().unwrap_or_default();
        (name.to_string_lossy().into_owned(), content)
    };
    Ok(trees.into_iter().map(named).collect())
}

/// The files of a tar archive that `wanted` asks for.
fn pick(archive: &Path, wanted: impl Fn(&Path) -> bool) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let file = File::open(archive).with_context(|| format!("cannot open {}", archive.display()))?;
    let mut found = BTreeMap::new();
    for entry in Archive::new(BufReader::new(file)).entries_with_seek()? {
        let mut entry = entry?;
        let path = relative(&entry.path()?);
        if entry.header().entry_type().is_file() && wanted(&path) {
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            found.insert(path, content);
        }
    }
    Ok(found)
}

/// The module files to load, dependencies first, from the text of `modules.dep` (each line a file, a colon
/// and what it needs, see depmod(8)).
fn load_order(dep: &str, modules: &[&str]) -> Result<Vec<String>> {
    let needs: BTreeMap<&str, Vec<&str>> = dep
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(file, needs)| (file, needs.split_whitespace().collect()))
        .collect();
    let mut order = Vec::new();
    for module in modules {
        let Some((file, needs)) = needs.iter().find(|(file, _)| module_name(file) == *module)
        else {
            bail!("the kernel has no module {module}");
        };
        // modules.dep lists the nearest first, so the farthest is loaded first.
        for file in needs.iter().rev().chain([file]) {
            if !order.iter().any(|known| known == file) {
                order.push((*file).to_owned());
            }
        }
    }
    Ok(order)
}

/// `kernel/fs/ext4/ext4.ko.xz` is `ext4`.
fn module_name(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.split('.').next().unwrap_or(name).replace('-', "_")
}

fn unpack(bytes: &[u8]) -> Result<Vec<u8>> {
    const XZ: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];
    if !bytes.starts_with(XZ) {
        return Ok(bytes.to_owned());
    }
    let mut plain = Vec::new();
    lzma_rs::xz_decompress(&mut Cursor::new(bytes), &mut plain)?;
    Ok(plain)
}

fn archive(busybox: &[u8], modules: &[(String, Vec<u8>)]) -> Result<Vec<u8>> {
    const DIRECTORY: u32 = 0o40755;
    const PROGRAM: u32 = 0o100755;
    const FILE: u32 = 0o100644;

    let names: String = modules
        .iter()
        .map(|(name, _)| format!("{name}\n"))
        .collect();
    let mut entries: Vec<(String, u32, &[u8])> = [
        "bin",
        "dev",
        "etc",
        "lib",
        "lib/modules",
        "proc",
        "root",
        "sys",
    ]
    .map(|directory| (directory.to_owned(), DIRECTORY, &[][..]))
    .into();
    entries.push(("bin/busybox".to_owned(), PROGRAM, busybox));
    entries.push(("etc/modules".to_owned(), FILE, names.as_bytes()));
    entries.push(("init".to_owned(), PROGRAM, INIT.as_bytes()));
    for (name, content) in modules {
        entries.push((format!("lib/modules/{name}.ko"), FILE, content));
    }

    let mut out = Vec::new();
    for (inode, (name, mode, content)) in (1..).zip(&entries) {
        let size = u32::try_from(content.len())
            .with_context(|| format!("{name} is too large for an initramfs"))?;
        let mut writer = Builder::new(name)
            .ino(inode)
            .mode(*mode)
            .write(&mut out, size);
        writer.write_all(content)?;
        writer.finish()?;
    }
    trailer(&mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "\
kernel/lib/crc16.ko.xz:
kernel/fs/mbcache.ko.xz:
kernel/fs/jbd2/jbd2.ko.xz:
kernel/fs/ext4/ext4.ko.xz: kernel/lib/crc16.ko.xz kernel/fs/mbcache.ko.xz kernel/fs/jbd2/jbd2.ko.xz
kernel/fs/nfs/nfsv4.ko.xz: kernel/fs/nfs/nfs.ko.xz kernel/fs/lockd/lockd.ko.xz kernel/net/sunrpc/sunrpc.ko.xz
kernel/drivers/char/hw_random/virtio-rng.ko.xz:
";

    #[test]
    fn dependencies_are_loaded_first_and_once() {
        let names = |modules: &[&str]| -> Vec<String> {
            load_order(DEP, modules)
                .expect("an order")
                .iter()
                .map(|file| module_name(file))
                .collect()
        };
        assert_eq!(names(&["ext4"]), ["jbd2", "mbcache", "crc16", "ext4"]);
        assert_eq!(names(&["nfsv4"]), ["sunrpc", "lockd", "nfs", "nfsv4"]);
        assert_eq!(
            names(&["crc16", "ext4"]),
            ["crc16", "jbd2", "mbcache", "ext4"]
        );
        assert_eq!(
            names(&["virtio_rng"]),
            ["virtio_rng"],
            "files say virtio-rng, the kernel says virtio_rng"
        );
    }

    #[test]
    fn a_module_that_is_not_there_is_named() {
        let error = load_order(DEP, &["btrfs"]).expect_err("no such module");
        assert_eq!(error.to_string(), "the kernel has no module btrfs");
    }

    #[test]
    fn the_archive_says_what_to_load() {
        let modules = [
            ("jbd2".to_owned(), b"JBD2".to_vec()),
            ("ext4".to_owned(), b"EXT4".to_vec()),
        ];
        let bytes = archive(b"BUSYBOX", &modules).expect("an archive");
        let mut rest = bytes.as_slice();
        let mut listing = String::new();
        loop {
            let mut reader = cpio::newc::Reader::new(rest).expect("an entry");
            if reader.entry().is_trailer() {
                break;
            }
            let (name, mode) = (reader.entry().name().to_owned(), reader.entry().mode());
            let mut content = Vec::new();
            reader.read_to_end(&mut content).expect("content");
            let shown = if name == "init" {
                "(the script)".into()
            } else {
                String::from_utf8_lossy(&content)
            };
            listing += &format!("{mode:o} {name} {}\n", shown.trim().replace('\n', " "));
            rest = reader.finish().expect("the rest");
        }
        insta::assert_snapshot!(listing);
    }
}
