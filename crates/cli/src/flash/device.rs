//! What can be written to: the machine's disks, as the kernel describes them, and what speaks against each.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Serialize;

use crate::failure::Usage;
use crate::text::bytes;

/// Beyond this, the partition table of a Pi's card cannot say where a partition ends.
const LARGEST: u64 = 2 << 40;

/// How a disk is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Bus {
    /// A card in a slot.
    Mmc,
    /// A card reader, a stick, an SSD in a case.
    Usb,
    /// A file that the kernel shows as a disk.
    Loop,
    /// Anything else, which is a part of the machine.
    Internal,
}

/// A whole disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Device {
    /// `/dev/sdb`
    pub(crate) path: PathBuf,
    /// What its maker calls it; may be empty.
    pub(crate) model: String,
    /// May be empty.
    pub(crate) serial: String,
    /// In bytes; zero without a medium.
    pub(crate) size: u64,
    pub(crate) bus: Bus,
    /// Whether the kernel believes that its medium can be taken out.
    pub(crate) removable: bool,
    pub(crate) read_only: bool,
    /// What it is in use for: mount points, swap, other devices made of it.
    pub(crate) used: Vec<String>,
    /// Another one whenever another medium is put in; empty before Linux 5.15.
    #[serde(skip)]
    pub(crate) sequence: String,
}

impl Device {
    /// Why nobody should write an image of `size` bytes to it, if so.
    pub(crate) fn refusal(&self, size: u64) -> Option<String> {
        let attached = self.removable || self.bus != Bus::Internal;
        match self {
            _ if !self.used.is_empty() => {
                let uses = self.used.join(", ");
                Some(format!("it is in use ({uses}): unmount it first"))
            }
            _ if !attached => {
                Some("it is a part of this machine, not a card or a stick".to_owned())
            }
            _ if self.read_only => Some("it is write-protected: see the card's slider".to_owned()),
            _ if self.size == 0 => Some("there is no card in it".to_owned()),
            _ if self.size < size => Some(format!(
                "it holds {}, the image needs {}",
                bytes(self.size),
                bytes(size)
            )),
            _ if self.size > LARGEST => Some(format!(
                "{} is more than the partition table of a Pi's card can describe",
                bytes(self.size)
            )),
            _ => None,
        }
    }

    /// What a person knows it by.
    pub(crate) fn name(&self) -> String {
        let known = [self.model.as_str(), self.serial.as_str()];
        let known: Vec<&str> = known.into_iter().filter(|text| !text.is_empty()).collect();
        match known.is_empty() {
            true => "unnamed".to_owned(),
            false => known.join(", serial "),
        }
    }
}

/// Where the kernel tells of disks and of what is mounted. Tests have their own.
#[derive(Debug, Clone)]
pub(crate) struct Kernel {
    sys: PathBuf,
    mounts: PathBuf,
    swaps: PathBuf,
}

impl Kernel {
    /// The one that runs.
    pub(crate) fn running() -> Kernel {
        Kernel {
            sys: "/sys".into(),
            mounts: "/proc/self/mountinfo".into(),
            swaps: "/proc/swaps".into(),
        }
    }

