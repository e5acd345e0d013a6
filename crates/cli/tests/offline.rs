//! The verbs that need no network, run as a person runs them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use assert_cmd::cargo::cargo_bin;
use tempfile::TempDir;

/// A directory to work in, with a cluster file in it.
struct Desk {
    dir: TempDir,
}

impl Desk {
    fn new(fixture: &str) -> Self {
        let desk = Self::empty();
        let path = format!(
            "{}/../../fixtures/clusters/{fixture}.toml",
            env!("CARGO_MANIFEST_DIR")
        );
        fs::copy(path, desk.path("cluster.toml")).unwrap();
        desk
    }

    fn empty() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Runs `bramble` here, with nothing of the caller's environment but what it needs.
    fn bramble(&self, arguments: &str) -> Ran {
        let output = self.command(arguments).output().unwrap();
        Ran::new(output, self.dir.path())
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(cargo_bin("bramble"));
        command
            .args(arguments.split_whitespace())
            .current_dir(self.dir.path())
            .env_clear();
        command
            .env("HOME", self.dir.path())
            .env("XDG_RUNTIME_DIR", self.dir.path());
        command
    }

    /// The same, with a standard output that nobody reads any more.
    fn unheard(&self, arguments: &str) -> Ran {
        let output = self.command(arguments).stdout(closed()).output().unwrap();
        Ran::new(output, self.dir.path())
    }
}

/// A pipe whose other end is closed.
fn closed() -> std::io::PipeWriter {
    std::io::pipe().unwrap().1
}

