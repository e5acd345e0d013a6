//! `bramble flash` as a person runs it, onto files; onto a loop device where one can be made.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use assert_cmd::cargo::cargo_bin;
use bramble_image::bmap::Bmap;
use bramble_image::card;
use bramble_image::fat::Fat;

/// Where [`card::assemble`] puts the boot partition.
const BOOT: std::ops::Range<u64> = 8 << 20..264 << 20;

/// A directory with a cluster file, the cluster's keys and an image.
struct Desk {
    dir: tempfile::TempDir,
}

impl Desk {
    fn new() -> Desk {
        let desk = Desk {
            dir: tempfile::tempdir().unwrap(),
        };
        let cluster = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../fixtures/clusters/eight-pi.toml"
        );
        fs::copy(cluster, desk.path("cluster.toml")).unwrap();
        let ran = desk.bramble(&["keys"]);
        assert!(ran.status.success(), "{}", said(&ran));
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn bramble(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(cargo_bin("bramble"));
        command.args(arguments).current_dir(self.dir.path());
        command.env("BRAMBLE_STATE", self.path("state"));
        command
    }

    /// An image whose boot partition has `boot`.
    fn image(&self, name: &str, boot: &[(&str, &str)]) {
        let root = self.path("root.img");
        fs::write(&root, vec![0xab; 1 << 20]).unwrap();
        let boot: BTreeMap<String, Vec<u8>> = boot
            .iter()
            .map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()))
            .collect();
        card::assemble(&boot, &root, &self.path(name)).unwrap();
    }

    /// A file of a card's boot partition.
    fn on(&self, card: &str, name: &str) -> Option<String> {
        let disk = File::open(self.path(card)).unwrap();
        let fat = Fat::open(&disk, BOOT).unwrap();
        let content = fat.read(name).unwrap()?;
        Some(String::from_utf8(content).unwrap())
    }
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

const OURS: &[(&str, &str)] = &[
    (card::MARK, "ours\n"),
    ("cmdline.txt", "root=PARTUUID=6272616d-02 rw\n"),
];

#[test]
fn two_cards_of_one_image_differ_in_who_they_are() {
    let desk = Desk::new();
    desk.image("card.img", OURS);
    let map = Bmap::of(&File::open(desk.path("card.img")).unwrap()).unwrap();
    fs::write(desk.path("card.img.bmap"), map.render()).unwrap();
    let targets = ["worker1=one.img", "worker3=three.img"];
    let ran = desk.bramble(&[&["flash", "--base", "card.img"], &targets[..]].concat());
    assert!(ran.status.success(), "{}", said(&ran));
    assert!(
        said(&ran).contains("written and read back"),
        "{}",
        said(&ran)
    );

    for (node, card) in [("worker1", "one.img"), ("worker3", "three.img")] {
        assert_eq!(
            desk.on(card, "bramble/hostname").unwrap(),
            format!("{node}\n")
        );
        let key =
            fs::read_to_string(desk.path(&format!("state/hosts/{node}/ssh_host_ed25519_key")))
                .unwrap();
        assert_eq!(desk.on(card, "bramble/ssh_host_ed25519_key").unwrap(), key);
        assert!(
            desk.on(card, "bramble/authorized_keys")
                .unwrap()
                .starts_with("ssh-ed25519 ")
        );
        let content = fs::read(desk.path(card)).unwrap();
        assert_eq!(
            content.len() as u64,
            fs::metadata(desk.path("card.img")).unwrap().len()
        );
        assert_eq!(content[510..512], [0x55, 0xaa]);
        assert!(
            content[264 << 20..265 << 20]
                .iter()
                .all(|&byte| byte == 0xab)
        );
    }
    assert_eq!(
        desk.on("card.img", "bramble/hostname"),
        None,
        "the base image is left as it is"
    );
}

#[test]
fn a_card_with_a_key_is_its_owners_alone() {
    let desk = Desk::new();
    desk.image("card.img", OURS);
    let open_to_all = |name: &str| {
        let all = fs::Permissions::from_mode(0o644);
        fs::set_permissions(desk.path(name), all).unwrap();
    };
    open_to_all("card.img");
    fs::write(desk.path("old.img"), "").unwrap();
    open_to_all("old.img");
    // A file without a name, which only who has opened it can reach.
    let unnamed = tempfile::tempfile_in(desk.dir.path()).unwrap();
    let mut command = desk.command(&["flash", "--no-verify", "--base", "card.img"]);
    command.args(["worker1=new.img", "worker2=old.img", "worker3=/dev/stdin"]);
    command.stdin(unnamed.try_clone().unwrap());
    let ran = command.output().unwrap();
    assert!(ran.status.success(), "{}", said(&ran));

    let mode = |meta: fs::Metadata| meta.permissions().mode() & 0o777;
    let named = ["new.img", "old.img"].map(|name| mode(fs::metadata(desk.path(name)).unwrap()));
    assert_eq!(named, [0o600, 0o600]);
    assert_eq!(mode(unnamed.metadata().unwrap()), 0o600);
    let name = Fat::open(&unnamed, BOOT)
        .unwrap()
        .read("bramble/hostname")
        .unwrap();
    assert_eq!(name.as_deref(), Some(&b"worker3\n"[..]));

    let ran = desk.bramble(&["flash", "--no-verify", "--image", "new.img", "copy.img"]);
    assert!(ran.status.success(), "{}", said(&ran));
    assert_eq!(mode(fs::metadata(desk.path("copy.img")).unwrap()), 0o600);
}