    /// All disks that something could be written to, by name; not the loop devices that nobody uses.
    pub(crate) fn disks(&self) -> anyhow::Result<Vec<Device>> {
        let block = self.sys.join("block");
        let entries =
            fs::read_dir(&block).with_context(|| format!("cannot read {}", block.display()))?;
        let mut disks = Vec::new();
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let made_of_others = ["dm-", "md", "ram", "zram", "sr", "fd", "nbd"];
            let idle_loop = name.starts_with("loop") && !block.join(&name).join("loop").exists();
            if !idle_loop && !made_of_others.iter().any(|prefix| name.starts_with(prefix)) {
                disks.push(self.disk(&name)?);
            }
        }
        disks.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(disks)
    }

    /// The whole disk called `name`.
    fn disk(&self, name: &str) -> anyhow::Result<Device> {
        let dir = self.sys.join("block").join(name);
        let real = fs::canonicalize(&dir).with_context(|| format!("there is no disk {name}"))?;
        let fact = |file: &str| -> String {
            let text = fs::read_to_string(real.join(file)).unwrap_or_default();
            text.trim().to_owned()
        };
        let first = |files: &[&str]| {
            let found = files.iter().map(|file| fact(file));
            found
                .into_iter()
                .find(|text| !text.is_empty())
                .unwrap_or_default()
        };
        let within = |part: &str| real.to_string_lossy().contains(part);
        let bus = match name {
            _ if name.starts_with("loop") => Bus::Loop,
            _ if within("/mmc_host/") => Bus::Mmc,
            _ if within("/usb") => Bus::Usb,
            _ => Bus::Internal,
        };
        let vendor = fact("device/vendor");
        let model = first(&["device/model", "device/name", "loop/backing_file"]);
        Ok(Device {
            path: Path::new("/dev").join(name),
            model: format!("{vendor} {model}").trim().to_owned(),
            serial: first(&["device/serial"]),
            size: fact("size").parse::<u64>().unwrap_or(0) * 512,
            bus,
            removable: fact("removable") == "1",
            read_only: fact("ro") == "1",
            used: self.uses(name, &real),
            sequence: fact("diskseq"),
        })
    }

    /// What a disk and its partitions are in use for.
    fn uses(&self, name: &str, dir: &Path) -> Vec<String> {
        let mut parts = vec![(name.to_owned(), dir.to_owned())];
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.path().join("partition").exists() {
                let part = entry.file_name().to_string_lossy().into_owned();
                parts.push((part, entry.path()));
            }
        }
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        let (mounts, swaps) = (read(&self.mounts), read(&self.swaps));
        let mut uses = BTreeSet::new();
        for (name, dir) in parts {
            let path = format!("/dev/{name}");
            let number = read(&dir.join("dev")).trim().to_owned();
            let mounted = mounts
                .lines()
                .filter_map(|line| mount_point(line, &number, &path));
            uses.extend(mounted.map(|point| format!("{name} is {point}")));
            if swaps
                .lines()
                .any(|line| line.split_whitespace().next() == Some(&path))
            {
                uses.insert(format!("{name} is swap"));
            }
            for holder in fs::read_dir(dir.join("holders"))
                .into_iter()
                .flatten()
                .flatten()
            {
                uses.insert(format!(
                    "{} is made of {name}",
                    holder.file_name().to_string_lossy()
                ));
            }
        }
        uses.into_iter().collect()
    }

    /// What `path` is: a whole disk, a file, or nothing yet, which will be a file.
    ///
    /// # Errors
    /// It is a partition, a directory, or something else that no image can be written to.
    pub(crate) fn target(&self, path: &Path) -> anyhow::Result<Target> {
        let meta = match fs::metadata(path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if path.starts_with("/dev") {
                    let shown = path.display();
                    return Err(Usage::new(format!("there is no device {shown}"))
                        .help("`bramble flash --list` shows what is there")
                        .into());
                }
                return Ok(Target::File(path.to_owned()));
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot look at {}", path.display()));
            }
        };
        if meta.is_file() {
            return Ok(Target::File(path.to_owned()));
        }
        if !meta.file_type().is_block_device() {
            return Err(
                Usage::new(format!("{} is neither a disk nor a file", path.display())).into(),
            );
        }
        let number = meta.rdev();
        let (major, minor) = (nix::sys::stat::major(number), nix::sys::stat::minor(number));
        let link = self.sys.join(format!("dev/block/{major}:{minor}"));
        let real = fs::canonicalize(&link)
            .with_context(|| format!("the kernel does not know {}", path.display()))?;
        let name = |path: &Path| {
            path.file_name()
                .map(|name| name.to_string_lossy().into_owned())
        };
        if real.join("partition").exists() {
            let whole = real.parent().and_then(name).unwrap_or_default();
            return Err(Usage::new(format!("{} is a partition", path.display()))
                .help(format!(
                    "an image has partitions of its own: name the whole disk, /dev/{whole}"
                ))
                .into());
        }
        let Some(name) = name(&real) else {
            bail!("the kernel has no name for {}", path.display());
        };
        Ok(Target::Device(self.disk(&name)?))
    }
}

/// What can be written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Device(Device),
    File(PathBuf),
}

impl Target {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Target::Device(device) => &device.path,
            Target::File(path) => path,
        }
    }

    /// Where it is, so that it is known again by another name.
    ///
    /// # Errors
    /// There is no directory to make the file in.
    pub(crate) fn place(&self) -> anyhow::Result<Place> {
        match self {
            Target::Device(device) => Ok(Place::Path(device.path.clone())),
            Target::File(path) => Place::of(path),
        }
    }

    /// Whether it is the same medium as `other`, of the same path; files are.
    pub(crate) fn is_still(&self, other: &Target) -> bool {
        match (self, other) {
            (Target::Device(one), Target::Device(two)) => {
                let known = |device: &Device| (device.name(), device.size, device.sequence.clone());
                known(one) == known(two)
            }
            (Target::File(_), Target::File(_)) => true,
            _ => false,
        }
    }
}

