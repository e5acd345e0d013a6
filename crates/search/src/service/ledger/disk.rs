//! Whether a path is on a local disk.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use nix::sys::statfs::statfs;

/// File systems whose locks and flushes reach over a network, by the magic numbers of Linux's `magic.h` and of the sources of
/// those that are not in it.
const REMOTE: [(i64, &str); 14] = [
    (0x6969, "NFS"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x517b, "SMB"),
    (0x0102_1997, "9p"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x00c3_6400, "Ceph"),
    (0x0bd0_0bd0, "Lustre"),
    (0x7461_636f, "OCFS2"),
    (0x0116_1970, "GFS2"),
    (0x1983_0326, "BeeGFS"),
    (0x6a65_6a63, "virtiofs"),
];
const FUSE: i64 = 0x6573_5546;
/// What is mounted with FUSE and is on this machine all the same.
const LOCAL_FUSE: [&str; 5] = [
    "fuseblk",
    "fuse.fuse-overlayfs",
    "fuse.ntfs-3g",
    "fuse.ext4",
    "fuse.bindfs",
];

/// Fails if the file at `path`, or the directory that it would be made in, is on a network file system.
pub(super) fn check_local(path: &Path) -> Result<()> {
    // Links are followed, as SQLite does.
    let there = fs::canonicalize(path).unwrap_or_else(|_| directory(path));
    // What cannot be asked about cannot be opened either, and SQLite says why.
    let Ok(found) = statfs(&there) else {
        return Ok(());
    };
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    // The field's type differs from one C library to the next.
    #[allow(clippy::unnecessary_cast)]
    let magic = found.filesystem_type().0 as i64;
    match remote(magic, || kind(&mounts, &there)) {
        None => Ok(()),
        Some(name) => bail!(
            "it would be on a network file system ({name}), where SQLite's locks and flushes cannot be relied on and a lost \
             connection can damage it; keep the ledger on a local disk, and let backups go to the network with --backup-dir"
        ),
    }
}

pub(super) fn directory(path: &Path) -> PathBuf {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    fs::canonicalize(parent).unwrap_or_else(|_| parent.to_owned())
}

/// The name of a network file system, or nothing for a local one. `kind` is what it was mounted as.
fn remote(magic: i64, kind: impl FnOnce() -> Option<String>) -> Option<String> {
    // Some architectures have a signed field of 32 bits.
    let magic = magic & 0xffff_ffff;
    if magic == FUSE {
        let kind = kind().unwrap_or_else(|| "fuse".to_owned());
        return (!LOCAL_FUSE.contains(&kind.as_str())).then_some(kind);
    }
    let found = REMOTE.iter().find(|(number, _)| *number == magic);
    found.map(|(_, name)| (*name).to_owned())
}

/// What the file system that holds `path` was mounted as, from the text of `/proc/self/mountinfo`.
fn kind(mounts: &str, path: &Path) -> Option<String> {
    let holds = mounts.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let point = before.split(' ').nth(4)?;
        let kind = after.split(' ').next()?;
        path.starts_with(point)
            .then(|| (point.len(), kind.to_owned()))
    });
    // The later of two at the same place lies on top.
    holds.max_by_key(|(depth, _)| *depth).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_told_from_local_ones() {
        let cases = [
            (0xef53, "ext4", None),
            (0x0102_1994, "tmpfs", None),
            (0x794c_7630, "overlay", None),
            (0x9123_683e, "btrfs", None),
            (0x6969, "nfs4", Some("NFS")),
            (i64::from(0xff53_4d42_u32 as i32), "cifs", Some("CIFS")),
            (0x0102_1997, "9p", Some("9p")),
            (FUSE, "fuse.sshfs", Some("fuse.sshfs")),
            (FUSE, "fuse.rclone", Some("fuse.rclone")),
            (FUSE, "fuse.fuse-overlayfs", None),
            (FUSE, "fuseblk", None),
        ];
        for (magic, mounted, expected) in cases {
            let found = remote(magic, || Some(mounted.to_owned()));
            assert_eq!(found.as_deref(), expected, "{mounted}");
        }
    }

    #[test]
    fn the_innermost_mount_is_the_one() {
        let mounts = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:25 / /shared rw - nfs4 192.168.1.10:/pi-cluster rw
31 30 0:26 / /shared/remote rw shared:7 master:2 - fuse.sshfs pi@nas:/ rw";
        let cases = [
            ("/var/lib", "ext4"),
            ("/sharedness", "ext4"),
            ("/shared/ledger", "nfs4"),
            ("/shared/remote/ledger", "fuse.sshfs"),
        ];
        for (path, expected) in cases {
            assert_eq!(
                kind(mounts, Path::new(path)).as_deref(),
                Some(expected),
                "{path}"
            );
        }
    }

    #[test]
    fn here_is_local() {
        let dir = tempfile::tempdir().unwrap();
        check_local(&dir.path().join("ledger.sqlite")).unwrap();
    }
}
