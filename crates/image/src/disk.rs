//! An ext4 image of a root file system, without root rights or loop devices.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::EPOCH;
use crate::layer::Layer;
use crate::tool;

/// The file system's own id, and the seed of its directory hashes. Fixed: an image is a function of
/// what is in it.
const UUID: &str = "6272616d-626c-4500-8000-726f6f746673";

/// What becomes of parts that hold nothing but zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zeros {
    /// They are holes of a sparse file: whoever reads them finds zeros.
    Holes,
    /// They are written, as on a card, where something else would be found otherwise.
    Written,
}

/// What [`ext4`] runs; the root file system comes in as a tar archive on standard input.
pub fn mke2fs(out: &Path, mebibytes: u32, zeros: Zeros) -> Vec<String> {
    // Before 1.47.4 only the last -E counts, so everything is said in one.
    let mut extended =
        format!("hash_seed={UUID},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0");
    if zeros == Zeros::Written {
        extended += ",nodiscard";
    }
    [
        "mke2fs", "-q", "-F", "-t", "ext4", "-L", "rootfs", "-U", UUID, "-E", &extended, "-d", "-",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([out.display().to_string(), format!("{mebibytes}M")])
    .collect()
}

/// Which `mke2fs` [`ext4`] runs, for the keys of what is made by it.
///
/// # Errors
/// It is not installed.
pub fn version() -> Result<String> {
    tool::version("mke2fs", "-V")
}

/// Writes to `out` a sparse ext4 image of `mebibytes`, filled with the tar archive `rootfs` under `layer`.
///
/// # Errors
/// When `rootfs` cannot be read, or `mke2fs` (1.47.1 or later, with libarchive) is missing or fails: its
/// words are in the error.
pub fn ext4(rootfs: &Path, layer: &Layer, mebibytes: u32, zeros: Zeros, out: &Path) -> Result<()> {
    let argv = mke2fs(out, mebibytes, zeros);
    let mut child = Command::new(&argv[0])
        .args(&argv[1..])
        .env("SOURCE_DATE_EPOCH", EPOCH.to_string())
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{}`", argv.join(" ")))?;

    let base = File::open(rootfs).with_context(|| format!("cannot open {}", rootfs.display()))?;
    let stdin = child.stdin.take().context("mke2fs has no standard input")?;
    let written = layer.write_over(
        BufReader::new(base),
        BufWriter::with_capacity(1 << 20, stdin),
    );

    // mke2fs's own words say more than the broken pipe that follows from them.
    let output = child.wait_with_output().context("cannot wait for mke2fs")?;
    if !output.status.success() {
        bail!(
            "`{}` failed: {}",
            argv.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    written.with_context(|| format!("cannot pass {} to mke2fs", rootfs.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_a_function_of_what_is_in_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let rootfs = dir.path().join("rootfs.tar");
        let layer = Layer::new()
            .file("etc/hostname", 0o644, "bramble\n")
            .symlink("bin", "usr/bin");
        layer
            .write_tar(File::create(&rootfs).expect("a file"))
            .expect("an archive");

        let images = ["a.img", "b.img"].map(|name| {
            let out = dir.path().join(name);
            ext4(&rootfs, &Layer::new(), 16, Zeros::Holes, &out).expect("an image");
            std::fs::read(out).expect("its bytes")
        });
        assert!(images[0] == images[1], "two images of the same tree differ");

        let shown = Command::new("debugfs")
            .args(["-R", "cat /etc/hostname"])
            .arg(dir.path().join("a.img"))
            .output()
            .expect("debugfs, which comes with mke2fs");
        assert_eq!(String::from_utf8_lossy(&shown.stdout), "bramble\n");
    }

    #[test]
    fn mke2fs_is_quoted_when_it_fails() {
        let dir = tempfile::tempdir().expect("a directory");
        let rootfs = dir.path().join("rootfs.tar");
        Layer::new()
            .write_tar(File::create(&rootfs).expect("a file"))
            .expect("an archive");
        let error = ext4(
            &rootfs,
            &Layer::new(),
            16,
            Zeros::Holes,
            Path::new("/nowhere/disk.img"),
        )
        .expect_err("no such directory");
        assert!(
            format!("{error:#}").contains("/nowhere/disk.img"),
            "{error:#}"
        );
    }
}