/// What all names of a disk or a file have in common.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A file that is there, by its file system and its number on that: it may have several paths.
    File { system: u64, number: u64 },
    /// A disk, or a file that is yet to be made.
    Path(PathBuf),
}

impl Place {
    /// The place of a file, which need not be there.
    ///
    /// # Errors
    /// Nor is its directory.
    pub(crate) fn of(file: &Path) -> anyhow::Result<Place> {
        if let Ok(meta) = fs::metadata(file) {
            return Ok(Place::File {
                system: meta.dev(),
                number: meta.ino(),
            });
        }
        let dir = match file.parent() {
            Some(dir) if dir != Path::new("") => dir,
            _ => Path::new("."),
        };
        let dir = fs::canonicalize(dir).map_err(|error| {
            let (file, dir) = (file.display(), dir.display());
            Usage::new(format!("cannot write {file}: {dir}: {error}"))
                .help("make the directory first")
        })?;
        Ok(Place::Path(dir.join(file.file_name().unwrap_or_default())))
    }
}

/// Where a line of mountinfo (see proc(5)) says that this device is mounted. Some file systems have a number of
/// their own there, and are known by the device's name.
fn mount_point<'a>(line: &'a str, number: &str, path: &str) -> Option<&'a str> {
    let fields: Vec<&str> = line.split(' ').collect();
    let source = fields
        .iter()
        .position(|&field| field == "-")
        .and_then(|dash| fields.get(dash + 2));
    let same = fields.get(2) == Some(&number) || source == Some(&path);
    same.then(|| fields.get(4).copied()).flatten()
}

// `BLKRRPART` of linux/fs.h.
nix::ioctl_none!(read_partition_table, 0x12, 95);