#[test]
fn raspberry_pi_os_gets_what_its_age_reads() {
    let desk = Desk::new();
    let line = "console=tty1 root=PARTUUID=abcd-02 rootwait";
    desk.image(
        "trixie.img",
        &[("cmdline.txt", line), ("user-data", "#cloud-config\n")],
    );
    let old = format!("{line} init=/usr/lib/raspberrypi-sys-mods/firstboot");
    desk.image("bookworm.img", &[("cmdline.txt", &old)]);
    desk.image("strange.img", &[("cmdline.txt", line)]);
    let older = format!("{line} init=/usr/lib/raspi-config/init_resize.sh");
    desk.image("bullseye.img", &[("cmdline.txt", &older)]);

    let ran = desk.bramble(&["flash", "--base", "trixie.img", "worker2=t.img", "--json"]);
    assert!(ran.status.success(), "{}", said(&ran));
    let done: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(
        (&done[0]["node"], &done[0]["verified"]),
        (&"worker2".into(), &true.into())
    );
    let user_data = desk.on("t.img", "user-data").unwrap();
    assert!(
        user_data.contains("hostname: worker2") && user_data.contains("ed25519_private: |"),
        "{user_data}"
    );
    let cmdline = desk.on("t.img", "cmdline.txt").unwrap();
    assert!(
        cmdline.contains("root=PARTUUID=abcd-02") && cmdline.contains("ds=nocloud;i="),
        "{cmdline}"
    );

    let ran = desk.bramble(&["flash", "--base", "bookworm.img", "worker2=b.img"]);
    assert!(ran.status.success(), "{}", said(&ran));
    assert!(
        said(&ran).contains("makes its own host key")
            && said(&ran).contains("`Cards` in docs/guide.md"),
        "{}",
        said(&ran)
    );
    let custom: toml::Table = desk.on("b.img", "custom.toml").unwrap().parse().unwrap();
    assert_eq!(custom["system"]["hostname"].as_str(), Some("worker2"));
    assert_eq!(desk.on("b.img", "ssh"), Some(String::new()));

    for (image, expected) in [
        ("strange.img", "--system bookworm or --system trixie"),
        ("bullseye.img", "take an image of version 12 or later"),
    ] {
        let ran = desk.bramble(&["flash", "--base", image, "worker2=s.img"]);
        assert_eq!(ran.status.code(), Some(2));
        assert!(said(&ran).contains(expected), "{}", said(&ran));
        assert!(!desk.path("s.img").exists());
    }
}

#[test]
fn mistakes_are_found_before_anything_is_written() {
    let desk = Desk::new();
    desk.image("card.img", OURS);
    fs::write(desk.path("notes"), "no image").unwrap();
    let cases: &[(&[&str], &str)] = &[
        (
            &["--base", "card.img", "out.img"],
            "whose card is out.img to be?",
        ),
        (
            &["--base", "card.img", "worker9=out.img"],
            "has no node worker9",
        ),
        (
            &["--base", "card.img", "worker1=out.img", "worker1=b.img"],
            "worker1 would get two cards",
        ),
        (
            &["--base", "card.img", "worker1=out.img", "worker2=out.img"],
            "out.img is named twice",
        ),
        (
            &["--base", "notes", "worker1=out.img"],
            "it has no partition table",
        ),
        (
            &["--base", "none.img", "worker1=out.img"],
            "cannot open the image none.img",
        ),
        (
            &["--image", "card.img", "worker1=out.img"],
            "asks for the card of a node",
        ),
        (
            &["--image", "card.img", "/dev/no-such"],
            "there is no device /dev/no-such",
        ),
        (
            &["--image", "card.img", "/dev/null"],
            "neither a disk nor a file",
        ),
        (&["--image", "card.img"], "required"),
    ];
    for (arguments, expected) in cases {
        let ran = desk.bramble(&[&["flash"], *arguments].concat());
        assert_eq!(ran.status.code(), Some(2), "{arguments:?}: {}", said(&ran));
        assert!(
            said(&ran).contains(expected),
            "{arguments:?}: {}",
            said(&ran)
        );
        assert!(!desk.path("out.img").exists());
    }
    let ran = desk.bramble(&["flash", "--dry-run", "--image", "card.img", "out.img"]);
    assert!(
        ran.status.success() && said(&ran).contains("the image as it is"),
        "{}",
        said(&ran)
    );
    assert!(!desk.path("out.img").exists());
}