/// What came of a command, with the directory's name taken out.
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn new(output: Output, dir: &Path) -> Self {
        let text =
            |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&dir.display().to_string(), "~");
        Self {
            code: output.status.code().unwrap(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// All of it, for a snapshot.
    fn shown(&self) -> String {
        format!(
            "exit {}\n--- stdout\n{}--- stderr\n{}",
            self.code, self.stdout, self.stderr
        )
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap()
    }
}

#[test]
fn check_sums_up_each_fixture() {
    for fixture in ["eight-pi", "two-pi", "three-managers"] {
        insta::assert_snapshot!(
            format!("check_{fixture}"),
            Desk::new(fixture).bramble("check").shown()
        );
    }
}

#[test]
fn failures_say_what_to_do() {
    let desk = Desk::new("two-pi");
    let text = desk.read("cluster.toml");
    fs::write(
        desk.path("bad.toml"),
        text.replace("192.168.1.51", "192.168.1.50")
            .replace("hand", "Hand"),
    )
    .unwrap();
    fs::write(desk.path("garbled_operator"), "").unwrap();
    let cases = [
        ("no_cluster_file", "check --cluster nowhere.toml"),
        ("bad_cluster_file", "check --cluster bad.toml"),
        ("unknown_verb", "chekc"),
        ("render_without_out", "render"),
        (
            "init_over_a_file",
            "init --first-ip 192.168.1.9 --mac dc:a6:32:00:00:01",
        ),
        ("init_without_macs", "init --cluster new.toml"),
        (
            "init_with_a_bad_mac",
            "init --cluster new.toml --first-ip 192.168.1.9 --mac nonsense",
        ),
        ("keys_in_a_file", "keys --state cluster.toml"),
        ("keys_with_no_ssh_config", "keys --ssh-config nowhere"),
    ];
    for (name, arguments) in cases {
        insta::assert_snapshot!(format!("failure_{name}"), desk.bramble(arguments).shown());
    }
    assert!(!desk.path("new.toml").exists());
}

#[test]
fn check_json_has_all_defaults() {
    let cluster = Desk::new("two-pi").bramble("check --json").json();
    assert_eq!(cluster["registry"]["host"], "registry.lan");
    assert_eq!(cluster["nodes"][0]["aliases"][0], "registry.lan");
    assert_eq!(cluster["nas"]["exports"][0], "pi-cluster");
}

#[test]
fn schema_describes_every_table() {
    let schema = Desk::empty().bramble("schema").json();
    for table in [
        "network", "access", "nas", "docker", "registry", "search", "nodes",
    ] {
        assert!(schema["properties"].get(table).is_some(), "{table}");
    }
}

#[test]
fn init_writes_a_file_that_checks() {
    let desk = Desk::empty();
    let init = "init --name four --nas 192.168.1.2 --managers 3 --first-ip 192.168.1.20 --mac dc:a6:32:00:00:01 \
                --mac dc:a6:32:00:00:02 --mac dc:a6:32:00:00:03 --mac dc:a6:32:00:00:04";
    assert_eq!(desk.bramble(init).code, 0);
    insta::assert_snapshot!("init", desk.read("cluster.toml"));
    assert_eq!(desk.bramble("check").code, 0);
}

#[test]
fn keys_are_made_once_and_closed_to_others() {
    let desk = Desk::new("two-pi");
    let state = desk.path(".local/state/bramble/pair");
    let first = desk.bramble("keys --json").json();
    let second = desk.bramble("keys --json").json();
    let facts = |keys: &serde_json::Value, fact: &str| -> Vec<String> {
        keys["keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key[fact].to_string())
            .collect()
    };
    assert_eq!(facts(&first, "made"), ["true"; 4]);
    assert_eq!(facts(&second, "made"), ["false"; 4]);
    assert_eq!(facts(&first, "public_key"), facts(&second, "public_key"));

    let mode = |path: &str| fs::metadata(state.join(path)).unwrap().permissions().mode() & 0o777;
    for directory in ["", "hosts", "hosts/boss", "hosts/hand"] {
        assert_eq!(mode(directory), 0o700, "{directory}");
    }
    let keys = [
        "operator_ed25519",
        "cluster_ed25519",
        "hosts/boss/ssh_host_ed25519_key",
    ];
    for key in keys {
        assert_eq!(mode(key), 0o600, "{key}");
        assert_eq!(mode(&format!("{key}.pub")), 0o644, "{key}");
    }
    let shown = first.to_string() + &desk.bramble("keys").shown();
    for line in fs::read_to_string(state.join(keys[0])).unwrap().lines() {
        assert!(!shown.contains(line), "a line of the private key is shown");
    }
}

#[test]
fn lost_halves_are_derived_and_wrong_ones_refused() {
    let desk = Desk::new("two-pi");
    assert_eq!(desk.bramble("keys --state s").code, 0);
    let public = desk.read("s/operator_ed25519.pub");

    fs::remove_file(desk.path("s/operator_ed25519.pub")).unwrap();
    fs::set_permissions(
        desk.path("s/operator_ed25519"),
        fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    assert_eq!(desk.bramble("keys --state s").code, 0);
    assert_eq!(desk.read("s/operator_ed25519.pub"), public);
    assert_eq!(
        fs::metadata(desk.path("s/operator_ed25519"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o600
    );

    fs::copy(
        desk.path("s/cluster_ed25519.pub"),
        desk.path("s/operator_ed25519.pub"),
    )
    .unwrap();
    insta::assert_snapshot!("keys_wrong_half", desk.bramble("keys --state s").shown());

    fs::write(desk.path("s/cluster_ed25519"), "garbage").unwrap();
    fs::write(desk.path("s/operator_ed25519.pub"), public).unwrap();
    insta::assert_snapshot!("keys_garbled", desk.bramble("keys --state s").shown());
    assert_eq!(desk.read("s/cluster_ed25519"), "garbage");
}

/// What `rekey` leaves behind when a node does not answer, or when it is killed while it makes keys.
#[test]
fn next_keys_that_are_not_there_yet_stand_in_nobodys_way() {
    const KEY: &str = "ssh_host_ed25519_key";
    let desk = Desk::new("two-pi");
    assert_eq!(desk.bramble("keys --state s").code, 0);
    assert_eq!(desk.bramble("keys --state other").code, 0);
    let now = desk.read("s/known_hosts");
    let next = |node: &str| desk.path(&format!("s/next/hosts/{node}"));
    let copy = |node: &str, name: &str| {
        let from = desk.path(&format!("other/hosts/{node}/{name}"));
        fs::copy(from, next(node).join(name)).unwrap();
    };

    fs::create_dir_all(next("hand")).unwrap();
    copy("hand", KEY);
    assert_eq!(desk.bramble("keys --state s").code, 0);
    assert_eq!(desk.read("s/known_hosts"), now, "half a key is no key yet");

    fs::create_dir_all(next("boss")).unwrap();
    copy("boss", KEY);
    copy("boss", &format!("{KEY}.pub"));
    let ran = desk.bramble("keys --state s");
    assert_eq!(ran.code, 0, "{}", ran.shown());
    let other = desk.read("other/known_hosts");
    let boss = other.lines().next().unwrap();
    assert_eq!(desk.read("s/known_hosts"), format!("{now}{boss}\n"));
}

/// What we write is what OpenSSH reads.
#[test]
fn openssh_reads_keys_and_configuration() {
    let desk = Desk::new("eight-pi");
    fs::write(
        desk.path("lab"),
        "Host worker3\n  HostName 127.0.0.1\n  Port 2203\n",
    )
    .unwrap();
    assert_eq!(desk.bramble("keys --state s --ssh-config lab").code, 0);

    let derived = Command::new("ssh-keygen")
        .args(["-y", "-f"])
        .arg(desk.path("s/operator_ed25519"))
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8(derived.stdout).unwrap(),
        desk.read("s/operator_ed25519.pub")
    );

    let found = Command::new("ssh-keygen")
        .args(["-F", "worker3", "-f"])
        .arg(desk.path("s/known_hosts"))
        .output()
        .unwrap();
    assert!(found.status.success(), "worker3 is not a known host");

    let config = Command::new("ssh")
        .arg("-F")
        .arg(desk.path("s/ssh_config"))
        .args(["-G", "worker3"])
        .output()
        .unwrap();
    assert!(
        config.status.success(),
        "{}",
        String::from_utf8_lossy(&config.stderr)
    );
    let config = String::from_utf8(config.stdout).unwrap();
    for wanted in [
        "hostname 127.0.0.1",
        "port 2203",
        "user pi",
        "hostkeyalias worker3",
        "batchmode yes",
    ] {
        assert!(
            config.lines().any(|line| line == wanted),
            "no line `{wanted}` in\n{config}"
        );
    }
}

#[test]
fn render_writes_once_and_check_shows_what_differs() {
    let desk = Desk::new("two-pi");
    assert_eq!(desk.bramble("keys").code, 0);
    assert_eq!(desk.bramble("render --out out --check").code, 1);
    assert_eq!(desk.bramble("render --out out").code, 0);
    insta::assert_snapshot!("render_again", desk.bramble("render --out out").shown());
    insta::assert_snapshot!(
        "render_check_good",
        desk.bramble("render --out out --check").shown()
    );

    fs::write(desk.path("out/hosts"), "192.168.1.50 boss\n").unwrap();
    fs::remove_file(desk.path("out/reservations.txt")).unwrap();
    insta::assert_snapshot!(
        "render_check_bad",
        desk.bramble("render --out out --check").shown()
    );
    let json = desk.bramble("render --out out --check --json");
    assert_eq!(json.code, 1);
    let outcomes: Vec<String> = json
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["outcome"].to_string())
        .collect();
    assert_eq!(
        outcomes
            .iter()
            .filter(|outcome| *outcome != "\"unchanged\"")
            .count(),
        2
    );
    assert_eq!(
        desk.read("out/hosts"),
        "192.168.1.50 boss\n",
        "a check writes nothing"
    );
}

#[test]
fn render_without_keys_leaves_known_hosts_out() {
    let desk = Desk::new("two-pi");
    insta::assert_snapshot!(
        "render_without_keys",
        desk.bramble("render --out out").shown()
    );
    assert!(!desk.path("out/known_hosts").exists());
}

#[test]
fn stacks_of_ones_own_are_checked_and_rendered() {
    let desk = Desk::new("eight-pi");
    fs::create_dir(desk.path("stacks")).unwrap();
    let plex = "services:\n  plex:\n    image: lscr.io/linuxserver/plex:1.41.3\n    volumes:\n      - /mnt/nfs/plex:/media:ro\n";
    fs::write(desk.path("stacks/plex.yml"), plex).unwrap();
    fs::write(desk.path("stacks/notes.txt"), "not a stack").unwrap();
    let ran = desk.bramble("check");
    assert!(
        ran.code == 0 && ran.stdout.ends_with("stacks     plex\n"),
        "{}",
        ran.shown()
    );
    assert_eq!(desk.bramble("render --out out").code, 0);
    assert_eq!(desk.read("out/stacks/plex.yml"), plex);

    fs::write(
        desk.path("stacks/tv.yaml"),
        plex.replace("/media:ro", "/config"),
    )
    .unwrap();
    fs::write(desk.path("stacks/db.yml"), "services: {}\n").unwrap();
    insta::assert_snapshot!(
        "failure_in_two_stacks",
        desk.bramble("stack deploy plex").shown()
    );
}

#[test]
fn images_that_are_not_there_are_not_replaced_by_tags() {
    let desk = Desk::new("eight-pi");
    fs::create_dir(desk.path("images")).unwrap();
    insta::assert_snapshot!(
        "failure_no_images",
        desk.bramble("stack deploy seeds --images images").shown()
    );

    let redis = desk.path("images/redis");
    let digest = format!("sha256:{}", "0".repeat(64));
    let descriptor = format!(r#"{{"mediaType":"","digest":"{digest}","size":2}}"#);
    fs::create_dir_all(redis.join("blobs/sha256")).unwrap();
    for (name, content) in [
        ("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#),
        ("index.json", &format!(r#"{{"manifests":[{descriptor}]}}"#)),
        (
            &digest.replace("sha256:", "blobs/sha256/"),
            &format!(r#"{{"config":{descriptor},"layers":[]}}"#),
        ),
    ] {
        fs::write(redis.join(name), content).unwrap();
    }
    insta::assert_snapshot!(
        "failure_some_images",
        desk.bramble("stack deploy seeds --images images").shown()
    );
}

#[test]
fn completions_know_the_verbs() {
    let desk = Desk::empty();
    for shell in ["bash", "zsh", "fish"] {
        let script = desk.bramble(&format!("completions {shell}"));
        assert!(script.stdout.contains("render"), "{shell}");
    }
}

#[test]
fn nobody_need_read_to_the_end() {
    let desk = Desk::new("two-pi");
    for verb in [
        "schema",
        "check",
        "check --json",
        "keys",
        "completions bash",
        "--help",
    ] {
        let ran = desk.unheard(verb);
        assert_eq!((ran.code, &*ran.stderr), (0, ""), "{verb}");
    }
    let mut unheard = desk.command("check --cluster nowhere.toml");
    let status = unheard.stdout(closed()).stderr(closed()).status().unwrap();
    assert_eq!(status.code(), Some(2));
}

/// Two nodes that do not answer, with nobody to read how it goes.
#[test]
fn failed_nodes_are_named_whoever_has_left() {
    let desk = Desk::new("two-pi");
    assert_eq!(desk.bramble("keys").code, 0);
    fs::write(desk.path("away"), "Host *\n  ProxyCommand false\n").unwrap();
    let program = cargo_bin("bramble").display().to_string();
    let ran = desk.unheard(&format!(
        "provision --ssh-config away --node-binary {program}"
    ));
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(
        ran.stderr
            .starts_with("error: 2 of 2 nodes failed: boss, hand;"),
        "{}",
        ran.stderr
    );
}

#[test]
fn what_cannot_be_written_is_missed() {
    let desk = Desk::empty();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = desk.command("schema").stdout(full).output().unwrap();
    insta::assert_snapshot!(Ran::new(output, desk.dir.path()).shown(), @r"
    exit 1
    --- stdout
    --- stderr
    error: cannot write to standard output: No space left on device (os error 28)
    ");
}

#[test]
fn every_verb_explains_itself() {
    let desk = Desk::empty();
    for verb in ["init", "check", "keys", "render", "schema", "completions"] {
        let help = desk.bramble(&format!("{verb} --help"));
        assert_eq!(help.code, 0, "{verb}");
        assert!(help.stdout.contains("--cluster <FILE>"), "{verb}");
    }
}