/// Has the kernel look at a disk's partition table again. It may refuse, as with some loop devices.
pub(crate) fn reread_partitions(disk: &fs::File) {
    use std::os::fd::AsRawFd;
    // SAFETY: the request takes no argument, and the descriptor is open for as long as `disk` is borrowed.
    if let Err(errno) = unsafe { read_partition_table(disk.as_raw_fd()) } {
        eprintln!(
            "note: the kernel still shows the disk's old partitions ({errno}); take it out and put it in again"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn card() -> Device {
        Device {
            path: "/dev/sdb".into(),
            model: "Generic SD".to_owned(),
            serial: String::new(),
            size: 32_000_000_000,
            bus: Bus::Usb,
            removable: true,
            read_only: false,
            used: Vec::new(),
            sequence: "7".to_owned(),
        }
    }

    #[test]
    fn another_card_is_told_from_the_one_that_was_shown() {
        let shown = Target::Device(card());
        let changed = |change: fn(&mut Device)| {
            let mut device = card();
            change(&mut device);
            Target::Device(device)
        };
        let file = Target::File("/dev/sdb".into());
        for (what, now, expected) in [
            ("the same", changed(|_| ()), true),
            (
                "mounted since, which is found out when it is opened",
                changed(|device| device.used.push("sdb1 is /media".to_owned())),
                true,
            ),
            ("taken out", changed(|device| device.size = 0), false),
            (
                "another one of the same make",
                changed(|device| device.sequence = "8".to_owned()),
                false,
            ),
            ("a file in its place", file.clone(), false),
        ] {
            assert_eq!(now.is_still(&shown), expected, "{what}");
        }
        assert!(file.is_still(&Target::File("/dev/sdb".into())));
    }

    #[test]
    fn implausible_devices_are_refused() {
        let used = |used: &str| Device {
            used: vec![used.to_owned()],
            ..card()
        };
        let internal = Device {
            bus: Bus::Internal,
            removable: false,
            ..card()
        };
        let cases: Vec<(&str, Device, Option<&str>)> = vec![
            ("a card in a reader", card(), None),
            (
                "a card in a slot",
                Device {
                    bus: Bus::Mmc,
                    removable: false,
                    ..card()
                },
                None,
            ),
            (
                "an SSD in a case",
                Device {
                    removable: false,
                    size: 1 << 40,
                    ..card()
                },
                None,
            ),
            (
                "a loop device",
                Device {
                    bus: Bus::Loop,
                    removable: false,
                    ..card()
                },
                None,
            ),
            (
                "an old slot that is no bus we know",
                Device {
                    removable: true,
                    ..internal.clone()
                },
                None,
            ),
            (
                "just large enough",
                Device {
                    size: 4_000_000_000,
                    ..card()
                },
                None,
            ),
            (
                "the machine's own disk",
                internal.clone(),
                Some("part of this machine"),
            ),
            (
                "a mounted card",
                used("sdb1 is /media/card"),
                Some("sdb1 is /media/card"),
            ),
            (
                "the disk of the system",
                Device {
                    used: vec!["sda1 is /".to_owned()],
                    ..internal
                },
                Some("sda1 is /"),
            ),
            (
                "a write-protected card",
                Device {
                    read_only: true,
                    ..card()
                },
                Some("write-protected"),
            ),
            (
                "an empty reader",
                Device { size: 0, ..card() },
                Some("no card"),
            ),
            (
                "a small card",
                Device {
                    size: 3_999_999_999,
                    ..card()
                },
                Some("4.0 GB, the image needs 4.0 GB"),
            ),
            (
                "a shelf of disks",
                Device {
                    size: 3 << 40,
                    ..card()
                },
                Some("more than the partition table"),
            ),
        ];
        for (what, device, expected) in cases {
            match (device.refusal(4_000_000_000), expected) {
                (None, None) => {}
                (Some(why), Some(part)) => assert!(why.contains(part), "{what}: {why}"),
                (found, _) => panic!("{what}: {found:?}"),
            }
        }
    }

    /// A kernel with a USB card reader (mounted), a slot, the machine's own disk under LVM, and a CD drive.
    fn kernel(dir: &Path) -> Kernel {
        let sys = dir.join("sys");
        let file = |path: &str, text: &str| {
            let path = sys.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let usb = "devices/pci0/usb1/1-2/host6/block/sdb";
        let mmc = "devices/platform/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0";
        let own = "devices/pci0/ata1/host0/block/sda";
        for (at, name, number) in [
            (usb, "sdb", "8:16"),
            (mmc, "mmcblk0", "179:0"),
            (own, "sda", "8:0"),
            ("devices/sr0", "sr0", "11:0"),
        ] {
            file(&format!("{at}/dev"), &format!("{number}\n"));
            file(&format!("{at}/size"), "62333952\n");
            file(&format!("{at}/ro"), "0\n");
            fs::create_dir_all(sys.join("block")).unwrap();
            symlink(sys.join(at), sys.join("block").join(name)).unwrap();
        }
        file(&format!("{usb}/removable"), "1\n");
        file(&format!("{usb}/device/vendor"), "Generic \n");
        file(&format!("{usb}/device/model"), "STORAGE DEVICE  \n");
        for (part, number) in [("sdb1", "8:17"), ("sdb2", "8:18"), ("sdb3", "8:19")] {
            file(&format!("{usb}/{part}/partition"), "1\n");
            file(&format!("{usb}/{part}/dev"), &format!("{number}\n"));
        }
        file(&format!("{mmc}/device/name"), "SD32G\n");
        file(&format!("{mmc}/device/serial"), "0x1234abcd\n");
        file(&format!("{own}/sda2/partition"), "2\n");
        file(&format!("{own}/sda2/dev"), "8:2\n");
        file(&format!("{own}/sda2/holders/dm-0"), "");
        let mounts = "\
25 1 0:23 / / rw - ext4 /dev/mapper/root rw
36 25 8:17 / /media/boot rw,nosuid shared:7 - vfat /dev/sdb1 rw
37 25 0:52 /@ /media/data rw - btrfs /dev/sdb2 rw
";
        fs::write(dir.join("mounts"), mounts).unwrap();
        fs::write(
            dir.join("swaps"),
            "Filename Type\n/dev/sdb3 partition 1 0 -2\n",
        )
        .unwrap();
        Kernel {
            sys,
            mounts: dir.join("mounts"),
            swaps: dir.join("swaps"),
        }
    }

    #[test]
    fn the_kernel_says_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let disks = kernel(dir.path()).disks().unwrap();
        insta::assert_json_snapshot!(disks);
        let refused: Vec<bool> = disks.iter().map(|disk| disk.refusal(1).is_some()).collect();
        assert_eq!(refused, [false, true, true], "mmcblk0, sda, sdb");
    }

    #[test]
    fn targets_are_disks_or_files() {
        let dir = tempfile::tempdir().unwrap();
        let kernel = Kernel::running();
        let new = dir.path().join("card.img");
        assert_eq!(kernel.target(&new).unwrap(), Target::File(new.clone()));
        fs::write(&new, "").unwrap();
        assert_eq!(kernel.target(&new).unwrap(), Target::File(new));
        let message = |path: &Path| kernel.target(path).unwrap_err().to_string();
        assert!(message(dir.path()).ends_with("is neither a disk nor a file"));
        assert!(message(Path::new("/dev/null")).ends_with("is neither a disk nor a file"));
        assert_eq!(
            message(Path::new("/dev/no-such-card")),
            "there is no device /dev/no-such-card"
        );
    }
}