#[test]
fn neither_the_image_nor_a_file_is_written_twice_by_another_name() {
    let desk = Desk::new();
    desk.image("card.img", OURS);
    fs::write(desk.path("packed.img.zst"), "never looked into").unwrap();
    fs::hard_link(desk.path("card.img"), desk.path("linked.img")).unwrap();
    symlink("card.img", desk.path("led.img")).unwrap();
    fs::create_dir(desk.path("dir")).unwrap();
    fs::write(desk.path("old.img"), "old").unwrap();
    fs::hard_link(desk.path("old.img"), desk.path("dir/old.img")).unwrap();
    symlink("dir", desk.path("same")).unwrap();
    let card = ["--base", "card.img"];
    let whole = ["--image", "card.img"];
    let itself = "is the image that is to be written";
    let cases: &[(&[&str], &[&str], &str)] = &[
        (&card, &["worker1=card.img"], itself),
        (&card, &["worker1=out.img", "worker2=./card.img"], itself),
        (&card, &["worker1=linked.img"], itself),
        (&whole, &["./card.img"], itself),
        (&whole, &["led.img"], itself),
        (&["--image", "led.img"], &["card.img"], itself),
        (
            &["--base", "packed.img.zst"],
            &["worker1=dir/../packed.img.zst"],
            itself,
        ),
        (
            &card,
            &["worker1=out.img", "worker2=./out.img"],
            "./out.img is named twice, first as out.img",
        ),
        (&card, &["worker1=dir/a", "worker2=same/a"], "named twice"),
        (
            &card,
            &["worker1=old.img", "worker2=dir/old.img"],
            "named twice",
        ),
        (&card, &["worker1=none/a"], "make the directory first"),
    ];
    for (image, targets, expected) in cases {
        let arguments = [&["flash"], *image, *targets].concat();
        let ran = desk.bramble(&arguments);
        assert_eq!(ran.status.code(), Some(2), "{arguments:?}: {}", said(&ran));
        assert!(
            said(&ran).contains(expected),
            "{arguments:?}: {}",
            said(&ran)
        );
    }
    let text = |name: &str| fs::read_to_string(desk.path(name)).unwrap();
    assert_eq!(text("packed.img.zst"), "never looked into");
    assert_eq!(text("old.img"), "old");
    assert_eq!(desk.on("card.img", "bramble/hostname"), None);
    let mut signature = [0; 2];
    let image = File::open(desk.path("card.img")).unwrap();
    image.read_exact_at(&mut signature, 510).unwrap();
    assert_eq!(signature, [0x55, 0xaa]);
    assert!(!desk.path("out.img").exists() && !desk.path("dir/a").exists());
}

/// A loop device, taken away in the end.
struct Loop(String);

impl Loop {
    fn over(file: &Path) -> Option<Loop> {
        let output = Command::new("losetup")
            .args(["--find", "--show"])
            .arg(file)
            .output()
            .ok()?;
        let name = String::from_utf8(output.stdout).ok()?;
        output
            .status
            .success()
            .then(|| Loop(name.trim().to_owned()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        Command::new("losetup")
            .args(["--detach", &self.0])
            .status()
            .ok();
    }
}

#[test]
fn a_disk_is_asked_about_and_a_small_one_refused() {
    let desk = Desk::new();
    desk.image("card.img", OURS);
    let size = fs::metadata(desk.path("card.img")).unwrap().len();
    for (name, size) in [("large", size + (1 << 20)), ("small", size - (1 << 20))] {
        File::create(desk.path(name))
            .unwrap()
            .set_len(size)
            .unwrap();
    }
    let (Some(large), Some(small)) = (
        Loop::over(&desk.path("large")),
        Loop::over(&desk.path("small")),
    ) else {
        eprintln!("SKIPPED: no loop device can be made here, which takes root");
        return;
    };
    let ran = desk.bramble(&["flash", "--image", "card.img", "--yes", &small.0]);
    assert_eq!(ran.status.code(), Some(2), "{}", said(&ran));
    assert!(said(&ran).contains("the image needs"), "{}", said(&ran));

    let ran = desk.bramble(&["flash", "--image", "card.img", &large.0]);
    assert_eq!(ran.status.code(), Some(2), "{}", said(&ran));
    assert!(
        said(&ran).contains("nobody is here to confirm"),
        "{}",
        said(&ran)
    );

    let ran = desk.bramble(&["flash", "--image", "card.img", "--yes", &large.0]);
    assert!(ran.status.success(), "{}", said(&ran));
    let (image, disk) = (
        fs::read(desk.path("card.img")).unwrap(),
        fs::read(desk.path("large")).unwrap(),
    );
    assert!(disk[..image.len()] == image[..]);
    let ran = desk.bramble(&["flash", "--list"]);
    assert!(said(&ran).contains(&large.0), "{}", said(&ran));
}
