//! From any starting point, applying a resource makes it hold, and applying it again changes nothing.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use bramble_provision::{
    Mode, Notice, Plan, Resource, Secret, Stage, System, Verdict, apply,
    resource::{
        Absent, AuthorizedKeys, Block, Content, Directory, DockerConfig, File, Hostname, Link,
        RevokedKeys,
    },
};
use proptest::{prelude::*, sample::select};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOperator operator";
const HOSTS: &str = "192.168.1.200 manager1 cluster.gov\n192.168.1.201 worker1\n";

/// A root directory with one user, who is whoever runs the tests: nobody else can be given files.
fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let me = fs::metadata(root.path()).unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    let account = format!("pi:x:{}:{}::/home/pi:/bin/bash\n", me.uid(), me.gid());
    fs::write(root.path().join("etc/passwd"), account).unwrap();
    root
}

fn write(root: &Path, path: &str, content: &str) {
    let path = root.join(path.trim_start_matches('/'));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// Path, content and inode of every file: an untouched file keeps its inode, a replaced one does not.
fn contents(directory: &Path) -> Vec<(String, u64, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let data = path.symlink_metadata().unwrap();
            if data.is_dir() {
                open.push(path);
            } else {
                found.push((
                    path.display().to_string(),
                    data.ino(),
                    fs::read(&path).unwrap_or_default(),
                ));
            }
        }
    }
    found.sort();
    found
}

fn converges(root: &Path, resource: Resource) {
    let system = System::rooted(root);
    let plan = Plan {
        node: "test".into(),
        stages: vec![Stage::new("base", [resource.clone()])],
    };
    let run = |mode| apply(&plan, &system, mode, |_| Ok(())).unwrap();

    let before = contents(root);
    run(Mode {
        check: true,
        diff: true,
    });
    assert_eq!(
        contents(root),
        before,
        "a check changes nothing: {resource:?}"
    );

    let first = run(Mode::default());
    assert_eq!(first.failed, 0, "{resource:?}");
    assert_eq!(
        resource.check(&system).unwrap(),
        Verdict::Satisfied,
        "{resource:?}"
    );

    let between = contents(root);
    assert_eq!(run(Mode::default()).satisfied, 1, "{resource:?}");
    assert_eq!(
        contents(root),
        between,
        "a second run changes nothing: {resource:?}"
    );
}

/// Texts made of the lines that could confuse a resource, and of any others.
fn texts() -> impl Strategy<Value = String> {
    let lines = prop_oneof![
        select(vec![
            "# BEGIN bramble hosts",
            "# END bramble hosts",
            "192.168.1.200 manager1 cluster.gov",
            "127.0.0.1 localhost",
            "",
            "  # END bramble hosts",
            KEY,
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOperator somebody-else",
        ])
        .prop_map(String::from),
        "\\PC{0,20}",
    ];
    (
        prop::collection::vec(lines, 0..8),
        select(vec!["", "\n", "\r\n"]),
    )
        .prop_map(|(lines, end)| lines.join("\n") + end)
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Into::into),
        "[a-z:0-9]{0,6}".prop_map(Into::into)
    ];
    leaf.prop_recursive(2, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Into::into),
            prop::collection::hash_map(keys(), inner, 0..3)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

fn keys() -> impl Strategy<Value = String> {
    select(vec![
        "insecure-registries",
        "log-opts",
        "max-size",
        "data-root",
        "debug",
    ])
    .prop_map(String::from)
}

