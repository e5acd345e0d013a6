//! The online verbs against a real SSH server, which stands for every node of a cluster.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use assert_cmd::cargo::cargo_bin;

const SSHD: &str = "/usr/sbin/sshd";

/// A cluster of two, whose nodes are both this machine.
struct Setting {
    dir: tempfile::TempDir,
    sshd: Child,
}

/// What a call of `bramble` said.
struct Said {
    code: Option<i32>,
    out: String,
    errors: String,
}

impl Setting {
    /// `None` where there is no SSH server to be had.
    fn new() -> Option<Self> {
        if !Path::new(SSHD).exists() {
            eprintln!("SKIPPED: there is no {SSHD}");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(
            path("cluster.toml"),
            r#"version = 1
name = "here"
network.subnet = "192.168.1.0/24"
nodes = [
  { name = "boss", role = "manager", mac = "dc:a6:32:00:00:01", ip = "192.168.1.50" },
  { name = "hand", mac = "dc:a6:32:00:00:02", ip = "192.168.1.51" },
]
"#,
        )
        .unwrap();
        let keys = Command::new(cargo_bin("bramble"))
            .args(["keys", "--cluster"])
            .arg(path("cluster.toml"))
            .arg("--state")
            .arg(path("state"))
            .output()
            .unwrap();
        assert!(keys.status.success(), "{keys:?}");

        // One server has the keys of both.
        let host_key = |node: &str| path("state/hosts").join(node).join("ssh_host_ed25519_key");
        fs::copy(host_key("boss"), host_key("hand")).unwrap();
        fs::copy(
            host_key("boss").with_extension("pub"),
            host_key("hand").with_extension("pub"),
        )
        .unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let user = nix::unistd::User::from_uid(nix::unistd::getuid())
            .unwrap()
            .unwrap()
            .name;
        fs::write(
            path("ssh_config"),
            format!(
                "Host *\n  HostName 127.0.0.1\n  Port {port}\n  User {user}\n  ControlPath none\n"
            ),
        )
        .unwrap();
        let options = [
            format!("Port={port}"),
            "ListenAddress=127.0.0.1".into(),
            format!("HostKey={}", host_key("boss").display()),
            format!(
                "AuthorizedKeysFile={}",
                path("state/operator_ed25519.pub").display()
            ),
            "PidFile=none".into(),
            "UsePAM=no".into(),
            // The temporary directory is everybody's.
            "StrictModes=no".into(),
        ];
        if nix::unistd::getuid().is_root() {
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let sshd = Command::new(SSHD)
            .args(["-D", "-e", "-f", "/dev/null"])
            .args(options.iter().flat_map(|option| ["-o", option]))
            .stderr(fs::File::create(path("sshd.log")).unwrap())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let setting = Self { dir, sshd };
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            thread::sleep(Duration::from_millis(20));
        }
        Some(setting)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn bramble(&self, arguments: &[&str]) -> Said {
        let output = Command::new(cargo_bin("bramble"))
            .args(arguments)
            .env("BRAMBLE_CLUSTER", self.path("cluster.toml"))
            .env("BRAMBLE_STATE", self.path("state"))
            .env("BRAMBLE_SSH_CONFIG", self.path("ssh_config"))
            .output()
            .unwrap();
        Said {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            errors: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        self.sshd.kill().ok();
        self.sshd.wait().ok();
    }
}

#[test]
fn commands_run_where_they_should() {
    let Some(setting) = Setting::new() else {
        return;
    };

    let said = setting.bramble(&["exec", "--", "echo", "it's", "a  b"]);
    let mut lines: Vec<_> = said.out.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        (said.code, lines),
        (Some(0), vec!["boss | it's a  b", "hand | it's a  b"]),
        "{}",
        said.errors
    );

    let said = setting.bramble(&[
        "exec",
        "--limit",
        "hand",
        "--",
        "sh",
        "-c",
        "echo no >&2; exit 7",
    ]);
    assert_eq!(
        (said.code, &*said.out),
        (Some(1), "hand | no\nhand | exit code 7\n")
    );

    let said = setting.bramble(&["ssh", "boss", "--", "sh", "-c", "echo $0; exit 3", "$HOME"]);
    assert_eq!((said.code, &*said.out), (Some(3), "$HOME\n"));
}

#[test]
fn what_is_not_there_is_said() {
    let Some(setting) = Setting::new() else {
        return;
    };

    for arguments in [
        &["exec", "--limit", "nobody", "--", "true"][..],
        &["ssh", "nobody"],
    ] {
        let said = setting.bramble(arguments);
        assert_eq!(said.code, Some(2));
        assert!(
            said.errors.contains("there is no node nobody"),
            "{}",
            said.errors
        );
    }

    let said = setting.bramble(&["provision", "--node-binary", "/nowhere/bramble-node"]);
    assert_eq!(said.code, Some(2));
    assert!(
        said.errors.contains("/nowhere/bramble-node"),
        "{}",
        said.errors
    );

    let said = setting.bramble(&["image", "push", setting.path("state").to_str().unwrap()]);
    assert_eq!(said.code, Some(2));
    assert!(
        said.errors.contains("is no OCI image layout"),
        "{}",
        said.errors
    );

    fs::remove_file(setting.path("state/operator_ed25519.pub")).unwrap();
    let said = setting.bramble(&["exec", "--", "true"]);
    assert_eq!(said.code, Some(2));
    assert!(said.errors.contains("bramble keys"), "{}", said.errors);
}

#[test]
fn a_machine_with_another_key_is_not_talked_to() {
    let Some(setting) = Setting::new() else {
        return;
    };

    let key = |node: &str| setting.path(&format!("state/hosts/{node}/ssh_host_ed25519_key.pub"));
    fs::copy(setting.path("state/cluster_ed25519.pub"), key("hand")).unwrap();
    let said = setting.bramble(&["exec", "--", "echo", "here"]);
    assert_eq!(said.code, Some(1));
    assert!(
        said.out.contains("boss | here") && !said.out.contains("hand | here"),
        "{}",
        said.out
    );
    assert!(
        said.out
            .contains("this is not the machine that was flashed"),
        "{}",
        said.out
    );
    assert!(
        said.out.contains("`Cards` in docs/guide.md"),
        "{}",
        said.out
    );
    assert_eq!(said.out.matches("SHA256:").count(), 2, "{}", said.out);
    assert!(
        said.out.contains(" was flashed") && !said.out.contains("NASTY"),
        "{}",
        said.out
    );
}
