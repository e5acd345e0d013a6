//! The first boot of a card, cut off at each of its steps: the next one brings the node to the same end.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bramble_image::card::{self, Identity};

const SCRIPT: &str = include_str!("../src/first-boot.sh");

/// Where the script is at home; a test's are in a directory of its own.
const PLACES: [&str; 4] = ["/boot/firmware", "/etc/", "/home/", "/var/lib/"];

/// What stands for programs. The power fails before the one with the number `CUT`. What is unlinked on the boot
/// partition is gone at the next sync, and where `LAZY` is 1, not before that; what is overwritten is so at once.
const PROGRAMS: &str = r#"
steps=0
step() {
    steps=$((steps + 1))
    if [ $steps = $CUT ]; then kill -9 $$; fi
}
unlink() {
    case $LAZY$1 in
        1$ROOT/boot/*) unlinked="$unlinked $1" ;;
        *) command rm -f "$1" ;;
    esac
}
unlinked=

findmnt() { echo /dev/mmcblk0p2; }
lsblk() { echo mmcblk0; }
sfdisk() { step; }
partx() { step; }
growfs() { step; }
hostname() { step; }
systemctl() { step; }
mv() { step; command mv "$@"; }
touch() { step; command touch "$@"; }
sed() { step; command sed "$@"; }
keygen() { step; command ssh-keygen "$@"; }
chpasswd() {
    step
    IFS=: read -r name hash
    command sed -i "s|^$name:[^:]*:|$name:$hash:|" "$ROOT/etc/shadow"
}
sync() {
    step
    [ -z "$unlinked" ] || command rm -f $unlinked
    unlinked=
}
shred() {
    step
    echo shredded > "$3"
    unlink "$3"
}
rm() {
    step
    shift
    for path; do unlink "$path"; done
}
install() {
    step
    # Accounts are those of the test's directory.
    case "$*" in
        '-d -m 700 -o '*) command mkdir -p "$8" ;;
        '-m 600 -o '*) command install -m 600 "$7" "$8" ;;
        *) command install "$@" ;;
    esac
}
"#;

/// A machine that has never been booted, and whose card was written for `user`.
struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    fn new(user: &str, host_key: &str) -> Machine {
        let machine = Machine {
            dir: tempfile::tempdir().unwrap(),
        };
        let root = machine.root();
        for dir in ["etc/ssh", "home/pi", "boot/firmware/bramble", "var/lib"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        let accounts = [
            (
                "passwd",
                "root:x:0:0:root:/root:/bin/bash\npi:x:1000:1000::/home/pi:/bin/bash\n",
            ),
            (
                "shadow",
                "root:*:20000:0:99999:7:::\npi:!:20000:0:99999:7:::\n",
            ),
            ("group", "sudo:x:27:root,pi\npipe:x:28:\npi:x:1000:\n"),
            ("gshadow", "sudo:*::root,pi\npipe:!::\npi:!::\n"),
        ];
        for (name, text) in accounts {
            fs::write(root.join("etc").join(name), text).unwrap();
        }
        fs::write(root.join("home/pi/.profile"), "").unwrap();
        let identity = card::identity(&Identity {
            host_name: "worker3",
            user,
            password_hash: Some("$6$salt$hash"),
            authorized_keys: &["ssh-ed25519 AAAA operator".to_owned()],
            host_key,
        });
        for (path, content) in identity {
            fs::write(root.join("boot/firmware").join(path), content).unwrap();
        }
        machine
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// Runs the script, whose power fails before the step `cut`; whether it came to its end.
    fn boots(&self, cut: usize, lazy: bool) -> bool {
        let (root, dir) = (self.root(), self.dir.path());
        let here = |script: String, place: &&str| script.replace(place, &format!("$ROOT{place}"));
        let script = SCRIPT
            .replace("/usr/lib/systemd/systemd-growfs", "growfs")
            .replace("ssh-keygen", "keygen");
        let script = PLACES.iter().fold(script, here);
        fs::write(dir.join("script"), format!("{PROGRAMS}{script}")).unwrap();
        let status = Command::new("sh")
            .arg(dir.join("script"))
            .env("ROOT", &root)
            .env("CUT", cut.to_string())
            .env("LAZY", u8::from(lazy).to_string())
            .status()
            .unwrap();
        status.success()
    }

    /// All files, with what is in them.
    fn files(&self) -> BTreeMap<PathBuf, String> {
        let (root, mut files) = (self.root(), BTreeMap::new());
        let mut open = vec![root.clone()];
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => open.push(path),
                    false => {
                        let name = path.strip_prefix(&root).unwrap().to_owned();
                        files.insert(name, fs::read_to_string(path).unwrap());
                    }
                }
            }
        }
        files
    }
}

fn host_key(dir: &Path) -> String {
    let path = dir.join("key");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
        .arg(&path)
        .status()
        .unwrap();
    assert!(made.success());
    fs::read_to_string(path).unwrap()
}

#[test]
fn wherever_it_is_cut_off_the_next_boot_ends_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let key = host_key(dir.path());
    let whole = Machine::new("operator", &key);
    assert!(whole.boots(0, true));
    let expected = whole.files();
    let file = |path: &str| expected[Path::new(path)].as_str();
    assert_eq!(file("etc/ssh/ssh_host_ed25519_key"), key);
    let names: Vec<String> = expected.keys().map(|it| it.display().to_string()).collect();
    let texts = ["hostname", "hosts", "passwd", "shadow", "group", "gshadow"];
    let texts = texts.map(|name| file(&format!("etc/{name}")));
    insta::assert_snapshot!(format!("{}\n\n{}", names.join("\n"), texts.join("\n")));

    for lazy in [true, false] {
        let mut cut = 1;
        loop {
            let machine = Machine::new("operator", &key);
            if machine.boots(cut, lazy) {
                break;
            }
            let at = format!("lazy: {lazy}, cut off at step {cut}");
            assert!(machine.boots(0, lazy), "{at}");
            assert_eq!(machine.files(), expected, "{at}");
            cut += 1;
        }
        assert!(cut > 20, "only {cut} steps");
    }
}

#[test]
fn the_first_user_may_keep_their_name() {
    let dir = tempfile::tempdir().unwrap();
    let machine = Machine::new("pi", &host_key(dir.path()));
    assert!(machine.boots(0, true));
    let files = machine.files();
    assert!(files[Path::new("etc/passwd")].contains("pi:x:1000:1000::/home/pi:/bin/bash"));
    assert!(files.contains_key(Path::new("home/pi/.ssh/authorized_keys")));
}
