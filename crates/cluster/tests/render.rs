//! Every file that is rendered from the fixtures.

use std::path::{Path, PathBuf};
use std::process::Command;

use bramble_cluster::render::ssh::{HostKeys, SshPaths, ssh_config};
use bramble_cluster::render::stacks::Images;
use bramble_cluster::render::{self, Files};
use bramble_cluster::spec::Cluster;
use ssh_key::PublicKey;

const FIXTURES: [&str; 3] = ["eight-pi", "two-pi", "three-managers"];

fn fixture(name: &str) -> Cluster {
    let path = format!(
        "{}/../../fixtures/clusters/{name}.toml",
        env!("CARGO_MANIFEST_DIR")
    );
    Cluster::parse(name, &std::fs::read_to_string(path).unwrap())
        .unwrap()
        .0
}

/// A host key per node, made from its address.
fn host_keys(cluster: &Cluster) -> HostKeys {
    let key = |ip: std::net::Ipv4Addr| {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&ip.octets());
        PublicKey::new(
            ssh_key::public::Ed25519PublicKey(bytes).into(),
            "root@somewhere",
        )
    };
    cluster
        .nodes
        .iter()
        .map(|node| (node.name.clone(), key(node.ip)))
        .collect()
}

fn files(name: &str) -> Files {
    let cluster = fixture(name);
    render::files(&cluster, &images(&cluster), Some(&host_keys(&cluster)))
}

/// One image by digest; the others by tag.
fn images(cluster: &Cluster) -> Images {
    let digest = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
    Images::from([(
        "redis".to_owned(),
        format!("{}/redis@{digest}", cluster.registry.authority()),
    )])
}

#[test]
fn every_file_of_every_fixture() {
    for name in FIXTURES {
        for (path, contents) in files(name) {
            let snapshot = format!("{name}/{}", path.display()).replace('/', "__");
            insta::assert_snapshot!(snapshot, contents);
        }
    }
}

#[test]
fn ssh_config_of_every_fixture() {
    let mut paths = SshPaths {
        identity: PathBuf::from("/home/ari/My Keys/operator_ed25519"),
        known_hosts: PathBuf::from("/home/ari/My Keys/known_hosts"),
        control_dir: PathBuf::from("/run/user/1000/bramble"),
        include: None,
    };
    for name in FIXTURES {
        insta::assert_snapshot!(
            format!("{name}__ssh_config"),
            ssh_config(&fixture(name), &paths)
        );
        paths.include = Some(PathBuf::from("/tmp/the lab/ssh_config"));
    }
}

#[test]
fn files_end_with_a_newline_and_have_no_blanks_at_line_ends() {
    for name in FIXTURES {
        for (path, contents) in files(name) {
            assert!(contents.ends_with('\n'), "{name}: {}", path.display());
            for line in contents.lines() {
                assert_eq!(line, line.trim_end(), "{name}: {}", path.display());
            }
        }
    }
}

#[test]
fn json_and_yaml_read_back() {
    for name in FIXTURES {
        for (path, contents) in files(name) {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("json") => drop(serde_json::from_str::<serde_json::Value>(&contents).unwrap()),
                Some("yml") => {
                    drop(serde_yaml_ng::from_str::<serde_yaml_ng::Value>(&contents).unwrap())
                }
                _ => {}
            }
        }
    }
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yml")
}

/// Readers of YAML 1.1 take these words for truth values, unless they are quoted.
#[test]
fn yaml_has_no_words_that_some_take_for_booleans() {
    for name in FIXTURES {
        for (path, contents) in files(name).iter().filter(|(path, _)| is_yaml(path)) {
            for line in contents.lines() {
                let value = line.split_once(": ").map_or(line, |(_, value)| value);
                let value = value.trim_start().trim_start_matches("- ");
                let ambiguous = ["yes", "no", "on", "off", "y", "n"];
                assert!(
                    !ambiguous.contains(&value.to_lowercase().as_str()),
                    "{name}: {}: {line}",
                    path.display()
                );
            }
        }
    }
}

/// Docker itself reads the stacks, where its client is installed.
#[test]
fn docker_accepts_the_stacks() {
    if Command::new("docker")
        .args(["stack", "config", "--help"])
        .output()
        .is_err()
    {
        eprintln!("skipped: docker is not installed");
        return;
    }
    for name in FIXTURES {
        for (path, contents) in files(name)
            .iter()
            .filter(|(path, _)| path.starts_with("stacks"))
        {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("stack.yml");
            std::fs::write(&file, contents).unwrap();
            let output = Command::new("docker")
                .args(["stack", "config", "-c"])
                .arg(&file)
                .output()
                .unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success() && errors.is_empty(),
                "{name}: {}: {errors}",
                path.display()
            );
        }
    }
}

/// dnsmasq itself reads what we write, where it is installed.
#[test]
fn dnsmasq_accepts_its_configuration() {
    for name in FIXTURES {
        let dir = tempfile::tempdir().unwrap();
        let conf = dir.path().join("dnsmasq.conf");
        std::fs::write(&conf, &files(name)[&PathBuf::from("dnsmasq.conf")]).unwrap();
        let argument = format!("--conf-file={}", conf.display());
        let program = ["/usr/sbin/dnsmasq", "/usr/bin/dnsmasq"]
            .into_iter()
            .find(|path| PathBuf::from(path).exists());
        let Some(program) = program else {
            eprintln!("skipped: dnsmasq is not installed");
            return;
        };
        let output = Command::new(program)
            .args(["--test", &argument])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