fn settings() -> impl Strategy<Value = serde_json::Map<String, serde_json::Value>> {
    prop::collection::hash_map(keys(), json(), 0..4).prop_map(|map| map.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_block(start in prop::option::of(texts())) {
        let root = root();
        if let Some(start) = &start {
            write(root.path(), "/etc/hosts", start);
        }
        converges(root.path(), Resource::Block(Block {
            path: "/etc/hosts".into(),
            name: "hosts".into(),
            content: HOSTS.into(),
            lines: Default::default(),
            notifies: Some(Notice::SystemdReload),
        }));
        let after = fs::read_to_string(root.path().join("etc/hosts")).unwrap();
        let ours = ["# BEGIN bramble hosts", "# END bramble hosts"];
        for line in ours {
            prop_assert_eq!(after.lines().filter(|found| *found == line).count(), 1, "{}", line);
        }
    }

    #[test]
    fn a_block_keeps_what_is_around_it(before in "[a-z\n]{0,30}", after in "[a-z\n]{0,30}") {
        let root = root();
        write(root.path(), "/etc/hosts", &format!("{before}\n# BEGIN bramble hosts\nold\n# END bramble hosts\n{after}\n"));
        converges(root.path(), Resource::Block(Block {
            path: "/etc/hosts".into(),
            name: "hosts".into(),
            content: HOSTS.into(),
            lines: Default::default(),
            notifies: None,
        }));
        let wanted = format!("{before}\n# BEGIN bramble hosts\n{HOSTS}# END bramble hosts\n{after}\n");
        prop_assert_eq!(fs::read_to_string(root.path().join("etc/hosts")).unwrap(), wanted);
    }

    #[test]
    fn docker_settings(start in prop::option::of(settings()), wanted in settings()) {
        let root = root();
        if let Some(start) = start {
            write(root.path(), "/etc/docker/daemon.json", &serde_json::Value::Object(start).to_string());
        }
        converges(root.path(), Resource::DockerConfig(DockerConfig { settings: wanted }));
    }

    #[test]
    fn authorized_keys(start in prop::option::of(texts())) {
        let root = root();
        if let Some(start) = &start {
            write(root.path(), "/home/pi/.ssh/authorized_keys", start);
        }
        let keys = vec![KEY.into(), "ssh-ed25519 AAAACluster bramble cluster\n".into()];
        converges(root.path(), Resource::AuthorizedKeys(AuthorizedKeys { user: "pi".into(), keys }));
        let after = fs::read_to_string(root.path().join("home/pi/.ssh/authorized_keys")).unwrap();
        prop_assert!(after.starts_with(start.unwrap_or_default().as_str()), "what was there stays");
    }

    #[test]
    fn a_file(start in prop::option::of(texts()), wanted in texts(), mode in select(vec![0o600, 0o644, 0o755])) {
        let root = root();
        if let Some(start) = start {
            write(root.path(), "/opt/deep/file", &start);
        }
        converges(root.path(), Resource::File(File {
            path: "/opt/deep/file".into(),
            content: Content::Text(wanted),
            mode,
            owner: Some("pi".into()),
            notifies: None,
        }));
    }

    #[test]
    fn a_link(start in prop::option::of("[a-z/]{1,9}"), target in "/[a-z]{1,9}") {
        let root = root();
        if let Some(start) = start {
            std::os::unix::fs::symlink(start, root.path().join("shared")).unwrap();
        }
        converges(root.path(), Resource::Link(Link { path: "/shared".into(), target }));
    }

    #[test]
    fn a_hostname(file in prop::option::of("[a-z\n]{0,9}"), kernel in "[a-z]{1,9}\n") {
        let root = root();
        if let Some(file) = file {
            write(root.path(), "/etc/hostname", &file);
        }
        write(root.path(), "/proc/sys/kernel/hostname", &kernel);
        converges(root.path(), Resource::Hostname(Hostname { name: "worker1".into() }));
    }
}

#[test]
fn revoked_keys_go_and_others_stay() {
    let root = root();
    let other = "ssh-ed25519 AAAAOther ada\n";
    let text =
        format!("# mine\n{KEY}\n{other}ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOperator again\n");
    write(root.path(), "/home/pi/.ssh/authorized_keys", &text);
    converges(
        root.path(),
        Resource::RevokedKeys(RevokedKeys {
            user: "pi".into(),
            keys: vec![KEY.into()],
        }),
    );
    let after = fs::read_to_string(root.path().join("home/pi/.ssh/authorized_keys")).unwrap();
    assert_eq!(after, format!("# mine\n{other}"));
}

#[test]
fn a_file_that_is_to_go() {
    for start in [None, Some("[Unit]\n")] {
        let root = root();
        if let Some(start) = start {
            write(root.path(), "/etc/unit.d/ours.conf", start);
        }
        converges(
            root.path(),
            Resource::Absent(Absent {
                path: "/etc/unit.d/ours.conf".into(),
                notifies: Some(Notice::SystemdReload),
            }),
        );
        let notice = root.path().join("run/bramble/notices/systemd-reload");
        assert_eq!(notice.exists(), start.is_some(), "{start:?}");
    }
}

/// A file system without room, on which a file is to be replaced. Run by the test after it.
#[test]
#[ignore = "is run where there is such a file system"]
fn on_a_full_disk() {
    let root = std::path::PathBuf::from(std::env::var_os("BRAMBLE_FULL_DISK").unwrap());
    write(&root, "/etc/hosts", "127.0.0.1 localhost\n");
    let block = Resource::Block(Block {
        path: "/etc/hosts".into(),
        name: "hosts".into(),
        content: "192.168.1.200 manager1\n".repeat(40_000),
        lines: Default::default(),
        notifies: None,
    });
    let error = block.apply(&System::rooted(&root)).unwrap_err().to_string();
    assert!(
        error.contains("cannot write") && error.contains("No space left"),
        "{error}"
    );
    assert_eq!(
        fs::read_to_string(root.join("etc/hosts")).unwrap(),
        "127.0.0.1 localhost\n"
    );
    let left = fs::read_dir(root.join("etc")).unwrap().count();
    assert_eq!(left, 1, "nothing half-written is left");
}

#[test]
fn a_full_disk_leaves_the_old_file() {
    let dir = tempfile::tempdir().unwrap();
    let script = r#"mount -t tmpfs -o size=256k tmpfs "$1" && BRAMBLE_FULL_DISK="$1" exec "$2" --exact on_a_full_disk --ignored"#;
    let probe = std::process::Command::new("unshare")
        .args(["-rm", "sh", "-c", r#"mount -t tmpfs tmpfs "$0""#])
        .arg(dir.path())
        .output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        eprintln!("SKIPPED: this machine lets nobody mount a small file system (`unshare -rm`)");
        return;
    }
    let output = std::process::Command::new("unshare")
        .args(["-rm", "sh", "-c", script, "sh"])
        .arg(dir.path())
        .arg(std::env::current_exe().unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_directory() {
    let root = root();
    for mode in [None, Some(0o700), Some(0o755)] {
        let directory = Directory {
            path: "/home/pi/.ssh".into(),
            mode,
            owner: mode.map(|_| "pi".into()),
        };
        converges(root.path(), Resource::Directory(directory));
    }
}

#[test]
fn what_is_in_the_way_is_left_to_a_person() {
    let root = root();
    write(root.path(), "/shared/precious", "");
    let link = Resource::Link(Link {
        path: "/shared".into(),
        target: "/mnt".into(),
    });
    let error = link
        .check(&System::rooted(root.path()))
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "/shared is in the way of a link to /mnt; move it away"
    );
}

#[test]
fn secrets_are_not_shown() {
    let root = root();
    write(root.path(), "/home/pi/.ssh/id_ed25519", "the old secret");
    let key = Resource::File(File {
        path: "/home/pi/.ssh/id_ed25519".into(),
        content: Content::Secret(Secret::new("the new secret")),
        mode: 0o600,
        owner: Some("pi".into()),
        notifies: None,
    });
    assert!(!format!("{key:?}").contains("secret\""), "{key:?}");

    let plan = Plan {
        node: "test".into(),
        stages: vec![Stage::new("base", [key])],
    };
    let mut said = Vec::new();
    apply(
        &plan,
        &System::rooted(root.path()),
        Mode {
            check: false,
            diff: true,
        },
        |event| {
            said.push(serde_json::to_string(event).unwrap());
            Ok(())
        },
    )
    .unwrap();
    assert!(
        said.iter()
            .all(|line| !line.contains("new secret") && !line.contains("old secret")),
        "{said:?}"
    );
    assert_eq!(
        fs::read(root.path().join("home/pi/.ssh/id_ed25519")).unwrap(),
        b"the new secret"
    );
}

#[test]
fn the_first_failure_ends_the_plan_and_the_next_run_completes_it() {
    let root = root();
    let plan = Plan {
        node: "test".into(),
        stages: vec![
            Stage::new(
                "base",
                [
                    Resource::Directory(Directory {
                        path: "/a".into(),
                        mode: None,
                        owner: None,
                    }),
                    Resource::Link(Link {
                        path: "/shared".into(),
                        target: "/mnt".into(),
                    }),
                ],
            ),
            Stage::new(
                "later",
                [Resource::Directory(Directory {
                    path: "/b".into(),
                    mode: None,
                    owner: None,
                })],
            ),
        ],
    };
    write(root.path(), "/shared", "in the way");
    let system = System::rooted(root.path());
    let summary = apply(&plan, &system, Mode::default(), |_| Ok(())).unwrap();
    assert_eq!(
        (summary.changed, summary.failed, summary.skipped),
        (1, 1, 1)
    );
    assert!(!root.path().join("b").exists());

    fs::remove_file(root.path().join("shared")).unwrap();
    let summary = apply(&plan, &system, Mode::default(), |_| Ok(())).unwrap();
    assert_eq!(
        (summary.satisfied, summary.changed, summary.failed),
        (1, 2, 0)
    );
}

#[test]
fn a_check_goes_past_what_rests_on_changes() {
    let root = root();
    let keys = AuthorizedKeys {
        user: "ada".into(),
        keys: vec![KEY.into()],
    };
    let plan = Plan {
        node: "test".into(),
        stages: vec![Stage::new(
            "base",
            [
                Resource::Directory(Directory {
                    path: "/a".into(),
                    mode: None,
                    owner: None,
                }),
                Resource::AuthorizedKeys(keys),
            ],
        )],
    };
    let system = System::rooted(root.path());
    let mut outcomes = Vec::new();
    apply(
        &plan,
        &system,
        Mode {
            check: true,
            diff: false,
        },
        |event| {
            if let bramble_provision::Event::Finished { outcome, .. } = event {
                outcomes.push(outcome.clone());
            }
            Ok(())
        },
    )
    .unwrap();
    insta::assert_json_snapshot!(outcomes, @r#"
    [
      {
        "outcome": "would-change",
        "reason": "it does not exist"
      },
      {
        "outcome": "would-change",
        "reason": "cannot be judged before the changes above: there is no user `ada` on this node"
      }
    ]
    "#);
}

#[test]
fn nobody_listening_ends_the_plan_between_two_resources() {
    let root = root();
    let directory = |path: &str| {
        Resource::Directory(Directory {
            path: path.into(),
            mode: None,
            owner: None,
        })
    };
    let plan = Plan {
        node: "test".into(),
        stages: vec![Stage::new("base", [directory("/a"), directory("/b")])],
    };
    let mut lines = 0;
    let result = apply(&plan, &System::rooted(root.path()), Mode::default(), |_| {
        lines += 1;
        if lines == 2 {
            Err(std::io::ErrorKind::BrokenPipe.into())
        } else {
            Ok(())
        }
    });
    assert!(result.is_err());
    assert!(root.path().join("a").exists() && !root.path().join("b").exists());
}
