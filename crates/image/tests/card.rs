//! An SD card's image as other people's tools see it. The root file system is a small one; a whole image is made of
//! the same parts.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use bramble_image::bmap::Bmap;
use bramble_image::card::{self, NEEDED};
use bramble_image::disk::{self, Zeros};
use bramble_image::layer::Layer;

const BOOT: std::ops::Range<u64> = 8 << 20..264 << 20;

/// MiB of the root file system.
const ROOT: u32 = 16;

fn image(dir: &Path, name: &str) -> PathBuf {
    let archive = dir.join("root.tar");
    let layer = card::layer().file("etc/hostname", 0o644, "bramble\n");
    layer.write_tar(File::create(&archive).unwrap()).unwrap();
    let (root, image) = (dir.join("root.img"), dir.join(name));
    fs::remove_file(&root).ok();
    disk::ext4(&archive, &Layer::new(), ROOT, Zeros::Written, &root).unwrap();
    let mut boot: BTreeMap<String, Vec<u8>> = NEEDED
        .iter()
        .map(|name| ((*name).to_owned(), vec![7; 1234]))
        .collect();
    boot.insert("overlays/rpi-poe.dtbo".to_owned(), vec![8; 5000]);
    boot.insert(card::MARK.to_owned(), b"ours\n".to_vec());
    card::assemble(&boot, &root, &image).unwrap();
    image
}

/// What a program prints; `None`, and a word about it, where it is not installed.
fn printed(program: &str, arguments: &[&str], package: &str) -> Option<String> {
    let Ok(output) = Command::new(program).args(arguments).output() else {
        eprintln!("SKIPPED: {program} is not installed (package {package})");
        return None;
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {said}{errors}"
    );
    Some(said)
}

/// The bytes of a partition as a file of their own.
fn part(image: &Path, bytes: std::ops::Range<u64>) -> String {
    let mut content = vec![0; (bytes.end - bytes.start) as usize];
    File::open(image)
        .unwrap()
        .read_exact_at(&mut content, bytes.start)
        .unwrap();
    let path = image.with_extension(bytes.start.to_string());
    fs::write(&path, content).unwrap();
    path.display().to_string()
}

#[test]
fn other_tools_find_what_a_pi_needs() {
    let dir = tempfile::tempdir().unwrap();
    let image = image(dir.path(), "card.img");
    let name = image.display().to_string();

    if let Some(table) = printed("sfdisk", &["--json", &name], "fdisk") {
        let table: serde_json::Value = serde_json::from_str(&table).unwrap();
        let mut table = table["partitiontable"].clone();
        table["device"] = "card.img".into();
        for part in table["partitions"].as_array_mut().unwrap() {
            let node = part["node"]
                .as_str()
                .unwrap()
                .rsplit('/')
                .next()
                .unwrap()
                .to_owned();
            part["node"] = node.into();
        }
        insta::assert_json_snapshot!(table);
    }
    let boot = part(&image, BOOT);
    printed("fsck.fat", &["-n", &boot], "dosfstools");
    if let Some(listing) = printed("mdir", &["-b", "-/", "-i", &boot], "mtools") {
        for file in NEEDED.iter().chain(&["overlays/rpi-poe.dtbo", card::MARK]) {
            assert!(
                listing.contains(&format!("::/{file}\n")),
                "{file} is not in {listing}"
            );
        }
    }
    let root = part(&image, BOOT.end..BOOT.end + (u64::from(ROOT) << 20));
    printed("e2fsck", &["-fn", &root], "e2fsprogs");
    let fstab = printed("debugfs", &["-R", "cat /etc/fstab", &root], "e2fsprogs").unwrap();
    assert!(fstab.contains("PARTUUID=6272616d-02 / ext4"), "{fstab}");
}

#[test]
fn the_same_parts_give_the_same_image_and_map() {
    let dir = tempfile::tempdir().unwrap();
    let made = |name: &str| {
        let image = image(dir.path(), name);
        let packed = dir.path().join(format!("{name}.zst"));
        card::compress(&image, &packed).unwrap();
        let map = Bmap::of(&File::open(&image).unwrap()).unwrap();
        (fs::read(packed).unwrap(), map.render())
    };
    let (one, two) = (made("one.img"), made("two.img"));
    assert!(one == two);
}

#[test]
fn what_cannot_be_compressed_leaves_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let packed = dir.path().join("card.img.zst");
    fs::write(&packed, "the last one").unwrap();
    // It opens, and cannot be read.
    let error = card::compress(dir.path(), &packed).unwrap_err().to_string();
    assert!(error.starts_with("cannot compress "), "{error}");
    assert_eq!(fs::read_to_string(&packed).unwrap(), "the last one");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn what_is_compressed_has_the_same_readers() {
    let dir = tempfile::tempdir().unwrap();
    let (image, packed) = (dir.path().join("a.img"), dir.path().join("a.img.zst"));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    fs::write(&image, "public").unwrap();
    card::compress(&image, &packed).unwrap();
    assert_eq!(mode(&packed), mode(&image));
    // The last one was open to all.
    fs::set_permissions(&packed, fs::Permissions::from_mode(0o644)).unwrap();
    for private in [0o600, 0o400] {
        fs::set_permissions(&image, fs::Permissions::from_mode(private)).unwrap();
        card::compress(&image, &packed).unwrap();
        assert_eq!(mode(&packed), 0o600, "{private:o}");
    }
}

#[test]
fn what_a_killed_run_left_goes_with_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for name in [".bramble-card-dead", ".bramble-card-alive", "card.img"] {
        fs::write(path(name), "a key").unwrap();
    }
    let alive = File::open(path(".bramble-card-alive")).unwrap();
    alive.lock().unwrap();
    card::compress(&path("card.img"), &path("card.img.zst")).unwrap();
    let left = [
        ".bramble-card-dead",
        ".bramble-card-alive",
        "card.img",
        "card.img.zst",
    ];
    assert_eq!(
        left.map(|name| path(name).exists()),
        [false, true, true, true]
    );
}

#[test]
fn what_the_map_leaves_out_does_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    let image = image(dir.path(), "card.img");
    let map = Bmap::of(&File::open(&image).unwrap()).unwrap();
    // A card that was full of something else.
    let used = dir.path().join("used.img");
    fs::write(&used, vec![0xff; map.size as usize]).unwrap();
    let (from, to) = (
        File::open(&image).unwrap(),
        File::options().write(true).open(&used).unwrap(),
    );
    for range in &map.ranges {
        let mut content = vec![0; (range.bytes.end - range.bytes.start) as usize];
        from.read_exact_at(&mut content, range.bytes.start).unwrap();
        to.write_all_at(&content, range.bytes.start).unwrap();
    }
    printed("fsck.fat", &["-n", &part(&used, BOOT)], "dosfstools");
    let root = part(&used, BOOT.end..BOOT.end + (u64::from(ROOT) << 20));
    printed("e2fsck", &["-fn", &root], "e2fsprogs");
}
