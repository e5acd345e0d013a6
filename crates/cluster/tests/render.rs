//! Every file that is rendered from the fixtures.

use std::path::{Path, PathBuf};
use std::process::Command;

use bramble_cluster::render::ssh::{SshPaths, ssh_config};
use bramble_cluster::render::stacks::Images;
use bramble_cluster::render::{self, Files, Keys};
use bramble_cluster::spec::{Cluster, Node};
use ssh_key::PublicKey;

const FIXTURES: [&str; 3] = ["eight-pi", "two-pi", "three-managers"];

fn fixture_path(name: &str) -> String {
    format!(
        "{}/../../fixtures/clusters/{name}.toml",
        env!("CARGO_MANIFEST_DIR")
    )
}

fn fixture(name: &str) -> Cluster {
    let text = std::fs::read_to_string(fixture_path(name)).unwrap();
    Cluster::parse(name, &text).unwrap().0
}

/// Keys that follow from nothing but names and addresses.
fn keys(cluster: &Cluster) -> Keys {
    let key = |seed: [u8; 4], comment: &str| {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&seed);
        PublicKey::new(ssh_key::public::Ed25519PublicKey(bytes).into(), comment)
    };
    let host = |node: &Node| (node.name.clone(), key(node.ip.octets(), "root@somewhere"));
    Keys {
        operator: key(*b"oper", &format!("operator@{}", cluster.name)),
        cluster: key(*b"clus", &format!("cluster@{}", cluster.name)),
        hosts: cluster.nodes.iter().map(host).collect(),
    }
}

fn files(name: &str) -> Files {
    let cluster = fixture(name);
    render::files(&cluster, &images(&cluster), Some(&keys(&cluster)))
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
        let first = fixture(name).first_manager().name.clone();
        for (path, contents) in files(name) {
            // Cards differ in little but names.
            if path.starts_with("boot") && !path.starts_with(format!("boot/{first}")) {
                continue;
            }
            let snapshot = format!("{name}/{}", path.display()).replace('/', "__");
            insta::assert_snapshot!(snapshot, contents);
        }
    }
}

#[test]
fn every_node_has_a_card_of_its_own() {
    let cluster = fixture("eight-pi");
    let files = files("eight-pi");
    let mut instances = std::collections::BTreeSet::new();
    let authorized = keys(&cluster).authorized(&cluster);
    for node in &cluster.nodes {
        let custom = format!("boot/{}/bookworm/custom.toml", node.name);
        let custom: toml::Table = files[&PathBuf::from(custom)].parse().unwrap();
        assert_eq!(custom["system"]["hostname"].as_str(), Some(&*node.name));
        assert_eq!(custom["ssh"]["authorized_keys"], authorized.clone().into());
        let card = format!("boot/{}/trixie", node.name);
        instances.insert(&files[&PathBuf::from(format!("{card}/meta-data"))]);
        assert!(
            files[&PathBuf::from(format!("{card}/user-data"))]
                .contains(&format!("hostname: {}\n", node.name))
        );
    }
    assert_eq!(instances.len(), cluster.nodes.len());
}

#[test]
fn firmware_and_kernel_are_told_what_the_file_says() {
    let text = std::fs::read_to_string(fixture_path("two-pi")).unwrap();
    let boot = r#"
        boot.poe_fan = [65, 70, 75, 80]
        boot.overclock = { arm_freq = 1850, over_voltage = 3 }
        boot.config = ["dtoverlay=disable-wifi", "[pi4]", "gpu_mem=16"]
        boot.cmdline = ["panic=10"]
        access.password_hash = "$6$salt$00000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "#;
    let (cluster, _) = Cluster::parse("cluster.toml", &format!("{boot}{text}")).unwrap();
    let (node, keys) = (cluster.first_manager(), keys(&cluster));
    for (name, contents) in render::boot::bookworm(&cluster, node, &keys) {
        insta::assert_snapshot!(format!("tuned__{}", name.display()), contents);
    }
    let card = render::boot::trixie(&cluster, node, &keys);
    insta::assert_snapshot!("tuned__user-data", card[&PathBuf::from("user-data")]);
}

#[test]
fn without_a_mesh_nothing_is_published_through_one() {
    let mut cluster = fixture("three-managers");
    let rendered = |cluster: &Cluster| {
        let files = render::files(cluster, &images(cluster), Some(&keys(cluster)));
        [
            "stacks/portainer.yml",
            "stacks/registry.yml",
            "stacks/seeds.yml",
            "ansible/playbook.yml",
        ]
        .map(|name| files[&PathBuf::from(name)].clone())
        .concat()
    };
    let with = rendered(&cluster);
    cluster.docker.routing_mesh = false;
    let without = rendered(&cluster);
    let changes = similar::TextDiff::from_lines(&with, &without)
        .iter_all_changes()
        .filter(|change| change.tag() != similar::ChangeTag::Equal)
        .map(|change| format!("{}{change}", change.tag()))
        .collect::<String>();
    insta::assert_snapshot!(changes);
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
            assert!(
                contents.ends_with('\n') || path.ends_with("ssh"),
                "{name}: {}",
                path.display()
            );
            for line in contents.lines() {
                assert_eq!(line, line.trim_end(), "{name}: {}", path.display());
            }
        }
    }
}

#[test]
fn json_toml_and_yaml_read_back() {
    for name in FIXTURES {
        for (path, contents) in files(name) {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("toml") => drop(contents.parse::<toml::Table>().unwrap()),
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
        eprintln!("SKIPPED: docker is not installed");
        return;
    }
    for name in FIXTURES {
        for (path, contents) in files(name).iter().filter(|(path, _)| {
            path.starts_with("stacks") && path.extension().is_some_and(|it| it == "yml")
        }) {
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

/// Ansible itself reads the playbook, where it is installed with the collections that it needs.
#[test]
fn ansible_accepts_the_playbook() {
    let program = std::env::var("ANSIBLE_PLAYBOOK").unwrap_or("ansible-playbook".to_owned());
    if Command::new(&program).arg("--version").output().is_err() {
        eprintln!("SKIPPED: there is no {program}; name one by ANSIBLE_PLAYBOOK");
        return;
    }
    let everything = std::fs::read_to_string(fixture_path("two-pi")).unwrap()
        + r#"
        [updates]
        upgrade = "dist"
        [docker]
        source = "docker-ce"
        [tailscale]
        auth_key_file = "tailscale.key"
        [boot]
        poe_fan = [65, 70, 75, 80]
        "#;
    let everything = Cluster::parse("everything", &everything).unwrap().0;
    for cluster in FIXTURES.map(fixture).into_iter().chain([everything]) {
        let dir = tempfile::tempdir().unwrap();
        for (path, contents) in render::files(&cluster, &images(&cluster), Some(&keys(&cluster))) {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, contents).unwrap();
        }
        let output = Command::new(&program)
            .args(["--syntax-check", "-i", "inventory.yml", "playbook.yml"])
            .current_dir(dir.path().join("ansible"))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}: {}",
            cluster.name,
            String::from_utf8_lossy(&output.stderr)
        );
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
            eprintln!("SKIPPED: dnsmasq is not installed");
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
